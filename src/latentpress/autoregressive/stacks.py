"""Symbols of grids onto stacks and back, by the step engine: what bits-back coding needs of a network.

A stack gives back last what was put first, so its symbols are pushed in reverse order, when all of an
item's are known: `measure` finds the numbers of each under the exact grid's tables, `push` puts them onto a
stack, and `pop` takes symbols off again, in the order of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.streams import Progress, Stream, job_of, jobs_done
from latentpress.coding.ans import Stacks
from latentpress.coding.tables import TOTAL_BITS

__all__ = ["Intervals", "measure", "pop", "push"]

Integers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Intervals:
    """The numbers of symbols, of 2^24: `sizes` of them from `lows` on; int32, in the order of decoding."""

    lows: Integers
    sizes: Integers

    @property
    def bits(self) -> float:
        """Ideal length of the symbols."""
        return float(TOTAL_BITS * self.sizes.size - np.log2(self.sizes).sum())


def measure(
    exact: IntegerNetwork,
    streams: Sequence[Stream],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Intervals]:
    """The numbers of each stream's symbols.

    The arguments are those of `latentpress.autoregressive.streams.decode`; the streams have `symbols`.

    >>> import torch
    >>> from latentpress.config import CausalConfig
    >>> from latentpress.autoregressive.network import CausalNetwork
    >>> network = CausalNetwork(CausalConfig(width=8, depth=1), sizes=(16,), dims=1)
    >>> exact = IntegerNetwork.convert(network, torch.randint(16, (1, 8, 1)))
    >>> stacks, symbols = Stacks.fresh(1), np.arange(8).reshape(8, 1, 1)
    >>> [intervals] = measure(exact, [Stream((8,), 1, symbols=symbols)])
    >>> intervals.bits  # untrained: 4 bits a symbol
    32.0
    >>> push(stacks, [0], [intervals])
    >>> [back] = pop(exact, [Stream((8,), 1)], stacks, [0])
    >>> back.ravel().tolist(), stacks.are_fresh().tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [True])
    """
    from latentpress.autoregressive.engine import Action

    jobs = []
    for stream in streams:
        assert stream.symbols is not None
        symbols = np.ascontiguousarray(stream.symbols.swapaxes(0, 1), np.int32)
        jobs.append(job_of(exact, stream, symbols=symbols))
    found: dict[int, Intervals] = {}
    for number, job in jobs_done(exact, streams, jobs, Action.MEASURE, threads=threads, progress=progress):
        assert job.intervals is not None
        lows, sizes = np.moveaxis(job.intervals, 1, 3)  # (positions, P, lanes)
        found[number] = Intervals(lows.ravel(), sizes.ravel())
    return [found[number] for number in range(len(streams))]


def push(stacks: Stacks, rows: Sequence[int], intervals: Sequence[Intervals]) -> None:
    """Puts symbols onto stacks, each stream's onto that of its row, the last symbol first."""
    from latentpress.autoregressive.engine import push_all

    for row, own in zip(rows, intervals, strict=True):
        stacks.reserve(_most_words(len(own.sizes)), np.array([row]))
        before = np.int64(stacks.heights[row]), stacks.states[row]
        height, state = push_all(stacks.words[row], *before, own.lows, own.sizes)
        stacks.settle(row, state, height)


def pop(
    exact: IntegerNetwork,
    streams: Sequence[Stream],
    stacks: Stacks,
    rows: Sequence[int],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[NDArray[np.int32] | None]:
    """Takes the symbols (positions, lanes, P) of each stream off the stack of its row.

    They are None where the stack is found `damaged`; other stacks are not harmed by that.

    Args:
        exact: the network that the symbols were measured with.
        streams: the symbols' sizes and contexts.
        stacks: what is popped from.
        rows: the number of each stream's stack, each once.
        threads: how many may run side by side, by default as many as PyTorch's.
        progress: called on the way with how many symbols were done since the last call.
    """
    from latentpress.autoregressive.engine import Action

    jobs, under = [], []
    for stream, row in zip(streams, rows, strict=True):
        height = int(stacks.heights[row])
        job = job_of(exact, stream)
        needed = min(height, _most_words(job.positions * job.lanes * len(exact.sizes)))
        under.append(height - needed)
        job.words, job.state = stacks.words[row, under[-1] : height], int(stacks.states[row])
        jobs.append(job)
    found: list[NDArray[np.int32] | None] = [None] * len(jobs)
    for number, job in jobs_done(exact, streams, jobs, Action.POP, threads=threads, progress=progress):
        assert job.symbols is not None
        stacks.settle(rows[number], job.state, under[number] + len(job.words), job.damaged)
        found[number] = None if job.damaged else job.symbols.swapaxes(0, 1)
    return found


def _most_words(symbols: int) -> int:
    """A symbol is 24 bits at most."""
    return symbols * 3 // 4 + 2
