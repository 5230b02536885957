"""Files, folders and zip archives of items of any kind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from latentpress.data import Dataset, ItemRef, Source, array_source, load_dataset
from latentpress.items import Content, Item, Samples, Shape

__all__ = ["bytes_of", "dataset_of", "file_of", "names", "random_items", "sizes_of", "write", "zip_of"]


def file_of(item: Item, samples: Samples, attributes: Mapping[str, int] | None = None) -> bytes:
    """The file that an item is restored to."""
    buffer = io.BytesIO()
    item.write(Content.of(samples, attributes), buffer)
    return buffer.getvalue()


def bytes_of(ref: ItemRef, item: Item) -> bytes:
    """The file that an item of a source is restored to."""
    return file_of(item, ref.read())


def sizes_of(item: Item, count: int, least: int = 1, most: int = 12, seed: int = 0) -> list[Shape]:
    """Sizes at random."""
    sizes = np.random.default_rng(seed).integers(least, most + 1, (count, len(item.axes)))
    return [tuple(size) for size in sizes.tolist()]


def random_items(item: Item, sizes: list[Shape], seed: int = 0) -> list[Samples]:
    """Items of these sizes whose samples are noise."""
    rng = np.random.default_rng(seed)
    low, high = item.low, item.low + item.levels
    return [rng.integers(low, high, (*size, item.channels), dtype=item.dtype) for size in sizes]


def dataset_of(item: Item, samples: Samples | list[Samples], labels=None, **settings) -> Dataset:
    """Items in memory."""
    return load_dataset(array_source(samples, item, labels), **settings)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zip_of(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def names(source: Source) -> list[str]:
    """The names of a source's items."""
    return [ref.name for ref in source.items]
