"""What all ways of coding blocks share: their interface, batches, labels, and reading rows of items.

Blocks whose shapes differ in the first extent alone go through a network side by side, in batches that fit
the memory; what comes out does not depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding.container import Archive
from latentpress.coding.layout import BlockLayout, Part, Segment
from latentpress.coding.records import Block, ItemRecord
from latentpress.errors import ArchiveError
from latentpress.exact.distribution import Conditioning, IntegerDistribution, Stream
from latentpress.items.base import Shape, Symbols
from latentpress.model.labels import LabelNumbers, labels_of
from latentpress.press.reading import Items

__all__ = [
    "BandReader",
    "Bits",
    "BlockCoder",
    "Coded",
    "batches",
    "decode_streams",
    "grouped",
    "labels_in",
    "streams_of",
]

_MAX_LANES = 1024
"""Lanes coded side by side: enough to hide what a step costs apart from its arithmetic."""

_MAX_POSITIONS = 1 << 22
"""Positions of these lanes: their conditioning is in memory."""

Bits = NDArray[np.float64]
Coded = tuple[int, Block, Bits]
"""The place of a block in a list, the coded block, and the ideal length of each of its lanes in bits."""


class BlockCoder(Protocol):
    """A way of coding blocks."""

    def encode(self, blocks: Sequence[BlockLayout], items: Items) -> Iterator[Coded]:
        """Codes blocks of items, in any order."""
        ...

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """Decodes blocks of an archive, in any order: the number of each and its symbols (T, L, P).

        Raises:
            ArchiveError: the bytes of one are damaged, or its symbols are not those that were coded.
        """
        ...

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """The symbols (T, L, P) that a block holds."""
        ...


class BandReader:
    """Symbols of rows of items, of which every block is decoded once; rows are read from an item's first on.

    Args:
        archive: what is read.
        coder: of the part.
        part: which blocks.
        items: the originals that will be read, whose bands are held until they are dropped; by default
            those that are read first.
        convert: makes of a band's symbols (rows, ..., P) what is to be read instead.
    """

    def __init__(
        self,
        archive: Archive,
        coder: BlockCoder,
        part: Part,
        items: Iterable[int] = (),
        convert: Callable[[Symbols], Symbols] | None = None,
    ) -> None:
        self._archive, self._coder, self._part, self._convert = archive, coder, part, convert
        self._bands: dict[int, dict[int, Symbols]] = {item: {} for item in items}
        self._done: set[int] = set()
        self._dtype = np.min_scalar_type(max(archive.header.alphabets(part)) - 1)

    def read(self, rows: Iterable[Segment]) -> dict[Segment, Symbols]:
        """The symbols (stop - start, ..., P) of some rows of items.

        Raises:
            ArchiveError: a block that is needed is damaged.
        """
        wanted = set(rows)
        if not self._bands:
            self._bands = {part.item: {} for part in wanted}
        places = ((part.item, self._part, part.start, part.stop) for part in wanted)
        numbers = {number for place in places for number in self._archive.blocks_of_rows(*place)}
        for number, symbols in self._coder.decode(self._archive, sorted(numbers - self._done)):
            self._done.add(number)
            for lane, band in _bands_of(self._archive.layout[number], symbols):
                if lane.item in self._bands:
                    band = band.astype(self._dtype)
                    self._bands[lane.item][lane.start] = self._convert(band) if self._convert else band
        return {part: self._joined(part) for part in wanted}

    def drop(self, item: int, stop: int) -> None:
        """Forgets the bands of an item that end at row `stop` at the latest."""
        bands = self._bands[item]
        for start in [start for start, band in bands.items() if start + len(band) <= stop]:
            del bands[start]

    def _joined(self, rows: Segment) -> Symbols:
        bands = self._bands[rows.item]
        parts = [
            bands[first][max(0, rows.start - first) : rows.stop - first]
            for first in sorted(bands)
            if first < rows.stop and rows.start < first + len(bands[first])
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def grouped(keys: Sequence[Any]) -> dict[Any, list[int]]:
    """The places of equal values.

    >>> grouped("abca")
    {'a': [0, 3], 'b': [1], 'c': [2]}
    """
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


def batches(layout: Sequence[BlockLayout], numbers: Iterable[int]) -> Iterator[list[int]]:
    """Gathers blocks that are coded side by side: their shapes differ in the first extent alone."""
    alike: dict[Shape, list[int]] = {}
    for number in numbers:
        alike.setdefault(layout[number].shape[1:], []).append(number)
    for same in alike.values():
        batch: list[int] = []
        lanes = positions = 0
        for number in same:
            more = len(layout[number].lanes)
            size = more * layout[number].positions
            if batch and (lanes + more > _MAX_LANES or positions + size > _MAX_POSITIONS):
                yield batch
                batch, lanes, positions = [], 0, 0
            batch.append(number)
            lanes += more
            positions += size
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


def _bands_of(block: BlockLayout, symbols: Symbols) -> Iterator[tuple[Segment, Symbols]]:
    """Each lane of a block and its part of the block's symbols (T, L, P), (rows, ..., P)."""
    if block.part is Part.CHAIN:
        ends = np.cumsum([lane.stop - lane.start for lane in block.lanes])
        yield from zip(block.lanes, np.split(symbols.reshape(*block.shape, -1), ends[:-1]), strict=True)
    else:
        for index, lane in enumerate(block.lanes):
            yield lane, symbols[:, index].reshape(*block.shape, -1)


def streams_of(
    blocks: Sequence[BlockLayout], conditionings: Sequence[Conditioning], **given: Sequence[Any]
) -> list[Stream]:
    """The streams of blocks, each with its own of the values in `given`."""
    parts = [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
    streams = zip(blocks, conditionings, parts, strict=True)
    return [Stream(block.shape, len(block.lanes), each, **part) for block, each, part in streams]


def decode_streams(
    archive: Archive,
    distribution: IntegerDistribution,
    numbers: Sequence[int],
    conditionings: Sequence[Conditioning],
) -> Iterator[tuple[int, Symbols]]:
    """Decodes blocks under a distribution, side by side, and checks them."""
    blocks, payloads = [archive.layout[n] for n in numbers], [archive.payload(n) for n in numbers]
    decoded = distribution.decode(streams_of(blocks, conditionings, payload=payloads))
    for number, symbols in zip(numbers, decoded, strict=True):
        if symbols is None:
            raise ArchiveError(f"damaged archive: block {number} is no coded stream")
        archive.check(number, symbols)
        yield number, symbols
