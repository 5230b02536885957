"""Blocks to lanes, lanes to threads.

A job is one stream of symbols of one or more items of one shape, its lanes. A worker has some lanes
and advances them together, so that weights are read once for all; whenever jobs end, their lanes take
the next jobs that fit. Which lanes and threads a job meets changes nothing in its symbols.
"""

from __future__ import annotations

import functools
import importlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from latentpress.autoregressive.engine.coder import Streams, finish_stream
from latentpress.autoregressive.engine.lanes import FEW, Lanes, Room
from latentpress.autoregressive.engine.loop import ACTIONS, Action, Choice, Task, advance
from latentpress.autoregressive.engine.program import Program

__all__ = ["LANES", "Job", "Result", "one_blas_thread", "run"]

LANES = 64
"""Lanes that advance together: enough for the matrix products, few enough for the caches."""

_STEPS = 256  # positions between two looks at the queue

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Job:
    """One block: items of one shape, coded side by side.

    Args:
        positions: of each lane.
        labels: int64 (lanes, 1, L), or (lanes, rows, L) along the first axis, rows of the labels' tables.
        local: int8 (lanes, positions, Cm), if the network has local conditioning.
        payload: the stream's bytes, which are decoded.
        symbols: int32 (lanes, positions, P): what is encoded or measured.
        points: uint32 (lanes, positions, P), numbers of 24 bits that choose the symbols that are sampled.
        known: how many positions of `symbols` are given when the others are sampled.
        words: uint32, of the stack that symbols are popped from, the last put being the last.
        state: of that stack.
    """

    number: int
    positions: int
    labels: Array
    local: Array | None = None
    payload: bytes = b""
    symbols: Array | None = None
    points: Array | None = None
    known: int = 0
    words: Array = field(default_factory=lambda: np.zeros(0, np.uint32))
    state: int = 0

    @property
    def lanes(self) -> int:
        """How many items they are."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Result:
    """What became of a job.

    Attributes:
        symbols: int32 (lanes, positions, P).
        payload: the bytes of an encoded stream.
        bits: float64 (lanes,), the ideal length of the encoded symbols.
        intervals: int32 (2, lanes, positions, P), where measured symbols' numbers begin, and their counts.
        height: how many words of the stack are left, and `state`, the stack's.
        damaged: whether the stream met a symbol that it cannot hold, or the stack ran out.
    """

    number: int
    symbols: Array
    payload: bytes
    bits: Array
    intervals: Array
    height: int
    state: int
    damaged: bool


def run(
    program: Program,
    jobs: Sequence[Job],
    action: Action,
    choice: Choice | None = None,
    *,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Result]:
    """Does one thing with the symbols of all jobs, and yields each one's result when it is done.

    The program is of a grid whose extents, but for the first, are those of every job. `progress` is called
    on the way with how many symbols were done since the last call.
    """
    if not jobs:
        return
    threads = max(1, min(threads, len(jobs)))
    share = -(-sum(job.lanes for job in jobs) // threads)
    slots = max(min(LANES, share), *(job.lanes for job in jobs), 1)
    queue = deque(sorted(jobs, key=lambda job: -job.positions))
    done: SimpleQueue[Result | BaseException | int | None] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            worker = _Worker(program, jobs, slots, action, choice or Choice())
            while not stop.is_set() and (symbols := worker.turn(queue)):
                done.put(symbols)
                for result in worker.finished():
                    done.put(result)
        except BaseException as error:
            done.put(error)
        done.put(None)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    with one_blas_thread():
        try:
            for worker in workers:
                worker.start()
            while threads:
                event = done.get()
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Result):
                    yield event
                elif event is None:
                    threads -= 1
                elif progress is not None:
                    progress(event)
        finally:
            stop.set()
            for worker in workers:
                worker.join()


_limits: list[Any] = []  # of every run under way; the first one's is what counts
_limits_lock = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps BLAS from starting threads of its own while any run is under way, and not a moment longer."""
    with _limits_lock:
        _limits.append(_limits[0] if _limits else _blas().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _limits_lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()


@functools.cache
def _blas() -> ThreadpoolController:
    """Knows the libraries that are loaded by now; SciPy's is the one that compiled code multiplies with."""
    importlib.import_module("scipy.linalg.cython_blas")
    return ThreadpoolController()


class _Worker:
    """Lanes with room for any of `jobs`, and those that they are at; a job's stream is its first lane's."""

    def __init__(
        self, program: Program, jobs: Sequence[Job], slots: int, action: Action, choice: Choice
    ) -> None:
        self.program, self.action, self.choice = program, action, choice
        self.lanes, self.room = Lanes.of(program, slots), Room.of(program, slots)
        self.inputs = self.room.few if slots < FEW else self.room.many  # one kind of machine code a worker
        shape = max(job.positions for job in jobs), len(program.alphabets)
        channels = max(0 if job.local is None else job.local.shape[-1] for job in jobs)
        rows = max(job.labels.shape[1] for job in jobs)
        sampled, measured = slots * (action == "sample"), slots * (action == "measure")
        symbols = max(job.positions * job.lanes for job in jobs) * shape[1]
        words = symbols * 3 // 4 + 8 if action == "encode" else 0  # 24 bits each at most
        words = max(words, *(max(len(job.payload) // 4, len(job.words)) for job in jobs))
        self.symbols = np.zeros((slots, *shape), np.int32)
        self.local = np.zeros((slots, shape[0], channels), np.int8)
        self.labels = np.zeros((slots, rows, len(program.label_starts)), np.int64)
        self.points = np.zeros((sampled, *shape), np.uint32)
        self.intervals = np.zeros((2, measured, *shape), np.int32)
        self.words = np.zeros((slots, words), np.uint32)
        self.streams = Streams.over(self.words)
        self.task = Task(
            symbols=self.symbols.reshape(-1),
            starts=np.arange(slots) * math.prod(shape),
            streams=np.zeros(slots, np.int64),
            local=self.local.reshape(-1),
            labels=self.labels.reshape(-1),
            points=self.points.reshape(-1),
            known=np.zeros(slots, np.int64),
            bits=np.zeros(slots),
            lows=self.intervals[0].reshape(-1),
            counts=self.intervals[1].reshape(-1),
        )
        self.free = list(range(slots))
        self.running: list[tuple[Job, list[int]]] = []

    def turn(self, queue: deque[Job]) -> int:
        """Takes what fits from the queue and advances, at most to a job's end; returns the symbols done."""
        while (job := _take(queue, len(self.free))) is not None:
            self._start(job)
        if not self.running:
            return 0
        order = np.array([lane for _, lanes in self.running for lane in lanes], np.int64)
        left = min(job.positions - self.lanes.positions[lanes[0]] for job, lanes in self.running)
        steps = min(_STEPS, int(left))
        how = ACTIONS.index(self.action), self.choice, steps
        advance(self.program, self.lanes, order, self.task, self.streams, *how, self.inputs, self.room)
        return steps * len(order) * len(self.program.alphabets)

    def finished(self) -> list[Result]:
        """Takes the jobs that are done, or not worth going on with, off their lanes."""
        results = []
        for job, lanes in self.running:
            if self.lanes.positions[lanes[0]] == job.positions or self.streams.damaged[lanes[0]]:
                results.append(self._result(job, lanes))
                self.free += lanes
        self.running = [(job, lanes) for job, lanes in self.running if lanes[0] not in self.free]
        return results

    def _start(self, job: Job) -> None:
        lanes, self.free = self.free[: job.lanes], self.free[job.lanes :]
        stream, positions = lanes[0], job.positions
        rows, labels = job.labels.shape[1:]
        for row, lane in enumerate(lanes):
            local, first = (lane * math.prod(part.shape[1:]) for part in (self.local, self.labels))
            self.lanes.reset(lane, local, first, labels if rows > 1 else 0)
            self.labels[lane, :rows] = job.labels[row]
            self.task.streams[lane], self.task.known[lane] = stream, job.known
            self.task.bits[lane] = 0
            if job.symbols is not None:
                self.symbols[lane, : len(job.symbols[row])] = job.symbols[row]
            if job.local is not None:
                self.local[lane, :positions] = job.local[row]
            if job.points is not None:
                self.points[lane, :positions] = job.points[row]
        self.running.append((job, lanes))
        words = np.frombuffer(job.payload, "<u4") if self.action == "decode" else job.words
        self.words[stream, : len(words)] = words
        start = stream * self.words.shape[1]
        if self.action == "decode":
            self.streams.start_decoding(stream, start, len(words))
        elif self.action == "pop":
            self.streams.start_popping(stream, start, len(words), job.state)
        else:
            self.streams.reset(stream, start, self.words.shape[1])

    def _result(self, job: Job, lanes: list[int]) -> Result:
        stream, positions = lanes[0], job.positions
        if self.action == "encode":
            finish_stream(self.streams, stream)
        words = self.words[stream, : self.streams.cursors[stream] - stream * self.words.shape[1]]
        return Result(
            number=job.number,
            symbols=self.symbols[lanes, :positions],
            payload=words.astype("<u4").tobytes() if self.action == "encode" else b"",
            bits=self.task.bits[lanes],
            intervals=self.intervals[:, lanes if self.action == "measure" else [], :positions],
            height=len(words),
            state=int(self.streams.lower[stream]),
            damaged=bool(self.streams.damaged[stream]),
        )


def _take(queue: deque[Job], room: int) -> Job | None:
    """The next job, if it fits into so many lanes; workers may ask at the same time."""
    with suppress(IndexError):
        job = queue.popleft()
        if job.lanes <= room:
            return job
        queue.appendleft(job)
    return None
