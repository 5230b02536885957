"""Arrays of images in files: IDX (MNIST's format, also gzipped) and NumPy's .npz.

Both are read as hostile: what a header declares is checked against a bound before memory is taken and
against the data afterwards, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from latentpress.errors import ItemError

__all__ = ["MAX_ARRAY_BYTES", "ImageArray", "image_array", "read_idx", "read_npz"]

MAX_ARRAY_BYTES = 1 << 33
"""Bound on the decoded bytes of one array."""

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = b"\0\0\x08"


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Images of one size, uint8 (N, H, W, 1 or 3), and their N labels, if there are any."""

    images: np.ndarray
    labels: tuple[str, ...] | None = None


def image_array(images: np.ndarray, labels: Sequence[object] | np.ndarray | None = None) -> ImageArray:
    """Checks images, uint8 (N, H, W) or (N, H, W, C), and labels, which become strings.

    >>> array = image_array(np.zeros((2, 4, 4), np.uint8), [7, 9])
    >>> array.images.shape, array.labels
    ((2, 4, 4, 1), ('7', '9'))
    """
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise ItemError(f"images are uint8 (N, H, W) or (N, H, W, 1 or 3), got {images.dtype} {images.shape}")
    if labels is None:
        return ImageArray(images)
    if len(labels) != len(images):
        raise ItemError(f"{len(images)} images but {len(labels)} labels")
    return ImageArray(images, tuple(str(label) for label in labels))


def read_idx(path: Path) -> ImageArray:
    """Reads an IDX file of images, and the file of labels beside it: `images-idx3` becomes `labels-idx1`.

    Raises:
        ItemError: Either file is damaged, too large or does not hold what its name says.
    """
    images = _read_idx_array(path)
    beside = re.sub(r"images([-.])idx[34]", r"labels\1idx1", path.name)
    plain = beside.removesuffix(".gz")
    found = (path.with_name(name) for name in (beside, plain, plain + ".gz") if name != path.name)
    labels = next((candidate for candidate in found if candidate.is_file()), None)
    return image_array(images, None if labels is None else _read_idx_array(labels, dims=(1,)))


def read_npz(path: Path) -> ImageArray:
    """Reads a .npz file with an array `images` and, where there is one, an array `labels`.

    Raises:
        ItemError: The file is damaged, too large or has no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                name: _read_npy(archive, f"{name}.npy")
                for name in ("images", "labels")
                if f"{name}.npy" in archive.namelist()
            }
    except ItemError:
        raise
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"damaged .npz file: {error}") from None
    if "images" not in arrays:
        raise ItemError("no array named images; save one with numpy.savez(path, images=..., labels=...)")
    labels = arrays.get("labels")
    if labels is not None and labels.ndim != 1:
        raise ItemError(f"labels are one-dimensional, got {labels.shape}")
    return image_array(arrays["images"], labels)


def _read_npy(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        version = npy.read_magic(file)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran_order, dtype = read_header(file)
        if dtype.kind not in "uiU":
            raise ItemError(f"{name} holds {dtype}: images are uint8, labels integers or strings")
        values = np.frombuffer(_read_exactly(file, math.prod(shape) * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if fortran_order else "C")


def _read_idx_array(path: Path, dims: tuple[int, ...] = (3, 4)) -> np.ndarray:
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
        raise ItemError(f"damaged IDX file {path.name}: {error}") from None


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
