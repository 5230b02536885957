"""The name of a set of integers: integer forms of networks are told apart by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

__all__ = ["digest"]


def digest(arrays: Mapping[str, NDArray[Any]], person: bytes) -> bytes:
    """BLAKE2b of 16 bytes over name, type, shape and little-endian integers of every array, by name.

    `person` keeps different kinds of sets apart, at most 16 bytes.

    >>> import numpy as np
    >>> digest({"a": np.array([1, 2], np.int8)}, b"example").hex()
    '9b5f172f30434de342ce495f23fbb519'
    """
    result = hashlib.blake2b(digest_size=16, person=person)
    for name in sorted(arrays):
        array = arrays[name]
        result.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        result.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return result.digest()
