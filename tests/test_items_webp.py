"""Lossless WebP without its frame."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.errors import ItemError
from latentpress.items.webp import MAX_WEBP_SIDE, pack_webp, unpack_webp

PIXELS = np.random.default_rng(0).integers(0, 9, (6, 11, 3), dtype=np.uint8)
DATA = pack_webp(PIXELS)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 99))
def test_every_pixel_is_restored(height, width, channels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    restored = unpack_webp(pack_webp(pixels), (height, width), channels)
    assert restored.dtype == np.uint8 and np.array_equal(restored, pixels)


def test_an_image_too_wide_is_no_webp():
    assert pack_webp(np.zeros((1, MAX_WEBP_SIDE + 1, 1), np.uint8)) is None


@pytest.mark.parametrize("size", [(11, 6), (6, 12), (16383, 16383)])
def test_another_size_is_refused_before_it_is_decoded(size):
    with pytest.raises(ItemError, match="of this size"):
        unpack_webp(DATA, size, 3)


@given(st.binary(max_size=60), st.integers(0, len(DATA)))
def test_hostile_bytes_give_an_image_or_one_error(data, start):
    for damaged in (data, DATA[:start] + data + DATA[start:], DATA[:start], DATA[:5] + data):
        with contextlib.suppress(ItemError):
            assert unpack_webp(damaged, (6, 11), 3).shape == (6, 11, 3)
