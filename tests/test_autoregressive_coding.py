"""Streams and stacks of symbols: coded as the parallel pass says, restored, and what they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive import coding
from latentpress.autoregressive.coding import Intervals, measure, pop, prepare, push
from latentpress.coding.ans import Stacks
from latentpress.exact.distribution import Sampling, Stream
from small.networks import coded, cut, network_cases, random_network, stream_of, streamed, tables


class Elsewhere:
    """An integer network that says it is on a GPU, so that encoding takes the parallel pass."""

    def __init__(self, integers):
        self.integers, self.device = integers, torch.device("cuda")

    def __getattr__(self, name):
        return getattr(self.integers, name)


@settings(max_examples=30)
@given(network_cases())
def test_streams_have_the_bytes_and_bits_that_the_tables_say(case):
    integers, items, conditioning = random_network(**case)
    payload, bits = coded(items, tables(integers, items, conditioning))
    for network in (integers, Elsewhere(integers)):
        [(found, lengths)] = coding.encode(network, [stream_of(items, conditioning)])
        assert found == payload
        np.testing.assert_allclose(lengths, bits, atol=1e-6)
    [back] = integers.decode([stream_of(items, conditioning, payload)])
    assert back is not None and back.dtype == np.int32 and np.array_equal(back, streamed(items))


@settings(max_examples=30)
@given(network_cases())
def test_stacks_hold_the_numbers_that_the_tables_say(case):
    integers, items, conditioning = random_network(**case)
    symbols = streamed(items)
    [intervals] = measure(integers, [stream_of(items, conditioning)])
    shape = (len(symbols), len(case["alphabets"]), case["batch"])
    lows, ends = intervals.lows.reshape(shape), (intervals.lows + intervals.counts).reshape(shape)
    for p, table in enumerate(tables(integers, items, conditioning)):
        bounds = np.pad(table.cumsum(-1), ((0, 0), (0, 0), (1, 0)))
        each = symbols[..., p, None]
        assert np.array_equal(np.take_along_axis(bounds, each, -1)[..., 0], lows[:, p])
        assert np.array_equal(np.take_along_axis(bounds, each + 1, -1)[..., 0], ends[:, p])
    assert intervals.bits == pytest.approx(coded(items, tables(integers, items, conditioning))[1].sum())
    stacks = Stacks.fresh(1)
    push(stacks, [0], [intervals])
    [back] = pop(integers, [stream_of(items, conditioning, b"")], stacks, [0])
    assert np.array_equal(back, symbols) and stacks.are_fresh().all()


@settings(deadline=None)
@given(st.lists(st.integers(1, 1 << 24), max_size=300), st.integers(0, 2**32))
def test_compiled_pushing_is_the_specified_one(counts, seed):
    rng = np.random.default_rng(seed)
    lows = [int(rng.integers(0, (1 << 24) - count + 1)) for count in counts]
    compiled, plain = Stacks.fresh(3), Stacks.fresh(3)
    push(compiled, [1], [Intervals(np.array(lows, np.int32), np.array(counts, np.int32))])
    for low, count in zip(reversed(lows), reversed(counts), strict=True):
        plain.push(np.array([low]), np.array([count]), np.array([1]))
    assert compiled.payloads() == plain.payloads()


@pytest.fixture(scope="module")
def many():
    """Items of several heights, each by itself, some with labels of their rows."""
    integers, items, conditioning = random_network(
        (7, 5), (6, 4), channels=2, labels=(2, 3), along=True, batch=70
    )
    parts = []
    for i, rows in enumerate([6, 3, 1, 5, 6, 2, 4] * 10):
        each = cut(conditioning, slice(i, i + 1), rows)
        if i % 3:
            each = type(each)(each.local, each.labels[:, 0])
        parts.append((items[i : i + 1, :rows], each))
    return integers, parts


@pytest.fixture(params=[1, 2])
def threads(request):
    """So many threads while the test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 7, 64, 70])
def test_neither_lanes_nor_threads_matter(many, lanes, threads):
    integers, parts = many
    parts = parts[:lanes]
    intervals = measure(integers, [stream_of(*part) for part in parts])
    for each, part in zip(intervals, parts, strict=True):
        [alone] = measure(integers, [stream_of(*part)])
        assert np.array_equal(each.lows, alone.lows) and np.array_equal(each.counts, alone.counts)
    payloads = [payload for payload, _ in integers.encode([stream_of(*part) for part in parts])]
    assert payloads == [integers.encode([stream_of(*part)])[0][0] for part in parts]
    stacks, rows = Stacks.fresh(lanes), list(range(lanes))[::-1]
    push(stacks, rows, intervals)
    push(stacks, rows, intervals)  # something below
    stacks = Stacks.from_payloads(stacks.payloads())
    for _ in range(2):
        popped = pop(integers, [stream_of(*part, b"") for part in parts], stacks, rows)
        decoded = integers.decode([stream_of(*part, p) for part, p in zip(parts, payloads, strict=True)])
        for back, other, (items, _) in zip(popped, decoded, parts, strict=True):
            assert np.array_equal(back, streamed(items)) and np.array_equal(other, streamed(items))
    assert stacks.are_fresh().all()


def test_a_damaged_stream_is_none_and_harms_no_other(many):
    integers, parts = many
    payloads = [payload for payload, _ in integers.encode([stream_of(*part) for part in parts])]
    payloads[1], payloads[4] = payloads[1] + b"x", b"\xff" * 4
    decoded = integers.decode([stream_of(*part, p) for part, p in zip(parts, payloads, strict=True)])
    assert decoded[1] is None and decoded[4] is None
    for n, (back, (items, _)) in enumerate(zip(decoded, parts, strict=True)):
        assert n in (1, 4) or np.array_equal(back, streamed(items))


def test_what_is_popped_from_a_fresh_stack_can_be_put_back(many):
    integers, parts = many
    stacks = Stacks.fresh(3)
    popped = pop(integers, [stream_of(*part, b"") for part in parts[:3]], stacks, [0, 1, 2])
    assert not stacks.are_fresh().any()
    pairs = zip(parts, popped, strict=False)
    again = [Stream(tuple(items.shape[1:-1]), 1, c, symbols=back) for (items, c), back in pairs]
    push(stacks, [0, 1, 2], measure(integers, again))
    assert stacks.are_fresh().all()


def test_a_stack_that_runs_out_is_reported_and_harms_no_other(many, threads):
    integers, parts = many
    parts = parts[:9]
    stacks, rows = Stacks.fresh(9), list(range(9))
    push(stacks, rows, measure(integers, [stream_of(*part) for part in parts]))
    payloads = stacks.payloads()
    stacks = Stacks.from_payloads([p[-8:] if n in (0, 4) else p for n, p in enumerate(payloads)])
    popped = pop(integers, [stream_of(*part, b"") for part in parts], stacks, rows)
    assert np.flatnonzero(stacks.damaged).tolist() == [0, 4]
    for n, (back, (items, _)) in enumerate(zip(popped, parts, strict=True)):
        assert back is None if n in (0, 4) else np.array_equal(back, streamed(items))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=40), st.integers(1, 2**32 - 1))
@settings(max_examples=30)
def test_any_words_give_symbols_in_range_or_are_called_damaged(many, words, high):
    integers, parts = many
    items, conditioning = parts[0]
    stacks = Stacks.from_payloads([np.array([*words, high], "<u4").tobytes()])
    [back] = pop(integers, [stream_of(items, conditioning, b"")], stacks, [0])
    if back is None:
        assert stacks.damaged.all() and not stacks.are_fresh().any()
    else:
        assert (back >= 0).all() and (back < [7, 5]).all()
        push(stacks, [0], measure(integers, [Stream((6, 4), 1, conditioning, symbols=back)]))
        assert stacks.payloads() == [np.array([*words, high], "<u4").tobytes()]


def test_no_streams_at_all():
    integers, *_ = random_network((3,), (2,))
    assert integers.encode([]) == [] and integers.decode([]) == []
    assert measure(integers, []) == [] and pop(integers, [], Stacks.fresh(1), []) == []
    push(Stacks.fresh(1), [], [])


def test_symbols_outside_their_alphabets_are_refused():
    integers, *_ = random_network((7, 5), (2, 3))
    for wrong in ([7, 0], [0, 5], [-1, 0]):
        symbols = np.tile(np.array(wrong), (6, 1, 1))
        with pytest.raises(ValueError, match="one is outside"):
            integers.encode([Stream((2, 3), 1, symbols=symbols)])
    with pytest.raises(ValueError, match="one is outside"):
        integers.sample(1, (2, 3), Sampling(), prefix=torch.full((1, 1, 2), 10**6))


@pytest.mark.parametrize("lanes", [1, 100])
def test_preparing_takes_no_random_number(lanes):
    coding._warm_up.cache_clear()
    torch.manual_seed(0)
    expected, calls = torch.rand(1), []
    torch.manual_seed(0)
    prepare(lanes, lambda *call: calls.append(call))
    assert torch.equal(torch.rand(1), expected)
    assert all(stage == "compile" and done <= total for stage, done, total in calls)


def test_what_goes_wrong_while_preparing_is_raised(monkeypatch):
    def broken(lanes):
        raise OSError("no compiler")

    monkeypatch.setattr(coding, "_warm_up", broken)
    with pytest.raises(OSError, match="no compiler"):
        prepare(1, lambda *call: None)
