"""All items decoded once, into one flat memory.

The memory holds items up to a budget of bytes; those past it are decoded again each time they are
wanted. Which ones stay never changes: training visits every item once an epoch, and for such visits
no policy of replacement keeps more hits than a fixed set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from latentpress.data.ahead import run_ahead
from latentpress.data.sources import ItemRef, Skipped, Source
from latentpress.errors import ItemError

__all__ = ["Pool", "load_pool"]

_THREADS = min(8, os.cpu_count() or 1)
_GROUP = 8
_SMALL_BYTES = 1 << 18


@dataclass(frozen=True, eq=False)
class Pool:
    """Decoded items. `pool[i]` is the i-th one's pixels, uint8 (H, W, C), C the same for all.

    Attributes:
        items: The N items that could be decoded.
        labels: int64 (N,), indices into `label_names`; -1 where there is no label.
        label_names: Distinct labels in order.
        shapes: int64 (N, 3), each item's channels, height and width.
        skipped: Files left out (damaged ones, and those that are not images), and why.
        memory: uint8, the planes of the items that are held, end to end.
        offsets: int64 (N,), where in `memory` an item starts; -1 if it is decoded when wanted.
    """

    items: tuple[ItemRef, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    shapes: np.ndarray
    skipped: tuple[Skipped, ...]
    memory: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array(self.planes(index).transpose(1, 2, 0), order="C")

    @property
    def names(self) -> tuple[str, ...]:
        """The items' names."""
        return tuple(item.name for item in self.items)

    @cached_property
    def channels(self) -> int:
        """Channels of every item; a grey one among RGB ones is shown with its plane three times."""
        return int(self.shapes[:, 0].max())

    @cached_property
    def held(self) -> bool:
        """Whether all items are in memory."""
        return bool((self.offsets >= 0).all())

    @cached_property
    def stacked(self) -> np.ndarray | None:
        """All items as one view (N, C, H, W), if they have one shape and are all in memory."""
        if self.held and (self.shapes == self.shapes[0]).all():
            return self.memory.reshape(len(self), *self.shapes[0])
        return None

    def planes(self, index: int) -> np.ndarray:
        """Returns an item as uint8 (C, H, W); do not write into it."""
        shape, offset = self.shapes[index], self.offsets[index]
        if offset >= 0:
            planes = self.memory[offset : offset + shape.prod()].reshape(shape)
        else:
            planes = self.items[index].read().transpose(2, 0, 1)
            if planes.shape != tuple(shape):
                raise ItemError(f"{self.items[index].name}: the file has changed since it was first read")
        return np.broadcast_to(planes, (self.channels, *planes.shape[1:]))


def load_pool(
    source: Source, *, budget: int = 1 << 31, progress: Callable[[int, int], None] | None = None
) -> Pool:
    """Decodes every item of a source once, on several threads.

    Args:
        source: From `open_sources` or `array_source`.
        budget: Bytes of pixels to hold in memory.
        progress: Called with the number of items done and their total after each.

    Raises:
        ItemError: No item could be decoded.

    >>> from latentpress.data.sources import array_source
    >>> pool = load_pool(array_source(np.zeros((5, 8, 8), np.uint8)))
    >>> len(pool), pool[4].shape
    (5, (8, 8, 1))
    """
    items, shapes, offsets, skipped = [], [], [], list(source.skipped)
    memory = bytearray()  # grows in place, without a second copy
    for done, (item, result) in enumerate(zip(source.items, _decode(source.items), strict=True), 1):
        if isinstance(result, ItemError):
            skipped.append(Skipped(item.name, str(result).removeprefix(f"{item.name}: ")))
        else:
            fits = len(memory) + result.size <= budget
            items.append(item)
            shapes.append((result.shape[2], *result.shape[:2]))
            offsets.append(len(memory) if fits else -1)
            if fits:
                memory.extend(np.ascontiguousarray(result.transpose(2, 0, 1)).data)
        if progress is not None:
            progress(done, len(source.items))
    if not items:
        first = f", the first, {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise ItemError(f"none of {len(source.items)} items could be read{first}")
    return Pool(
        items=tuple(items),
        labels=_label_indices(items, source.labels),
        label_names=source.labels,
        shapes=np.array(shapes, np.int64),
        skipped=tuple(skipped),
        memory=np.frombuffer(memory, np.uint8),
        offsets=np.array(offsets, np.int64),
    )


def _decode(items: Sequence[ItemRef]) -> Iterator[np.ndarray | ItemError]:
    """Reads items in order on several threads; small ones in groups, as handing one over has its cost."""
    largest = 0

    def groups() -> Iterator[Sequence[ItemRef]]:
        start = 0
        while start < len(items):
            stop = start + (_GROUP if 0 < largest <= _SMALL_BYTES else 1)
            yield items[start:stop]
            start = stop

    for results in run_ahead(_attempt, groups(), threads=_THREADS, ahead=2 * _THREADS):
        for result in results:
            if isinstance(result, np.ndarray):
                largest = max(largest, result.nbytes)
            yield result


def _attempt(items: Sequence[ItemRef]) -> list[np.ndarray | ItemError]:
    results: list[np.ndarray | ItemError] = []
    for item in items:
        try:
            results.append(item.read())
        except ItemError as error:
            results.append(error)
    return results


def _label_indices(items: list[ItemRef], names: tuple[str, ...]) -> np.ndarray:
    index = {name: i for i, name in enumerate(names)}
    return np.array([-1 if item.label is None else index[item.label] for item in items], np.int64)
