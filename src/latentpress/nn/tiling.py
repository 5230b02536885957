"""Large items in tiles: the result of one piece, in bounded memory.

A network whose output position depends on inputs at most `margin` latent positions away gives, on a
tile with that margin around it, the values of the whole item in the tile's middle. At the item's own
borders a tile has no margin, so that the network pads there exactly as it does for the whole.

Geometry is in latent positions, a number for each axis; a latent position covers `hop` samples of the item.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Tile", "pad_to_hop", "tiled", "tiles"]

Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Tile:
    """A box of the grid that is computed from a larger one; (start, stop) along each axis.

    `inner` is the box whose values are wanted, `outer` the same with its margin, both in the whole grid;
    `crop` is `inner` as seen from the start of `outer`.
    """

    inner: Box
    outer: Box

    @property
    def crop(self) -> Box:
        """Where `inner` lies inside `outer`."""
        return tuple(
            (start - origin, stop - origin)
            for (start, stop), (origin, _) in zip(self.inner, self.outer, strict=True)
        )


def tiles(grid: Sequence[int], tile: Sequence[int], margin: Sequence[int]) -> Iterator[Tile]:
    """Yields tiles whose `inner` boxes, at most `tile` positions large, cover `grid` once, in raster order.

    >>> for t in tiles((5,), tile=(3,), margin=(1,)):
    ...     print(t.inner, t.outer, t.crop)
    ((0, 3),) ((0, 4),) ((0, 3),)
    ((3, 5),) ((2, 5),) ((1, 3),)
    """
    if min(tile) < 1 or min(margin) < 0:
        raise ValueError(f"a tile has at least 1 position, a margin at least 0, got {tile} and {margin}")
    axes = list(zip(grid, tile, margin, strict=True))
    for corner in itertools.product(*(range(0, extent, step) for extent, step, _ in axes)):
        places = list(zip(corner, axes, strict=True))
        yield Tile(
            inner=tuple((c, min(c + step, extent)) for c, (extent, step, _) in places),
            outer=tuple((max(c - m, 0), min(c + step + m, extent)) for c, (extent, step, m) in places),
        )


def tiled(
    function: Callable[[Any], Any],
    x: Any,
    out: Any,
    *,
    grid: Sequence[int],
    tile: Sequence[int],
    margin: Sequence[int],
    hop_in: Sequence[int] | None = None,
    hop_out: Sequence[int] | None = None,
) -> Any:
    """Fills `out` with `function(x)`, computed tile by tile.

    `x` and `out` (B, *S, C) are arrays or tensors that may live on any device, in any type (bytes, say:
    convert inside `function`, and no float copy of the whole item ever exists). An extent of `x` or `out`
    may fall short of its multiple of the hop: `function` then gets the shorter piece (see `pad_to_hop`),
    and what it returns beyond the end of `out` is cut off.

    Args:
        function: maps a piece of `x` to the piece of the result on the same latent positions.
        x: the input.
        out: the output, filled in place and returned.
        grid: latent positions along each axis.
        tile: latent positions of a tile along each axis, without its margin.
        margin: latent positions of context that `function` needs on each side, along each axis.
        hop_in: samples of `x` along each axis for each latent position; by default 1.
        hop_out: the same of `out`.

    >>> import numpy as np
    >>> x = np.arange(10)[None]
    >>> tiled(lambda v: v[:, ::2], x, np.zeros((1, 5), int), grid=(5,), tile=(2,), margin=(0,), hop_in=(2,))
    array([[0, 2, 4, 6, 8]])
    """
    ones = (1,) * len(grid)
    hop_in, hop_out = hop_in or ones, hop_out or ones
    source, target = (tuple(part.shape[1 : 1 + len(grid)]) for part in (x, out))
    for name, extents, hop in (("x", source, hop_in), ("out", target, hop_out)):
        if any(-(-extent // h) != cells for extent, h, cells in zip(extents, hop, grid, strict=True)):
            raise ValueError(f"{name} of size {extents} does not cover a grid {grid} of hop {hop}")
    every = slice(None)
    for part in tiles(grid, tile, margin):
        y = function(x[every, *_slices(part.outer, hop_in, source)])
        inner = _slices(part.inner, hop_out, target)
        crop = tuple(
            slice(start * h, start * h + room.stop - room.start)
            for (start, _), h, room in zip(part.crop, hop_out, inner, strict=True)
        )
        out[every, *inner] = y[every, *crop]
    return out


def _slices(box: Box, hop: Sequence[int], extents: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        slice(start * h, min(stop * h, extent))
        for (start, stop), h, extent in zip(box, hop, extents, strict=True)
    )


def pad_to_hop(x: Tensor, hop: Sequence[int]) -> Tensor:
    """Repeats the last samples of `x` float (B, C, *S) until every extent is a multiple of its hop.

    >>> import torch
    >>> pad_to_hop(torch.tensor([[[1.0, 2.0, 3.0]]]), (2,))
    tensor([[[1., 2., 3., 3.]]])
    """
    missing = [-extent % h for extent, h in zip(x.shape[2:], hop, strict=True)]
    pads = [count for right in reversed(missing) for count in (0, right)]
    return F.pad(x, pads, mode="replicate") if any(missing) else x
