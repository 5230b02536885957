"""What was made of training items, kept in the user's cache folder, as making it again takes its time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.files import open_atomic

__all__ = ["keep", "recall"]

_DIGEST = 32

Arrays = Iterable[NDArray[Any]]


def keep(arrays: Arrays, id: bytes) -> None:
    """Keeps arrays by the model's id, if that can be done."""
    path = _cache_file(id)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomic(path, overwrite=True) as file:
            digest = hashlib.blake2b(digest_size=_DIGEST)
            for view in _views(arrays):
                digest.update(view)
                file.write(view)
            file.write(digest.digest())


def recall(arrays: Arrays, id: bytes) -> bool | None:
    """Fills in arrays that were kept: whether they are whole, or None where there are none."""
    path = _cache_file(id)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            digest = hashlib.blake2b(digest_size=_DIGEST)
            for view in _views(arrays):
                if file.readinto(view) != len(view):
                    return False
                digest.update(view)
            return file.read() == digest.digest()
    except OSError:
        return False


def _views(arrays: Arrays) -> Iterator[memoryview]:
    for array in arrays:
        yield array.reshape(-1).view(np.uint8).data


def _cache_file(id: bytes) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentpress"
    return home / f"counted-{id.hex()}.bin"
