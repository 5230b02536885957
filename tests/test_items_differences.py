"""Differences: nothing is lost, whatever the pixels, and rows may come in parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from latentpress.items.differences import from_residuals, simpler, to_residuals
from latentpress.train.pixels import differences_of

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
PIXELS = SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape))


@given(PIXELS)
def test_nothing_is_lost(pixels):
    differences = to_residuals(pixels)
    assert differences.dtype == np.uint8 and differences.shape == pixels.shape
    assert np.array_equal(from_residuals(differences), pixels)


@given(PIXELS)
def test_every_array_of_bytes_is_the_differences_of_an_image(differences):
    assert np.array_equal(to_residuals(from_residuals(differences)), differences)


@given(PIXELS.filter(lambda pixels: len(pixels) > 1), st.data())
def test_bands_are_parts_of_the_whole(pixels, data):
    row = data.draw(st.integers(1, len(pixels) - 1))
    band = to_residuals(pixels[row:], pixels[row - 1 : row])
    assert np.array_equal(band, to_residuals(pixels)[row:])


@given(PIXELS)
def test_training_sees_the_same_symbols(pixels):
    symbols = differences_of(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    assert np.array_equal(symbols[0].permute(1, 2, 0).numpy(), to_residuals(pixels))


def test_what_is_simpler_follows_the_pictures():
    rows, columns = np.mgrid[:32, :32]
    slope = (2 * rows + 3 * columns)[..., None].astype(np.uint8)
    random = np.random.default_rng(0)
    assert simpler([slope + random.integers(0, 3, slope.shape, np.uint8)])
    digits = 255 * (random.random((32, 32, 1)) < 0.1).astype(np.uint8)
    assert not simpler([digits])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_plane_is_nothing_but_its_edges(channels):
    rows, columns = np.mgrid[:6, :7]
    pixels = np.repeat((3 * rows + 2 * columns)[..., None], channels, axis=2).astype(np.uint8)
    differences = to_residuals(pixels)
    assert not differences[1:, 1:].any()
    assert not differences[..., 1:].any()  # grey: no colour at all
