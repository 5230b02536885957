"""Large items in tiles: the result of one piece, in bounded memory.

A network whose output position depends on inputs at most `margin` latent positions away gives, on a
tile with that margin around it, the values of the whole item in the tile's middle. At the item's own
borders a tile has no margin, so that the network pads there exactly as it does for the whole.

Geometry is in latent positions; a latent position covers `hop` samples a side of the item.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Tile", "pad_to_hop", "tiled", "tiles"]

Out = TypeVar("Out")


@dataclass(frozen=True)
class Tile:
    """A box of the grid that is computed from a larger one; (start, stop) along each dimension.

    `inner` is what the tile is for, `outer` the same with its margin, both in the whole grid; `crop`
    is `inner` as seen from the start of `outer`.
    """

    inner: tuple[tuple[int, int], ...]
    outer: tuple[tuple[int, int], ...]

    @property
    def crop(self) -> tuple[tuple[int, int], ...]:
        """Where `inner` lies inside `outer`."""
        return tuple(
            (start - origin, stop - origin)
            for (start, stop), (origin, _) in zip(self.inner, self.outer, strict=True)
        )


def tiles(grid: Sequence[int], tile: int, margin: int) -> Iterator[Tile]:
    """Yields tiles whose `inner` boxes, at most `tile` positions a side, cover `grid` once, in raster order.

    >>> for t in tiles((5,), tile=3, margin=1):
    ...     print(t.inner, t.outer, t.crop)
    ((0, 3),) ((0, 4),) ((0, 3),)
    ((3, 5),) ((2, 5),) ((1, 3),)
    """
    if tile < 1 or margin < 0:
        raise ValueError(f"tile must be at least 1 and margin not negative, got {tile} and {margin}")
    for corner in itertools.product(*(range(0, side, tile) for side in grid)):
        inner = tuple((c, min(c + tile, side)) for c, side in zip(corner, grid, strict=True))
        outer = tuple(
            (max(start - margin, 0), min(stop + margin, side))
            for (start, stop), side in zip(inner, grid, strict=True)
        )
        yield Tile(inner, outer)


def tiled(
    function: Callable[[Any], Any],
    x: Any,
    out: Out,
    *,
    grid: Sequence[int],
    tile: int,
    margin: int,
    hop_in: int = 1,
    hop_out: int = 1,
    axis: int = 1,
) -> Out:
    """Fills `out` with `function(x)`, computed tile by tile.

    `x` and `out` are arrays or tensors that may live on any device, in any type (bytes, say: convert
    inside `function`, and no float copy of the whole item ever exists). A side of `x` or `out` may
    fall short of its multiple of the hop: `function` then gets the shorter piece (see `pad_to_hop`),
    and what it returns beyond the end of `out` is cut off.

    Args:
        function: Maps a piece of `x` to the piece of the result on the same latent positions.
        x: The input, `hop_in` samples a side for each latent position.
        out: The output, filled in place, `hop_out` samples a side for each latent position.
        grid: Latent positions along each spatial dimension.
        tile: Latent positions a side of a tile, without its margin.
        margin: Latent positions of context that `function` needs on each side.
        hop_in: Samples of `x` a side for each latent position.
        hop_out: Samples of `out` a side for each latent position.
        axis: The first spatial axis of `x` and `out`: 1 for (B, *S, C), 2 for (B, C, *S).

    Returns:
        `out`.

    >>> import numpy as np
    >>> x = np.arange(10)[None]
    >>> tiled(lambda v: v[:, ::2], x, np.zeros((1, 5), int), grid=(5,), tile=2, margin=0, hop_in=2)
    array([[0, 2, 4, 6, 8]])
    """
    source, target = _sides(x, axis, len(grid)), _sides(out, axis, len(grid))
    for name, sides, hop in (("x", source, hop_in), ("out", target, hop_out)):
        if any(-(-side // hop) != cells for side, cells in zip(sides, grid, strict=True)):
            raise ValueError(f"{name} of sides {sides} does not cover a grid {tuple(grid)} of hop {hop}")
    leading = (slice(None),) * axis
    for part in tiles(grid, tile, margin):
        y = function(x[leading + _slices(part.outer, hop_in, source)])
        inner = _slices(part.inner, hop_out, target)
        crop = tuple(
            slice(start * hop_out, start * hop_out + room.stop - room.start)
            for (start, _), room in zip(part.crop, inner, strict=True)
        )
        out[leading + inner] = y[leading + crop]  # pyright: ignore[reportIndexIssue]
    return out


def _sides(x: Any, axis: int, spatial: int) -> tuple[int, ...]:
    return tuple(x.shape[axis : axis + spatial])


def _slices(box: tuple[tuple[int, int], ...], hop: int, sides: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(start * hop, min(stop * hop, side)) for (start, stop), side in zip(box, sides, strict=True)
    )


def pad_to_hop(x: Tensor, hop: int) -> Tensor:
    """Repeats the last samples of `x` float (B, C, *S) until every side of S is a multiple of `hop`.

    >>> import torch
    >>> pad_to_hop(torch.tensor([[[1.0, 2.0, 3.0]]]), 2)
    tensor([[[1., 2., 3., 3.]]])
    """
    missing = [-side % hop for side in x.shape[2:]]
    pads = [count for right in reversed(missing) for count in (0, right)]
    return F.pad(x, pads, mode="replicate") if any(missing) else x
