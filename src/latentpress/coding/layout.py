"""What each block holds: items are cut into segments, segments are gathered into blocks.

This follows from the items' extents alone, by the rules of docs/archive.md. Why they are so:

- Blocks have segments of one shape, which are decoded side by side as lanes, and few symbols, so that an item
  is decoded, or lost, with few others.
- The segments of a chain, which is coded by bits back, come one after the other, those with few rows first:
  chains that are decoded side by side then wait little for each other, and the last segment, whose latents
  cost most, is the largest.
- Items that are stored otherwise take their places if they are one segment, and are then taken out, so
  that the others' blocks stay as they were when an item turned out to be dear.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from latentpress.errors import ArchiveError

__all__ = ["CODE_SEGMENT", "BlockLayout", "Grid", "Part", "Plan", "Segment", "lay_out", "segments"]

CODE_SEGMENT = 1 << 12

Grid = tuple[int, ...]


class Part(Enum):
    """What a block holds: codes, samples coded by the model, a chain of these, a fallback, a file."""

    CODES = "codes"
    SAMPLES = "samples"
    CHAIN = "chain"
    FALLBACK = "fallback"
    FILE = "file"


class Plan(NamedTuple):
    """The symbols of a position, the positions of a segment at most, and the symbols that close a block."""

    part: Part
    components: int
    segment: int
    block: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `start` to `stop` - 1 (along the first axis) of the grid of item number `item`."""

    item: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Segments that are coded together: side by side, one a lane, all of one `shape`.

    In a chain they come one after the other, and `shape` is that of all of them, joined along the first axis.
    """

    shape: Grid
    lanes: tuple[Segment, ...]
    part: Part

    @property
    def positions(self) -> int:
        """Positions of a lane, or of a chain."""
        return math.prod(self.shape)


def segments(item: int, grid: Grid, segment: int = CODE_SEGMENT) -> Iterator[tuple[Segment, Grid]]:
    """Cuts one item's grid into bands of at most `segment` positions and yields each with its shape.

    >>> [(s.start, s.stop, shape) for s, shape in segments(0, (130, 64))]
    [(0, 44, (44, 64)), (44, 88, (44, 64)), (88, 130, (42, 64))]
    """
    rows, row = grid[0], math.prod(grid[1:])
    if not rows:
        return
    bands = -(-rows // max(1, segment // row))
    height = -(-rows // bands)
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        yield Segment(item, start, stop), (stop - start, *grid[1:])


def lay_out(
    grids: Iterable[tuple[int, Grid]],
    plan: Plan,
    *,
    absent: Collection[int] = (),
    max_blocks: float = math.inf,
) -> list[BlockLayout]:
    """Returns the blocks of items, given by number and grid.

    Items that are `absent` take their places and are then taken out; a block that keeps none is not there.

    Raises:
        ArchiveError: there would be more than `max_blocks` of them (checked as they are made).

    >>> codes = Plan(Part.CODES, 1, segment=1 << 12, block=1 << 12)
    >>> [len(block.lanes) for block in lay_out(enumerate([(8, 8)] * 100), codes)]
    [64, 36]
    >>> [len(block.lanes) for block in lay_out(enumerate([(8, 8)] * 100), codes, absent={0, 1, 99})]
    [62, 35]
    >>> chains = lay_out(enumerate([(28, 28)] * 1000), Plan(Part.CHAIN, 1, 1 << 17, 1 << 18))
    >>> [(len(chain.lanes), chain.shape) for chain in chains]
    [(335, (9380, 28)), (335, (9380, 28)), (330, (9240, 28))]
    """
    absent, count = frozenset(absent), 0
    closed: list[tuple[Grid, list[Segment]]] = []
    lanes: dict[Grid, list[Segment]] = {}  # of blocks that segments may still join
    symbols = Counter[Grid]()  # of these, with those of absent items
    for item, grid in grids:
        if item in absent and math.prod(grid) > plan.segment:
            continue
        for lane, shape in segments(item, grid, plan.segment):
            key = shape[1:] if plan.part is Part.CHAIN else shape
            block = lanes.setdefault(key, [])
            if item not in absent:
                count += not block
                if count > max_blocks:
                    raise ArchiveError("damaged archive: the items need more blocks than there are")
                block.append(lane)
            symbols[key] += math.prod(shape) * plan.components
            if symbols[key] >= plan.block:
                closed.append((key, lanes.pop(key)))
                del symbols[key]
    blocks = []
    for shape, block in [*closed, *lanes.items()]:
        if plan.part is Part.CHAIN:
            block.sort(key=lambda lane: lane.stop - lane.start)
            shape = sum(lane.stop - lane.start for lane in block), *shape
        if block:
            blocks.append(BlockLayout(shape, tuple(block), plan.part))
    return blocks
