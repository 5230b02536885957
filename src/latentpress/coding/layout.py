"""Where each item's codes stand: items are cut into segments, segments are gathered into blocks.

The layout follows from the items' grids alone, so that an archive need not store it:

1. An item whose grid has more than `SEGMENT` positions is cut along its first axis into bands of
   whole rows, as few as keep each to `SEGMENT` positions, all of the same height but the last.
   (A single row is never cut.) Any other item is one segment.
2. Going through the items in order, and through each one's segments in order, a segment joins the
   open block of its shape, or opens one. A block with `BLOCK` symbols or more is closed; those
   still open at the end are closed in the order in which they were opened.
3. Blocks are numbered in the order of closing, the segments (lanes) of a block in that of joining.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from latentpress.errors import ArchiveError

__all__ = ["BLOCK", "SEGMENT", "BlockLayout", "Segment", "lay_out", "segments"]

SEGMENT = 4096
BLOCK = 4096

Grid = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `start` to `stop` (along the first axis) of the grid of item number `item`."""

    item: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Segments of one shape that are coded together, one a lane."""

    shape: Grid
    lanes: tuple[Segment, ...]

    @property
    def positions(self) -> int:
        """Positions of a lane."""
        return math.prod(self.shape)


def segments(item: int, grid: Grid) -> Iterator[tuple[Segment, Grid]]:
    """Cuts one item's grid into bands and yields each with its shape.

    >>> [(s.start, s.stop, shape) for s, shape in segments(0, (130, 64))]
    [(0, 44, (44, 64)), (44, 88, (44, 64)), (88, 130, (42, 64))]
    """
    rows, row = grid[0], math.prod(grid[1:])
    most = max(1, SEGMENT // row)
    height = math.ceil(rows / math.ceil(rows / most))
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        yield Segment(item, start, stop), (stop - start, *grid[1:])


def lay_out(grids: Iterable[Grid], members: int, *, max_blocks: int | None = None) -> list[BlockLayout]:
    """Returns the blocks of items with the given grids, `members` symbols a position.

    Raises:
        ArchiveError: there would be more than `max_blocks` of them (checked as they are made).

    >>> [len(block.lanes) for block in lay_out([(8, 8)] * 100, members=1)]
    [64, 36]
    """
    closed: list[BlockLayout] = []
    lanes: dict[Grid, list[Segment]] = {}
    for item, grid in enumerate(grids):
        for segment, shape in segments(item, grid):
            block = lanes.setdefault(shape, [])
            block.append(segment)
            if len(block) * math.prod(shape) * members >= BLOCK:
                closed.append(BlockLayout(shape, tuple(lanes.pop(shape))))
            if max_blocks is not None and len(closed) + len(lanes) > max_blocks:
                raise ArchiveError("damaged archive: the items need more blocks than there are")
    return closed + [BlockLayout(shape, tuple(block)) for shape, block in lanes.items()]
