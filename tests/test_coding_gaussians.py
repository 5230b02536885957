"""Discretised Gaussians: tables that sum to the total, are monotone and symmetric, and near the true ones."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from latentpress.coding import TOTAL
from latentpress.coding.fixed_point import logistic, normal_distribution
from latentpress.coding.gaussians import (
    LATENT_UNIT,
    SCALES,
    bounds,
    interval,
    symbol_at,
    symbols_of,
)

SETTINGS = [(1, 255), (6, 43), (20, 13), (127, 3)]


def digest(array):
    return hashlib.blake2b(np.asarray(array).astype("<i8").tobytes(), digest_size=8).hexdigest()


def random_gaussians(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-9000, 9000, count), rng.integers(0, SCALES, count)


def ideal(mean, scale, step, count):
    """The same probabilities by floating point, (..., count)."""
    std = 2.0 ** ((np.asarray(scale) - 64) / 16)
    edges = (np.arange(1, count) - count / 2) * step
    inner = norm.cdf(edges, np.asarray(mean)[..., None] / 64, std[..., None])
    return np.diff(inner, axis=-1, prepend=0, append=1)


def test_the_integers_are_part_of_the_format():
    assert digest(logistic().table) == "bc4c5e85de7dfe8d"
    assert digest(normal_distribution().table) == "f51a9b9ad633a170"
    tables = [bounds(*random_gaussians(40), step, count) for step, count in SETTINGS]
    assert digest(np.concatenate(tables, axis=1)) == "efb6c46107145fcb"


@pytest.mark.parametrize(
    ("curve", "ideal", "step", "tolerance"),
    [
        (logistic(), lambda x: 1 / (1 + np.exp(-x)), 2.0**-12, 2.0**-14),
        (normal_distribution(), norm.cdf, 2.0**-16, 2.0**-20),
    ],
)
def test_curves_are_near_the_functions_and_symmetric(curve, ideal, step, tolerance):
    x = np.arange(-round(20 / step), round(20 / step), 7)
    found = curve(x)
    assert (np.diff(found) >= 0).all() and found[0] == 0 and found[-1] == curve.table[-1]
    assert np.array_equal(found + curve(-x), np.full(len(x), curve.table[-1]))
    assert np.abs(found / curve.table[-1] - ideal(x * step)).max() < tolerance
    assert curve(np.array([2**62, -(2**62)])).tolist() == [curve.table[-1], 0]


def test_the_normal_table_is_correctly_rounded():
    found = normal_distribution().table[:-1]
    assert np.array_equal(found, np.floor(norm.cdf(np.arange(len(found)) / 256) * 2**30 + 0.5))


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, SCALES - 1), st.sampled_from(SETTINGS))
def test_bounds_rise_from_0_to_2_to_the_24(mean, scale, setting):
    found = bounds(np.array(mean), np.array(scale), *setting)
    assert found[0] == 0 and found[-1] == TOTAL and np.diff(found).min() >= 1


@pytest.mark.parametrize(("step", "count"), SETTINGS)
def test_one_symbols_bounds_are_those_of_the_table(step, count):
    mean, scale = random_gaussians(50)
    table, symbols = bounds(mean, scale, step, count), np.arange(count)[:, None]
    low, size = interval(mean, scale, step, count, symbols)
    assert np.array_equal(low.T, table[:, :-1]) and np.array_equal(size.T, np.diff(table))


@pytest.mark.parametrize(("step", "count"), SETTINGS)
def test_a_point_belongs_to_the_symbol_whose_interval_holds_it(step, count):
    mean, scale = random_gaussians(50)
    low, size = interval(mean, scale, step, count, np.arange(count)[:, None])
    symbols = np.broadcast_to(np.arange(count)[:, None], low.shape)
    assert np.array_equal(symbol_at(mean, scale, step, count, low), symbols)
    assert np.array_equal(symbol_at(mean, scale, step, count, low + size - 1), symbols)


def test_the_mirror_image_has_the_mirrored_table():
    mean, scale = random_gaussians(300)
    there = np.diff(bounds(mean, scale, 6, 43))
    assert np.abs(there - np.diff(bounds(-mean, scale, 6, 43))[:, ::-1]).max() <= 1


def test_rows_do_not_depend_on_those_beside_them():
    mean, scale = random_gaussians(300)
    assert np.array_equal(bounds(mean, scale, 6, 43)[7], bounds(mean[7], scale[7], 6, 43))


@pytest.mark.parametrize(("step", "count"), SETTINGS)
def test_the_tables_cost_next_to_nothing(step, count):
    rng = np.random.default_rng(1)
    mean, scale = rng.integers(-3000, 3000, 400), rng.integers(30, SCALES, 400)
    p = ideal(mean, scale, step, count)
    found = np.diff(bounds(mean, scale, step, count)) / TOTAL
    assert np.abs(found - p).max() < 2e-5
    loss = (p * np.log2(np.maximum(p, 1e-300) / found)).sum(-1)
    assert loss.min() > -1e-9 and loss.max() < 5e-5


def test_scales_cover_what_latents_need():
    std = LATENT_UNIT * 2.0 ** ((np.array([0, SCALES - 1]) - 64) / 16)
    assert std[0] < 0.005 and std[1] > 8


def test_symbols_of_a_step_cover_the_latents():
    for step in range(1, 128):
        half = symbols_of(step) // 2
        assert half * step <= 127 < (half + 1) * step


@pytest.mark.parametrize(("step", "count"), [(0, 3), (1, 4), (1, 1), (1 << 20, 255)])
def test_settings_out_of_range_are_named(step, count):
    with pytest.raises(ValueError, match="odd count"):
        bounds(np.array(0), np.array(64), step, count)
