"""Popping from stacks by the step engine undoes pushing what it measured, whatever the lanes and threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive.network import Conditioning
from latentpress.autoregressive.stacks import Intervals, measure, pop, push
from latentpress.autoregressive.streams import Stream
from latentpress.coding.ans import Stacks
from test_grid_engine_run import tables
from test_grid_exact import random_grid


def stream_of(items, context, **parts):
    """A stream of items (lanes, *G, P)."""
    return Stream(tuple(items.shape[1:-1]), len(items), context, **parts)


def laid(items):
    """(positions, lanes, P), as streams have them."""
    return items.flatten(1, -2).transpose(0, 1).numpy()


def part(context, rows, extent=None):
    map = None if context.map is None else context.map[rows, :, :extent]
    return Conditioning(map, None if context.labels is None else context.labels[rows])


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple),
    grid=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    channels=st.sampled_from([0, 3]),
    classes=st.sampled_from([0, 2]),
    batch=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 1000),
)
def test_numbers_are_those_of_the_parallel_pass(sizes, grid, channels, classes, batch, seed):
    exact, items, context = random_grid(
        sizes, grid, channels=channels, classes=classes, seed=seed, batch=batch
    )
    symbols = laid(items)
    [intervals] = measure(exact, [stream_of(items, context, symbols=symbols)])
    shape = (len(symbols), len(sizes), batch)
    lows, ends = intervals.lows.reshape(shape), (intervals.lows + intervals.sizes).reshape(shape)
    for p, table in enumerate(tables(exact, items, context)):
        bounds = np.pad(table.cumsum(-1), ((0, 0), (0, 0), (1, 0)))
        own = symbols[..., p, None]
        assert np.array_equal(np.take_along_axis(bounds, own, -1)[..., 0], lows[:, p])
        assert np.array_equal(np.take_along_axis(bounds, own + 1, -1)[..., 0], ends[:, p])
    stacks = Stacks.fresh(1)
    push(stacks, [0], [intervals])
    [back] = pop(exact, [stream_of(items, context)], stacks, [0])
    assert np.array_equal(back, symbols) and stacks.are_fresh().all()


@settings(deadline=None)
@given(st.lists(st.integers(1, 1 << 24), max_size=300), st.integers(0, 2**32))
def test_compiled_pushing_is_the_specified_one(sizes, seed):
    rng = np.random.default_rng(seed)
    lows = [int(rng.integers(0, (1 << 24) - size + 1)) for size in sizes]
    compiled, plain = Stacks.fresh(3), Stacks.fresh(3)
    push(compiled, [1], [Intervals(np.array(lows, np.int32), np.array(sizes, np.int32))])
    for low, size in zip(reversed(lows), reversed(sizes), strict=True):
        plain.push(np.array([low]), np.array([size]), np.array([1]))
    assert compiled.payloads() == plain.payloads()


@pytest.fixture(scope="module")
def many():
    """Items of several heights, each with a stack of its own."""
    exact, items, context = random_grid((7, 5), (6, 4), channels=2, classes=2, batch=70)
    heights = [6, 3, 1, 5, 6, 2, 4] * 10
    parts = [
        (items[i : i + 1, :height], part(context, slice(i, i + 1), height))
        for i, height in enumerate(heights)
    ]
    return exact, parts


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 7, 64, 70])
def test_neither_lanes_nor_threads_matter(many, lanes, threads):
    exact, parts = many
    parts = parts[:lanes]
    coded = [stream_of(*own, symbols=laid(own[0])) for own in parts]
    intervals = measure(exact, coded, threads=threads)
    for own, (items, context) in zip(intervals, parts, strict=True):
        [alone] = measure(exact, [stream_of(items, context, symbols=laid(items))], threads=1)
        assert np.array_equal(own.lows, alone.lows) and np.array_equal(own.sizes, alone.sizes)
    stacks, rows = Stacks.fresh(lanes), list(range(lanes))[::-1]
    push(stacks, rows, intervals)
    push(stacks, rows, intervals)  # something below
    stacks = Stacks.from_payloads(stacks.payloads())
    for _ in range(2):
        found = pop(exact, [stream_of(*own) for own in parts], stacks, rows, threads=threads)
        for back, (items, _) in zip(found, parts, strict=True):
            assert np.array_equal(back, laid(items))
    assert stacks.are_fresh().all()


def test_what_is_popped_from_a_fresh_stack_can_be_put_back(many):
    exact, parts = many
    stacks = Stacks.fresh(3)
    found = pop(exact, [stream_of(*own) for own in parts[:3]], stacks, [0, 1, 2])
    assert not stacks.are_fresh().any()
    coded = [stream_of(*own, symbols=back) for own, back in zip(parts, found, strict=False)]
    push(stacks, [0, 1, 2], measure(exact, coded))
    assert stacks.are_fresh().all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stack_that_runs_out_is_reported_and_harms_no_other(many, threads):
    exact, parts = many
    parts = parts[:9]
    stacks, rows = Stacks.fresh(9), list(range(9))
    push(stacks, rows, measure(exact, [stream_of(*own, symbols=laid(own[0])) for own in parts]))
    payloads = stacks.payloads()
    stacks = Stacks.from_payloads([p[-8:] if n in (0, 4) else p for n, p in enumerate(payloads)])
    found = pop(exact, [stream_of(*own) for own in parts], stacks, rows, threads=threads)
    assert np.flatnonzero(stacks.damaged).tolist() == [0, 4]
    for n, (back, (items, _)) in enumerate(zip(found, parts, strict=True)):
        assert back is None if n in (0, 4) else np.array_equal(back, laid(items))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=40), st.integers(1, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_any_words_give_symbols_in_range_or_are_called_damaged(many, words, high):
    exact, parts = many
    items, context = parts[0]
    stacks = Stacks.from_payloads([np.array([*words, high], "<u4").tobytes()])
    [back] = pop(exact, [stream_of(items, context)], stacks, [0])
    if back is None:
        assert stacks.damaged.all() and not stacks.are_fresh().any()
    else:
        assert (back >= 0).all() and (back < [7, 5]).all()
        push(stacks, [0], measure(exact, [stream_of(items, context, symbols=back)]))
        assert stacks.payloads() == [np.array([*words, high], "<u4").tobytes()]


def test_the_measured_length_is_the_grids(many):
    exact, parts = many
    items, context = parts[0]
    [intervals] = measure(exact, [stream_of(items, context, symbols=laid(items))])
    chosen = [
        table[np.arange(24), 0, laid(items)[:, 0, p]] for p, table in enumerate(tables(exact, items, context))
    ]
    assert intervals.bits == pytest.approx(sum(float((24 - np.log2(c)).sum()) for c in chosen))


def test_no_streams_at_all():
    exact, *_ = random_grid((3,), (2,))
    assert measure(exact, []) == [] and pop(exact, [], Stacks.fresh(1), []) == []
    push(Stacks.fresh(1), [], [])
