"""Large items in tiles: the result of one piece, in bounded memory.

A network whose output position depends on inputs at most `margin` latent positions away gives, on a
tile with that margin around it, the values of the whole item in the tile's middle. At the item's own
borders a tile has no margin, so that the network pads there exactly as it does for the whole.

Geometry is in latent positions, a number for each axis; a latent position covers `hop` samples of the item.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Box", "Tile", "pad_to_hop", "slices", "tiles"]

Box = tuple[tuple[int, int], ...]  # (start, stop) along each axis


@dataclass(frozen=True)
class Tile:
    """A box `inner` of the grid whose values are wanted, and the same with its margin, `outer`."""

    inner: Box
    outer: Box

    @property
    def crop(self) -> Box:
        """Where `inner` lies inside `outer`."""
        pairs = zip(self.inner, self.outer, strict=True)
        return tuple((start - origin, stop - origin) for (start, stop), (origin, _) in pairs)


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


def slices(box: Box, hop: Sequence[int] | None = None) -> tuple[slice, ...]:
    """Where a box is in an array of latent positions, or of samples, given the hop.

    >>> slices(((2, 5),)), slices(((2, 5),), hop=(8,))
    ((slice(2, 5, None),), (slice(16, 40, None),))
    """
    hop = hop or (1,) * len(box)
    return tuple(slice(start * h, stop * h) for (start, stop), h in zip(box, hop, strict=True))


def pad_to_hop(x: Tensor, hop: Sequence[int]) -> Tensor:
    """Repeats the last samples of `x` float (B, C, *S) until every extent is a multiple of its hop.

    >>> import torch
    >>> pad_to_hop(torch.tensor([[[1.0, 2.0, 3.0]]]), (2,))
    tensor([[[1., 2., 3., 3.]]])
    """
    missing = [-extent % h for extent, h in zip(x.shape[2:], hop, strict=True)]
    pads = [count for right in reversed(missing) for count in (0, right)]
    return F.pad(x, pads, mode="replicate") if any(missing) else x
