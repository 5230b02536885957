import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import modes
from latentpress.coding.tables import normalize
from latentpress.errors import ArchiveError

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 9))
ALPHABETS = st.lists(st.integers(2, 600) | st.sampled_from([256, 255, 129, 65536]), min_size=1, max_size=3)


def random_symbols(seed, shape, alphabets):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, shape) for size in alphabets], axis=-1)


@given(st.integers(0, 2**32), SHAPES, ALPHABETS)
@settings(max_examples=40)
def test_each_mode_is_inverted(seed, shape, alphabets):
    symbols = random_symbols(seed, shape, alphabets)
    raw = modes.encode_raw(symbols, alphabets)
    assert np.array_equal(modes.decode_raw(raw, shape, alphabets), symbols)
    adaptive = modes.encode_adaptive(symbols, alphabets)
    assert np.array_equal(modes.decode_adaptive(adaptive, shape, alphabets), symbols)
    tables = [normalize(np.arange(1, size + 1)[None])[0] for size in alphabets]
    assert np.array_equal(modes.decode_static(modes.encode_static(symbols, tables), shape, tables), symbols)


@given(st.integers(0, 2**32), SHAPES, ALPHABETS, st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]))
def test_raw_takes_symbols_of_any_type(seed, shape, alphabets, dtype):
    alphabets = [min(size, 256) for size in alphabets] if dtype is np.uint8 else alphabets
    symbols = random_symbols(seed, shape, alphabets)
    assert modes.encode_raw(symbols.astype(dtype), alphabets) == modes.encode_raw(symbols, alphabets)


@pytest.mark.parametrize("alphabets", [(2,), (9,), (9, 300), (256, 3), (65536, 5)])
def test_long_raw_blocks_are_the_same(alphabets):
    symbols = random_symbols(0, (3, 50_001), alphabets)  # several chunks a component
    payload = modes.encode_raw(symbols, alphabets)
    bits = [
        f"{symbol:0{(size - 1).bit_length()}b}"
        for p, size in enumerate(alphabets)
        for symbol in symbols[..., p].ravel().tolist()
    ]
    whole = "".join(bits)
    whole += "0" * (-len(whole) % 8)
    assert payload == int(whole, 2).to_bytes(len(whole) // 8, "big")
    assert np.array_equal(modes.decode_raw(payload, (3, 50_001), alphabets), symbols)


@pytest.mark.parametrize("alphabets", [(256,), (2,)])
def test_raw_bytes_take_little_memory(alphabets):
    symbols = np.zeros((1 << 22, 1, 1), np.uint8)
    tracemalloc.start()
    try:
        payload = modes.encode_raw(symbols, alphabets)
        assert modes.decode_raw(payload, (1 << 22, 1), alphabets).dtype == np.uint8
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_raw_is_as_long_as_the_bits():
    assert len(modes.encode_raw(random_symbols(0, (8, 3), [512, 5]), [512, 5])) == 24 * (9 + 3) // 8


def test_adaptive_learns():
    symbols = np.zeros((64, 64, 1), np.int64)
    assert len(modes.encode_adaptive(symbols, [512])) < len(modes.encode_raw(symbols, [512])) / 10


@given(st.binary(max_size=64))
def test_hostile_payloads(data):
    tables = [normalize(np.ones((1, 5), np.int64))[0]]
    for decode, last in (
        (modes.decode_raw, [5]),
        (modes.decode_adaptive, [5]),
        (modes.decode_static, tables),
    ):
        try:
            symbols = decode(data, (8, 4), last)
        except ArchiveError:
            continue
        assert symbols.shape == (8, 4, 1) and 0 <= symbols.min() <= symbols.max() < 5


@pytest.mark.parametrize("alphabets", [[5], [200], [200, 256]])
def test_a_raw_symbol_out_of_range_is_refused(alphabets):
    with pytest.raises(ArchiveError, match="out of range"):
        modes.decode_raw(b"\xff" * len(alphabets), (1, 1), alphabets)
    with pytest.raises(ArchiveError, match="out of range"):
        modes.decode_raw(b"\xa0", (1, 1), [5])  # 101, the first that is
    assert modes.decode_raw(b"\x80", (1, 1), [5]).item() == 4
