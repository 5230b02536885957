"""The step engine: the same symbols and bytes as the parallel pass, whatever the lanes and threads."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController

from latentpress.autoregressive.engine import Action, Choice, Job, run
from latentpress.autoregressive.engine.coder import make_streams
from latentpress.autoregressive.engine.lanes import FEW, make_lanes, make_room
from latentpress.autoregressive.engine.loop import Task, advance
from latentpress.coding import code_length_bits, frequencies
from latentpress.coding.modes import encode_prior
from test_grid_exact import random_grid


def job(exact, items, context, **parts):
    """The engine's job for items (B, *G, P) that share a stream."""
    batch, grid = len(items), tuple(items.shape[1:-1])
    rows, map = exact.conditions(context, batch, grid)
    classes = np.broadcast_to(rows.numpy(), batch)
    return Job(math.prod(grid), classes, None if map is None else map.numpy(), **parts)


def flat(symbols):
    """(B, positions, P) int32."""
    return symbols.flatten(1, -2).numpy().astype(np.int32)


def tables(exact, symbols, context):
    """Each member's frequency tables (positions, B, K) by the parallel pass."""
    found = []
    for logits in exact.logits(symbols, context):
        rows = frequencies(logits.numpy().reshape(-1, logits.shape[-1]))
        found.append(rows.reshape(len(symbols), -1, logits.shape[-1]).swapaxes(0, 1))
    return found


def finished(exact, grid, jobs, action, **options):
    done = list(run(exact.program(grid), jobs, action, **options))
    assert {id(job) for job in done} == {id(job) for job in jobs}
    return jobs


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple),
    grid=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    channels=st.sampled_from([0, 3]),
    classes=st.sampled_from([0, 2]),
    batch=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 1000),
)
def test_one_at_a_time_equals_all_at_once(sizes, grid, channels, classes, batch, seed):
    exact, symbols, context = random_grid(
        sizes, grid, channels=channels, classes=classes, seed=seed, batch=batch
    )
    expected = tables(exact, symbols, context)
    payload = encode_prior(flat(symbols).swapaxes(0, 1), expected)
    [coded] = finished(exact, grid, [job(exact, symbols, context, symbols=flat(symbols))], Action.ENCODE)
    assert coded.payload == payload
    bits = sum(code_length_bits(t, symbols.flatten(1, -2)[..., p].T) for p, t in enumerate(expected))
    assert coded.lengths.sum() == pytest.approx(bits, abs=1e-6)
    [back] = finished(exact, grid, [job(exact, symbols, context, payload=payload)], Action.DECODE)
    assert not back.damaged and np.array_equal(back.symbols, flat(symbols))


@pytest.fixture(scope="module")
def many():
    """Items of several heights, each a stream of its own or with others, and their bytes."""
    exact, symbols, context = random_grid((7, 5), (6, 4), channels=2, classes=2, batch=40)
    streams = []
    for first, rows in zip(range(0, 40, 2), [6, 3, 1, 5] * 5, strict=True):
        part = slice(first, first + 1 + first // 2 % 2)
        own = type(context)(context.map[part, :, :rows], context.labels[part])
        streams.append((symbols[part, :rows], own))
    payloads = []
    for items, own in streams:
        payloads.append(encode_prior(flat(items).swapaxes(0, 1), tables(exact, items, own)))
    return exact, streams, payloads


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lanes", [1, 3, 16, 64])
def test_neither_lanes_nor_threads_matter(many, lanes, threads):
    exact, streams, payloads = many
    options = {"threads": threads, "lanes": lanes}
    jobs = [job(exact, *stream, symbols=flat(stream[0])) for stream in streams]
    assert [j.payload for j in finished(exact, (6, 4), jobs, Action.ENCODE, **options)] == payloads
    jobs = [job(exact, *stream, payload=p) for stream, p in zip(streams, payloads, strict=True)]
    for done, (items, _) in zip(
        finished(exact, (6, 4), jobs, Action.DECODE, **options), streams, strict=True
    ):
        assert np.array_equal(done.symbols, flat(items))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_stream_harms_no_other(many, threads):
    exact, streams, payloads = many
    broken = [bytes(len(p)) if n == 3 else p for n, p in enumerate(payloads)]
    jobs = [job(exact, *stream, payload=p) for stream, p in zip(streams, broken, strict=True)]
    finished(exact, (6, 4), jobs, Action.DECODE, threads=threads)
    for n, (done, (items, _)) in enumerate(zip(jobs, streams, strict=True)):
        assert np.array_equal(done.symbols, flat(items)) == (n != 3)
        assert (done.symbols >= 0).all() and (done.symbols < [7, 5]).all()


def test_progress_counts_every_symbol(many):
    exact, streams, _ = many
    jobs, counts = [job(exact, *stream, symbols=flat(stream[0])) for stream in streams], []
    finished(exact, (6, 4), jobs, Action.ENCODE, threads=2, lanes=5, progress=counts.append)
    assert sum(counts) == sum(items.numel() for items, _ in streams)


def test_no_jobs_and_what_goes_wrong_in_a_thread_is_raised(many):
    exact, streams, _ = many
    assert list(run(exact.program((6, 4)), [], Action.DECODE)) == []
    wrong = job(exact, *streams[0], symbols=flat(streams[0][0])[:, :, :1])
    wrong.symbols = np.zeros((1, 99, 2), np.int32)
    with pytest.raises(ValueError, match="broadcast"):
        list(run(exact.program((6, 4)), [wrong], Action.ENCODE, threads=2))


@pytest.mark.parametrize("lanes", [1, 5])
def test_a_state_that_was_kept_continues_identically(lanes):
    exact, symbols, _ = random_grid((7, 5), (4, 6), batch=lanes)
    program, positions = exact.program((4, 6)), 24
    states, room = make_lanes(program, lanes), make_room(program, lanes)
    streams = make_streams(np.zeros((lanes, 2 * positions), np.uint32))
    for lane in range(lanes):
        states.reset(lane, 0, 0)
        streams.reset(lane, lane * 2 * positions, 2 * positions)
    task = Task(
        symbols=flat(symbols).reshape(-1),
        starts=np.arange(lanes) * positions * 2,
        streams=np.arange(lanes),
        context=np.zeros(0, np.int8),
        draws=np.zeros(0, np.uint32),
        known=np.zeros(lanes, np.int64),
        lengths=np.zeros(lanes),
        lows=np.zeros(0, np.int32),
        sizes=np.zeros(0, np.int32),
    )

    def go(states, streams, steps):
        x = room.few if lanes < FEW else room.many
        advance(
            program, states, np.arange(lanes), task, streams, int(Action.ENCODE), Choice(), steps, x, room
        )

    go(states, streams, 13)
    kept, kept_streams = states.copy(), type(streams)(*(part.copy() for part in streams))
    go(states, streams, 11)
    for part in room:
        part[...] = 1  # nothing in it may outlive a position
    go(kept, kept_streams, 11)
    assert np.array_equal(streams.words, kept_streams.words) and streams.words.any()
    assert all(np.array_equal(a, b) for a, b in zip(states, kept, strict=True))


def test_the_program_leaves_out_what_no_position_can_reach():
    exact, *_ = random_grid((7,), (4, 6))
    whole, narrow = exact.program((4, 6)), exact.program((1, 6))
    assert len(narrow.weights) < len(whole.weights)
    assert exact.program((4, 6)) is whole


def test_a_stream_that_runs_out_ends_the_job_at_once(many):
    exact, _, payloads = many
    jobs = [
        Job(10**6, np.zeros(1, np.int64), np.zeros((1, 10**6, 2), np.int8), payload=p) for p in payloads[:2]
    ]
    finished(exact, (6, 4), jobs, Action.DECODE, threads=1)
    assert all(done.damaged for done in jobs)


def test_blas_gets_its_threads_back_when_the_last_run_ends(many):
    exact, streams, _ = many
    program = exact.program((6, 4))

    def threads():
        info = ThreadpoolController().select(user_api="blas").info()
        return [library["num_threads"] for library in info]

    def started():
        jobs = [job(exact, *stream, symbols=flat(stream[0])) for stream in streams]
        runs = run(program, jobs, Action.ENCODE, threads=1, lanes=2)
        next(runs)
        return runs

    list(started())
    before = threads()
    first, second = started(), started()
    assert set(threads()) == {1}
    first.close()
    assert set(threads()) == {1}
    second.close()
    assert threads() == before


def test_an_abandoned_run_leaves_no_thread(many):
    exact, streams, _ = many
    before = set(threading.enumerate())
    jobs = [job(exact, *stream, symbols=flat(stream[0])) for stream in streams]
    runs = run(exact.program((6, 4)), jobs, Action.ENCODE, threads=2, lanes=2)
    next(runs)
    runs.close()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
