"""What each chain of a bits-back archive holds.

A chain is a block of the segments of items, coded one after the other on one stack. As in `layout`, which
segments it holds follows from the items' extents alone:

1. Items are cut into segments as the pixels of other lossless archives are.
2. Going through the items in order, and through each one's segments in order, a segment joins the open
   chain of its width (its extents but the first), or opens one. A chain with `CHAIN` positions or more is
   closed; those still open at the end are closed in the order in which they were opened.
3. The segments of a chain are decoded in the order of their sizes, of equals in that of joining: chains
   that are decoded side by side then wait little for each other, and the last one, whose latents cost
   most, is the largest.

An item that is stored whole takes its place, if it is one segment, and is then taken out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from latentpress.coding.layout import BlockLayout, Grid, Part, Segment, segments
from latentpress.errors import ArchiveError

__all__ = ["CHAIN", "lay_out_chains"]

CHAIN = 1 << 18


def lay_out_chains(
    shapes: Sequence[Grid],
    segment: int,
    *,
    absent: Collection[int] = (),
    max_blocks: int | None = None,
) -> list[BlockLayout]:
    """Returns the chains of items of these extents; a chain's shape is that of its segments, joined.

    Args:
        shapes: the items' extents.
        segment: the positions of a segment, at most.
        absent: items that take their places and are then taken out; a chain that keeps none is not there.
        max_blocks: how many chains there may be.

    Raises:
        ArchiveError: there would be more (checked as they are made).

    >>> chains = lay_out_chains([(28, 28)] * 1000, 1 << 17)
    >>> [(len(chain.lanes), chain.shape) for chain in chains]
    [(335, (9380, 28)), (335, (9380, 28)), (330, (9240, 28))]
    >>> [(lane.item, lane.start) for lane in lay_out_chains([(5,), (9,), (3,)], 4)[0].lanes]
    [(0, 3), (0, 0), (1, 0), (1, 3), (1, 6), (2, 0)]
    """
    closed: list[list[Segment]] = []
    open_: dict[Grid, list[Segment]] = {}
    sizes: dict[Grid, int] = {}
    started: set[Grid] = set()
    count = 0
    for item, extents in enumerate(shapes):
        gone = item in absent
        if gone and math.prod(extents) > segment:
            continue
        for lane, shape in segments(item, extents, segment):
            width = shape[1:]
            open_.setdefault(width, []).append(lane)
            sizes[width] = sizes.get(width, 0) + math.prod(shape)
            if not gone and width not in started:
                started.add(width)
                count += 1
            if sizes[width] >= CHAIN:
                closed.append(open_.pop(width))
                sizes.pop(width)
                started.discard(width)
            if max_blocks is not None and count > max_blocks:
                raise ArchiveError("damaged archive: the items need more blocks than there are")
    kept = ([lane for lane in lanes if lane.item not in absent] for lanes in [*closed, *open_.values()])
    return [_chain(lanes, shapes[lanes[0].item][1:]) for lanes in kept if lanes]


def _chain(lanes: list[Segment], width: Grid) -> BlockLayout:
    ordered = sorted(lanes, key=lambda lane: lane.stop - lane.start)
    rows = sum(lane.stop - lane.start for lane in lanes)
    return BlockLayout((rows, *width), tuple(ordered), Part.CHAIN)
