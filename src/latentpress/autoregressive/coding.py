"""Symbols of grids to bytes, onto stacks, out of random numbers, and back, by the step engine.

A stream holds items of one shape side by side: for every position in raster order, for every component of
the tuple, the symbol of each item. All streams of a call advance together and all processors are used; what
comes out does not depend on that.

A stack gives back last what was put first, so bits-back coding pushes symbols in reverse order, when all of
an item's are known: `measure` finds the numbers of each under the network's tables, `push` puts them onto a
stack, and `pop` takes symbols off again, in the order of the grid.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.integer.tensors import blank
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.coding.ans import Stacks
from latentpress.coding.coder import RangeEncoder
from latentpress.coding.tables import TOTAL_BITS, frequencies, random_points
from latentpress.config import CausalConfig
from latentpress.exact.distribution import Conditioning, Sampling, Stream

if TYPE_CHECKING:
    from latentpress.autoregressive.engine import Action, Job, Program, Result

__all__ = ["Intervals", "decode", "encode", "measure", "pop", "prepare", "push", "sample"]
__all__ += ["while_compiling"]

_COMPILE_SECONDS = 10  # about; for the bar only
_CHUNK = 1 << 22  # entries of tables that are held at once
_TOGETHER = 1 << 24  # symbols sampled at once: so much memory their random numbers may take

Integers = NDArray[Any]


class _Network(Protocol):
    """What is needed of an `IntegerNetwork`."""

    device: torch.device
    conditions: Callable[..., tuple[Tensor, Tensor | None]]
    logits: Callable[..., tuple[Tensor, ...]]
    program: Callable[[tuple[int, ...]], Program]

    @property
    def alphabets(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, eq=False)
class Intervals:
    """The numbers of symbols, of 2^24: `counts` of them from `lows` on; int32, in the order of decoding."""

    lows: Integers
    counts: Integers

    @property
    def bits(self) -> float:
        """Ideal length of the symbols."""
        return float(TOTAL_BITS * self.counts.size - np.log2(self.counts).sum())


def prepare(lanes: int, report: Callable[[str, int, int], None]) -> None:
    """Makes the engine's machine code for so many lanes, or loads it where it was made before.

    That happens by itself with the first symbols; but it takes seconds, once a machine, and a caller
    can show them: `report("compile", seconds, about how many)`.
    """
    share = -(-lanes // torch.get_num_threads())

    def work() -> None:
        from latentpress.autoregressive.engine import FEW  # imports Numba

        _warm_up(min(share, FEW))

    while_compiling(work, report)


def while_compiling(work: Callable[[], None], report: Callable[[str, int, int], None]) -> None:
    """Does what makes machine code, and calls `report("compile", seconds, about how many)` meanwhile."""
    failed = list[BaseException]()

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=attempt, daemon=True)  # Ctrl-C need not wait for it
    start = time.monotonic()
    worker.start()
    while worker.is_alive():
        worker.join(0.2)
        report("compile", min(int(time.monotonic() - start), _COMPILE_SECONDS - 1), _COMPILE_SECONDS)
    if failed:
        raise failed[0]


@functools.cache
def _warm_up(lanes: int) -> None:
    """Codes a few symbols."""
    from latentpress.autoregressive.engine import Job, assemble, run

    structure = NetworkStructure.of(CausalConfig(width=8, depth=1, radius=1), alphabets=(2,), rank=1)
    symbols = np.zeros((lanes, 2, 1), np.int32)
    job = Job(0, positions=2, labels=np.zeros((lanes, 1, 0), np.int64), symbols=symbols)
    for _ in run(assemble(structure, blank(structure), (2,)), [job], "encode", threads=1):
        pass


def encode(network: _Network, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
    """Codes streams with their symbols; returns each one's bytes and each lane's ideal bits, (lanes,).

    On a GPU it takes the parallel pass, which gives the same bytes.
    """
    if network.device.type != "cpu":
        return [_encode_parallel(network, stream) for stream in streams]
    parts = [{"symbols": _by_lane(network, stream)} for stream in streams]
    return [(result.payload, result.bits) for result in _results(network, streams, parts, "encode")]


def _encode_parallel(network: _Network, stream: Stream) -> tuple[bytes, NDArray[np.float64]]:
    by_lane = torch.from_numpy(_by_lane(network, stream)).long()
    logits = network.logits(by_lane.view(stream.lanes, *stream.grid, -1), stream.conditioning)
    logits = [component.flatten(1, -2).transpose(0, 1).cpu().numpy() for component in logits]
    encoder, bits = RangeEncoder(), np.zeros(stream.lanes)
    chunk = max(1, _CHUNK // (stream.lanes * sum(network.alphabets)))
    rows = by_lane.permute(1, 2, 0).numpy()  # (positions, P, lanes)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        logits_here = (component[start : start + chunk] for component in logits)
        tables = [frequencies(k.reshape(-1, k.shape[-1])).reshape(k.shape) for k in logits_here]
        for p, table in enumerate(tables):
            chosen = np.take_along_axis(table, part[:, p, :, None], axis=-1)[..., 0]
            bits += (TOTAL_BITS - np.log2(chosen)).sum(axis=0)
        if len(set(network.alphabets)) == 1:
            encoder.encode(part.ravel(), np.stack(tables, axis=1).reshape(part.size, -1))
            continue
        for position in range(len(part)):
            for p, table in enumerate(tables):
                encoder.encode(part[position, p], table[position])
    return encoder.to_bytes(), bits


def decode(network: _Network, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
    """The symbols (positions, lanes, P) of streams with their payloads; None where one is damaged.

    Most damage cannot be told from other symbols: the archive's checksums are for that.
    """
    words = [stream.payload[: len(stream.payload) // 4 * 4] for stream in streams]
    results = _results(network, streams, [{"payload": payload} for payload in words], "decode")
    whole = [len(payload) == len(stream.payload) for payload, stream in zip(words, streams, strict=True)]
    return [_by_position(result) if fits else None for fits, result in zip(whole, results, strict=True)]


def sample(
    network: _Network,
    count: int,
    grid: tuple[int, ...],
    how: Sampling,
    *,
    conditioning: Conditioning | None = None,
    prefix: Tensor | None = None,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Samples items symbol by symbol; see `IntegerDistribution.sample`.

    Every item has its own stream of random bits (`random_points`), so an item does not depend on how
    many are sampled with it. Each symbol takes one number of 24 bits and is looked up in its cumulative
    frequency table. The temperature is used as 2^16 / temperature, rounded, and `top_p` in steps of 2^-24; of
    equally likely symbols the first is kept.
    """
    conditioning, positions = conditioning or Conditioning(), math.prod(grid)
    shape = positions, len(network.alphabets)
    items = torch.empty(count, *shape, dtype=torch.int64)
    together = max(1, _TOGETHER // math.prod(shape))
    for first in range(0, count, together):
        run = range(first, min(first + together, count))
        streams = [Stream(grid, 1, conditioning.rows(slice(item, item + 1))) for item in run]
        parts: list[dict[str, Any]] = []
        for item in run:
            number = item if numbers is None else numbers[item]
            parts.append({"points": random_points(how.seed, number, (1, *shape))})
            if prefix is not None:
                known = _checked(network, prefix[item : item + 1].cpu().numpy())
                parts[-1] |= {"symbols": known, "known": known.shape[1]}
        for item, result in zip(run, _results(network, streams, parts, "sample", how, progress), strict=True):
            items[item] = torch.from_numpy(result.symbols[0].astype(np.int64))
    return items.view(count, *grid, shape[1])


def measure(network: _Network, streams: Sequence[Stream]) -> list[Intervals]:
    """The numbers of each stream's symbols.

    >>> from latentpress.autoregressive.integer.network import IntegerNetwork
    >>> network = IntegerNetwork(blank(NetworkStructure.of(CausalConfig(), alphabets=(16,), rank=1)))
    >>> stacks, symbols = Stacks.fresh(1), np.arange(8).reshape(8, 1, 1)
    >>> [intervals] = measure(network, [Stream((8,), 1, symbols=symbols)])
    >>> intervals.bits  # untrained: 4 bits a symbol
    32.0
    >>> push(stacks, [0], [intervals])
    >>> [back] = pop(network, [Stream((8,), 1)], stacks, [0])
    >>> back.ravel().tolist(), stacks.are_fresh().tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [True])
    """
    parts = [{"symbols": _by_lane(network, stream)} for stream in streams]
    measured = []
    for result in _results(network, streams, parts, "measure"):
        lows, counts = (np.moveaxis(part, 0, 2).ravel() for part in result.intervals)  # positions, P, lanes
        measured.append(Intervals(lows, counts))
    return measured


def push(stacks: Stacks, rows: Sequence[int], intervals: Sequence[Intervals]) -> None:
    """Puts symbols onto stacks, each stream's onto that of its row, the last symbol first."""
    from latentpress.autoregressive.engine import push_all

    for row, each in zip(rows, intervals, strict=True):
        stacks.reserve(_most_words(len(each.counts)), np.array([row]))
        before = np.int64(stacks.heights[row]), stacks.states[row]
        height, state = push_all(stacks.words[row], *before, each.lows, each.counts)
        stacks.settle(row, state, height)


def pop(
    network: _Network, streams: Sequence[Stream], stacks: Stacks, rows: Sequence[int]
) -> list[NDArray[np.int32] | None]:
    """Takes the symbols (positions, lanes, P) of each stream off the stack of its row, a row for each.

    They are None where the stack is damaged: it ran out. Other stacks are not harmed by that.
    """
    parts, under = [], []
    for stream, row in zip(streams, rows, strict=True):
        height = int(stacks.heights[row])
        most = _most_words(math.prod(stream.grid) * stream.lanes * len(network.alphabets))
        under.append(max(0, height - most))
        parts.append({"words": stacks.words[row, under[-1] : height], "state": int(stacks.states[row])})
    results = _results(network, streams, parts, "pop")
    for row, left, result in zip(rows, under, results, strict=True):
        stacks.settle(row, result.state, left + result.height, result.damaged)
    return [_by_position(result) for result in results]


def _most_words(symbols: int) -> int:
    """A symbol is 24 bits at most."""
    return symbols * 3 // 4 + 2


def _results(
    network: _Network,
    streams: Sequence[Stream],
    parts: Sequence[dict[str, Any]],
    action: Action,
    how: Sampling | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Result]:
    """What the engine makes of each stream, given the rest of its job."""
    from latentpress.autoregressive.engine import Choice, Job, run

    if not streams:
        return []
    assert len({stream.grid[1:] for stream in streams}) == 1, "only the first extents may differ"
    program = network.program(max(stream.grid for stream in streams))

    def job(number: int, stream: Stream, part: dict[str, Any]) -> Job:
        labels, local = network.conditions(stream.conditioning, stream.lanes, stream.grid)
        local = None if local is None else local.cpu().numpy()
        return Job(number, math.prod(stream.grid), labels.numpy(), local, **part)

    jobs = [job(*each) for each in zip(itertools.count(), streams, parts)]
    choice, threads = Choice() if how is None else Choice.of(how), torch.get_num_threads()
    results = run(program, jobs, action, choice, threads=threads, progress=progress)
    return sorted(results, key=lambda result: result.number)


def _by_lane(network: _Network, stream: Stream) -> Integers:
    """A stream's symbols as the engine has them, int32 (lanes, positions, P)."""
    assert stream.symbols is not None
    return _checked(network, np.ascontiguousarray(stream.symbols.swapaxes(0, 1), np.int32))


def _checked(network: _Network, symbols: Integers) -> Integers:
    if not ((symbols >= 0) & (symbols < network.alphabets)).all():
        raise ValueError(f"symbols: each component has an alphabet, {network.alphabets}; one is outside")
    return symbols


def _by_position(result: Result) -> NDArray[np.int32] | None:
    """The engine's symbols as streams have them, (positions, lanes, P); None where it met damage."""
    return None if result.damaged else result.symbols.swapaxes(0, 1)
