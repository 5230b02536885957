"""Functions of large arrays computed tile by tile, as models encode and decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from latentpress.nn.tiling import slices, tiles

__all__ = ["tiled"]


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
) -> None:
    """Fills `out` (B, *S, C) with `function(x)`, a piece of `x` at a time; extents may fall short of hops."""
    for part in tiles(grid, tile, margin):
        y = function(x[:, *slices(part.outer, hop_in)])
        room = out[:, *slices(part.inner, hop_out)]
        starts = [place.start for place in slices(part.crop, hop_out)]
        crop = (slice(s, s + side) for s, side in zip(starts, room.shape[1:], strict=False))
        room[:] = y[:, *crop]
