"""Metadata of an archive: CBOR maps whose long lists are columns of integers that compress well."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

import cbor2
import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ArchiveError

__all__ = ["dump", "get", "inflate", "load", "pack", "unpack"]

T = TypeVar("T")
_MAX_ENTRIES = 64
_UINT, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5  # CBOR's major types


def pack(values: Sequence[int] | NDArray[Any]) -> bytes:
    """Returns integers 0 ... 2^32 - 1 as four planes: all lowest bytes, then all second bytes, ...

    >>> pack([1, 2, 300]).hex()
    '01022c000001000000000000'
    """
    return np.asarray(values, "<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


def unpack(data: bytes, count: int | None = None) -> NDArray[np.int64]:
    """Inverse of `pack`; `ArchiveError` if there are not `count` integers.

    >>> unpack(pack([1, 2, 300])).tolist()
    [1, 2, 300]
    """
    if len(data) % 4 or (count is not None and len(data) != 4 * count):
        raise ArchiveError("damaged archive: a column of its index has the wrong length")
    planes = np.frombuffer(data, np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)


def inflate(data: bytes, most: int) -> bytes:
    """Returns zlib data decompressed, `ArchiveError` if it is damaged or comes to more than `most` bytes."""
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(data, most + 1)
    except zlib.error:
        raise ArchiveError("damaged archive: its index cannot be decompressed") from None
    if len(result) > most or not stream.eof or stream.unused_data:
        raise ArchiveError("damaged archive: its index is too long or cut off")
    return result


def dump(tree: dict[str, Any]) -> bytes:
    """Returns a map as canonical CBOR (RFC 8949)."""
    return cbor2.dumps(tree, canonical=True)


def load(data: bytes) -> dict[str, Any]:
    """Reads what `dump` wrote; `ArchiveError` for anything else.

    That is one map from texts to integers 0 ... 2^64 - 1, texts, byte strings, and arrays of these:
    at most 64 entries in the map and in each array, lengths stated up front, nothing nested deeper.
    """
    kind, count, position = _head(data, 0)
    if kind != _MAP or count > _MAX_ENTRIES:
        _refuse()
    tree: dict[str, Any] = {}
    for _ in range(count):
        key, position = _scalar(data, position)
        if type(key) is not str or key in tree:
            _refuse()
        kind, length, after = _head(data, position)
        if kind != _ARRAY:
            tree[key], position = _scalar(data, position)
            continue
        if length > _MAX_ENTRIES:
            _refuse()
        tree[key], position = [], after
        for _ in range(length):
            value, position = _scalar(data, position)
            tree[key].append(value)
    if position != len(data):
        _refuse()
    return tree


def _head(data: bytes, position: int) -> tuple[int, int, int]:
    """Returns the major type at a position, its argument, and the position after both."""
    if position >= len(data):
        _refuse()
    kind, short = divmod(data[position], 32)
    end = position + 1 + (1 << short - 24 if 24 <= short <= 27 else 0)
    if short > 27 or end > len(data):
        _refuse()
    return kind, int.from_bytes(data[position + 1 : end], "big") if short >= 24 else short, end


def _scalar(data: bytes, position: int) -> tuple[int | bytes | str, int]:
    """Returns the integer, byte string or text at a position, and the position after it."""
    kind, argument, start = _head(data, position)
    if kind == _UINT:
        return argument, start
    end = start + argument
    if kind not in (_BYTES, _TEXT) or end > len(data):
        _refuse()
    try:
        return (data[start:end] if kind == _BYTES else data[start:end].decode()), end
    except UnicodeDecodeError:
        _refuse()


def _refuse() -> NoReturn:
    raise ArchiveError("damaged archive: its metadata is not a CBOR map of the known form") from None


def get(tree: dict[str, Any], key: str, kind: type[T]) -> T:
    """Returns an entry of a map that must be there and of this type."""
    value = tree.get(key)
    if type(value) is not kind:
        raise ArchiveError(f"damaged archive: its metadata has no {key!r}")
    return value
