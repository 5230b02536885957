"""Blocks to lanes, lanes to threads.

A job is one stream of symbols of one or more items of one shape, its lanes. A worker has some lanes
and advances them together, so that weights are read once for all; whenever jobs end, their lanes take
the next jobs that fit. Which lanes and threads a job meets changes nothing in its symbols.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from latentpress.autoregressive.engine.coder import Streams, finish_stream, make_streams, start_decoding
from latentpress.autoregressive.engine.lanes import FEW, make_lanes, make_room
from latentpress.autoregressive.engine.loop import Action, Choice, Task, advance
from latentpress.autoregressive.engine.program import Program
from latentpress.autoregressive.engine.stack import start_popping

__all__ = ["LANES", "Job", "run"]

LANES = 64
"""Lanes that advance together: enough for the matrix products, few enough for the caches."""

_STEPS = 256  # positions between two looks at the queue

Array = NDArray[Any]


@dataclass
class Job:
    """One block: items of one shape, coded side by side.

    Args:
        positions: of each lane.
        classes: int64 (lanes,), rows of the conditioned biases.
        context: int8 (lanes, positions, Cm), if the network has a context map.
        payload: the stream's bytes: what is decoded, and what encoding leaves here.
        symbols: int32 (lanes, positions, P): what is encoded or measured, and what the others leave here.
        draws: uint32 (lanes, positions, P), numbers of 24 bits that choose the symbols that are drawn.
        known: how many positions of `symbols` are given when the others are drawn.
        words: uint32, of the stack that symbols are popped from, the last put being the last; those that
            are left are left here.
        state: of that stack.

    Attributes:
        lengths: float64 (lanes,), the ideal length of the encoded symbols in bits.
        intervals: int32 (2, lanes, positions, P), where measured symbols' numbers begin and their count.
        damaged: whether the stream met a symbol that it cannot hold, or the stack ran out.
    """

    positions: int
    classes: Array
    context: Array | None = None
    payload: bytes = b""
    symbols: Array | None = None
    draws: Array | None = None
    known: int = 0
    words: Array = field(default_factory=lambda: np.zeros(0, np.uint32))
    state: int = 0
    lengths: Array = field(default_factory=lambda: np.zeros(0), init=False)
    intervals: Array | None = field(default=None, init=False)
    damaged: bool = field(default=False, init=False)

    @property
    def lanes(self) -> int:
        """Items side by side."""
        return len(self.classes)


def run(
    program: Program,
    jobs: Sequence[Job],
    action: Action,
    choice: Choice | None = None,
    *,
    threads: int | None = None,
    lanes: int = LANES,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Job]:
    """Does one thing with the symbols of all jobs, and yields each job when it is done, in any order.

    Args:
        program: of a grid whose extents, but for the first, are those of every job.
        jobs: what to do; they are filled in.
        action: what.
        choice: how symbols are drawn.
        threads: by default one a processor.
        lanes: how many advance together in a thread, if the jobs have as many.
        progress: called on the way with how many symbols were done since the last call.
    """
    if not jobs:
        return
    threads = max(1, min(threads or _processors(), len(jobs)))
    share = -(-sum(job.lanes for job in jobs) // threads)
    slots = max(min(lanes, share), *(job.lanes for job in jobs), 1)
    queue = deque(sorted(jobs, key=lambda job: -job.positions))
    sizes = _Sizes.of(program, jobs, slots, action)
    done: SimpleQueue[Job | BaseException | int | None] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            worker = _Worker(program, sizes, action, choice or Choice())
            while not stop.is_set() and (symbols := worker.turn(queue)):
                done.put(symbols)
                for job in worker.finished():
                    done.put(job)
        except BaseException as error:
            done.put(error)
        done.put(None)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    with _one_blas_thread():
        try:
            for worker in workers:
                worker.start()
            while threads:
                found = done.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    threads -= 1
                elif isinstance(found, Job):
                    yield found
                elif progress is not None:
                    progress(found)
        finally:
            stop.set()
            for worker in workers:
                worker.join()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_running = 0
_limits: list[Any] = []
_running_lock = threading.Lock()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Keeps BLAS from starting threads of its own while any run is under way, and not a moment longer."""
    global _running
    with _running_lock:
        _running += 1
        if _running == 1:
            _limits.append(_blas().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _running_lock:
            _running -= 1
            if not _running:
                _limits.pop().restore_original_limits()


@functools.cache
def _blas() -> ThreadpoolController:
    """Knows the libraries that are loaded by now; SciPy's is the one that compiled code multiplies with."""
    importlib.import_module("scipy.linalg.cython_blas")
    return ThreadpoolController()


@dataclass(frozen=True)
class _Sizes:
    """Room per lane that suffices for every job: positions, words, channels of the context map.

    `drawn` and `measured` are how many lanes need what these actions do.
    """

    slots: int
    positions: int
    words: int
    channels: int
    drawn: int
    measured: int

    @classmethod
    def of(cls, program: Program, jobs: Sequence[Job], slots: int, action: Action) -> _Sizes:
        symbols = max(job.positions * job.lanes for job in jobs) * len(program.sizes)
        words = {
            Action.DECODE: max(len(job.payload) for job in jobs) // 4,
            Action.ENCODE: symbols * 3 // 4 + 8,  # a symbol takes at most 24 bits
            Action.POP: max(len(job.words) for job in jobs),
        }.get(action, 0)
        contexts = [job.context for job in jobs if job.context is not None]
        channels = contexts[0].shape[-1] if contexts else 0
        drawn, measured = (slots * (action == which) for which in (Action.DRAW, Action.MEASURE))
        return cls(slots, max(job.positions for job in jobs), words, channels, drawn, measured)


class _Worker:
    """Some lanes and the jobs that they are at; a job's stream is that of its first lane."""

    def __init__(self, program: Program, sizes: _Sizes, action: Action, choice: Choice) -> None:
        slots, members = sizes.slots, len(program.sizes)
        self.program, self.action, self.choice, self.sizes = program, action, choice, sizes
        self.lanes, self.room = make_lanes(program, slots), make_room(program, slots)
        self.inputs = self.room.few if slots < FEW else self.room.many  # one kind of machine code a worker
        self.symbols = np.zeros((slots, sizes.positions, members), np.int32)
        self.context = np.zeros((slots, sizes.positions, sizes.channels), np.int8)
        self.draws = np.zeros((sizes.drawn, sizes.positions, members), np.uint32)
        self.intervals = np.zeros((2, sizes.measured, sizes.positions, members), np.int32)
        self.words = np.zeros((slots, sizes.words), np.uint32)
        self.streams: Streams = make_streams(self.words)
        self.task = Task(
            symbols=self.symbols.reshape(-1),
            starts=np.arange(slots) * (sizes.positions * members),
            streams=np.zeros(slots, np.int64),
            context=self.context.reshape(-1),
            draws=self.draws.reshape(-1),
            known=np.zeros(slots, np.int64),
            lengths=np.zeros(slots),
            lows=self.intervals[0].reshape(-1),
            sizes=self.intervals[1].reshape(-1),
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
        left = min(job.positions - self.lanes.positions[lanes[0]] for job, lanes in self.running if lanes)
        steps = min(_STEPS, int(left))
        how = (int(self.action), self.choice, steps)
        advance(self.program, self.lanes, order, self.task, self.streams, *how, self.inputs, self.room)
        return steps * len(order) * len(self.program.sizes)

    def finished(self) -> list[Job]:
        """Takes the jobs that are done, or not worth going on with, off their lanes."""
        ended = [run for run in self.running if self._over(*run)]
        self.running = [run for run in self.running if not any(run is other for other in ended)]
        for job, lanes in ended:
            self._end(job, lanes)
            self.free += lanes
        return [job for job, _ in ended]

    def _over(self, job: Job, lanes: list[int]) -> bool:
        first = lanes[0]
        return self.lanes.positions[first] == job.positions or bool(self.streams.damaged[first])

    def _start(self, job: Job) -> None:
        lanes, self.free = self.free[: job.lanes], self.free[job.lanes :]
        stream, positions = lanes[0], job.positions
        for row, lane in enumerate(lanes):
            self.lanes.reset(lane, int(job.classes[row]), lane * self.sizes.positions * self.sizes.channels)
            self.task.streams[lane], self.task.known[lane] = stream, job.known
            self.task.lengths[lane] = 0
            if job.symbols is not None:
                self.symbols[lane, : len(job.symbols[row])] = job.symbols[row]
            if job.context is not None:
                self.context[lane, :positions] = job.context[row]
            if job.draws is not None:
                self.draws[lane, :positions] = job.draws[row]
        self._start_stream(job, stream)
        self.running.append((job, lanes))

    def _start_stream(self, job: Job, stream: int) -> None:
        start = stream * self.sizes.words
        if self.action == Action.DECODE:
            words = np.frombuffer(job.payload, "<u4")
            self.words[stream, : len(words)] = words
            start_decoding(self.streams, stream, start, len(words))
        elif self.action == Action.POP:
            self.words[stream, : len(job.words)] = job.words
            start_popping(self.streams, stream, start, len(job.words), job.state)
        else:
            self.streams.reset(stream, start, self.sizes.words)

    def _end(self, job: Job, lanes: list[int]) -> None:
        stream = lanes[0]
        if self.action == Action.ENCODE:
            finish_stream(self.streams, stream)
            count = self.streams.cursors[stream] - stream * self.sizes.words
            assert count <= self.sizes.words
            job.payload = self.words[stream, :count].astype("<u4").tobytes()
            job.lengths = self.task.lengths[lanes]
        elif self.action == Action.MEASURE:
            job.intervals = self.intervals[:, lanes, : job.positions]
        else:
            job.symbols = self.symbols[lanes, : job.positions]
            job.damaged = bool(self.streams.damaged[stream])
        if self.action == Action.POP:
            job.words = job.words[: self.streams.cursors[stream] - stream * self.sizes.words]
            job.state = int(self.streams.lower[stream])


def _take(queue: deque[Job], room: int) -> Job | None:
    """The next job, if it fits into so many lanes; workers may ask at the same time."""
    try:
        job = queue.popleft()
    except IndexError:
        return None
    if job.lanes <= room:
        return job
    queue.appendleft(job)
    return None
