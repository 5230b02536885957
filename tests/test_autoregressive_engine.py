"""The step engine: the same symbols and bytes as the parallel pass, whatever the lanes and threads."""

import math
import threading
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from threadpoolctl import ThreadpoolController

from latentpress.autoregressive.engine import Choice, Job, run
from latentpress.autoregressive.engine.coder import Streams
from latentpress.autoregressive.engine.lanes import FEW, Lanes, Room
from latentpress.autoregressive.engine.loop import ACTIONS, Task, advance
from small.networks import coded, cut, network_cases, random_network, tables

engine = import_module("latentpress.autoregressive.engine.run")


def job_of(integers, items, conditioning, number=0, **parts):
    """The engine's job for items (B, *G, P) that share a stream."""
    batch, grid = len(items), tuple(items.shape[1:-1])
    labels, local = integers.conditions(conditioning, batch, grid)
    local = None if local is None else local.numpy()
    return Job(number, math.prod(grid), labels.numpy(), local, **parts)


def flat(symbols):
    """(B, positions, P) int32."""
    return symbols.flatten(1, -2).numpy().astype(np.int32)


def results(integers, grid, jobs, action, threads=1, **options):
    """One a job, in their order."""
    done = sorted(
        run(integers.program(grid), jobs, action, threads=threads, **options), key=lambda r: r.number
    )
    assert [result.number for result in done] == [job.number for job in jobs]
    return done


@settings(max_examples=40)
@given(network_cases())
def test_one_at_a_time_equals_all_at_once(case):
    integers, symbols, conditioning = random_network(**case)
    grid, job = case["grid"], job_of(integers, symbols, conditioning, symbols=flat(symbols))
    payload, bits = coded(symbols, tables(integers, symbols, conditioning))
    [result] = results(integers, grid, [job], "encode")
    assert result.payload == payload
    np.testing.assert_allclose(result.bits, bits, atol=1e-6)
    [back] = results(integers, grid, [job_of(integers, symbols, conditioning, payload=payload)], "decode")
    assert not back.damaged and np.array_equal(back.symbols, flat(symbols))


@pytest.fixture(scope="module", params=["labels of items", "labels of rows", "labels of both", "none"])
def many(request):
    """Items of several heights, each a stream with others or none, and their bytes."""
    labels = () if request.param == "none" else (2, 3)
    integers, symbols, conditioning = random_network(
        (7, 5), (6, 4), channels=2, labels=labels, along="rows" in request.param, batch=40
    )
    along = None if not labels else torch.randint(-1, 2, (40, 6, 2))
    streams = []
    for first, rows in zip(range(0, 40, 2), [6, 3, 1, 5] * 5, strict=True):
        part = slice(first, first + 1 + first // 2 % 2)
        each = cut(conditioning, part, rows)
        if request.param == "labels of both" and first % 3:
            each = type(each)(each.local, along[part, :rows])
        streams.append((symbols[part, :rows], each))
    payloads = [coded(items, tables(integers, items, each))[0] for items, each in streams]
    return integers, streams, payloads


def encoding(integers, streams):
    return [job_of(integers, *stream, n, symbols=flat(stream[0])) for n, stream in enumerate(streams)]


def decoding(integers, streams, payloads):
    pairs = enumerate(zip(streams, payloads, strict=True))
    return [job_of(integers, *stream, n, payload=payload) for n, (stream, payload) in pairs]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lanes", [1, 3, 16, 64])
def test_neither_lanes_nor_threads_matter(many, lanes, threads, monkeypatch):
    integers, streams, payloads = many
    monkeypatch.setattr(engine, "LANES", lanes)
    done = results(integers, (6, 4), encoding(integers, streams), "encode", threads)
    assert [result.payload for result in done] == payloads
    done = results(integers, (6, 4), decoding(integers, streams, payloads), "decode", threads)
    for result, (items, _) in zip(done, streams, strict=True):
        assert np.array_equal(result.symbols, flat(items))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_damaged_stream_harms_no_other(many, threads):
    integers, streams, payloads = many
    broken = [bytes(len(p)) if n == 3 else p for n, p in enumerate(payloads)]
    done = results(integers, (6, 4), decoding(integers, streams, broken), "decode", threads)
    for n, (result, (items, _)) in enumerate(zip(done, streams, strict=True)):
        assert np.array_equal(result.symbols, flat(items)) == (n != 3)
        assert (result.symbols >= 0).all() and (result.symbols < [7, 5]).all()


def test_progress_counts_every_symbol(many, monkeypatch):
    integers, streams, _ = many
    monkeypatch.setattr(engine, "LANES", 5)
    counts = []
    results(integers, (6, 4), encoding(integers, streams), "encode", 2, progress=counts.append)
    assert sum(counts) == sum(items.numel() for items, _ in streams)


def test_no_jobs_and_what_goes_wrong_in_a_thread_is_raised(many):
    integers, streams, _ = many
    program = integers.program((6, 4))
    assert list(run(program, [], "decode", threads=1)) == []
    wrong = job_of(integers, *streams[0], symbols=np.zeros((1, 99, 2), np.int32))
    with pytest.raises(ValueError, match="broadcast"):
        list(run(program, [wrong], "encode", threads=2))


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize("lanes", [1, 5])
def test_a_state_that_was_kept_continues_identically(lanes, along):
    integers, symbols, conditioning = random_network((7, 5), (4, 6), labels=(2, 3), along=along, batch=lanes)
    labels, _ = integers.conditions(conditioning, lanes, (4, 6))
    program, positions = integers.program((4, 6)), 24
    states, room = Lanes.of(program, lanes), Room.of(program, lanes)
    streams = Streams.over(np.zeros((lanes, 2 * positions), np.uint32))
    for lane in range(lanes):
        states.reset(lane, 0, lane * labels[0].numel(), 2 if along else 0)
        streams.reset(lane, lane * 2 * positions, 2 * positions)
    task = Task(
        symbols=flat(symbols).reshape(-1),
        starts=np.arange(lanes) * positions * 2,
        streams=np.arange(lanes),
        local=np.zeros(0, np.int8),
        labels=labels.numpy().reshape(-1),
        points=np.zeros(0, np.uint32),
        known=np.zeros(lanes, np.int64),
        bits=np.zeros(lanes),
        lows=np.zeros(0, np.int32),
        counts=np.zeros(0, np.int32),
    )

    def go(states, streams, steps):
        x = room.few if lanes < FEW else room.many
        how = ACTIONS.index("encode"), Choice(), steps
        advance(program, states, np.arange(lanes), task, streams, *how, x, room)

    go(states, streams, 13)
    kept, kept_streams = (type(state)(*(part.copy() for part in state)) for state in (states, streams))
    go(states, streams, 11)
    for part in room:
        part[...] = 1  # nothing in it may outlive a position
    go(kept, kept_streams, 11)
    assert np.array_equal(streams.words, kept_streams.words) and streams.words.any()
    assert all(np.array_equal(a, b) for a, b in zip(states, kept, strict=True))


@pytest.mark.parametrize("along", [False, True])
def test_labels_are_read_where_they_begin_and_no_more_often(along):
    """Labels of an item are summed once: what is in their place later does not matter."""
    integers, symbols, conditioning = random_network((7,), (4, 6), labels=(2, 3), along=along, batch=1)
    program, room = integers.program((4, 6)), Room.of(integers.program((4, 6)), 1)
    lanes, streams = Lanes.of(program, 1), Streams.over(np.zeros((1, 48), np.uint32))
    labels = integers.conditions(conditioning, 1, (4, 6))[0].numpy().reshape(-1)
    lanes.reset(0, 0, 0, 2 if along else 0)
    streams.reset(0, 0, 48)
    empty = np.zeros(0, np.int32)
    task = Task(
        symbols=flat(symbols).reshape(-1),
        starts=np.zeros(1, np.int64),
        streams=np.zeros(1, np.int64),
        local=np.zeros(0, np.int8),
        labels=labels.copy(),
        points=np.zeros(0, np.uint32),
        known=np.zeros(1, np.int64),
        bits=np.zeros(1),
        lows=empty,
        counts=empty,
    )
    seen = []
    for _ in range(24):
        how = ACTIONS.index("encode"), Choice(), 1
        advance(program, lanes, np.arange(1), task, streams, *how, room.few, room)
        seen.append(lanes.biases[len(program.biases) :].copy())
        task.labels[: 0 if along else None] = 0
    rows = labels.reshape(-1, 2) + program.label_starts
    count = program.label_tables.shape[1]
    wanted = program.biases[:count] + program.label_tables[rows].sum(1)
    assert all(
        np.array_equal(biases, wanted[place // 6 if along else 0]) for place, biases in enumerate(seen)
    )
    assert np.array_equal(lanes.scaled_biases[-count:], seen[-1] * program.factors[:count])


def test_the_program_leaves_out_what_no_position_can_reach():
    integers, *_ = random_network((7,), (4, 6))
    whole, narrow = integers.program((4, 6)), integers.program((1, 6))
    assert len(narrow.maps.weights) < len(whole.maps.weights)
    assert integers.program((4, 6)) is whole


def test_a_network_keeps_few_programs():
    integers, *_ = random_network((7,), (4, 6))
    first = integers.program((1, 1))
    for width in range(2, 9):
        integers.program((1, width))
    assert integers.program((1, 8)) is integers.program((1, 8))
    assert integers.program((1, 1)) is not first


def test_a_stream_that_runs_out_ends_the_job_at_once(many):
    integers, _, payloads = many
    labels = np.zeros((1, 1, len(integers.structure.label_sizes)), np.int64)
    local = np.zeros((1, 10**6, 2), np.int8)
    jobs = [Job(n, 10**6, labels, local, payload=p) for n, p in enumerate(payloads[:2])]
    assert all(result.damaged for result in results(integers, (6, 4), jobs, "decode"))


def test_blas_gets_its_threads_back_when_the_last_run_ends(many, monkeypatch):
    integers, streams, _ = many
    monkeypatch.setattr(engine, "LANES", 2)

    def threads():
        info = ThreadpoolController().select(user_api="blas").info()
        return [library["num_threads"] for library in info]

    def started():
        runs = run(integers.program((6, 4)), encoding(integers, streams), "encode", threads=1)
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


def test_an_abandoned_run_leaves_no_thread(many, monkeypatch):
    integers, streams, _ = many
    monkeypatch.setattr(engine, "LANES", 2)
    before = set(threading.enumerate())
    runs = run(integers.program((6, 4)), encoding(integers, streams), "encode", threads=2)
    next(runs)
    runs.close()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
