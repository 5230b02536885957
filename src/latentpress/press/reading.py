"""Items on their way into an archive: their records and codes, and their samples whenever these are needed.

Samples are read by rows along the first axis, and few are in memory: items of up to `HELD_SAMPLES` together,
or some rows of a larger one. Where codes depend on the whole item (`Model.encode_reach` is None), or the kind
decodes its files whole, a large item is in memory at once all the same. So items are read more than once, and
what is read again must be what was read at first.

A file that is called like an item but cannot be taken for one (it is damaged, deeper, of several pictures) is
*kept*: it has no samples here, and is stored as the file that it is.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentpress.coding import Header, ItemRecord, Segment
from latentpress.data import ItemRef
from latentpress.errors import ItemError
from latentpress.items import Content, Samples, Shape
from latentpress.model import Model
from latentpress.names import shown
from latentpress.press.summary import Progress

__all__ = ["HELD_SAMPLES", "Items", "grouped", "row_ranges"]

HELD_SAMPLES = 1 << 24
"""Samples, channels counted one by one, that are in memory at once."""

Integers = NDArray[Any]
Key = TypeVar("Key")
Value = TypeVar("Value")


class Items:
    """Items on their way into an archive; samples of those used last are held, others are read again.

    Each is read once at first, for its record and, where the archive needs them, its codes. Exact duplicates,
    labels included where what is restored depends on them, refer to the first of them.

    Attributes:
        records: of each item; one that is kept has no positions.
        codes: (*grid, P) uint16 by the number of the item, of those that have codes.
        untaken: numbers of the items that the model cannot encode.
        kept: why, by the number of each item that is kept.
        besides: what each item's file holds besides samples and attributes.
    """

    def __init__(self, model: Model, refs: Sequence[ItemRef], header: Header, report: Progress) -> None:
        self.records: list[ItemRecord] = []
        self.codes: dict[int, Integers] = {}
        self.untaken: set[int] = set()
        self.kept: dict[int, str] = {}
        self.besides: dict[int, tuple[str, ...]] = {}
        self._model, self._refs, self._held = model, refs, 0
        self._digests: list[bytes] = []  # of the samples of each item
        self._files: dict[int, tuple[bytes, int]] = {}  # digest and length of the file of each that is one
        self._contents: OrderedDict[int, Content] = OrderedDict()
        originals, group, held = dict[bytes, int](), list[int](), 0
        needed = bool(header.code_alphabets) or header.content == "chains"
        for number, ref in enumerate(refs):
            content = self._first(number)
            self.besides[number] = content.besides
            size, labels = math.prod(content.shape), model.label_numbers(ref.labels, content.shape[0])
            self._digests.append(_digest(content))
            identity = self._files[number][0] if number in self._files else self._digests[-1]
            if not header.lossless:
                tracks = None if labels.tracks is None else labels.tracks.tolist()
                identity += f"{labels.values} {tracks}".encode()
            original = originals.setdefault(identity, number) if size or number in self.kept else number
            duplicate = None if original == number else original
            record = ref.name, content.size, labels.values, labels.tracks, dict(content.attributes), duplicate
            self.records.append(ItemRecord(*record))
            if needed and size and duplicate is None and not model.takes(content.shape):
                self.untaken.add(number)
            elif header.code_alphabets and size and duplicate is None:
                if held + size > HELD_SAMPLES:
                    self._encode(group)
                    group, held = [], 0
                group.append(number)
                held += size
            report("encode", number + 1, len(refs))
        self._encode(group)

    @cached_property
    def files(self) -> dict[int, int]:
        """The length of the file of each item that could be stored as one: those that are no duplicates."""
        files = self._files.items()
        return {n: length for n, (_, length) in files if self.records[n].duplicate_of is None}

    def file_rows(self, rows: Segment) -> Samples:
        """Some bytes of an item's file, uint8 (stop - start, 1)."""
        with self._opened(rows.item) as file:
            file.seek(rows.start)
            data = np.frombuffer(file.read(rows.stop - rows.start), np.uint8)
        if len(data) != rows.stop - rows.start:
            raise self._changed(rows.item)
        return data[:, None]

    def is_lossy(self, number: int) -> bool:
        """Whether an item's file holds what a lossy codec made."""
        with self._opened(number) as file:
            return self._model.item.is_lossy(file.read(16))

    def check_unchanged(self, files: Iterable[int]) -> None:
        """Raises `ItemError` if large items, or these `files`, are no longer what they were."""
        for number, record in enumerate(self.records):
            large = record.positions * self._model.item.channels > HELD_SAMPLES
            if large and record.duplicate_of is None:
                self._check_same(number, self.content(number))
        for number in files:
            if self._file(number) != self._files[number]:
                raise self._changed(number)

    def _first(self, number: int) -> Content:
        """The content of an item that has not been read; without samples where its file is kept."""
        item, ref = self._model.item, self._refs[number]
        if ref.file is not None and item.suffix is not None:
            with suppress(OSError):
                self._files[number] = self._file(number)
        try:
            return self.content(number)
        except ItemError as error:
            if number not in self._files or not item.takes(ref.name, lambda _: b""):
                raise
            self.kept[number] = str(error).removeprefix(f"{shown(ref.name)}: ")
            return Content.of(np.zeros((0, *(1 for _ in item.axes[1:]), item.channels), item.dtype))

    def content(self, number: int) -> Content:
        """An item's content; raises `ItemError` where it is not one of the kind, or has changed."""
        if number in self._contents:
            self._contents.move_to_end(number)
            return self._contents[number]
        content, name = self._refs[number].open(), self._refs[number].name
        self._check(name, content)
        if math.prod(content.shape) <= HELD_SAMPLES:
            content = Content.of(content.samples, content.attributes, content.besides)
            self._check_same(number, content)
        self._contents[number] = content
        self._held += math.prod(content.shape)
        while len(self._contents) > 1 and self._held > HELD_SAMPLES:
            self._held -= math.prod(self._contents.popitem(last=False)[1].shape)
        return content

    def rows(self, rows: Segment) -> Samples:
        """Some rows of an item, (stop - start, ..., C)."""
        return self.content(rows.item).read(rows.start, rows.stop)

    def code_rows(self, rows: Iterable[Segment]) -> dict[Segment, Integers]:
        """Some rows of codes of items, each (stop - start, ..., P)."""
        return {part: self.codes[part.item][part.start : part.stop] for part in rows}

    def _check_same(self, number: int, content: Content) -> None:
        """Raises `ItemError` unless content is what it was when it was read first, if it was."""
        if number < len(self.records):
            record = self.records[number]
            same = content.size == record.shape and dict(content.attributes) == record.attributes
            if not same or _digest(content) != self._digests[number]:
                raise self._changed(number)

    def _changed(self, number: int) -> ItemError:
        return ItemError(f"{shown(self._refs[number].name)}: the file changed while it was being compressed")

    def _opened(self, number: int) -> BinaryIO:
        file = self._refs[number].file
        assert file is not None, "only files that are there are read"
        return file()

    def _file(self, number: int) -> tuple[bytes, int]:
        """Digest and length of an item's file."""
        with self._opened(number) as file:
            digest, length = _blake2b(), 0
            while piece := file.read(1 << 20):
                digest.update(piece)
                length += len(piece)
        return digest.digest(), length

    def _encode(self, numbers: Sequence[int]) -> None:
        """Makes the codes of some items: those of one shape together, of a large one range by range."""
        for shape, alike in grouped(numbers, lambda number: self.content(number).shape).items():
            if math.prod(shape) > HELD_SAMPLES and self._model.encode_reach is not None:
                self.codes |= {number: self._encoded_by_ranges(self.content(number)) for number in alike}
                continue
            codes = self._model.encode(np.stack([self.content(number).samples for number in alike]))
            self.codes |= zip(alike, codes.numpy().astype(np.uint16), strict=True)

    def _encoded_by_ranges(self, content: Content) -> Integers:
        """The codes of a large item, from ranges of rows that overlap by as many as a code depends on."""
        hop, reach = self._model.hop[0], self._model.encode_reach or 0
        margin, grid = -(-reach // hop) * hop, self._model.grid(content.size)
        with tempfile.TemporaryFile() as file:  # whose pages are in memory as long as there is room
            codes = np.memmap(file, np.uint16, "w+", shape=(*grid, len(self._model.alphabets)))
        for start, stop in row_ranges(content.shape, hop):
            first, last = max(0, start - margin), min(content.shape[0], stop + margin)
            part = self._model.encode(content.read(first, last)[None])[0].numpy()
            codes[start // hop : -(-stop // hop)] = part[(start - first) // hop : -(-(stop - first) // hop)]
        return codes

    def _check(self, name: str, content: Content) -> None:
        item, shape = self._model.item, content.shape
        if len(shape) != len(item.axes) + 1 or shape[-1] != item.channels:
            wanted = f"({', '.join(item.axes)}; {item.channels} channels)"
            raise ItemError(f"{shown(name)}: the model takes {item.words.items} {wanted}, got {shape}")
        try:
            item.fit(content.read(0, min(1, shape[0])))
            item.fit(np.broadcast_to(np.zeros((), item.dtype), shape))
        except ItemError as error:
            raise ItemError(f"{shown(name)}: {error}") from None


def row_ranges(shape: Shape, hop: int = 1) -> Iterator[tuple[int, int]]:
    """Cuts an item (*size, C) at multiples of `hop` rows into ranges of about `HELD_SAMPLES`.

    >>> list(row_ranges((5, 1 << 24, 1), hop=2))
    [(0, 2), (2, 4), (4, 5)]
    """
    rows = max(1, HELD_SAMPLES // max(1, math.prod(shape[1:])) // hop) * hop
    for start in range(0, shape[0], rows):
        yield start, min(start + rows, shape[0])


def grouped(values: Iterable[Value], key: Callable[[Value], Key]) -> dict[Key, list[Value]]:
    """Puts values together by their keys.

    >>> grouped("abCA", str.lower)
    {'a': ['a', 'A'], 'b': ['b'], 'c': ['C']}
    """
    groups: dict[Key, list[Value]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


_blake2b = partial(hashlib.blake2b, digest_size=16)


def _digest(content: Content) -> bytes:
    digest = _blake2b(f"{content.shape}".encode())
    for start, stop in row_ranges(content.shape):
        digest.update(np.ascontiguousarray(content.read(start, stop)).data)
    return digest.digest()
