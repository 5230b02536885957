"""Places on grids: past offsets, the cells of latent positions, and the raster where an offset is one shift.

The source of offset `o` at position `q` is `q + o`. Positions are visited in raster order (the last axis
fastest), so `o` is *past* when it is lexicographically negative. A causal convolution is a list of past
offsets; the same lists serve grids of 1, 2 and 3 axes.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Offset",
    "Raster",
    "depth_to_space",
    "inside",
    "layer_offsets",
    "shift_and_concat",
    "space_to_depth",
    "window_offsets",
]

Offset = tuple[int, ...]


def window_offsets(rank: int, radius: int) -> tuple[Offset, ...]:
    """All past offsets at most `radius` away along every axis, in raster order.

    On a plane the rows above are seen from `-radius` to `+radius`: no blind spot to the upper right.

    >>> window_offsets(1, 3)
    ((-3,), (-2,), (-1,))
    >>> window_offsets(2, 1)
    ((-1, -1), (-1, 0), (-1, 1), (0, -1))
    """
    axes = [range(-radius, 1)] + [range(-radius, radius + 1)] * (rank - 1)
    return tuple(offset for offset in itertools.product(*axes) if offset < (0,) * rank)


def layer_offsets(rank: int, dilation: int) -> tuple[Offset, ...]:
    """The offsets of one gated layer: the position itself and, per axis, straight back and back-and-ahead.

    The features at a position summarise what lies strictly before it, so the summary that includes
    the symbol above is found at the upper *right*: hence the second offset per axis.

    >>> layer_offsets(1, 4)
    ((-4,), (0,))
    >>> layer_offsets(2, 1)
    ((-1, 0), (-1, 1), (0, -1), (0, 0))
    """
    pairs = itertools.product(range(rank), (0, dilation))
    past = {(0,) * axis + (-dilation,) + (ahead,) * (rank - 1 - axis) for axis, ahead in pairs}
    return (*sorted(past), (0,) * rank)


def inside(offsets: Sequence[Offset], grid: Sequence[int]) -> list[int]:
    """Numbers of the offsets whose source lies inside `grid` for at least one position."""
    fits = [all(abs(o) < size for o, size in zip(offset, grid, strict=True)) for offset in offsets]
    return [tap for tap, fit in enumerate(fits) if fit]


def shift_and_concat(x: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Concatenates the channels at each offset: (B, *G, C) to (B, *G, len(offsets) * C).

    Sources outside the grid are zero.

    >>> shift_and_concat(torch.tensor([[[1.0], [2.0], [3.0]]]), [(-1,), (0,)]).tolist()
    [[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]]
    """
    taps: Tensor = _ShiftAndConcat.apply(x, tuple(offsets))
    return taps


class _ShiftAndConcat(torch.autograd.Function):
    """`shift_and_concat` by slices of what is inside, both ways: padding takes several passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offsets: tuple[Offset, ...]) -> Tensor:
        ctx.offsets = offsets
        out = x.new_zeros(*x.shape[:-1], len(offsets), x.shape[-1])
        for tap, offset in enumerate(offsets):
            here, there = _overlap(x.shape[1:-1], offset)
            out[(*here, tap)] = x[there]
        return out.flatten(-2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        taps = grads[0].unflatten(-1, (len(ctx.offsets), -1))
        out = torch.zeros_like(taps[..., 0, :], memory_format=torch.contiguous_format)
        for tap, offset in enumerate(ctx.offsets):
            here, there = _overlap(out.shape[1:-1], offset)
            out[there] += taps[(*here, tap)]
        return out, None


def _overlap(grid: Sequence[int], offset: Offset) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the positions whose source lies inside the grid, and of those sources."""
    here, there = [slice(None)], [slice(None)]
    for size, o in zip(grid, offset, strict=True):
        start, stop = max(0, -o), max(0, min(size, size - o))
        here.append(slice(min(start, stop), stop))
        there.append(slice(min(start, stop) + o, stop + o) if start < stop else slice(0, 0))
    return tuple(here), tuple(there)


def depth_to_space(cells: Tensor, hop: Sequence[int], size: Sequence[int]) -> Tensor:
    """Lays cells (B, *G, prod(hop) * C) out on the samples: (B, C, *size); what is over is cut off.

    >>> depth_to_space(torch.arange(6).view(1, 2, 3), hop=(3,), size=(5,)).tolist()
    [[[0, 1, 2, 3, 4]]]
    """
    rank = len(hop)
    split = cells.unflatten(-1, (*hop, -1))  # (B, *G, *hop, C)
    pairs = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    laid = split.permute(0, 1 + 2 * rank, *pairs)
    sides = (grid * h for grid, h in zip(cells.shape[1:-1], hop, strict=True))
    laid = laid.reshape(*laid.shape[:2], *sides)
    return laid[(slice(None), slice(None), *map(slice, size))]


def space_to_depth(samples: Tensor, hop: Sequence[int]) -> Tensor:
    """Gathers samples (B, *S, C) into cells, the other way: (B, *G, prod(hop) * C), filled up with zeros.

    >>> space_to_depth(torch.arange(3.0).view(1, 3, 1), hop=(2,)).tolist()
    [[[0.0, 1.0], [2.0, 0.0]]]
    """
    rank, size = len(hop), samples.shape[1:-1]
    missing = [-side % h for side, h in zip(size, hop, strict=True)]
    if any(missing):
        samples = F.pad(samples, [0, 0, *(n for m in reversed(missing) for n in (0, m))])
    for axis, h in enumerate(hop):
        samples = samples.unflatten(1 + 2 * axis, (-1, h))  # (B, G_1, hop_1, ..., C)
    grid = [1 + 2 * axis for axis in range(rank)]
    cells = samples.permute(0, *grid, *(axis + 1 for axis in grid), 1 + 2 * rank)
    return cells.flatten(1 + rank)


@dataclass(frozen=True)
class Raster:
    """A grid flattened with `margin` empty places after every row (and rows after every plane).

    Reading ahead past a row's end, or back before its start, then lands on an empty place, so that
    an offset is the same shift everywhere.

    >>> raster = Raster((2, 3), margin=1)
    >>> [raster.place(i) for i in range(6)]
    [0, 1, 2, 4, 5, 6]
    >>> raster.shift((-1, 1))
    3
    """

    grid: tuple[int, ...]
    margin: int

    @functools.cached_property
    def strides(self) -> tuple[int, ...]:
        """Places between neighbours along each axis."""
        inner = [size + self.margin for size in self.grid[1:]]
        return tuple(math.prod(inner[axis:]) for axis in range(len(self.grid)))

    def place(self, index: int) -> int:
        """The place of the position that is number `index` in raster order."""
        return int(np.dot(np.unravel_index(index, self.grid), self.strides))

    def shift(self, offset: Offset) -> int:
        """How many places back an offset's source lies; positive for past offsets."""
        return -sum(o * stride for o, stride in zip(offset, self.strides, strict=True))
