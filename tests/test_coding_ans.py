"""Stacks: popping undoes pushing, pushing undoes popping, and bytes that are no stack are found out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lpz_coders
from latentpress.coding import TOTAL, TOTAL_BITS, frequencies
from latentpress.coding.ans import Stacks, supply
from latentpress.errors import ArchiveError

ONE = np.array([0])


@st.composite
def intervals(draw):
    size = draw(st.sampled_from([1, 2, 3, 1000, TOTAL // 2, TOTAL - 1, TOTAL]) | st.integers(1, TOTAL))
    return draw(st.sampled_from([0, TOTAL - size]) | st.integers(0, TOTAL - size)), size


def kept(stacks):
    return stacks.payloads(), stacks.states.tolist(), stacks.damaged.tolist()


@settings(deadline=None)
@given(st.lists(st.lists(intervals(), min_size=3, max_size=3), max_size=60))
def test_popping_undoes_pushing(message):
    stacks = Stacks.fresh(3)
    for symbols in message:
        stacks.push(*np.array(symbols).T, np.arange(3))
    stacks = Stacks.from_payloads(stacks.payloads())
    for symbols in reversed(message):
        lows, counts = np.array(symbols).T
        points = stacks.points(np.arange(3))
        assert ((lows <= points) & (points < lows + counts)).all()
        stacks.drop(lows, counts, np.arange(3))
    assert stacks.are_fresh().all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**32)), max_size=80), st.integers(1, 4))
def test_any_mixture_of_pops_and_pushes_is_undone(actions, count):
    stacks, done = Stacks.fresh(count), []
    for popping, seed in actions:
        rng = np.random.default_rng(seed)
        rows = np.flatnonzero(rng.random(count) < 0.7)
        tables = frequencies(rng.integers(-200, 200, (len(rows), 5)).astype(np.int32))
        ends = tables.cumsum(axis=1)
        if popping:
            symbols = (stacks.points(rows)[:, None] >= ends).sum(axis=1)
        else:
            symbols = rng.integers(0, 5, len(rows))
        counts = np.take_along_axis(tables, symbols[:, None], 1)[:, 0]
        lows = np.take_along_axis(ends, symbols[:, None], 1)[:, 0] - counts
        (stacks.drop if popping else stacks.push)(lows, counts, rows)
        done.append((popping, lows, counts, rows))
    payloads = stacks.payloads()
    stacks = Stacks.from_payloads(payloads)
    assert stacks.payloads() == payloads
    for popping, lows, counts, rows in reversed(done):
        if not popping:
            points = stacks.points(rows)
            assert ((lows <= points) & (points < lows + counts)).all()
        (stacks.push if popping else stacks.drop)(lows, counts, rows)
    assert stacks.are_fresh().all() and not stacks.damaged.any()


def test_the_length_is_the_ideal_one():
    rng = np.random.default_rng(0)
    stacks, bits = Stacks.fresh(4), np.zeros(4)
    before = [len(payload) for payload in stacks.payloads()]
    for _ in range(4000):
        counts = np.exp2(rng.uniform(0, 24, 4)).astype(np.int64)
        stacks.push(rng.integers(0, TOTAL - counts + 1), counts, np.arange(4))
        bits += TOTAL_BITS - np.log2(counts)
    grown = 8 * (np.array([len(payload) for payload in stacks.payloads()]) - before)
    states = np.log2(stacks.states.astype(np.float64)) - math.log2(2**32 + int(supply(0, 1)[0]))
    assert np.allclose(grown + states, bits, rtol=2e-4)


def test_popping_costs_what_pushing_gives_back():
    tables = frequencies(np.array([[0, 40, 10, -30]]))[0]
    ends = tables.cumsum()
    stacks, symbols = Stacks.fresh(1), []
    for _ in range(3000):
        symbols.append(int((stacks.points(ONE)[0] >= ends).sum()))
        stacks.drop(ends[symbols[-1:]] - tables[symbols[-1:]], tables[symbols[-1:]], ONE)
    drawn = np.bincount(symbols, minlength=4) / 3000
    assert np.abs(drawn - tables / TOTAL).max() < 0.03  # as if drawn from the distribution
    for symbol in reversed(symbols):
        stacks.push(ends[symbol] - tables[[symbol]], tables[[symbol]], ONE)
    assert stacks.are_fresh().all()


def test_the_stream_is_the_documented_one():
    rng, stacks, message = np.random.default_rng(3), Stacks.fresh(1), []
    for _ in range(40):
        size = int(2 ** rng.uniform(0, 24))
        low = int(rng.integers(0, TOTAL - size + 1))
        stacks.push(np.array([low]), np.array([size]), ONE)
        message.append((low, size))
    [payload] = stacks.payloads()
    reader = lpz_coders.Stack(payload)
    for low, size in reversed(message):
        assert low <= reader.point() < low + size
        reader.drop(low, size)
    assert reader.is_fresh()
    reader = lpz_coders.Stack(Stacks.fresh(1).payloads()[0])
    assert reader.is_fresh()


def test_golden_bytes():
    stacks = Stacks.fresh(1)
    for _ in range(50):  # 150 bits of what lies under it
        low = int(stacks.points(ONE)[0]) // (1 << 21) * (1 << 21)
        stacks.drop(np.array([low]), np.array([1 << 21]), ONE)
    for point in range(9):
        stacks.push(np.array([point]), np.array([12345]), ONE)
    assert stacks.payloads()[0].hex() == GOLDEN


GOLDEN = "5609007b5a04004d2b2b00507229003381010000"


def test_the_supply_is_the_documented_one():
    assert supply(0, 4).tolist() == [lpz_coders.supply(i) for i in range(4)]
    assert np.array_equal(supply(5, 90), supply(0, 90)[5:])


@pytest.mark.parametrize("payload", [b"", b"\1" * 4, b"\1" * 9, b"\1" * 7, b"\1" * 4 + b"\0" * 4])
def test_bytes_that_are_no_stack_are_refused(payload):
    with pytest.raises(ArchiveError):
        Stacks.from_payloads([Stacks.fresh(1).payloads()[0], payload])


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.integers(0, 2**32))
@settings(deadline=None)
def test_popping_past_the_end_is_noticed_and_harms_no_other(words, seed):
    rng = np.random.default_rng(seed)
    payloads = [rng.integers(1, 2**32, count, dtype=np.uint32).tobytes() for count in words]
    stacks, high = Stacks.from_payloads([*payloads, bytes([1] * 4000)]), np.array([TOTAL - 5])
    rows = np.arange(len(words) + 1)
    for _ in range(24 * 11):
        lows = np.minimum(stacks.points(rows), high)
        stacks.drop(lows, np.full(len(lows), 5), rows)
        assert (stacks.states >= 2**32).all()
    assert stacks.damaged.tolist() == [True] * len(words) + [False]
    assert not stacks.are_fresh().any()


def test_a_changed_bit_does_not_end_fresh():
    stacks = Stacks.fresh(1)
    table = frequencies(np.arange(0, 70, 10)[None])[0]
    ends, rng = table.cumsum(), np.random.default_rng(0)
    for symbol in rng.integers(0, 7, 300):
        stacks.push(ends[[symbol]] - table[[symbol]], table[[symbol]], ONE)
    [payload] = stacks.payloads()
    for byte in range(0, len(payload) - 1, 7):
        changed = bytearray(payload)
        changed[byte] ^= 1 << byte % 8
        stacks = Stacks.from_payloads([bytes(changed)])
        for _ in range(300):
            symbol = (stacks.points(ONE)[0] >= ends).sum()
            stacks.drop(ends[[symbol]] - table[[symbol]], table[[symbol]], ONE)
        assert not stacks.are_fresh().any()
