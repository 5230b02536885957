"""Batches of random crops: a pure function of seed and step, so that a resumed run sees the same ones.

Items come in a stream without end, one random permutation of the pool after another. Step s takes the
B * world items from position s * B * world on, and rank r the r-th B of them: the ranks of a run
together see what one process with their joint batch size would.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from latentpress.data.ahead import run_ahead
from latentpress.data.loading import Pool

__all__ = ["Batch", "Batches", "Draw"]

_ORDER, _CROPS = 0, 1  # two families of random streams under one seed
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Batch:
    """Pixels, uint8 (B, C, H, W), and labels, int64 (B,), indices into the pool's names or -1."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Draw:
    """What a batch is made of, each (B,): items, the crops' corners, and which ones are mirrored."""

    indices: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flipped: np.ndarray


class Batches:
    """Random crops of a pool's items, in batches.

    All crops have one size, `size` = (height, width): each side is the smaller of `crop` and the largest
    item's, rounded up to `multiple_of`. Items smaller than that are continued at the bottom and right
    with their last row and column. So items of one size no larger than `crop` are used whole.

    Args:
        pool: The items.
        batch_size: Items a batch, of this rank.
        crop: Side of the crops, in pixels.
        flip: Whether to mirror each crop left to right with probability 1/2.
        seed: Names the sequence of batches.
        multiple_of: The model's hop length.
        corner_step: Crops begin at multiples of it, along both axes.
        rank: Which of `world` processes this is.
        world: Number of processes.

    >>> from latentpress.data.loading import load_pool
    >>> from latentpress.data.sources import array_source
    >>> pool = load_pool(array_source(np.zeros((10, 30, 40, 3), np.uint8)))
    >>> batches = Batches(pool, batch_size=4, crop=32, flip=True, seed=0, multiple_of=4)
    >>> batches.batch(0).pixels.shape
    torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        pool: Pool,
        *,
        batch_size: int,
        crop: int,
        flip: bool,
        seed: int,
        multiple_of: int,
        corner_step: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        assert batch_size >= 1 and crop >= 1 and multiple_of >= 1 and corner_step >= 1 and 0 <= rank < world
        self.pool = pool
        self.batch_size = batch_size
        self.flip = flip
        self.seed = seed
        self.corner_step = corner_step
        self.rank = rank
        self.world = world
        largest = pool.shapes[:, 1:].max(axis=0)
        height, width = (-(-min(crop, int(side)) // multiple_of) * multiple_of for side in largest)
        self.size = (height, width)
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, always the same one.

        Raises:
            ItemError: An item that is not held in memory can no longer be read.
        """
        draw = self.draw(step)
        images = self.pool.stacked
        pixels = self._cut_each(draw) if images is None else self._cut_stacked(draw, images)
        return Batch(torch.from_numpy(pixels), torch.from_numpy(self.pool.labels[draw.indices]))

    def stream(self, start: int) -> Iterator[Batch]:
        """Yields `batch(start)`, `batch(start + 1)`, ... without end, made on background threads."""
        threads = 1 if self.pool.held else min(_AHEAD, os.cpu_count() or 1)
        return run_ahead(self.batch, itertools.count(start), threads=threads, ahead=_AHEAD)

    def draw(self, step: int) -> Draw:
        """Returns what the batch of a step is made of."""
        joint = self.batch_size * self.world
        mine = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        random = np.random.Generator(np.random.PCG64([self.seed, _CROPS, step])).random((3, joint))[:, mine]
        indices = self._indices(step * joint + mine.start, self.batch_size)
        room = np.maximum(self.pool.shapes[indices, 1:] - self.size, 0) // self.corner_step + 1
        top, left = (random[:2] * room.T).astype(np.int64) * self.corner_step
        return Draw(indices, top, left, (random[2] < 0.5) & self.flip)

    def _permute(self, epoch: int) -> np.ndarray:
        return np.random.Generator(np.random.PCG64([self.seed, _ORDER, epoch])).permutation(len(self.pool))

    def _indices(self, first: int, count: int) -> np.ndarray:
        """Returns the items at positions first, ..., first + count - 1 of the endless stream."""
        epoch, skip = divmod(first, len(self.pool))
        last = (first + count - 1) // len(self.pool)
        return np.concatenate([self._permutation(e) for e in range(epoch, last + 1)])[skip : skip + count]

    def _cut_stacked(self, draw: Draw, images: np.ndarray) -> np.ndarray:
        """Cuts all crops at once: the same result as `_cut_each`, for items of one size."""
        window = tuple(np.minimum(self.size, images.shape[2:]))
        crops = sliding_window_view(images, window, axis=(2, 3))[draw.indices, :, draw.top, draw.left]
        # Not torch's flip: on this thread it would start a second OpenMP team, whose idle threads spin.
        crops[draw.flipped] = crops[draw.flipped, ..., ::-1]
        return _continued(crops, self.size)

    def _cut_each(self, draw: Draw) -> np.ndarray:
        height, width = self.size
        crops = np.empty((self.batch_size, self.pool.channels, height, width), np.uint8)
        for i, (index, top, left) in enumerate(zip(draw.indices, draw.top, draw.left, strict=True)):
            crop = self.pool.planes(index)[:, top : top + height, left : left + width]
            crops[i] = _continued(crop[..., ::-1] if draw.flipped[i] else crop, self.size)
        return crops


def _continued(crops: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeats the last row and column of crops (..., h, w) until they have `size`."""
    if crops.shape[-2:] == size:
        return crops
    missing = [(0, wanted - side) for wanted, side in zip(size, crops.shape[-2:], strict=True)]
    return np.pad(crops, [(0, 0)] * (crops.ndim - 2) + missing, mode="edge")
