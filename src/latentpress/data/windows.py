"""Texts in one flat memory, and batches of windows: a pure function of seed and step.

A window has T bytes, the fewer of `window` and the longest text's. A text of L > T bytes has n windows an
epoch, n = ceil((L + T - 1) / T). Their places are spread evenly over all L + T - 1 in which a window meets
the text, shifted by one random number an epoch and a text, and a window that hangs over an edge is cut to
the text. So within a text every byte is as likely to be seen as any other, its first and last ones too,
and every epoch shows each at least once. A shorter text is one window, cut likewise: from its first byte.
Windows come in a stream without end, one random permutation of an epoch's windows after another; steps
and ranks take their parts of it as in `latentpress.data.batches`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from latentpress.data.ahead import run_ahead
from latentpress.data.sources import Skipped, Source
from latentpress.errors import ItemError

__all__ = ["TextPool", "WindowBatch", "Windows", "load_text_pool"]

_ORDER, _SHIFTS = 0, 1  # two families of random streams under one seed
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class TextPool:
    """Texts in memory. `pool[i]` is the i-th one's bytes, uint8 (T, 1).

    Attributes:
        names: The N texts' names.
        labels: int64 (N,), indices into `label_names`; -1 where there is no label.
        label_names: Distinct labels in order.
        lengths: int64 (N,), each text's bytes; 0 for an empty one.
        skipped: Files left out (those that cannot be read, and those that are not texts), and why.
        memory: uint8, all bytes, end to end.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    lengths: np.ndarray
    skipped: tuple[Skipped, ...]
    memory: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        start = int(self.starts[index])
        return self.memory[start : start + int(self.lengths[index]), None].copy()

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (N,), where in `memory` a text begins."""
        return np.cumsum(self.lengths) - self.lengths

    def subset(self, indices: Sequence[int] | np.ndarray) -> TextPool:
        """Returns the texts at `indices`, in that order, with nothing skipped."""
        chosen = np.asarray(indices, np.int64)
        parts = [
            self.memory[s : s + n] for s, n in zip(self.starts[chosen], self.lengths[chosen], strict=True)
        ]
        return TextPool(
            names=tuple(self.names[index] for index in chosen),
            labels=self.labels[chosen],
            label_names=self.label_names,
            lengths=self.lengths[chosen],
            skipped=(),
            memory=np.concatenate([np.zeros(0, np.uint8), *parts]),
        )


def load_text_pool(source: Source, *, progress: Callable[[int, int], None] | None = None) -> TextPool:
    """Reads every text of a source once.

    Args:
        source: From `open_sources(..., kind="text")`.
        progress: Called with the number of items done and their total after each.

    Raises:
        ItemError: No item could be read.

    >>> from latentpress.data.sources import ItemRef
    >>> read = lambda: np.frombuffer(b"abc", np.uint8).reshape(-1, 1)
    >>> pool = load_text_pool(Source((ItemRef("a.txt", None, read),)))
    >>> len(pool), pool[0].ravel().tolist()
    (1, [97, 98, 99])
    """
    items, lengths, skipped = [], [], list(source.skipped)
    memory = bytearray()  # grows in place, without a second copy
    for done, item in enumerate(source.items, 1):
        try:
            symbols = item.read()
        except ItemError as error:
            skipped.append(Skipped(item.name, str(error).removeprefix(f"{item.name}: ")))
        else:
            items.append(item)
            lengths.append(len(symbols))
            memory.extend(np.ascontiguousarray(symbols).data)
        if progress is not None:
            progress(done, len(source.items))
    if not items:
        first = f", the first, {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise ItemError(f"none of {len(source.items)} items could be read{first}")
    numbers = {name: number for number, name in enumerate(source.labels)}
    return TextPool(
        names=tuple(item.name for item in items),
        labels=np.array([-1 if item.label is None else numbers[item.label] for item in items], np.int64),
        label_names=source.labels,
        lengths=np.array(lengths, np.int64),
        skipped=tuple(skipped),
        memory=np.frombuffer(memory, np.uint8),
    )


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Windows of texts.

    Attributes:
        symbols: uint8 (B, T, 1), bytes; zeros after the end of a window that is cut.
        mask: bool (B, T), where there are bytes of a text: from the start of a row on, and one at least.
        labels: int64 (B,), indices into the pool's names or -1.
    """

    symbols: Tensor
    mask: Tensor
    labels: Tensor


class Windows:
    """Random windows of a pool's texts, in batches; the module says how they are drawn.

    Args:
        pool: The texts; empty ones are never drawn, and one at least is not empty.
        batch_size: Windows a batch, of this rank.
        window: The most bytes a window has.
        seed: Names the sequence of batches.
        rank: Which of `world` processes this is.
        world: Number of processes.

    Attributes:
        size: T, the bytes of every window.
        per_epoch: Windows after which every byte has been seen.

    >>> from latentpress.data.sources import ItemRef
    >>> read = lambda: np.zeros((1000, 1), np.uint8)
    >>> pool = load_text_pool(Source((ItemRef("a", None, read),)))
    >>> windows = Windows(pool, batch_size=4, window=256, seed=0)
    >>> windows.batch(0).symbols.shape, windows.per_epoch
    (torch.Size([4, 256, 1]), 5)
    """

    def __init__(
        self, pool: TextPool, *, batch_size: int, window: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        assert batch_size >= 1 and window >= 1 and 0 <= rank < world and pool.lengths.max() > 0
        self.pool = pool
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.size = min(window, int(pool.lengths.max()))
        places = np.where(pool.lengths > self.size, pool.lengths + self.size - 1, pool.lengths > 0)
        self._places = places  # in which a window may lie
        self._counts = -(-places // self.size)
        self._ends = np.cumsum(self._counts)
        self.per_epoch = int(self._ends[-1])
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, step: int) -> WindowBatch:
        """Returns the batch of a step, always the same one."""
        first = (step * self.world + self.rank) * self.batch_size
        texts, starts = self._drawn(first, self.batch_size)
        # The part of [start, start + T) that lies in the text, moved to the start of the row.
        begins, ends = np.maximum(starts, 0), np.minimum(starts + self.size, self.pool.lengths[texts])
        inside = np.arange(self.size)
        mask = inside < (ends - begins)[:, None]
        # NumPy throughout: torch's operators on this thread would start a second OpenMP team.
        where = np.minimum((self.pool.starts[texts] + begins)[:, None] + inside, len(self.pool.memory) - 1)
        symbols = np.where(mask, self.pool.memory[where], 0).astype(np.uint8)[..., None]
        labels = self.pool.labels[texts]
        return WindowBatch(torch.from_numpy(symbols), torch.from_numpy(mask), torch.from_numpy(labels))

    def stream(self, start: int) -> Iterator[WindowBatch]:
        """Yields `batch(start)`, `batch(start + 1)`, ... without end, made on a background thread."""
        return run_ahead(self.batch, itertools.count(start), threads=1, ahead=_AHEAD)

    def _drawn(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The texts and the starts of the windows first, ..., first + count - 1 of the endless stream."""
        epoch, skip = divmod(first, self.per_epoch)
        last = (first + count - 1) // self.per_epoch
        parts = [self._epoch(e) for e in range(epoch, last + 1)]
        texts, starts = (np.concatenate(column)[skip : skip + count] for column in zip(*parts, strict=True))
        return texts, starts

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The texts and the starts of an epoch's windows, in their order."""
        order = np.random.Generator(np.random.PCG64([self.seed, _ORDER, epoch])).permutation(self.per_epoch)
        shifts = np.random.Generator(np.random.PCG64([self.seed, _SHIFTS, epoch])).random(len(self.pool))
        texts = np.searchsorted(self._ends, order, side="right")
        turn = order - (self._ends - self._counts)[texts]
        places = self._places[texts]
        place = ((turn + shifts[texts]) * places / self._counts[texts]).astype(np.int64)
        long = self.pool.lengths[texts] > self.size
        return texts, np.where(long, np.minimum(place, places - 1) - (self.size - 1), 0)
