"""Items on their way into an archive: their records and codes, and their samples whenever these are needed.

Samples are read by rows along the first axis, and few are in memory: items of up to `HELD_SAMPLES` together,
or some rows of a larger one. A model whose codes depend on the whole item (`Model.encode_reach` is None)
needs a large item at once all the same, and so does a kind that decodes its files whole.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.layout import Segment
from latentpress.coding.records import Header, ItemRecord
from latentpress.data import ItemRef
from latentpress.errors import ItemError
from latentpress.items.base import Content, Item, Samples, Shape
from latentpress.model.base import Model
from latentpress.press.summary import Progress

__all__ = ["HELD_SAMPLES", "Items", "SampleStore", "read_items", "row_ranges"]

HELD_SAMPLES = 1 << 24
"""Samples, channels counted one by one, that are in memory at once."""

Integers = NDArray[Any]


class SampleStore:
    """Samples of items by number; those of the items used last are held, others are read again."""

    def __init__(self, refs: Sequence[ItemRef], item: Item) -> None:
        self._refs, self._item = refs, item
        self._contents: OrderedDict[int, Content] = OrderedDict()
        self._held = 0
        self._shapes: dict[int, Shape] = {}

    def open(self, number: int) -> Content:
        """An item's content; raises `ItemError` where it is none of the kind, or not the one it was before."""
        if number in self._contents:
            self._contents.move_to_end(number)
            return self._contents[number]
        ref = self._refs[number]
        content = ref.open()
        self._check(ref.name, content)
        if self._shapes.setdefault(number, content.shape) != content.shape:
            raise ItemError(f"{ref.name}: the file changed while it was being compressed")
        size = math.prod(content.shape)
        if size <= HELD_SAMPLES:
            content = Content.of(content.samples, content.attributes)
        self._contents[number] = content
        self._held += size
        while len(self._contents) > 1 and self._held > HELD_SAMPLES:
            self._held -= math.prod(self._contents.popitem(last=False)[1].shape)
        return content

    def rows(self, number: int, start: int, stop: int) -> Samples:
        """Rows start to stop - 1 of an item, (rows, ..., C)."""
        return self.open(number).read(start, stop)

    def _check(self, name: str, content: Content) -> None:
        item, shape = self._item, content.shape
        if len(shape) != len(item.axes) + 1 or shape[-1] != item.channels:
            wanted = f"{', '.join(item.axes)}, {item.channels} channels"
            raise ItemError(f"{name}: the model takes {item.words.items} ({wanted}), got {shape}")
        try:
            item.fit(content.read(0, min(1, shape[0])))
        except ItemError as error:
            raise ItemError(f"{name}: {error}") from None


@dataclass(frozen=True, eq=False)
class Items:
    """Items on their way into an archive.

    Attributes:
        samples: theirs.
        records: of each item.
        codes: (*grid, P) uint16, by the number of the item, of those that have codes.
        untaken: numbers of the items that the model cannot encode.
    """

    samples: SampleStore
    records: list[ItemRecord] = field(default_factory=list)
    codes: dict[int, Integers] = field(default_factory=dict)
    untaken: set[int] = field(default_factory=set)

    def read_codes(self, rows: Iterable[Segment]) -> dict[Segment, Integers]:
        """The codes (stop - start, ..., P) of some rows of items."""
        return {part: self.codes[part.item][part.start : part.stop] for part in rows}


def read_items(model: Model, refs: Sequence[ItemRef], header: Header, report: Progress) -> Items:
    """Reads every item once, for its record and, where the archive needs them, its codes.

    Exact duplicates, labels included where what is restored depends on them, refer to the first of them.
    """
    store = SampleStore(refs, model.item)
    items, first = Items(store), dict[bytes, int]()
    encodes = header.content != "samples" or bool(header.code_alphabets)
    group: list[int] = []
    held = 0
    for number, ref in enumerate(refs):
        content = store.open(number)
        size, rows = math.prod(content.shape), content.shape[0]
        numbers = model.label_numbers(ref.labels, rows)
        digest = _digest(content, "" if header.lossless else repr(sorted(ref.labels.items())))
        original = first.setdefault(digest, number) if rows else number
        items.records.append(
            ItemRecord(
                ref.name,
                content.size,
                labels=numbers.values,
                tracks=numbers.tracks,
                attributes=dict(content.attributes),
                duplicate_of=None if original == number else original,
            )
        )
        if original == number and rows and encodes:
            if not model.takes(content.shape):
                items.untaken.add(number)
            elif header.code_alphabets:
                if held + size > HELD_SAMPLES:
                    items.codes.update(_encode(model, store, group))
                    group, held = [], 0
                group.append(number)
                held += size
        report("encode", number + 1, len(refs))
    items.codes.update(_encode(model, store, group))
    return items


def row_ranges(shape: Shape, hop: int = 1) -> Iterator[tuple[int, int]]:
    """Cuts an item (*size, C) into ranges of rows, each of about `HELD_SAMPLES` at most, at multiples of `hop`.

    >>> list(row_ranges((5, 1 << 24, 1), hop=2))
    [(0, 2), (2, 4), (4, 5)]
    """
    rows = max(1, HELD_SAMPLES // max(1, math.prod(shape[1:])) // hop) * hop
    for start in range(0, shape[0], rows):
        yield start, min(start + rows, shape[0])


def _digest(content: Content, more: str) -> bytes:
    digest = hashlib.blake2b(f"{content.shape} {more}".encode(), digest_size=16)
    for start, stop in row_ranges(content.shape):
        digest.update(np.ascontiguousarray(content.read(start, stop)).data)
    return digest.digest()


def _encode(model: Model, store: SampleStore, numbers: Sequence[int]) -> Iterator[tuple[int, Integers]]:
    """The codes of some items that are in memory together, those of one shape at once, or of one large item."""
    by_shape: dict[Shape, list[int]] = {}
    for number in numbers:
        by_shape.setdefault(store.open(number).shape, []).append(number)
    for shape, alike in by_shape.items():
        if math.prod(shape) > HELD_SAMPLES and model.encode_reach is not None:
            yield from ((number, _encode_by_ranges(model, store.open(number))) for number in alike)
            continue
        codes = model.encode(np.stack([store.open(number).samples for number in alike]))
        yield from zip(alike, codes.numpy().astype(np.uint16), strict=True)


def _encode_by_ranges(model: Model, content: Content) -> Integers:
    """The codes of a large item, from ranges of rows that overlap by as many as a code depends on."""
    hop, reach = model.hop[0], model.encode_reach
    assert reach is not None
    margin = -(-reach // hop) * hop
    grid = (*model.grid(content.size), len(model.alphabets))
    with tempfile.TemporaryFile() as file:  # its pages are in memory only as long as there is room
        codes = np.memmap(file, np.uint16, "w+", shape=grid)
    for start, stop in row_ranges(content.shape, hop):
        first, last = max(0, start - margin), min(content.shape[0], stop + margin)
        part = model.encode(content.read(first, last)[None])[0]
        rows = slice(start // hop, -(-stop // hop))
        codes[rows] = part[rows.start - first // hop : rows.stop - first // hop].numpy()
    return codes
