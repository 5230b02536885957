"""What all ways of coding blocks share: their interface, batches, labels, and how rows of items are read.

Blocks whose shapes differ in the first extent alone go through a network side by side, in batches that fit
the memory; what comes out does not depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding import Archive, BlockLayout, ItemRecord, Mode, Part, Segment
from latentpress.errors import ArchiveError
from latentpress.exact.distribution import Conditioning, Stream
from latentpress.items.base import Symbols
from latentpress.model.labels import LabelNumbers, labels_of
from latentpress.press.reading import Items, grouped

__all__ = ["BandReader", "Bits", "BlockCoder", "Coded", "batches", "decoded", "labels_in", "streams"]

_SIDE_BY_SIDE = (1024, 1 << 22)
"""Lanes that are coded together, enough to hide what a step costs apart from its arithmetic, and their
positions, whose conditioning is in memory."""

_CHAINS = (128, 1 << 25)
"""Chains, and the positions of their bands."""

Bits = NDArray[np.float64]
Coded = tuple[Mode, bytes, Bits]
"""How a block is coded, its bytes, and the ideal length of each of its lanes in bits."""


class BlockCoder(Protocol):
    """A way of coding blocks, some of `batches` at a time."""

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """The symbols (T, L, P) that a block of items holds."""
        ...

    def encode(
        self, blocks: Sequence[BlockLayout], symbols: Sequence[Symbols], items: Items
    ) -> Iterable[Coded]:
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


class BandReader:
    """Rows of items out of their blocks, each of which is decoded once; rows are read from the first on.

    Args:
        archive: what is read.
        coder: of the part.
        part: which blocks.
        items: the originals whose rows will be read.
        convert: makes of a band's symbols (rows, ..., P) what is read in their place.
    """

    def __init__(
        self,
        archive: Archive,
        coder: BlockCoder,
        part: Part,
        items: Iterable[int],
        convert: Callable[[Symbols], Symbols] | None = None,
    ) -> None:
        self._archive, self._coder, self._part, self._convert = archive, coder, part, convert
        self._bands: dict[int, dict[int, Symbols]] = {item: {} for item in items}
        self._done: set[int] = set()
        self._dtype = np.min_scalar_type(max(archive.header.alphabets(part)) - 1)

    def read(self, rows: Sequence[Segment]) -> dict[Segment, Symbols]:
        """Some rows of items, (stop - start, ..., P); what is before them is not held any longer.

        Raises:
            ArchiveError: a block that is needed is damaged.
        """
        spans = {
            item: (min(rows[place].start for place in places), max(rows[place].stop for place in places))
            for item, places in grouped([part.item for part in rows]).items()
        }
        numbers = {
            n for item, span in spans.items() for n in self._archive.blocks_of_rows(item, self._part, *span)
        }
        for number, symbols in decoded(self._archive, self._coder, sorted(numbers - self._done)):
            self._done.add(number)
            for lane, band in _bands_of(self._archive.layout[number], symbols):
                if lane.item in self._bands:
                    band = band.astype(self._dtype)
                    self._bands[lane.item][lane.start] = self._convert(band) if self._convert else band
        for item, (first, _) in spans.items():
            bands = self._bands[item].items()
            self._bands[item] = {start: band for start, band in bands if first < start + len(band)}
        return {part: _joined(self._bands[part.item], part) for part in rows}

    def forget(self, item: int) -> None:
        """Holds nothing of an item any longer."""
        self._bands.pop(item, None)


def _bands_of(block: BlockLayout, symbols: Symbols) -> Iterator[tuple[Segment, Symbols]]:
    """Each lane of a block and its part of the block's symbols (T, L, P), (rows, ..., P)."""
    if block.part is Part.CHAIN:
        ends = np.cumsum([lane.stop - lane.start for lane in block.lanes])
        return zip(block.lanes, np.split(symbols.reshape(*block.shape, -1), ends[:-1]), strict=True)
    return ((lane, symbols[:, n].reshape(*block.shape, -1)) for n, lane in enumerate(block.lanes))


def _joined(bands: Mapping[int, Symbols], rows: Segment) -> Symbols:
    parts = [
        bands[first][max(0, rows.start - first) : rows.stop - first]
        for first in sorted(bands)
        if first < rows.stop and rows.start < first + len(bands[first])
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def batches(layout: Sequence[BlockLayout], numbers: Iterable[int]) -> Iterator[list[int]]:
    """Gathers blocks that are coded side by side: of one part, and alike in all extents but the first."""
    numbers = list(numbers)
    alike = grouped([(layout[number].part, layout[number].shape[1:]) for number in numbers])
    for (part, _), places in alike.items():
        limits, batch, used = (
            _CHAINS if part is Part.CHAIN else _SIDE_BY_SIDE,
            list[int](),
            np.zeros(2, np.int64),
        )
        for number in (numbers[place] for place in places):
            lanes = 1 if part is Part.CHAIN else len(layout[number].lanes)
            more = np.array([lanes, lanes * layout[number].positions])
            if batch and (used + more > limits).any():
                yield batch
                batch, used = [], np.zeros(2, np.int64)
            batch.append(number)
            used += more
        yield batch


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


def streams(
    blocks: Sequence[BlockLayout], conditionings: Sequence[Conditioning], **given: Sequence[Any]
) -> list[Stream]:
    """The streams of blocks; each has its own of the values in `given`."""
    parts = [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
    zipped = zip(blocks, conditionings, parts, strict=True)
    return [Stream(block.shape, len(block.lanes), each, **part) for block, each, part in zipped]
