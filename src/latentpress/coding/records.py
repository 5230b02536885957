"""What an archive is made of: its header, its items and its coded blocks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from latentpress.coding.layout import (
    PIXEL_BLOCK,
    PIXEL_SEGMENT,
    TEXT_SEGMENT,
    BlockLayout,
    Grid,
    Part,
    Segment,
    lay_out,
)
from latentpress.coding.modes import Mode

__all__ = ["MAX_ITEMS", "MAX_SAMPLES", "MAX_SIDE", "Block", "Header", "ItemRecord", "symbols_crc"]

MAX_ITEMS = 1 << 20
MAX_SAMPLES = 1 << 28  # of one item, in each channel
MAX_SIDE = 1 << 16  # of one item, along each of several axes
_CHUNK = 1 << 20

Integers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an archive says of itself as a whole.

    `kind` is that of its items: "image", of two axes, or "text", of one.
    `sizes` are the numbers of symbols of the tuple members, `hop` the samples a latent position
    spans along each axis of an item. `model` is a name for messages; the ids, of 16 bytes, are what
    counts: `prior_id` names the integers of the prior (zeros if the model has none), `codebook_id`
    the codebook's vectors, and `pixels_id` those of the decoder of pixels; None in an archive that is
    not lossless. A lossless archive without codes has no `sizes`; `differences` says whether its pixels
    are coded as differences (1) or as they are (0). An archive of codes alone whose decoder draws the
    samples says in `seed` with which random numbers.
    """

    kind: str
    channels: int
    sizes: tuple[int, ...]
    hop: tuple[int, ...]
    model: str
    prior_id: bytes
    codebook_id: bytes
    pixels_id: bytes | None = None
    differences: int | None = None
    seed: int | None = None

    @property
    def lossless(self) -> bool:
        """Whether the archive gives back every sample as it was."""
        return self.pixels_id is not None

    @property
    def pixel_sizes(self) -> tuple[int, ...]:
        """The alphabets of a pixel's samples."""
        return (256,) * self.channels

    def grid(self, shape: Grid) -> Grid:
        """Returns the grid of latent positions of an item with this shape in samples."""
        return tuple(-(-extent // hop) for extent, hop in zip(shape, self.hop, strict=True))

    def layout(
        self, shapes: Sequence[Grid], whole: Collection[int] = (), *, max_blocks: int | None = None
    ) -> list[BlockLayout]:
        """Returns all blocks in their order: of codes, of pixels, of items stored whole.

        Args:
            shapes: the items' extents in samples.
            whole: in a lossless archive, the numbers of the items that are stored whole.
            max_blocks: as for `lay_out`.
        """

        def left() -> int | None:
            return None if max_blocks is None else max_blocks - len(blocks)

        blocks: list[BlockLayout] = []
        if self.sizes:
            grids = (self.grid(shape) for shape in shapes)
            blocks += lay_out(grids, len(self.sizes), absent=whole, max_blocks=left())
        if self.lossless:
            pixels = lay_out(
                shapes,
                self.channels,
                segment=TEXT_SEGMENT if len(self.hop) == 1 else PIXEL_SEGMENT,
                block=PIXEL_BLOCK,
                absent=whole,
                max_blocks=left(),
            )
            blocks += [replace(block, part=Part.PIXELS) for block in pixels]
            for item in sorted(whole):
                lane = Segment(item, 0, shapes[item][0])
                blocks.append(BlockLayout(shapes[item], (lane,), Part.WHOLE))
        return blocks


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One item: its name, its extents in samples (rows, columns; or bytes), its class or None."""

    name: str
    shape: Grid
    label: int | None = None

    @property
    def samples(self) -> int:
        """Samples of one channel."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Block:
    """A coded block: how, its bytes, and the CRC-32 of its symbols."""

    mode: Mode
    payload: bytes
    symbols_crc: int


def symbols_crc(codes: Integers) -> int:
    """Returns the CRC-32 of codes (T, L, P) as 16-bit little-endian integers in that order."""
    flat, crc = codes.reshape(-1), 0
    for start in range(0, len(flat), _CHUNK):  # a large item's would take twice its memory
        crc = zlib.crc32(flat[start : start + _CHUNK].astype("<u2").tobytes(), crc)
    return crc
