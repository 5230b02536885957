"""Metadata of an archive: CBOR maps whose long lists are columns of integers that compress well.

Of CBOR (RFC 8949) only one form is written and read: a map from texts to integers 0 to 2^64 - 1, texts, byte
strings, and arrays of these, with at most 64 entries in the map and in each array, and lengths up front.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ArchiveError

__all__ = ["dump", "get", "inflate", "load", "pack", "unpack"]

T = TypeVar("T")
_MAX_ENTRIES = 64
_UINT, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5  # CBOR's major types


def pack(values: Sequence[int] | NDArray[Any], width: int = 4) -> bytes:
    """Returns integers of `width` bytes by planes: all lowest bytes, all second bytes, ...

    >>> pack([1, 2, 300]).hex()
    '01022c000001000000000000'
    """
    array = np.asarray(values, np.uint64)
    if width < 8 and array.size and array.max() >> np.uint64(8 * width):
        raise OverflowError("a number does not fit its column")
    return array.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T.tobytes()


def unpack(data: Any, count: int | None = None, width: int = 4) -> NDArray[Any]:
    """Inverse of `pack`, int64, or uint64 of width 8; `ArchiveError` if there are not `count` integers.

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
    stream, tree = io.BytesIO(data), dict[str, Any]()
    try:
        kind, count = _read_head(stream)
        sound = kind == _MAP and count <= _MAX_ENTRIES
        while sound and len(tree) < count:
            key = _read(stream)
            sound = isinstance(key, str) and key not in tree
            tree[key] = _read(stream, arrays=True)
        if sound and not stream.read(1):
            return tree
    except ValueError:
        pass
    raise ArchiveError("damaged archive: its metadata is not a CBOR map of the known form")


def _read(stream: BinaryIO, *, arrays: bool = False) -> Any:
    """The integer, byte string, text or array that comes next; `ValueError` if it is none of these."""
    kind, argument = _read_head(stream)
    if kind == _UINT:
        return argument
    if kind == _ARRAY and arrays and argument <= _MAX_ENTRIES:
        return [_read(stream) for _ in range(argument)]
    if kind not in (_BYTES, _TEXT):
        raise ValueError
    content = _take(stream, argument)
    return content if kind == _BYTES else content.decode()


def _read_head(stream: BinaryIO) -> tuple[int, int]:
    """The next major type and its argument."""
    kind, short = divmod(_take(stream, 1)[0], 32)
    if short > 27:
        raise ValueError
    return kind, int.from_bytes(_take(stream, 1 << short - 24), "big") if short >= 24 else short


def _take(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(min(count, 1 << 32))
    if len(content) != count:
        raise ValueError
    return content


def get(tree: dict[str, Any], key: str, kind: type[T]) -> T:
    """Returns an entry of a map that must be there and of this type."""
    value = tree.get(key)
    if type(value) is not kind:
        raise ArchiveError(f"damaged archive: its metadata has no {key!r}")
    return value
