"""What was learned, in few bytes: arrays one after another, and then LZMA."""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import CheckpointError

__all__ = ["pack_arrays", "unpack_arrays"]

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6}]


def pack_arrays(arrays: Iterable[NDArray[Any]]) -> bytes:
    """The bytes of arrays, whose types say their order of bytes.

    >>> packed = pack_arrays([np.arange(1000, dtype="<i4"), np.zeros(9, "u1")])
    >>> len(packed) < 1500, [len(a) for a in unpack_arrays(packed, [((1000,), "<i4"), ((9,), "u1")])]
    (True, [1000, 9])
    """
    return lzma.compress(b"".join(each.tobytes() for each in arrays), lzma.FORMAT_RAW, filters=_FILTERS)


def unpack_arrays(packed: bytes, forms: Iterable[tuple[tuple[int, ...], str]]) -> list[NDArray[Any]]:
    """The arrays of these shapes and types that were packed.

    Raises:
        CheckpointError: these bytes are not those of such arrays.
    """
    forms = list(forms)
    sizes = [int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in forms]
    raw, arrays, start = _decompress(packed, sum(sizes)), [], 0
    for (shape, kind), size in zip(forms, sizes, strict=True):
        arrays.append(np.frombuffer(raw[start : start + size], kind).reshape(shape))
        start += size
    return arrays


def _decompress(packed: bytes, size: int) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        raw = decompressor.decompress(packed, size + 1)
    except lzma.LZMAError as error:
        raise CheckpointError(f"counted contexts: what was learned is damaged: {error}") from None
    if len(raw) != size or decompressor.unused_data:
        raise CheckpointError("counted contexts: what was learned is damaged: another length")
    return raw
