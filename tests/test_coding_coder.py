from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lpz_coders
from latentpress.coding import TOTAL, RangeDecoder, RangeEncoder, frequencies
from latentpress.errors import ArchiveError


def random_message(seed, count, size, spread=40.0):
    rng = np.random.default_rng(seed)
    tables = frequencies((rng.normal(size=(count, size)) * spread).astype(np.int32))
    return rng.integers(0, size, count), tables


@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(2, 70))
@settings(max_examples=50, deadline=None)
def test_decoding_inverts_encoding(seed, count, size):
    symbols, tables = random_message(seed, count, size)
    encoder = RangeEncoder()
    encoder.encode(symbols, tables)
    assert np.array_equal(RangeDecoder(encoder.to_bytes()).decode(tables), symbols)


def test_the_stream_is_the_documented_one():
    symbols, tables = random_message(1, 300, 17)
    encoder = RangeEncoder()
    encoder.encode(symbols, tables)
    decoder = lpz_coders.RangeDecoder(encoder.to_bytes())
    assert [decoder.decode(table) for table in tables.tolist()] == symbols.tolist()


def test_golden_words():
    encoder = RangeEncoder()
    encoder.encode(np.array([0, 1, 2, 3, 0, 2, 1]), frequencies(np.array([[0, 9, 30, -40]] * 7)))
    assert encoder.to_bytes().hex() == "13a76c19"


def test_many_calls_write_what_one_call_writes():
    symbols, tables = random_message(2, 64, 30)
    whole, parts = RangeEncoder(), RangeEncoder()
    whole.encode(symbols, tables)
    for start in range(0, 64, 7):
        parts.encode(symbols[start : start + 7], tables[start : start + 7])
    assert whole.to_bytes() == parts.to_bytes()


def test_a_static_table_is_that_table_for_each_symbol():
    symbols, tables = random_message(3, 100, 30)
    one, each = RangeEncoder(), RangeEncoder()
    one.encode(symbols, tables[0])
    each.encode(symbols, np.repeat(tables[:1], 100, axis=0))
    assert one.to_bytes() == each.to_bytes()


def test_the_length_is_near_the_ideal():
    rng = np.random.default_rng(4)
    table = frequencies(rng.normal(0, 60, (1, 512)).astype(np.int32))[0]
    symbols = rng.choice(512, size=4096, p=table / table.sum())
    encoder = RangeEncoder()
    encoder.encode(symbols, table)
    ideal = -np.log2(table[symbols] / TOTAL).sum()
    assert ideal <= 8 * len(encoder.to_bytes()) <= ideal + 64


@given(st.binary(max_size=200))
def test_hostile_streams_give_symbols_or_one_error(data):
    _, tables = random_message(5, 50, 9)
    with suppress(ArchiveError):
        assert RangeDecoder(data).decode(tables).max() < 9


def test_half_a_word_is_refused():
    with pytest.raises(ArchiveError, match="32-bit words"):
        RangeDecoder(b"12345")
