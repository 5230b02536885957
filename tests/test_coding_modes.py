import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import RangeDecoder, frequencies, modes, normalize
from latentpress.errors import ArchiveError

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 9))
SIZES = st.lists(st.integers(2, 600), min_size=1, max_size=3)


def random_codes(seed, shape, sizes):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, shape) for size in sizes], axis=-1)


@given(st.integers(0, 2**32), SHAPES, SIZES)
@settings(max_examples=40, deadline=None)
def test_each_mode_is_inverted(seed, shape, sizes):
    codes = random_codes(seed, shape, sizes)
    assert np.array_equal(modes.decode_raw(modes.encode_raw(codes, sizes), shape, sizes), codes)
    assert np.array_equal(modes.decode_adaptive(modes.encode_adaptive(codes, sizes), shape, sizes), codes)
    tables = [normalize(np.arange(1, size + 1)[None])[0] for size in sizes]
    assert np.array_equal(modes.decode_static(modes.encode_static(codes, tables), shape, tables), codes)


def test_the_prior_mode_goes_position_by_position():
    codes = random_codes(0, (6, 4), [5, 9])
    rng = np.random.default_rng(1)
    tables = [
        frequencies(rng.integers(-90, 90, (24, size)).astype(np.int32)).reshape(6, 4, size) for size in (5, 9)
    ]
    decoder = RangeDecoder(modes.encode_prior(codes, tables))
    for position in range(6):
        for p in range(2):
            assert np.array_equal(decoder.decode(tables[p][position]), codes[position, :, p])


def test_raw_is_as_long_as_the_bits():
    assert len(modes.encode_raw(random_codes(0, (8, 3), [512, 5]), [512, 5])) == 24 * (9 + 3) // 8


def test_adaptive_learns():
    codes = np.zeros((64, 64, 1), np.int64)
    assert len(modes.encode_adaptive(codes, [512])) < len(modes.encode_raw(codes, [512])) / 10


@given(st.binary(max_size=64))
def test_hostile_payloads(data):
    tables = [normalize(np.ones((1, 5), np.int64))[0]]
    for decode, last in (
        (modes.decode_raw, [5]),
        (modes.decode_adaptive, [5]),
        (modes.decode_static, tables),
    ):
        try:
            codes = decode(data, (8, 4), last)
        except ArchiveError:
            continue
        assert codes.shape == (8, 4, 1) and 0 <= codes.min() <= codes.max() < 5


def test_a_raw_symbol_out_of_range_is_refused():
    with pytest.raises(ArchiveError, match="out of range"):
        modes.decode_raw(b"\xff", (2, 1), [5])
