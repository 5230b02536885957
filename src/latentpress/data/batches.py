"""Batches of random pieces of items: a pure function of seed and step, so that a resumed run sees the same.

All pieces have one size: along each axis the smaller of what is asked for and the longest item's extent,
rounded up to a multiple of the model's hop. Pieces come in a stream without end, one random permutation of
an epoch's pieces after another. Step s takes the B * world pieces from position s * B * world on, and rank r
the r-th B of them: the ranks of a run together see what one process with their joint batch size would.

What an epoch shows is the kind's to say (`Item.epoch`):

- Each item once, as a random crop. Items smaller than a crop are continued with their last row, column, ...

- Each sample at least once, in windows of T rows along the first axis. An item of L > T rows has n windows
  an epoch, n = ceil((L + T - 1) / T). Their places are spread evenly over all L + T - 1 in which a window
  meets the item, shifted by one random number an epoch and an item, and a window that hangs over an edge is
  cut to the item. So within an item every row is as likely to be seen as any other, its first and last ones
  too, and every epoch shows each at least once. A shorter item is one window, cut likewise: from its first
  row. Where a window is cut, zeros follow, and a mask says so. Along further axes windows are crops.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.data.ahead import run_ahead
from latentpress.data.dataset import Dataset, Numbers
from latentpress.items import Shape

__all__ = ["Batch", "Batches", "Pieces"]

_AHEAD = 4
_ORDER, _PLACES, _FURTHER = 0, 1, 2  # families of random numbers under one seed


@dataclass(frozen=True, eq=False)
class Batch:
    """Pieces of items.

    Attributes:
        samples: (B, *size, C), uint8 where the item's samples are, int32 else; 0 where the mask is False.
        mask: bool (B, *size), where there are samples of an item; None where everywhere.
        labels: int64, indices into the data set's label values, -1 unknown: (B, L), or (B, T, L) where a
            label goes along the T rows of the first axis.
        symbols: (B, *size, P), what an autoregressive network sees of the samples, if it was asked for.
    """

    samples: Tensor
    mask: Tensor | None
    labels: Tensor
    symbols: Tensor | None = None

    @property
    def dims(self) -> int:
        """Samples that are not padding, each channel counted."""
        return self.samples.numel() if self.mask is None else int(self.mask.sum()) * self.samples.shape[-1]

    def to(self, device: torch.device | str) -> Batch:
        """The same pieces on another device, symbols as int64."""
        moved = {n: part.to(device, non_blocking=True) for n, part in vars(self).items() if part is not None}
        if "symbols" in moved:
            moved["symbols"] = moved["symbols"].long()
        return replace(self, **moved)


class Pieces(NamedTuple):
    """Where the pieces of a batch lie.

    Their items, (B,); the corners where they begin in these, (B, rank), of a window along the first axis
    perhaps before the item; and which ones are mirrored, (B,).
    """

    indices: Numbers
    corners: Numbers
    flipped: NDArray[np.bool_]


class Batches:
    """Random pieces of a data set's items, in batches; see the module.

    Args:
        dataset: the items; one at least is not empty.
        batch_size: pieces a batch, of this rank.
        extents: of a piece along each axis, at most.
        seed: names the sequence of batches.
        multiple_of: the model's hop along each axis.
        corner_step: pieces begin at multiples of it, along each axis; it divides the size of windows.
        flip: whether to mirror each piece with probability 1/2, if the kind has an axis for that.
        residual: whether batches have symbols: those of prediction residuals (True) or of the samples
            themselves (False); None for no symbols.
        rank: which of `world` processes this is.

    Attributes:
        size: of every piece.
        windows_per_epoch: pieces after which every item, or sample, has been seen.

    >>> from latentpress.data import array_source, load_dataset
    >>> from latentpress.items import Image, Text
    >>> images = load_dataset(array_source(np.zeros((10, 30, 40, 3), np.uint8), Image()))
    >>> batches = Batches(images, batch_size=4, extents=(32, 32), seed=0, multiple_of=(4, 4), flip=True)
    >>> batches.batch(0).samples.shape, batches.windows_per_epoch
    (torch.Size([4, 32, 32, 3]), 10)
    >>> texts = load_dataset(array_source([np.zeros((1000, 1), np.uint8)], Text()))
    >>> batches = Batches(texts, batch_size=4, extents=(256,), seed=0, multiple_of=(1,), residual=False)
    >>> batches.batch(0).symbols.shape, batches.windows_per_epoch
    (torch.Size([4, 256, 1]), 5)
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        extents: tuple[int, ...],
        seed: int,
        multiple_of: tuple[int, ...],
        corner_step: tuple[int, ...] | None = None,
        flip: bool = False,
        residual: bool | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        item = dataset.item
        self.corner_step = corner_step or (1,) * len(item.axes)
        assert len(extents) == len(multiple_of) == len(self.corner_step) == len(item.axes)
        assert batch_size >= 1 and min(*extents, *multiple_of, *self.corner_step) >= 1 and 0 <= rank < world
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip and item.mirror is not None
        self.residual = residual
        self._joint, self._first = batch_size * world, batch_size * rank
        sides = zip(extents, dataset.extents.max(axis=0).tolist(), multiple_of, strict=True)
        self.size: Shape = tuple(-(-min(most, longest) // hop) * hop for most, longest, hop in sides)
        self._windows = item.epoch == "sample"
        lengths, unit = dataset.extents[:, 0], self.corner_step[0]
        assert not self._windows or self.size[0] % unit == 0
        self._span = self.size[0] // unit  # of a window, in units of rows
        places = np.where(lengths > self.size[0], -(-lengths // unit) + self._span - 1, lengths > 0)
        self._places = places if self._windows else np.ones_like(lengths)  # in which a piece may lie
        self._counts = -(-self._places // self._span) if self._windows else self._places
        self._ends = np.cumsum(self._counts)
        self.windows_per_epoch = int(self._ends[-1])
        assert self.windows_per_epoch, "all items are empty"
        self._epochs: dict[int, Numbers] = {}

    def batch(self, step: int) -> Batch:
        """The batch of a step, always the same one; `ItemError` where an item can no longer be read."""
        pieces, dataset, item = self.draw(step), self.dataset, self.dataset.item
        mask = np.zeros((self.batch_size, *self.size), bool)
        samples = np.zeros((*mask.shape, item.channels), item.dtype)
        known = dataset.labels
        along = isinstance(known, tuple)
        labels = np.full((*mask.shape[:2], len(dataset.label_values)), -1) if along else known[pieces.indices]
        symbols = None
        if self.residual is not None:
            dtype = np.uint8 if max(item.alphabets) <= 256 else np.int32
            symbols = np.zeros((*mask.shape, len(item.alphabets)), dtype)
        for i, (index, corner, flipped) in enumerate(zip(*map(np.ndarray.tolist, pieces), strict=True)):
            start, stop = max(corner[0], 0), min(corner[0] + self.size[0], int(dataset.extents[index, 0]))
            piece = self._cut(dataset.rows(index, start, stop), corner, flipped)
            rows = len(piece)
            if flipped:  # much faster channel by channel
                for channel in range(item.channels):
                    samples[i, :rows, ..., channel] = piece[..., channel]
            else:
                samples[i, :rows] = piece
            mask[i, :rows] = True
            if along:
                labels[i, :rows] = self._cut(known[index][start:stop], corner, flipped)
            if symbols is not None:
                symbols[i, :rows] = item.to_symbols(samples[i, :rows], residual=bool(self.residual))
        return Batch(
            torch.from_numpy(samples if item.dtype == np.uint8 else samples.astype(np.int32)),
            None if mask.all() else torch.from_numpy(mask),
            torch.from_numpy(labels),
            None if symbols is None else torch.from_numpy(symbols),
        )

    def stream(self, start: int) -> Iterator[Batch]:
        """Yields `batch(start)`, `batch(start + 1)`, ... without end, made on background threads."""
        some_read = any(samples is None for samples in self.dataset.held)
        threads = min(_AHEAD, os.cpu_count() or 1) if some_read else 1
        return run_ahead(self.batch, itertools.count(start), threads=threads, ahead=_AHEAD)

    def draw(self, step: int) -> Pieces:
        """Where the pieces of a step's batch lie."""
        count, mine = self.windows_per_epoch, slice(self._first, self._first + self.batch_size)
        first, last = (step * self._joint + end for end in (mine.start, mine.stop))  # in the endless stream
        epochs = range(first // count, (last - 1) // count + 1)
        parts = [self._epoch(e)[:, max(0, first - e * count) : last - e * count] for e in epochs]
        indices, starts = np.concatenate(parts, axis=1)
        generator = self._random(_FURTHER if self._windows else _PLACES, step)
        random = generator.random((len(self.size) + 1, self._joint))[:, mine]
        room = np.maximum(self.dataset.extents[indices] - self.size, 0) // self.corner_step + 1
        corners = (random[:-1].T * room).astype(np.int64) * self.corner_step
        if self._windows:
            corners[:, 0] = starts
        return Pieces(indices, corners, (random[-1] < 0.5) & self.flip)

    def _random(self, family: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, family, number]))

    def _epoch(self, epoch: int) -> Numbers:
        """The items of an epoch's pieces, in order, and where windows start; kept for the next batch."""
        pieces = self._epochs.get(epoch)  # threads may meet here, and then do the work twice
        if pieces is None:
            order = self._random(_ORDER, epoch).permutation(self.windows_per_epoch)
            indices = np.searchsorted(self._ends, order, side="right")
            shifts = self._random(_PLACES, epoch).random(len(self.dataset))[indices]
            turn = order - (self._ends - self._counts)[indices]
            places = self._places[indices]
            place = ((turn + shifts) * places / self._counts[indices]).astype(np.int64)
            starts = (np.minimum(place, places - 1) - (self._span - 1)) * self.corner_step[0]
            longer = self.dataset.extents[indices, 0] > self.size[0]
            pieces = np.stack([indices, np.where(longer, starts, 0)])
        self._epochs = {epoch: pieces, **{e: p for e, p in self._epochs.items() if abs(e - epoch) == 1}}
        return pieces

    def _cut(self, rows: NDArray[Any], corner: list[int], flipped: bool) -> NDArray[Any]:
        """A piece of an item's samples (T, ..., C), or of its labels (T, L), whose rows are there already."""
        axes, mirror = rows.ndim - 1, self.dataset.item.mirror
        size = (len(rows) if self._windows else self.size[0], *self.size[1:axes])
        further = (slice(start, start + extent) for start, extent in zip(corner[1:], size[1:], strict=False))
        piece = rows[(slice(None), *further)]
        if flipped and mirror is not None and mirror < axes:
            piece = piece[(slice(None),) * mirror + (slice(None, None, -1),)]
        missing = [(0, extent - there) for extent, there in zip(size, piece.shape, strict=False)]
        if not any(after for _, after in missing):
            return piece
        return np.pad(piece, [*missing, (0, 0)], mode="edge")
