"""What all ways of coding blocks share: their interface, batches, labels, and how rows of items are read.

Blocks whose shapes differ in the first extent alone go through a network side by side, in batches that fit
the memory; what comes out does not depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass
from operator import itemgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding import Archive, BlockLayout, ItemRecord, Mode, Part, Segment
from latentpress.errors import ArchiveError
from latentpress.items.base import Shape, Symbols
from latentpress.model.labels import LabelNumbers, labels_of
from latentpress.press.reading import Items, grouped

__all__ = ["BandReader", "Bits", "BlockCoder", "Blocks", "Coded", "bands_of", "batches", "decoded"]
__all__ += ["labels_in", "window"]

_SIDE_BY_SIDE = (1024, 1 << 22)
"""Lanes that are coded together, enough to hide what a step costs apart from its arithmetic, and their
positions, whose conditioning is in memory."""

_CHAINS = (128, 1 << 25)
"""Chains, and the positions of their bands."""

Blocks = Sequence[BlockLayout]
Bits = NDArray[np.float64]
Coded = tuple[Mode, bytes, Bits]
"""How a block is coded, its bytes, and the ideal length of each of its lanes in bits."""


class BlockCoder(Protocol):
    """A way of coding blocks, some of `batches` at a time."""

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """The symbols (T, L, P) that a block of items holds."""
        ...

    def encode(self, blocks: Blocks, symbols: Sequence[Symbols], items: Items) -> Iterable[Coded]:
        """Codes blocks with their symbols."""
        ...

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterable[Symbols | None]:
        """The symbols of blocks of an archive, unchecked; None, or `ArchiveError`, where one is damaged."""
        ...


def decoded(archive: Archive, coder: BlockCoder, numbers: Iterable[int]) -> Iterator[tuple[int, Symbols]]:
    """Decodes blocks of one part, in any order: the number of each and its symbols (T, L, P).

    Raises:
        ArchiveError: the bytes of one are damaged, or its symbols are not those that were coded.
    """
    for batch in batches(archive.layout, numbers):
        for number, symbols in zip(batch, coder.decode(archive, batch), strict=True):
            if symbols is None:
                raise ArchiveError(f"damaged archive: block {number} is no coded stream")
            archive.check(number, symbols)
            yield number, symbols


@dataclass(eq=False)
class BandReader:
    """Rows of items out of their blocks, each of which is decoded once; rows are read from the first on.

    Args:
        archive: what is read.
        coder: of the part.
        part: which blocks.
        items: the originals whose rows will be read.
        convert: makes of a band's symbols (rows, ..., P) what is read in their place.
    """

    archive: Archive
    coder: BlockCoder
    part: Part
    items: InitVar[Iterable[int]]
    convert: Callable[[Symbols], Symbols] | None = None

    def __post_init__(self, items: Iterable[int]) -> None:
        self._bands: dict[int, dict[int, Symbols]] = {item: {} for item in items}
        self._done: set[int] = set()
        self._dtype = np.min_scalar_type(max(self.archive.header.alphabets(self.part)) - 1)

    def read(self, rows: Sequence[Segment]) -> dict[Segment, Symbols]:
        """Some rows of items, (stop - start, ..., P); what is before them is not held any longer.

        Raises `ArchiveError` where a block that is needed is damaged.
        """
        spans = {
            item: (min(part.start for part in parts), max(part.stop for part in parts))
            for item, parts in grouped(rows, lambda part: part.item).items()
        }
        places = (self.archive.blocks_of_rows(item, self.part, *span) for item, span in spans.items())
        numbers = set[int]().union(*places) - self._done
        for number, symbols in decoded(self.archive, self.coder, sorted(numbers)):
            for lane, band in bands_of(self.archive.layout[number], symbols).items():
                if lane.item in self._bands:
                    band = band.astype(self._dtype)
                    self._bands[lane.item][lane.start] = self.convert(band) if self.convert else band
        self._done |= numbers
        for item, (first, _) in spans.items():
            bands = self._bands[item].items()
            self._bands[item] = {start: band for start, band in bands if first < start + len(band)}
        return {part: self._rows(part) for part in rows}

    def _rows(self, rows: Segment) -> Symbols:
        parts = [
            band[max(0, rows.start - first) : rows.stop - first]
            for first, band in sorted(self._bands[rows.item].items(), key=itemgetter(0))
            if first < rows.stop and rows.start < first + len(band)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def forget(self, item: int) -> None:
        """Holds nothing of an item any longer."""
        self._bands.pop(item, None)


def bands_of(block: BlockLayout, symbols: Symbols) -> dict[Segment, Symbols]:
    """The part of a block's symbols (T, L, P) that each of its lanes is, (rows, ..., P)."""
    if block.part is not Part.CHAIN:
        return {lane: symbols[:, n].reshape(*block.shape, -1) for n, lane in enumerate(block.lanes)}
    ends = np.cumsum([lane.stop - lane.start for lane in block.lanes])
    return dict(zip(block.lanes, np.split(symbols.reshape(*block.shape, -1), ends[:-1]), strict=True))


def batches(layout: Blocks, numbers: Iterable[int]) -> Iterator[list[int]]:
    """Gathers blocks that are coded side by side: of one part, and alike in all extents but the first."""
    alike = grouped(numbers, lambda number: (layout[number].part, layout[number].shape[1:]))
    for (part, _), members in alike.items():
        limits = _CHAINS if part is Part.CHAIN else _SIDE_BY_SIDE
        batch, used = list[int](), np.zeros(2, np.int64)
        for number in members:
            lanes = 1 if part is Part.CHAIN else len(layout[number].lanes)
            more = np.array([lanes, lanes * layout[number].positions])
            if batch and (used + more > limits).any():
                yield batch
                batch, used = [], np.zeros(2, np.int64)
            batch.append(number)
            used += more
        yield batch


def window(rows: Segment, shape: Shape, hop: int, reach: tuple[int, int]) -> tuple[Segment, Segment]:
    """The rows of codes that rows of an item depend on, and the rows of the item that these span.

    They are those of the rows' own hops, and `reach` of them before and after.
    """
    first, last = max(0, rows.start // hop - reach[0]), -(-rows.stop // hop) + reach[1]
    codes = Segment(rows.item, first, min(last, -(-shape[0] // hop)))
    return codes, Segment(rows.item, first * hop, min(codes.stop * hop, shape[0]))


def labels_in(records: Sequence[ItemRecord], lanes: Iterable[Segment], hop: int = 1) -> Tensor | None:
    """The labels of segments whose rows are `hop` rows of samples each: (L, labels), or (L, rows, labels)."""
    numbers = []
    for lane in lanes:
        tracks = records[lane.item].tracks
        if tracks is not None:
            tracks = tracks[lane.start * hop : lane.stop * hop]
            missing = (lane.stop - lane.start) * hop - len(tracks)
            tracks = np.pad(tracks, ((0, missing), (0, 0)), "edge")
        numbers.append(LabelNumbers(records[lane.item].labels, tracks))
    return labels_of(numbers)
