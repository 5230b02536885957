"""Items in memory, and which of them train a model, judge it, or are looked at.

The memory holds items up to a budget of bytes; those past it are read again each time they are wanted.
Which ones stay never changes: training visits every item once an epoch, and for such visits no policy
of replacement keeps more hits than a fixed set.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.config import LabelConfig
from latentpress.data.ahead import open_ahead
from latentpress.data.sources import ItemRef, Skipped, Source, evenly_spaced
from latentpress.errors import ItemError
from latentpress.items import Content, Item, Samples

__all__ = ["Dataset", "Numbers", "labels_as", "load_dataset"]

Numbers = NDArray[np.int64]

_HELD_OUT_EVERY = 50
_HELD_OUT_MOST = 512
_HELD_OUT_LEAST = 2
_PIECE_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items that could be read. `dataset[i]` is the i-th one's samples, (*size, C); from `load_dataset`.

    Attributes:
        item: their kind.
        items: the N items.
        label_values: the values of each label, by its name.
        along: names of the labels that go along the items' rows.
        extents: (N, rank), each item's size.
        skipped: files left out (damaged ones, and those that are no items), and why.
        memory: the samples of the items that are held, end to end, channels last.
        offsets: (N,), where in `memory` an item starts; -1 if it is read when wanted.
        checksum: of the samples of all items that were read once, these among them.
    """

    item: Item
    items: tuple[ItemRef, ...]
    label_values: Mapping[str, tuple[str, ...]]
    along: frozenset[str]
    extents: Numbers
    skipped: tuple[Skipped, ...]
    memory: Samples
    offsets: Numbers
    checksum: int

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Samples:
        return np.array(self.rows(index, 0, int(self.extents[index, 0])))

    @property
    def names(self) -> tuple[str, ...]:
        """The items' names."""
        return tuple(ref.name for ref in self.items)

    @cached_property
    def labels(self) -> Numbers | tuple[Numbers, ...]:
        """Indices into `label_values`, -1 where an item has none: (N, L); or of each item (T, L).

        The latter if a label goes along the T rows of items; the others have one value in all of them then.
        """
        indices: dict[str, dict[Any, int]] = {
            name: {value: number for number, value in enumerate(values)}
            for name, values in self.label_values.items()
        }
        if not self.along:
            table = [
                [index.get(r.labels.get(name), -1) for name, index in indices.items()] for r in self.items
            ]
            return np.array(table, np.int64).reshape(len(self), len(indices))
        tracks = []
        for ref, rows in zip(self.items, self.extents[:, 0].tolist(), strict=True):
            tracks.append(track := np.empty((rows, len(indices)), np.int64))
            for column, (name, index) in enumerate(indices.items()):
                value = ref.labels.get(name)
                several = isinstance(value, tuple)
                track[:, column] = [index.get(v, -1) for v in value] if several else index.get(value, -1)
        return tuple(tracks)

    @cached_property
    def held(self) -> bool:
        """Whether all items are in memory."""
        return bool((self.offsets >= 0).all())

    @cached_property
    def stacked(self) -> Samples | None:
        """All items as one array (N, *size, C), if they have one size and are all in memory.

        It shares the memory where the items lie in it side by side, and is copied once where not.
        """
        if not self.held or (self.extents != self.extents[0]).any():
            return None
        shape = (*self.extents[0].tolist(), self.item.channels)
        length, first = math.prod(shape), int(self.offsets[0])
        if (self.offsets == first + length * np.arange(len(self))).all():
            return self.memory[first : first + length * len(self)].reshape(-1, *shape)
        return np.stack([self.rows(index, 0, shape[0]) for index in range(len(self))])

    def rows(self, index: int, start: int, stop: int) -> Samples:
        """Rows start to stop - 1 of an item along its first axis; do not write into them.

        Raises:
            ItemError: an item that is not held can no longer be read, or has changed.
        """
        size = self.extents[index].tolist()
        shape = (stop - start, *size[1:], self.item.channels)
        offset, row = int(self.offsets[index]), math.prod(shape[1:])
        if offset >= 0:
            return self.memory[offset + start * row : offset + stop * row].reshape(shape)
        content = self.items[index].open()
        samples = self.item.fit(content.read(start, stop)) if content.size == tuple(size) else None
        if samples is None or samples.shape != shape:
            raise ItemError(f"{self.items[index].name}: the file has changed since it was first read")
        return samples

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> Dataset:
        """The items at `indices`, in that order, in the same memory, with nothing skipped."""
        chosen = np.asarray(indices, np.int64)
        return replace(
            self,
            items=tuple(self.items[index] for index in chosen),
            extents=self.extents[chosen],
            skipped=(),
            offsets=self.offsets[chosen],
        )

    def windows(self, extent: int, most: int) -> Dataset:
        """At most so many windows of `extent` rows along the first axis, evenly spaced; none overlap.

        They are items, called after those that they are cut from.

        Raises:
            ItemError: no item has so many rows.
        """
        counts = self.extents[:, 0] // extent
        ends = np.cumsum(counts)
        if not ends[-1]:
            raise ItemError(f"no {self.item.words.item} is {extent} {self.item.axes[0]}s long")
        chosen = evenly_spaced(int(ends[-1]), most)
        indices = np.searchsorted(ends, chosen, side="right")
        starts = (chosen - ends[indices] + counts[indices]) * extent
        windows = self.subset(indices)._cut(starts, starts + extent)
        named = (
            replace(ref, name=f"{ref.name}[{start}:{start + extent}]")
            for ref, start in zip(windows.items, starts, strict=True)
        )
        return replace(windows, items=tuple(named))

    def split(self) -> tuple[Dataset, Dataset | None]:
        """The items to train on, and some to judge on.

        Of 100 items that are not empty, or more, one in 50 is held out, at most 512, evenly spaced. Of
        fewer none is, or, where training shows each sample once an epoch (`Item.epoch`), the end of the
        longest one: 2 % of all samples, at most half of that item; nothing of less than 50 rows.
        """
        sizes = self.extents.prod(axis=1)
        full = np.flatnonzero(sizes)
        count = min(len(full) // _HELD_OUT_EVERY, _HELD_OUT_MOST)
        if count >= _HELD_OUT_LEAST:
            held_out = full[evenly_spaced(len(full), count)]
            return self.subset(np.setdiff1d(np.arange(len(self)), held_out)), self.subset(held_out)
        longest = int(sizes.argmax())
        stops = self.extents[:, 0].copy()
        row = max(1, sizes[longest] // max(1, stops[longest]))
        tail = min(sizes.sum() // row // _HELD_OUT_EVERY, stops[longest] // 2)
        if self.item.epoch == "item" or not tail:
            return self, None
        stops[longest] -= tail
        last = self.subset([longest])
        return self._cut(np.zeros_like(stops), stops), last._cut(stops[[longest]], last.extents[:, 0])

    def digest(self) -> str:
        """Hash of the items' names, labels, sizes and samples: it tells one data set from another."""
        hasher = hashlib.blake2b("\0".join(self.names).encode(), digest_size=16)
        for name, values in self.label_values.items():
            hasher.update("\0".join((name, *values)).encode())
        labels = self.labels if isinstance(self.labels, tuple) else [self.labels]
        for numbers in (*labels, self.extents, np.array(self.checksum)):
            hasher.update(numbers.astype("<i8").tobytes())
        return hasher.hexdigest()

    def _cut(self, starts: Numbers, stops: Numbers) -> Dataset:
        """Of every item the rows from its start to its stop - 1 along the first axis."""
        limits = zip(self.items, starts.tolist(), stops.tolist(), self.extents[:, 0].tolist(), strict=True)
        rows = self.extents[:, 1:].prod(axis=1) * self.item.channels
        return replace(
            self,
            items=tuple(
                ref if (start, stop) == (0, extent) else ref.part(start, stop)
                for ref, start, stop, extent in limits
            ),
            extents=np.concatenate([(stops - starts)[:, None], self.extents[:, 1:]], axis=1),
            offsets=np.where(self.offsets >= 0, self.offsets + starts * rows, -1),
        )


def labels_as(dataset: Dataset, labels: Sequence[LabelConfig]) -> Dataset:
    """The same items with the labels that a model knows, in its order, as indices into its values.

    Raises:
        ItemError: a label goes along the items' rows, and the model's does not.
    """
    along = {label.name for label in labels if label.along}
    if wrong := sorted({label.name for label in labels} & dataset.along - along):
        raise ItemError(f"the label {wrong[0]} goes along items, and the model takes one an item")
    values = {label.name: label.values for label in labels}
    return replace(dataset, label_values=values, along=frozenset(along))


def load_dataset(
    source: Source, *, budget: int = 1 << 31, progress: Callable[[int, int], None] | None = None
) -> Dataset:
    """Reads every item of a source once, on several threads.

    Args:
        source: from `open_sources` or `array_source`.
        budget: bytes of samples to hold in memory.
        progress: called with the number of items done and their total after each.

    Raises:
        ItemError: no item could be read.

    >>> from latentpress.data.sources import array_source
    >>> from latentpress.items import Image
    >>> dataset = load_dataset(array_source(np.zeros((5, 8, 8), np.uint8), Image(channels=1)))
    >>> len(dataset), dataset[4].shape
    (5, (8, 8, 1))
    """
    item, skipped = source.item, list(source.skipped)
    items, extents, offsets, checksum = [], [], [], 0
    memory = bytearray()  # grows in place, without a second copy
    for done, (ref, content) in enumerate(zip(source.items, open_ahead(source.items), strict=True), 1):
        start = len(memory)
        try:
            if isinstance(content, ItemError):
                raise content
            for name, value in ref.labels.items():
                if isinstance(value, tuple) and len(value) != content.shape[0]:
                    raise ItemError(f"{len(value)} labels ({name}) along {content.shape[0]} rows")
            held, checksum = _append(content, item, memory, budget, checksum)
        except ItemError as error:
            del memory[start:]
            skipped.append(Skipped(ref.name, str(error).removeprefix(f"{ref.name}: "), lost=True))
        else:
            items.append(ref)
            extents.append(content.size)
            offsets.append(start // item.dtype.itemsize if held else -1)
        if progress is not None:
            progress(done, len(source.items))
    if not items:
        first = f", the first, {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise ItemError(f"none of {len(source.items)} items could be read{first}")
    values: dict[str, set[str]] = {}
    along = set()
    for ref in items:
        for name, value in ref.labels.items():
            values.setdefault(name, set()).update(value if isinstance(value, tuple) else (value,))
            along |= {name} if isinstance(value, tuple) else set()
    return Dataset(
        item=item,
        items=tuple(items),
        label_values={name: tuple(sorted(each)) for name, each in values.items()},
        along=frozenset(along),
        extents=np.array(extents, np.int64),
        skipped=tuple(skipped),
        memory=np.frombuffer(memory, item.dtype),
        offsets=np.array(offsets, np.int64),
        checksum=checksum,
    )


def _append(content: Content, item: Item, memory: bytearray, budget: int, checksum: int) -> tuple[bool, int]:
    """Adds an item to the memory if the budget allows it; whether it did, and the checksum continued."""
    rows, row_bytes = content.shape[0], math.prod(content.size[1:]) * item.channels * item.dtype.itemsize
    held, step = len(memory) + rows * row_bytes <= budget, max(1, _PIECE_BYTES // max(1, row_bytes))
    for start in range(0, max(1, rows), step):
        piece = np.ascontiguousarray(item.fit(content.read(start, min(start + step, rows)))).data
        checksum = zlib.crc32(piece, checksum)
        if held:
            memory += piece
    return held, checksum
