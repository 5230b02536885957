"""Metadata of an archive: CBOR maps whose long lists are columns of integers that compress well.

Of CBOR (RFC 8949) only one form is written and read: a map from texts to integers 0 to 2^64 - 1, texts, byte
strings, and arrays of these, with at most 64 entries in the map and in each array, and lengths up front.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ArchiveError

__all__ = ["dump", "get", "inflate", "load", "pack", "unpack"]

T = TypeVar("T")
_MAX_ENTRIES = 64
_UINT, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5  # CBOR's major types


def pack(values: Sequence[int] | NDArray[Any], width: int = 4) -> bytes:
    """Returns integers of `width` bytes, 4 or 8, by planes: all lowest bytes, all second bytes, ...

    >>> pack([1, 2, 300]).hex()
    '01022c000001000000000000'
    """
    array = np.asarray(values, np.uint64)
    if width < 8 and array.size and array.max() >> np.uint64(8 * width):
        raise OverflowError("a number does not fit its column")
    return array.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T.tobytes()


def unpack(data: bytes, count: int | None = None, width: int = 4) -> NDArray[Any]:
    """Inverse of `pack`, int64 of width 4 and uint64 of 8; `ArchiveError` if there are not `count` integers.

    >>> unpack(pack([1, 2, 300])).tolist()
    [1, 2, 300]
    """
    if not isinstance(data, bytes) or len(data) % width or count not in (None, len(data) // width):
        raise ArchiveError("damaged archive: a column of its index has the wrong length")
    planes = np.frombuffer(data, np.uint8).reshape(width, -1)
    integers = np.ascontiguousarray(planes.T).view(f"<u{width}").ravel()
    return integers.astype(np.int64 if width < 8 else np.uint64)


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
    """Returns a map in CBOR's deterministic encoding (section 4.2.1).

    >>> dump({"hop": [4, 300], "id": b"x"}).hex()
    'a2626964417863686f70820419012c'
    """
    pairs = sorted((_encoded(key), _encoded(value)) for key, value in tree.items())
    return _head(_MAP, len(pairs)) + b"".join(part for pair in pairs for part in pair)


def _encoded(value: Any) -> bytes:
    if isinstance(value, int):
        return _head(_UINT, value)
    if isinstance(value, str):
        return _head(_TEXT, len(value.encode())) + value.encode()
    parts = [value] if isinstance(value, bytes) else [_encoded(part) for part in value]
    return _head(_BYTES if isinstance(value, bytes) else _ARRAY, len(value)) + b"".join(parts)


def _head(kind: int, argument: int) -> bytes:
    """A major type and its argument in the fewest bytes."""
    if argument < 24:
        return bytes([kind << 5 | argument])
    short = next(short for short in range(4) if argument < 1 << (8 << short))
    return bytes([kind << 5 | 24 + short]) + argument.to_bytes(1 << short, "big")


def load(data: bytes) -> dict[str, Any]:
    """Reads what `dump` wrote; `ArchiveError` for anything else."""
    kind, count, position = _read_head(data, 0)
    if kind != _MAP or count > _MAX_ENTRIES:
        _refuse()
    tree: dict[str, Any] = {}
    for _ in range(count):
        key, position = _read(data, position)
        if type(key) is not str or key in tree:
            _refuse()
        tree[key], position = _read(data, position, arrays=True)
    if position != len(data):
        _refuse()
    return tree


def _read(data: bytes, position: int, *, arrays: bool = False) -> tuple[Any, int]:
    """Returns the integer, byte string, text or array at a position, and the position after it."""
    kind, argument, start = _read_head(data, position)
    if kind == _UINT:
        return argument, start
    if kind == _ARRAY and arrays and argument <= _MAX_ENTRIES:
        values = []
        for _ in range(argument):
            value, start = _read(data, start)
            values.append(value)
        return values, start
    end = start + argument
    if kind not in (_BYTES, _TEXT) or end > len(data):
        _refuse()
    try:
        return (data[start:end] if kind == _BYTES else data[start:end].decode()), end
    except UnicodeDecodeError:
        _refuse()


def _read_head(data: bytes, position: int) -> tuple[int, int, int]:
    """Returns the major type at a position, its argument, and the position after both."""
    if position >= len(data):
        _refuse()
    kind, short = divmod(data[position], 32)
    end = position + 1 + (1 << short - 24 if 24 <= short <= 27 else 0)
    if short > 27 or end > len(data):
        _refuse()
    return kind, int.from_bytes(data[position + 1 : end], "big") if short >= 24 else short, end


def _refuse() -> NoReturn:
    raise ArchiveError("damaged archive: its metadata is not a CBOR map of the known form") from None


def get(tree: dict[str, Any], key: str, kind: type[T]) -> T:
    """Returns an entry of a map that must be there and of this type."""
    value = tree.get(key)
    if type(value) is not kind:
        raise ArchiveError(f"damaged archive: its metadata has no {key!r}")
    return value
