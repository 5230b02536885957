"""What an archive is made of: its header, its items and its coded blocks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from latentpress.coding.layout import CODE_SEGMENT, BlockLayout, Grid, Part, Plan, lay_out
from latentpress.coding.modes import Mode

__all__ = ["MAX_ITEMS", "Block", "Content", "Header", "ItemRecord", "Stored", "shape_fits", "symbols_crc"]

CODE_BLOCK = 1 << 12  # symbols that close a block
SAMPLE_BLOCK = 1 << 16
CHAIN = 1 << 18  # positions
FALLBACK_SEGMENT = 1 << 26
FILE_SEGMENT = 1 << 26  # bytes
MAX_ITEMS = 1 << 20
_MAX_ROWS = 1 << 40  # extent along the first axis
_MAX_SIDE = 1 << 24  # and along each of the others
_MAX_ROW = 1 << 26  # positions of a row
_MAX_POSITIONS = 1 << 44
_CHUNK = 1 << 20

Content = Literal["codes", "samples", "chains"]
Integers = NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """Items that the model does not code, by number.

    Args:
        fallback: those whose samples the fallback codec stores.
        files: those that are stored as the files that they were, with the bytes of each.
    """

    fallback: frozenset[int] = frozenset()
    files: Mapping[int, int] = field(default_factory=dict)

    @property
    def numbers(self) -> frozenset[int]:
        """All of them."""
        return self.fallback.union(self.files)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an archive records of itself as a whole; docs/archive.md has the ranges.

    Args:
        kind: that of the items. The archive knows nothing more of it.
        channels: samples of a position of an item.
        hop: positions of an item that one position of its codes spans, one number an axis.
        code_alphabets: how many codes each component of a position has; () without codes, as in chains.
        sample_alphabets: how many symbols each component of a position of an item has.
        segment: positions of an item that are coded as one grid, at most.
        content: what the model codes of the items: "codes" alone, which is lossy; "samples", given the codes
            if there are any; or "chains" of samples by bits back.
        residual: whether the symbols of samples are prediction residuals; False for "codes".
        labels: how many labels an item has.
        model: a name for messages.
        ids: 16 bytes each, hashes that name parts of the model, those that are needed at least: "codes"
            (what codes mean), "prior", "decoder" and "encoder".
        seed: of the random numbers with which samples are drawn given the codes; None where none are.
    """

    kind: str
    channels: int
    hop: tuple[int, ...]
    code_alphabets: tuple[int, ...]
    sample_alphabets: tuple[int, ...]
    segment: int
    content: Content
    residual: bool = False
    labels: int = 0
    model: str = ""
    ids: Mapping[str, bytes] = field(default_factory=dict)
    seed: int | None = None

    @property
    def rank(self) -> int:
        """Axes of the items."""
        return len(self.hop)

    @property
    def lossless(self) -> bool:
        """Whether the archive gives back every sample of every item as it was."""
        return self.content != "codes"

    def grid(self, shape: Grid) -> Grid:
        """The grid of codes of an item with these extents, ceil(extent / hop) along each axis."""
        return tuple(-(-extent // hop) for extent, hop in zip(shape, self.hop, strict=True))

    def alphabets(self, part: Part) -> tuple[int, ...]:
        """How many symbols each component of a position has in blocks of this part."""
        own = {Part.CODES: self.code_alphabets, Part.FILE: (256,)}
        return own.get(part, self.sample_alphabets)

    def layout(
        self, items: Sequence[ItemRecord], stored: Stored | None = None, *, max_blocks: float = math.inf
    ) -> list[BlockLayout]:
        """Returns all blocks in their order: of codes, samples or chains of these, fallback bands, files.

        Args:
            items: all of the archive; duplicates are in no block.
            stored: the items that the model does not code.
            max_blocks: as for `lay_out`.
        """
        grids = [(n, item.shape) for n, item in enumerate(items) if item.duplicate_of is None]
        stored = Stored() if stored is None else stored
        absent, components, segment = stored.numbers, len(self.sample_alphabets), self.segment
        work: list[tuple[Plan, list[tuple[int, Grid]], Collection[int]]] = []
        if self.code_alphabets:
            plan = Plan(Part.CODES, len(self.code_alphabets), CODE_SEGMENT, CODE_BLOCK)
            work.append((plan, [(n, self.grid(shape)) for n, shape in grids], absent))
        if self.content == "samples":
            plan = Plan(Part.SAMPLES, components, segment, min(SAMPLE_BLOCK, 4 * segment))
            work.append((plan, grids, absent))
        if self.content == "chains":
            work.append((Plan(Part.CHAIN, 1, segment, min(CHAIN, 16 * segment)), grids, absent))
        plan = Plan(Part.FALLBACK, components, FALLBACK_SEGMENT, 1)
        work.append((plan, [(n, shape) for n, shape in grids if n in stored.fallback], ()))
        lengths = [(n, (length,)) for n, length in sorted(stored.files.items())]
        work.append((Plan(Part.FILE, 1, FILE_SEGMENT, 1), lengths, ()))
        blocks: list[BlockLayout] = []
        for plan, cut, absent in work:
            blocks += lay_out(cut, plan, absent=absent, max_blocks=max_blocks - len(blocks))
        return blocks


@dataclass(frozen=True, slots=True, eq=False)
class ItemRecord:
    """One item.

    Args:
        name: a relative path with forward slashes.
        shape: its extents, without the channels.
        labels: as many as the header says, each 0 to 2^32 - 2, or -1 where it is unknown.
        tracks: int (T, labels), labels of each row along the first axis, which count in place of `labels`.
        attributes: what belongs to the item besides its samples (at most 64 names in an archive).
        duplicate_of: the number of an earlier item, no duplicate itself, that has the same samples.
    """

    name: str
    shape: Grid
    labels: tuple[int, ...] = ()
    tracks: Integers | None = None
    attributes: Mapping[str, int] = field(default_factory=dict)
    duplicate_of: int | None = None

    @property
    def positions(self) -> int:
        """Samples of one channel."""
        return math.prod(self.shape)

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, ItemRecord) else NotImplemented

    @property
    def _values(self) -> tuple[Any, ...]:
        tracks = None if self.tracks is None else self.tracks.tolist()
        return self.name, self.shape, self.labels, tracks, self.attributes, self.duplicate_of


@dataclass(frozen=True, slots=True)
class Block:
    """A coded block: how, its bytes, and the CRC-32 of its symbols."""

    mode: Mode
    payload: bytes
    symbols_crc: int


def shape_fits(shape: Grid) -> bool:
    """Whether an archive can hold an item of these extents.

    >>> shape_fits((0,)), shape_fits((1 << 30, 512, 512)), shape_fits((2, 1 << 25))
    (True, False, False)
    """
    rows, sides = shape[0], shape[1:]
    row, sides_fit = math.prod(sides), all(1 <= side <= _MAX_SIDE for side in sides)
    return sides_fit and row <= _MAX_ROW and 0 <= rows <= _MAX_ROWS and rows * row <= _MAX_POSITIONS


def symbols_crc(symbols: Integers) -> int:
    """Returns the CRC-32 of symbols (T, L, P) as 16-bit little-endian integers in that order."""
    flat, crc = symbols.reshape(-1), 0
    for start in range(0, len(flat), _CHUNK):  # a large item's would take twice its memory
        crc = zlib.crc32(flat[start : start + _CHUNK].astype("<u2").tobytes(), crc)
    return crc
