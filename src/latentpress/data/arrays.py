"""Arrays of items in files: IDX (MNIST's format, also gzipped) and NumPy's .npz.

Both are read as hostile: what a header declares is checked against a bound before memory is taken and
against the data afterwards, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from latentpress.data.readers import reason_of
from latentpress.errors import ItemError
from latentpress.items import Item, Samples

__all__ = ["MAX_ARRAY_BYTES", "ItemArray", "Label", "item_array", "label_values", "read_idx", "read_npz"]

MAX_ARRAY_BYTES = 1 << 33
"""Bound on the decoded bytes of one array."""

Label = str | tuple[str, ...]
"""A label's value: one for the item, or one a row along its first axis."""

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = b"\0\0\x08"
_CLASS = "class"


@dataclass(frozen=True, eq=False)
class ItemArray:
    """Items of one size, (N, *size, C); N values of each label; what was left out, and why, by name."""

    samples: Samples
    labels: Mapping[str, Sequence[Label]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def item_array(samples: Samples, item: Item) -> Samples:
    """Items (N, *size) or (N, *size, C) as (N, *size, C); `ItemError` where they are none of this kind.

    >>> from latentpress.items import Image
    >>> item_array(np.zeros((2, 4, 4), np.uint8), Image()).shape
    (2, 4, 4, 1)
    """
    axes = len(item.axes)
    shaped = samples[..., None] if samples.ndim == axes + 1 else samples
    if shaped.ndim != axes + 2 or not len(shaped):
        wanted = f"(N, {', '.join(item.axes)}) or (N, {', '.join(item.axes)}, channel)"
        raise ItemError(f"{item.words.items} are {item.dtype} {wanted}, got {samples.dtype} {samples.shape}")
    item.fit(np.zeros(shaped.shape[1:], shaped.dtype), convert=True)
    return shaped


def label_values(values: Sequence[Any] | np.ndarray, count: int, name: str) -> list[Label]:
    """A label's values of `count` items as strings: each is a value, or a sequence of one value a row.

    >>> label_values([[0, 1], [1, 1]], 2, "action")
    [('0', '1'), ('1', '1')]
    """
    if len(values) != count:
        raise ItemError(f"{count} items but {len(values)} labels ({name})")
    return [tuple(map(str, value)) if np.ndim(value) else str(value) for value in values]


def read_idx(path: Path, item: Item) -> ItemArray:
    """Reads an IDX file of items, and the file of labels next to it: `images-idx3` becomes `labels-idx1`.

    Raises:
        ItemError: either file is damaged, too large or does not hold what its name says.
    """
    axes = len(item.axes)
    samples = item_array(_read_idx_array(path, (axes + 1, axes + 2)), item)
    name = re.sub(rf"{item.words.items}([-.])idx[0-9]", r"labels\1idx1", path.name)
    plain = name.removesuffix(".gz")
    candidates = [path.with_name(n) for n in (name, plain, plain + ".gz") if n != path.name]
    labels = next((candidate for candidate in candidates if candidate.is_file()), None)
    if labels is None:
        return ItemArray(samples)
    return ItemArray(samples, {_CLASS: label_values(_read_idx_array(labels, (1,)), len(samples), _CLASS)})


def read_npz(path: Path, item: Item) -> ItemArray:
    """Reads a .npz file: the array `items` (or `images`, ... by the kind), and those that are its labels.

    A label has one integer or string an item, or one a row of each item; the array `labels` is the label
    "class".

    Raises:
        ItemError: the file is damaged, too large or has no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_arrays(archive, item)
    except ItemError:
        raise
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"damaged .npz file: {reason_of(error)}") from None


def _read_arrays(archive: zipfile.ZipFile, item: Item) -> ItemArray:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    chosen = next((name for name in ("items", item.words.items) if name in names), None)
    if chosen is None:
        what = item.words.items
        raise ItemError(f"no array named {what}; save one with numpy.savez(path, {what}=..., labels=...)")
    samples = item_array(_read_npy(archive, chosen, "uif"), item)
    count, rows = samples.shape[:2]
    labels: dict[str, Sequence[Label]] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            if name != chosen:
                values = _read_npy(archive, name, "uibU", ((count,), (count, 1), (count, rows)))
                values = values[:, 0] if values.shape == (count, 1) else values
                labels[_CLASS if name == "labels" else name] = label_values(values, count, name)
        except ItemError as error:
            if name == "labels":
                raise
            left_out[name] = f"no label: {error}"
    return ItemArray(samples, labels, left_out)


def _read_npy(
    archive: zipfile.ZipFile, name: str, kinds: str, shapes: Sequence[tuple[int, ...]] | None = None
) -> np.ndarray:
    """Reads an array of one of these NumPy kinds of numbers, and shapes; of others the header alone."""
    if not name.isidentifier():
        raise ItemError("its name is no plain word")
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran_order, dtype = read_header(file)
        if dtype.kind not in kinds:
            raise ItemError(f"{name} holds {dtype}: items are numbers, labels integers or strings")
        if shapes is not None and shape not in shapes:
            raise ItemError(f"{name} has the shape {shape}: labels have {' or '.join(map(str, shapes))}")
        values = np.frombuffer(_read_exactly(file, math.prod(shape) * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if fortran_order else "C")


def _read_idx_array(path: Path, dims: tuple[int, ...]) -> np.ndarray:
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if zipped else raw as file:
                header = file.read(4)
                if header[:3] != _IDX_UINT8 or header[3] not in dims:
                    raise ItemError(f"{path.name} is not an IDX file of bytes with {dims[0]} dimensions")
                shape = tuple(np.frombuffer(_read_exactly(file, 4 * header[3], last=False), ">u4").tolist())
                return np.frombuffer(_read_exactly(file, math.prod(shape)), np.uint8).reshape(shape)
    except ItemError:
        raise
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"damaged IDX file {path.name}: {reason_of(error)}") from None


def _read_exactly(file: IO[bytes] | gzip.GzipFile, size: int, *, last: bool = True) -> bytearray:
    """Reads `size` bytes, in pieces as a header may lie; after the last ones the file must end."""
    if size > MAX_ARRAY_BYTES:
        raise ItemError(f"an array of {size} bytes is more than the limit of {MAX_ARRAY_BYTES}")
    data = bytearray()
    while len(data) < size and (piece := file.read(min(size - len(data), 1 << 24))):
        data += piece
    if len(data) != size or (last and file.read(1)):
        raise ItemError(f"the data is not as long as the header says ({size} bytes)")
    return data
