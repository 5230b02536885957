"""What each block holds: items are cut into segments, segments are gathered into blocks.

The layout follows from the items' grids alone, so that an archive need not store it:

1. An item whose grid has more than `SEGMENT` positions is cut along its first axis into bands of
   whole rows, as few as keep each to `SEGMENT` positions, all of the same height but the last.
   (A single row is never cut.) Any other item is one segment.
2. Going through the items in order, and through each one's segments in order, a segment joins the
   open block of its shape, or opens one. A block with `BLOCK` symbols or more is closed; those
   still open at the end are closed in the order in which they were opened.
3. Blocks are numbered in the order of closing, the segments (lanes) of a block in that of joining.

Codes are laid out so, and so are the pixels of a lossless archive, whose segments and blocks are larger
(`PIXEL_SEGMENT`, `PIXEL_BLOCK`): a pixel network looks farther back, and its tables are dearer. The bytes
of texts, which have one axis, are cut into shorter segments (`TEXT_SEGMENT`): a page or two is all that
their network looks back to, and a single text should keep several lanes busy. An empty text has no
segment. An item that is stored whole has a block of its own. In the layouts it takes its place all the
same, if it is one segment, and is then taken out: so the others' blocks stay as they were when it turned
out to be dear.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from latentpress.errors import ArchiveError

__all__ = [
    "BLOCK",
    "PIXEL_BLOCK",
    "PIXEL_SEGMENT",
    "SEGMENT",
    "TEXT_SEGMENT",
    "BlockLayout",
    "Part",
    "Segment",
    "lay_out",
    "segments",
]

SEGMENT = 4096
BLOCK = 4096
PIXEL_SEGMENT = 1 << 17
PIXEL_BLOCK = 1 << 16
TEXT_SEGMENT = 1 << 14

Grid = tuple[int, ...]


class Part(Enum):
    """What a block holds of its items: codes, pixels coded by a model, or one item's pixels otherwise."""

    CODES = "codes"
    PIXELS = "pixels"
    WHOLE = "whole"


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
    part: Part = Part.CODES

    @property
    def positions(self) -> int:
        """Positions of a lane."""
        return math.prod(self.shape)


def segments(item: int, grid: Grid, segment: int = SEGMENT) -> Iterator[tuple[Segment, Grid]]:
    """Cuts one item's grid into bands and yields each with its shape; none of an empty grid.

    >>> [(s.start, s.stop, shape) for s, shape in segments(0, (130, 64))]
    [(0, 44, (44, 64)), (44, 88, (44, 64)), (88, 130, (42, 64))]
    """
    rows, row = grid[0], math.prod(grid[1:])
    if not rows:
        return
    most = max(1, segment // row)
    height = math.ceil(rows / math.ceil(rows / most))
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        yield Segment(item, start, stop), (stop - start, *grid[1:])


def lay_out(
    grids: Iterable[Grid],
    members: int,
    *,
    segment: int = SEGMENT,
    block: int = BLOCK,
    absent: Collection[int] = (),
    max_blocks: int | None = None,
) -> list[BlockLayout]:
    """Returns the blocks of items with the given grids, `members` symbols a position.

    Items that are `absent` take their places and are then taken out; a block that keeps none is not there.

    Raises:
        ArchiveError: there would be more than `max_blocks` of them (checked as they are made).

    >>> [len(block.lanes) for block in lay_out([(8, 8)] * 100, members=1)]
    [64, 36]
    >>> [len(block.lanes) for block in lay_out([(8, 8)] * 100, members=1, absent={0, 1, 99})]
    [62, 35]
    """
    closed: list[BlockLayout] = []
    lanes: dict[Grid, list[Segment]] = {}
    present: dict[Grid, int] = {}
    count = 0
    for item, grid in enumerate(grids):
        gone = item in absent
        if gone and math.prod(grid) > segment:
            continue
        for lane, shape in segments(item, grid, segment):
            joined = lanes.setdefault(shape, [])
            joined.append(lane)
            if not gone:
                present[shape] = present.get(shape, 0) + 1
                count += present[shape] == 1
            if len(joined) * math.prod(shape) * members >= block:
                closed.append(BlockLayout(shape, tuple(lanes.pop(shape))))
                present.pop(shape, None)
            if max_blocks is not None and count > max_blocks:
                raise ArchiveError("damaged archive: the items need more blocks than there are")
    blocks = closed + [BlockLayout(shape, tuple(joined)) for shape, joined in lanes.items()]
    if not absent:
        return blocks
    kept = (replace(b, lanes=tuple(lane for lane in b.lanes if lane.item not in absent)) for b in blocks)
    return [block for block in kept if block.lanes]
