"""Tables and the random points of them: integers that are part of the format."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding.tables import TOTAL, frequencies, normalize, random_points, weights


def test_the_weights_are_part_of_the_format():
    digest = hashlib.blake2b(weights(np.arange(1024)).astype("<i8").tobytes(), digest_size=16).hexdigest()
    assert digest == "9d52b23793948b25f5fa09c915a42da0"


def test_the_weights_fall_by_half_an_octave_and_are_near_the_exponential():
    found, ideal = weights(np.arange(1200)), 2.0 ** (31 - np.arange(1200) / 32)
    assert (np.diff(found) <= 0).all() and found[0] == 2**31 and found[32] == 2**30
    assert np.abs(found / ideal - 1)[:640].max() < 0.003


def test_known_table():
    assert frequencies(np.array([[0, 32, -5000]])).tolist() == [[5592405, 11184809, 2]]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=300))
def test_every_table_sums_to_2_to_the_24_and_has_no_zero(logits):
    table = frequencies(np.array([logits], np.int32))
    assert table.sum() == TOTAL and table.min() >= 1


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=50).filter(any))
def test_normalize_keeps_proportions(weights):
    table = normalize(np.array([weights]))[0]
    ideal = np.array(weights) / sum(weights) * TOTAL
    assert table.sum() == TOTAL
    assert np.abs(table - ideal).max() <= 2 * len(weights) + TOTAL * 2.0**-20


def test_what_rounding_leaves_goes_to_the_last():
    assert normalize(np.array([[1, 1, 1]])).tolist() == [[5592405, 5592405, 5592406]]


@pytest.mark.parametrize("size", [2, 512, 65536])
def test_tables_cost_no_more_than_the_softmax(size):
    logits = np.random.default_rng(0).normal(0, 60, (20, size)).astype(np.int32)
    p = 2.0 ** ((logits - logits.max(1, keepdims=True)) / 32)
    p /= p.sum(1, keepdims=True)
    entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
    coded = -(p * np.log2(frequencies(logits) / TOTAL)).sum()
    assert entropy <= coded < entropy * 1.0005


def test_rows_do_not_depend_on_those_beside_them():
    logits = np.random.default_rng(0).integers(-500, 500, (5000, 40), np.int32)
    assert np.array_equal(frequencies(logits)[4321:4323], frequencies(logits[4321:4323]))


def test_random_points_are_part_of_the_format():
    assert random_points(2**64 - 1, 2**64 - 1, (3,)).tolist() == POINTS


POINTS = [7161548, 9588385, 16630623]


def test_more_random_points_begin_alike():
    assert np.array_equal(random_points(3, 5, (4, 25)).ravel()[:10], random_points(3, 5, (10,)))


def test_items_and_seeds_have_streams_of_their_own():
    streams = {tuple(random_points(seed, item, (4,))) for seed in range(9) for item in range(9)}
    assert len(streams) == 81


def test_random_points_are_spread_evenly():
    points = random_points(0, 0, (100_000,))
    assert points.max() < TOTAL
    counts = np.bincount(points >> 20, minlength=16)
    assert np.abs(counts / 100_000 - 1 / 16).max() < 0.005
