"""Items for a diagnosis: so many at most, spread evenly over the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from latentpress.config import ImageConfig
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import Skipped, Source
from latentpress.data.windows import TextPool, load_text_pool
from latentpress.errors import ItemError
from latentpress.model import DeltaVAE

__all__ = ["Gathered", "gather_images", "gather_symbols", "labels_of", "spread"]

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Gathered:
    """Items of one size.

    Attributes:
        symbols: (N, *size, C), uint8.
        labels: the names of their N labels, or None where an item has none.
        skipped: files left out, and why.
    """

    symbols: np.ndarray
    labels: np.ndarray | None
    skipped: tuple[Skipped, ...]


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers 0..count-1, evenly spread.

    >>> spread(10, 4).tolist(), spread(3, 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    taken = min(count, most)
    return np.arange(taken) * count // max(1, taken)


def gather_images(source: Source, most: int, *, progress: Report | None = None) -> Pool:
    """Reads at most `most` images, evenly spread; raises `ItemError` where none can be read."""
    chosen = tuple(source.items[number] for number in spread(len(source.items), most))
    return load_pool(replace(source, items=chosen), progress=progress)


def gather_symbols(
    model: DeltaVAE, source: Source, most: int, *, window: int = 512, progress: Report | None = None
) -> Gathered:
    """Reads items as a delta-VAE takes them: images of its size, or whole windows of texts.

    Arguments:
        model: says what its items are.
        source: images or texts.
        most: items at most, evenly spread.
        window: bytes of a window; those of a text do not overlap.
        progress: called with the number of files read, and of how many.

    Raises:
        ItemError: nothing can be read, an image has another size, or no text is as long as a window.
    """
    item = model.config.item
    if isinstance(item, ImageConfig):
        return _images(gather_images(source, most, progress=progress), item)
    return _windows(load_text_pool(source, progress=progress), most, window)


def labels_of(pool: Pool | TextPool, items: np.ndarray | None = None) -> np.ndarray | None:
    """The names of the labels of all items, or those at `items`; None where one has none."""
    labels = pool.labels if items is None else pool.labels[items]
    return np.array(pool.label_names)[labels] if len(labels) and labels.min() >= 0 else None


def _images(pool: Pool, item: ImageConfig) -> Gathered:
    assert item.size is not None
    wrong = np.flatnonzero((pool.shapes[:, 1:] != item.size).any(axis=1))
    if len(wrong):
        _, height, width = pool.shapes[wrong[0]]
        raise ItemError(
            f"{pool.names[wrong[0]]}: {height} x {width} pixels, and the model takes images of "
            f"{item.size[0]} x {item.size[1]}"
        )
    symbols = np.stack([pool[number] for number in range(len(pool))])
    return Gathered(symbols, labels_of(pool), pool.skipped)


def _windows(pool: TextPool, most: int, window: int) -> Gathered:
    counts = pool.lengths // window
    ends = np.cumsum(counts)
    if not ends[-1]:
        raise ItemError(f"no text has {window} bytes; give longer ones, or a smaller --window")
    chosen = spread(int(ends[-1]), most)
    texts = np.searchsorted(ends, chosen, side="right")
    starts = pool.starts[texts] + (chosen - ends[texts] + counts[texts]) * window
    symbols = pool.memory[starts[:, None] + np.arange(window)][..., None]
    return Gathered(symbols, labels_of(pool, texts), pool.skipped)
