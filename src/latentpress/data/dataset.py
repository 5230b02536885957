"""Items in memory, which of them train a model, judge it, or are looked at; and what a stranger's files are.

Memory holds items up to a budget of bytes; those past it are read again each time they are wanted. Which
ones stay never changes: training visits every item once an epoch, and for such visits no policy of
replacement keeps more hits than a fixed set.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.config import LabelConfig
from latentpress.data.ahead import open_ahead
from latentpress.data.sources import ItemRef, Skipped, Source, evenly_spaced, list_sources
from latentpress.errors import ItemError
from latentpress.items import ITEM_KINDS, Content, Item, Samples, Shape
from latentpress.names import shown

__all__ = ["Dataset", "Numbers", "Survey", "labels_as", "load_dataset", "survey"]

Numbers = NDArray[np.int64]

_HELD_OUT_EVERY = 50
_HELD_OUT_MOST = 512
_HELD_OUT_LEAST = 2
_PIECE_BYTES = 1 << 24
_LOOKED_AT = 200


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items that could be read. `dataset[i]` is the i-th one's samples, (*size, C); from `load_dataset`.

    Attributes:
        item: their kind.
        items: the N items.
        held: the samples of each, None where they are read when they are wanted.
        extents: (N, rank), each item's size.
        label_values: the values of each label, by its name.
        along: names of the labels that go along the items' rows.
        skipped: files left out (damaged ones, and those that are no items), and why.
        checksum: of the samples of all items that were read together.
    """

    item: Item
    items: tuple[ItemRef, ...]
    held: tuple[Samples | None, ...]
    extents: Numbers
    label_values: Mapping[str, tuple[str, ...]]
    along: frozenset[str]
    skipped: tuple[Skipped, ...]
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
        """Indices into `label_values`, -1 for none: (N, L), or of each item (T, L) where one goes along."""
        names, lookup = list(self.label_values), dict[Any, int]()
        for name, values in self.label_values.items():
            lookup |= {(name, value): number for number, value in enumerate(values)}
        if not self.along:
            table = [[lookup.get((name, ref.labels.get(name)), -1) for name in names] for ref in self.items]
            return np.array(table, np.int64).reshape(len(self), len(names))
        tracks = []
        for ref, rows in zip(self.items, self.extents[:, 0].tolist(), strict=True):
            given = ((name, ref.labels.get(name)) for name in names)
            columns = [
                (name, value if isinstance(value, tuple) else (value,) * rows) for name, value in given
            ]
            track = [[lookup.get((name, value), -1) for value in column] for name, column in columns]
            tracks.append(np.array(track, np.int64).T)
        return tuple(tracks)

    def rows(self, index: int, start: int, stop: int) -> Samples:
        """Rows start to stop - 1 of an item, to be read only; `ItemError` if its file is gone or changed."""
        if (held := self.held[index]) is not None:
            return held[start:stop]
        content, size = self.items[index].open(), tuple(self.extents[index].tolist())
        samples = self.item.fit(content.read(start, stop)) if content.size == size else None
        if samples is None or samples.shape != (stop - start, *size[1:], self.item.channels):
            raise ItemError(f"{shown(self.items[index].name)}: the file has changed since it was first read")
        return samples

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> Dataset:
        """The items at `indices`, in that order, with nothing skipped."""
        chosen = np.asarray(indices, np.int64)
        return replace(
            self,
            items=tuple(self.items[index] for index in chosen),
            held=tuple(self.held[index] for index in chosen),
            extents=self.extents[chosen],
            skipped=(),
        )

    def windows(self, extent: int, most: int) -> Dataset:
        """At most so many windows of `extent` rows along the first axis, evenly spaced; none overlap.

        They are items, called after those that they are cut from; `ItemError` where none has so many rows.
        """
        counts = self.extents[:, 0] // extent
        ends = np.cumsum(counts)
        if not ends[-1]:
            raise ItemError(f"no {self.item.words.item} is {extent} {self.item.axes[0]}s long")
        chosen = evenly_spaced(int(ends[-1]), most)
        indices = np.searchsorted(ends, chosen, side="right")
        starts = (chosen - ends[indices] + counts[indices]) * extent
        windows = self.subset(indices)._cut(starts, starts + extent)
        named = zip(windows.items, starts.tolist(), strict=True)
        items = (replace(ref, name=f"{ref.name}[{start}:{start + extent}]") for ref, start in named)
        return replace(windows, items=tuple(items))

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
        cuts = list(zip(starts.tolist(), stops.tolist(), strict=True))
        items = zip(self.items, cuts, self.extents[:, 0].tolist(), strict=True)
        held = zip(self.held, cuts, strict=True)
        return replace(
            self,
            items=tuple(ref if cut == (0, extent) else ref.part(*cut) for ref, cut, extent in items),
            held=tuple(None if samples is None else samples[slice(*cut)] for samples, cut in held),
            extents=np.concatenate([(stops - starts)[:, None], self.extents[:, 1:]], axis=1),
        )


@dataclass(frozen=True, eq=False)
class Survey:
    """What there is to train on.

    Attributes:
        item: the kind that most files are of, with no more channels than items of a sample have.
        counts: how many files each kind takes, by the kind's name.
        extents: (M, rank), the sizes of a sample of M items, 200 at most.
    """

    item: Item
    counts: Mapping[str, int]
    extents: Numbers


def labels_as(dataset: Dataset, labels: Sequence[LabelConfig]) -> Dataset:
    """The same items with the labels that a model knows, in its order, as indices into its values.

    Raises `ItemError` where a label goes along the items' rows, and the model's does not.
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
    items, held, extents, room, checksum = [], [], [], budget, 0
    for done, (ref, content) in enumerate(zip(source.items, open_ahead(source.items), strict=True), 1):
        try:
            if isinstance(content, ItemError):
                raise content
            for name, value in ref.labels.items():
                if isinstance(value, tuple) and len(value) != content.shape[0]:
                    raise ItemError(f"{len(value)} labels ({name}) along {content.shape[0]} rows")
            samples, checksum = _read(content, item, room, checksum)
        except ItemError as error:
            name = shown(ref.name)
            skipped.append(Skipped(name, str(error).removeprefix(f"{name}: "), lost=True))
        else:
            room -= 0 if samples is None else samples.nbytes
            items.append(ref)
            held.append(samples)
            extents.append(content.size)
        if progress is not None:
            progress(done, len(source.items))
    if not items:
        first = f", the first, {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise ItemError(f"none of {len(source.items)} items could be read{first}")
    labels = [label for ref in items for label in ref.labels.items()]
    values: dict[str, set[str]] = {}
    for name, value in labels:
        values.setdefault(name, set()).update(value if isinstance(value, tuple) else (value,))
    return Dataset(
        item=item,
        items=tuple(items),
        held=tuple(held),
        extents=np.array(extents, np.int64),
        label_values={name: tuple(sorted(each)) for name, each in values.items()},
        along=frozenset(name for name, value in labels if isinstance(value, tuple)),
        skipped=tuple(skipped),
        checksum=checksum,
    )


def survey(
    paths: Sequence[Path | str], *, convert: bool = False, kinds: Sequence[Item] | None = None
) -> Survey:
    """Looks at files, folders and archives.

    Args:
        paths: as `open_sources` takes them.
        convert: see `open_sources`.
        kinds: those to choose from; the first of them wins a draw.

    Raises:
        ItemError: a path cannot be read, no file is of any kind, or no item of the sample can be read.

    >>> survey([Path(__file__).parent]).item.kind
    'text'
    """
    kinds = kinds or [kind() for kind in ITEM_KINDS]
    sources = [list_sources(paths, kind, convert=convert, choosy=True) for kind in kinds]
    source = max(sources, key=lambda source: len(source.items))
    if not source.items:
        skipped = f": {source.skipped[0].name}, {source.skipped[0].reason}" if source.skipped else ""
        raise ItemError(f"nothing to train on in {', '.join(map(str, paths))}{skipped}")
    sizes: list[Shape] = []
    errors: list[ItemError] = []

    def readable() -> Iterator[Content]:
        for result in open_ahead(source.evenly(_LOOKED_AT).items):
            if isinstance(result, ItemError):
                errors.append(result)
            else:
                sizes.append(result.size)
                yield result

    contents = readable()
    item = source.item.narrowed(contents)
    deque(contents, maxlen=0)  # the sizes of those that did not matter any more
    if not sizes:
        raise errors[0]
    return Survey(item, {each.item.kind: len(each.items) for each in sources}, np.array(sizes, np.int64))


def _read(content: Content, item: Item, room: int, checksum: int) -> tuple[Samples | None, int]:
    """An item's samples if there is room for so many bytes, and the checksum continued over them."""
    rows, shape = content.shape[0], (*content.size, item.channels)
    size = math.prod(shape) * item.dtype.itemsize
    samples = np.empty(shape, item.dtype) if size <= room else None
    step = max(1, _PIECE_BYTES * rows // max(1, size))
    for start in range(0, max(1, rows), step):
        piece = np.ascontiguousarray(item.fit(content.read(start, min(start + step, rows))))
        checksum = zlib.crc32(piece.data, checksum)
        if samples is not None:
            samples[start : start + step] = piece
    return samples, checksum
