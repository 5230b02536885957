"""The order of symbols that makes their first bits say which are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["alike"]


def alike(vectors: NDArray[Any]) -> NDArray[np.int64]:
    """An order of code vectors (K, D), in which every bit of a rank halves them along their first axis.

    That axis is the first principal component of the vectors at hand.

    >>> order = alike(np.array([[0.0, 9.0], [5.0, 0.1], [0.1, 9.0], [5.2, 0.0]]))
    >>> sorted([set(order[:2].tolist()), set(order[2:].tolist())], key=min)
    [{0, 2}, {1, 3}]
    """
    return np.array(_halved(vectors.astype(np.float64), np.arange(len(vectors)), _whole(len(vectors))))


def _whole(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _halved(vectors: NDArray[np.float64], members: NDArray[np.int64], room: int) -> list[int]:
    """Members in their order, the first half of `room` being filled first."""
    half = room // 2
    if len(members) <= 1:
        return members.tolist()
    if len(members) <= half:
        return _halved(vectors, members, half)
    centred = vectors[members] - vectors[members].mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    members = members[np.argsort(centred @ axes[:, -1], kind="stable")]
    return _halved(vectors, members[:half], half) + _halved(vectors, members[half:], half)
