"""What one file holds: an item, or an array of items in IDX (MNIST's format, also gzipped) or NumPy's .npz.

Small files are read at once, so that none stays open for their sake. Large ones stay where they are: they
are read by ranges, and close with the last use of their content. Entries of zip archives are unpacked
first, large ones into a temporary file.

Arrays are read as hostile: what a header declares is checked against a bound before memory is taken and
against the data afterwards, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import math
import re
import shutil
import struct
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy

from latentpress.errors import ItemError
from latentpress.items import Content, Item, Samples
from latentpress.names import shown

__all__ = ["File", "ItemArray", "Label", "item_array", "label_values", "named", "read_idx", "read_npz"]

Label = str | tuple[str, ...]
"""A label's value: one for the item, or one a row along its first axis."""

MAX_ARRAY_BYTES = 1 << 33  # of one array, decoded
MAX_ENTRY_BYTES = 1 << 34  # that one entry of a zip archive may unpack to
_SMALL_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = b"\0\0\x08"


class File(NamedTuple):
    """A file of `size` bytes, on disk or in a zip archive; `stream` opens it to be read once."""

    name: str
    stream: Callable[[], IO[bytes]]
    size: int

    def head(self, most: int) -> bytes:
        """The first bytes, so many at most."""
        with self.stream() as file:
            return file.read(most)

    def open(self, item: Item, convert: bool) -> Content:
        """Opens it as an item; it closes when the content can no longer be read."""
        with ExitStack() as stack:
            content = item.open(stack.enter_context(self.seekable()), convert=convert)
            weakref.finalize(content.read, stack.pop_all().close)
        return content

    def seekable(self) -> BinaryIO:
        """Opens it to be read anywhere."""
        with ExitStack() as stack:
            file = stack.enter_context(self.stream())
            start = file.read(_SMALL_BYTES + 1)
            if len(start) <= _SMALL_BYTES:
                return BytesIO(start)
            if isinstance(file, zipfile.ZipExtFile):  # never gives more than the archive declares
                if self.size > MAX_ENTRY_BYTES:
                    raise ItemError(f"the entry has more than {MAX_ENTRY_BYTES >> 20} MiB")
                entry, file = file, stack.enter_context(TemporaryFile())
                file.write(start)
                shutil.copyfileobj(entry, file)
            file.seek(0)
            stack.pop_all()
        return cast(BinaryIO, file)


def open_named(name: str, open_item: Callable[[], Content]) -> Content:
    """Opens an item; errors, in reading it too, are `named`."""
    with named(name):
        content = open_item()

    def read(start: int, stop: int) -> Samples:
        with named(name):
            return content.read(start, stop)

    return replace(content, read=read)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns errors into `ItemError`, one line that begins with `name` as it is `shown`."""
    try:
        yield
    except ItemError as error:
        raise ItemError(f"{shown(name)}: {error}") from None
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"{shown(name)}: cannot be read: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


class ItemArray(NamedTuple):
    """N items, (*size, C); N values of each label; what was left out, and why, by name."""

    samples: Samples | Sequence[Samples]
    labels: Mapping[str, Sequence[Label]]
    left_out: Mapping[str, str]


def item_array(samples: Samples, item: Item) -> Samples:
    """Items (N, *size) or (N, *size, C) as (N, *size, C); `ItemError` where they are none of this kind."""
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
    """Reads an IDX file of items, and the file of labels next to it: `images-idx3` becomes `labels-idx1`."""
    axes = len(item.axes)
    samples = item_array(_read_idx_array(path, (axes + 1, axes + 2)), item)
    name = re.sub(rf"{item.words.items}([-.])idx[0-9]", r"labels\1idx1", path.name)
    plain = name.removesuffix(".gz")
    candidates = [path.with_name(n) for n in (name, plain, plain + ".gz") if n != path.name]
    labels: dict[str, Sequence[Label]] = {}
    if (file := next(filter(Path.is_file, candidates), None)) is not None:
        with named(file.name):
            labels["class"] = label_values(_read_idx_array(file, (1,)), len(samples), "class")
    return ItemArray(samples, labels, {})


def read_npz(path: Path, item: Item) -> ItemArray:
    """Reads a .npz file: the array `items` (or `images`, ... by the kind), and those that are its labels.

    A label has one integer or string an item, or one a row of each item; the array `labels` is the label
    "class".
    """
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        what = item.words.items
        chosen = next((name for name in ("items", what) if name in names), None)
        if chosen is None:
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
                    labels["class" if name == "labels" else name] = label_values(values, count, name)
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
        values = np.frombuffer(_read_rest(file, math.prod(shape) * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if fortran_order else "C")


def _read_idx_array(path: Path, dims: tuple[int, ...]) -> np.ndarray:
    with path.open("rb") as file:
        opener = gzip.open if file.read(2) == _GZIP_MAGIC else open
    with opener(path, "rb") as file:
        header = file.read(4)
        if header[:3] != _IDX_UINT8 or header[3] not in dims:
            raise ItemError(f"{shown(path.name)} is not an IDX file of bytes with {dims[0]} dimensions")
        shape = struct.unpack(f">{header[3]}I", file.read(4 * header[3]))
        return np.frombuffer(_read_rest(file, math.prod(shape)), np.uint8).reshape(shape)


def _read_rest(file: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """Reads `size` bytes, after which the file must end, in pieces as a header may lie."""
    if size > MAX_ARRAY_BYTES:
        raise ItemError(f"an array of {size} bytes is more than the limit of {MAX_ARRAY_BYTES}")
    data = bytearray()
    while len(data) < size and (piece := file.read(min(size - len(data), 1 << 24))):
        data += piece
    if len(data) != size or file.read(1):
        raise ItemError(f"the data is not as long as the header says ({size} bytes)")
    return data
