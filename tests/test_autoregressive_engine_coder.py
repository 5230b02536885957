"""The compiled coder: constriction's words, the documented tables, and bytes that lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive.engine.coder import (
    Streams,
    decode_symbol,
    encode_symbol,
    find,
    finish_stream,
    weigh,
)
from latentpress.coding import RangeDecoder, RangeEncoder, frequencies


def encoded(logits, symbols):
    streams, weights = Streams.over(np.zeros((1, len(symbols) + 4), np.uint32)), scratch(logits)
    streams.reset(0, 0, len(symbols) + 4)
    for row, symbol in zip(logits, symbols, strict=True):
        factor = weigh(row, weights)
        encode_symbol(streams, 0, weights, len(row), factor, symbol)
    finish_stream(streams, 0)
    return streams.words[: streams.cursors[0]].astype("<u4").tobytes()


def decoded(logits, payload):
    words, weights = np.frombuffer(payload, "<u4"), scratch(logits)
    streams = Streams.over(words.astype(np.uint32)[None])
    streams.start_decoding(0, 0, len(words))
    symbols = []
    for row in logits:
        factor = weigh(row, weights)
        symbols.append(decode_symbol(streams, 0, weights, len(row), factor))
    return symbols, bool(streams.damaged[0])


def scratch(logits):
    return np.zeros(logits.shape[1], np.uint32)


def message(seed, count, size, spread, choose):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-spread, spread + 1, (count, size)).astype(np.int32)
    tables = frequencies(logits)
    symbols = {
        "any": rng.integers(0, size, count),
        "likely": tables.argmax(axis=1),
        "unlikely": tables.argmin(axis=1),
        "first": np.zeros(count, np.int64),
        "last": np.full(count, size - 1),
    }[choose]
    return logits, tables, symbols.astype(np.int32)


CHOICES = ["any", "likely", "unlikely", "first", "last"]


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 80),
    st.integers(2, 70),
    st.sampled_from([0, 1, 30, 300, 5000]),
    st.sampled_from(CHOICES),
)
def test_the_words_are_constrictions(seed, count, size, spread, choose):
    logits, tables, symbols = message(seed, count, size, spread, choose)
    oracle = RangeEncoder()
    oracle.encode(symbols, tables)
    payload = encoded(logits, symbols)
    assert payload == oracle.to_bytes()
    assert decoded(logits, payload) == (symbols.tolist(), False)


def test_a_carry_runs_through_held_words():
    held = 0
    for seed in range(300):  # nearly certain last symbols keep the end of the interval just above a wrap
        logits, tables, symbols = message(seed, 40, 2, 5000, "last")
        symbols[-1] = seed % 2
        oracle = RangeEncoder()
        oracle.encode(symbols, tables)
        payload = encoded(logits, symbols)
        held += any(word in (0, 2**32 - 1) for word in np.frombuffer(payload, "<u4")[:-1])
        assert payload == oracle.to_bytes()
    assert held  # otherwise no carry was seen


def test_a_stream_of_no_symbols_has_no_bytes():
    assert encoded(np.zeros((0, 5), np.int32), np.zeros(0, np.int32)) == b""


@settings(deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=200), st.integers(0, 2**24 - 1))
def test_finding_is_looking_up_in_the_table(logits, point):
    row = np.array([logits], np.int32)
    weights = scratch(row)
    factor = weigh(row[0], weights)
    ends = frequencies(row)[0].cumsum()
    symbol = int(np.searchsorted(ends, point, side="right"))
    low = 0 if symbol == 0 else int(ends[symbol - 1])
    assert find(point, weights, len(logits), factor) == (symbol, low, int(ends[symbol]) - low)


@pytest.mark.parametrize("size", [2, 512, 65536])
def test_large_alphabets_round_trip(size):
    logits, tables, symbols = message(3, 12, size, 200, "any")
    payload = encoded(logits, symbols)
    assert decoded(logits, payload)[0] == symbols.tolist()
    assert RangeDecoder(payload).decode(tables).tolist() == symbols.tolist()


@given(st.binary(max_size=64).map(lambda data: data[: len(data) // 4 * 4]))
@settings(deadline=None)
def test_any_words_give_symbols_in_range_or_are_called_damaged(payload):
    logits = np.random.default_rng(0).integers(-50, 50, (30, 7)).astype(np.int32)
    symbols, damaged = decoded(logits, payload)
    assert all(0 <= symbol < 7 for symbol in symbols)
    try:
        expected = RangeDecoder(payload).decode(frequencies(logits)).tolist()
    except Exception:
        assert damaged
    else:
        assert symbols == expected or damaged  # it may also be noticed that the words have run out


def test_a_stream_that_runs_out_is_called_damaged():
    logits, _, symbols = message(1, 60, 9, 5, "any")
    payload = encoded(logits, symbols)
    assert not decoded(logits, payload)[1]
    assert decoded(logits, payload[: len(payload) // 8 * 4])[1]
