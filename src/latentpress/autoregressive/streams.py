"""Symbols of grids to range-coded streams and back, by the step engine.

A stream holds items of one shape side by side: for every position in raster order, for every member of
the tuple, the symbol of each item. `encode` and `decode` take many streams at once, so that their lanes
advance together and all processors are used; what comes out does not depend on that.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.integer.tensors import blank
from latentpress.autoregressive.network import Conditioning
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import CausalConfig

if TYPE_CHECKING:
    from latentpress.autoregressive.engine import Action, Choice, Job, Program

__all__ = ["Stream", "decode", "encode", "job_of", "jobs_done", "prepare"]

Integers = NDArray[Any]
Progress = Callable[[int], None]

_COMPILE_SECONDS = 10  # about; for the bar only
_MANY = 4  # from so many lanes a worker on, the machine code is the same


@dataclass(frozen=True, eq=False)
class Stream:
    """Items of one shape that share a stream.

    Args:
        grid: their size; all streams of a call have the same extents but for the first.
        lanes: how many they are.
        context: their map int8 (lanes, Cm, *grid) and labels (lanes,).
        payload: the coded bytes, for decoding.
        symbols: (positions, lanes, P), for encoding.
    """

    grid: tuple[int, ...]
    lanes: int
    context: Conditioning = field(default_factory=Conditioning)
    payload: bytes = b""
    symbols: Integers | None = None


def prepare(lanes: int, report: Callable[[str, int, int], None]) -> None:
    """Makes the engine's machine code for so many lanes, or loads it where it was made before.

    That happens by itself with the first symbols; but it takes seconds, once a machine, and who calls
    this first can show them: `report("compile", seconds, about how many)`.
    """
    share, failed = -(-lanes // torch.get_num_threads()), []

    def work() -> None:
        try:
            _warm_up(min(share, _MANY))
        except BaseException as error:
            failed.append(error)

    worker, start = (
        threading.Thread(target=work, daemon=True),
        time.monotonic(),
    )  # Ctrl-C need not wait for it
    worker.start()
    while worker.is_alive():
        worker.join(0.2)
        seconds = int(time.monotonic() - start)
        report("compile", min(seconds, _COMPILE_SECONDS - 1), _COMPILE_SECONDS)
    if failed:
        raise failed[0]


@functools.cache
def _warm_up(lanes: int) -> None:
    """Codes a few symbols."""
    exact = IntegerNetwork(
        blank(NetworkStructure.of(CausalConfig(width=8, depth=1, radius=1), sizes=(2,), dims=1))
    )
    symbols = np.zeros((2, lanes, 1), np.int32)
    for _ in encode(exact, [Stream((2,), lanes, symbols=symbols)], threads=1):
        pass


def decode(
    exact: IntegerNetwork,
    streams: Sequence[Stream],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, NDArray[np.int32] | None]]:
    """Yields each stream's number and its symbols (positions, lanes, P), in any order.

    The symbols are None where a stream is damaged; others are not harmed by that. (Most damage cannot be
    told from other symbols: the archive's checksums are for that.)

    Args:
        exact: the network that the streams were coded with.
        streams: what to decode.
        threads: how many may run side by side, by default as many as PyTorch's.
        progress: called on the way with how many symbols were done since the last call.
    """
    from latentpress.autoregressive.engine import Action

    jobs = [job_of(exact, stream, payload=stream.payload) for stream in streams]
    for number, job in jobs_done(exact, streams, jobs, Action.DECODE, threads=threads, progress=progress):
        assert job.symbols is not None
        yield number, None if job.damaged else job.symbols.swapaxes(0, 1)


def encode(
    exact: IntegerNetwork,
    streams: Sequence[Stream],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, bytes, NDArray[np.float64]]]:
    """Yields each stream's number, its payload, and the ideal length of each lane in bits, in any order.

    The arguments are those of `decode`.

    >>> from latentpress.config import CausalConfig
    >>> from latentpress.autoregressive.network import CausalNetwork
    >>> network = CausalNetwork(CausalConfig(width=8, depth=1), sizes=(16,), dims=1)
    >>> exact = IntegerNetwork.convert(network, torch.randint(16, (1, 8, 1)))
    >>> symbols = np.arange(8).reshape(8, 1, 1)
    >>> [(_, payload, bits)] = encode(exact, [Stream((8,), 1, symbols=symbols)])
    >>> [(_, decoded)] = decode(exact, [Stream((8,), 1, payload=payload)])
    >>> decoded.ravel().tolist(), bits.tolist(), len(payload)  # untrained: 4 bits a symbol
    ([0, 1, 2, 3, 4, 5, 6, 7], [32.0], 8)
    """
    from latentpress.autoregressive.engine import Action

    jobs = []
    for stream in streams:
        assert stream.symbols is not None
        symbols = np.ascontiguousarray(stream.symbols.swapaxes(0, 1), np.int32)
        jobs.append(job_of(exact, stream, symbols=symbols))
    for number, job in jobs_done(exact, streams, jobs, Action.ENCODE, threads=threads, progress=progress):
        yield number, job.payload, job.lengths


def jobs_done(
    exact: IntegerNetwork,
    streams: Sequence[Stream],
    jobs: Sequence[Job],
    action: Action,
    choice: Choice | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Job]]:
    """Runs the jobs of some streams; yields each one's number and the job, in any order."""
    from latentpress.autoregressive.engine import run

    if not jobs:
        return
    numbers = {id(job): number for number, job in enumerate(jobs)}
    program = _program(exact, [stream.grid for stream in streams])
    threads = threads or torch.get_num_threads()
    for job in run(program, jobs, action, choice, threads=threads, progress=progress):
        yield numbers[id(job)], job


def _program(exact: IntegerNetwork, grids: Sequence[tuple[int, ...]]) -> Program:
    assert len({grid[1:] for grid in grids}) == 1, "streams of one call differ in their first extent alone"
    return exact.program(max(grids))


def job_of(exact: IntegerNetwork, stream: Stream, **parts: Any) -> Job:
    """The engine's job for a stream, with what else it is given."""
    from latentpress.autoregressive.engine import Job

    given = parts.get("symbols")
    if given is not None and given.size and not ((given >= 0) & (given < exact.sizes)).all():
        raise ValueError(f"symbols: each member has its own alphabet, {exact.sizes}; one is outside")
    rows, map = exact.conditions(stream.context, stream.lanes, stream.grid)
    return Job(
        positions=math.prod(stream.grid),
        classes=np.broadcast_to(rows.cpu().numpy(), stream.lanes),
        context=None if map is None else map.cpu().numpy(),
        **parts,
    )
