"""What samples of a picture look at, and the tables that make classes of numbers, all in integers.

Planes are coded whole, one after the other: green, red, blue, or the only one. A sample's neighbours are
samples above it and to its left, and in planes that are known any about its place.
"""

from __future__ import annotations

import decimal
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AROUND",
    "BITS_FROM",
    "BUCKETS",
    "ENERGY",
    "INPUTS",
    "LEVELS",
    "LOGISTIC",
    "LOG_CLASSES",
    "MARGIN",
    "NEIGHBOURS",
    "NODES",
    "PLANES",
    "RIGHT_MARGIN",
    "SHORT",
    "SIGNED",
    "SIGNED_FEW",
    "SIGNED_OFFSET",
    "UNARY",
]

PLANES = {1: (0,), 3: (1, 0, 2)}
"""The order in which channels are coded, by their number."""

MARGIN, RIGHT_MARGIN = 4, 8  # about a plane, rows and columns that are there for neighbours
LEVELS = 256

_Place = tuple[int, int, int]
_OWN = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, -1), (-2, 1), (-1, -2), (-1, 2)]
_OWN += [(0, -3), (-3, 0), (-2, -2), (-2, 2), (-1, 3), (-1, -3), (-3, 1), (-3, -1)]
_KNOWN = [
    (0, 0),
    (0, -1),
    (-1, 0),
    (0, 1),
    (1, 0),
    (-1, -1),
    (-1, 1),
    (1, -1),
    (1, 1),
    (0, -2),
    (-2, 0),
    (0, 2),
]


def _places() -> tuple[list[list[_Place]], list[int]]:
    """(plane, row, column) of the neighbours of each plane's samples, those of the short regression first."""
    own, known = _OWN, _KNOWN
    first = [(0, *place) for place in own]
    second = [(1, *place) for place in own[:6]] + [(0, *place) for place in known[:7]]
    second += [(1, *place) for place in own[6:10]] + [(0, *place) for place in known[7:]]
    third = [(2, *place) for place in own[:4]]
    third += [(0, *place) for place in known[:5]] + [(1, *place) for place in known[:5]]
    third += [(2, *place) for place in own[4:8]] + [(0, *place) for place in known[5:7]]
    third += [(1, *place) for place in known[5:7]]
    return [first, second, third], [8, 13, 14]


_LISTS, _SHORT = _places()
INPUTS = np.array([len(each) for each in _LISTS])
"""How many inputs the regressions of each plane have."""

SHORT = np.array(_SHORT)
"""How many of them the short regression has."""

AROUND = 24  # at most, with the sample itself, rounded up
NEIGHBOURS: NDArray[np.int64] = np.zeros((3, AROUND, 3), np.int64)
"""(plane, rows down, columns right) of each input."""

for _plane, _list in enumerate(_LISTS):
    NEIGHBOURS[_plane, : len(_list)] = _list


def _energy(plane: int) -> list[float]:
    """How much inputs' squares count in a sample's weight: near ones of its plane whole, others' half."""
    near = set(_OWN[:8])
    here = [1.0 if place[1:] in near else 0.0 for place in _LISTS[plane]]
    energy = [one if place[0] == plane else 0.5 for one, place in zip(here, _LISTS[plane], strict=True)]
    return energy + [0.0] * (AROUND - len(energy))


ENERGY = np.array([_energy(plane) for plane in range(3)])

# Decisions of a residual e: whether it is 0; its sign; whether |e| is over 1, 2, 4, 8, ...: then where it is
# between two of these, the highest bit first.
_FIRST_UNARY, _MOST_BUCKETS = 2, 8
UNARY = np.array([_FIRST_UNARY, _FIRST_UNARY + _MOST_BUCKETS])
"""The first of these nodes, of negative residuals and of positive ones."""

BUCKETS = np.array([0, 0, *[(m - 1).bit_length() for m in range(2, LEVELS + 1)]])
"""Of |e|: 0 for 1, 1 for 2, 2 for 3 and 4, ..."""


def _bit_nodes() -> tuple[NDArray[np.int64], int]:
    """The first node of the bits in a bucket, by sign; two bits have nodes for what comes before them."""
    starts, node = np.zeros((2, _MOST_BUCKETS + 1), np.int64), _FIRST_UNARY + 2 * _MOST_BUCKETS
    for sign in range(2):
        for bucket in range(2, _MOST_BUCKETS + 1):
            starts[sign, bucket] = node
            node += 1 if bucket == 2 else bucket
    return starts, -(-node // 16) * 16  # whole lines of the cache


BITS_FROM, NODES = _bit_nodes()

LOG_CLASSES = np.array([((v + 1) ** 3).bit_length() - 1 for v in range(8192)])
"""floor(3 log2(v + 1))."""

SIGNED_OFFSET = 4096


def _signed() -> NDArray[np.int64]:
    """sign(d) floor(2.4 log2(1 + |d| / 1.5)) + 10, at most 20, of -4096 <= d < 4096."""
    classes, k = np.zeros(SIGNED_OFFSET + 1, np.int64), 0
    for d in range(SIGNED_OFFSET + 1):
        while k < 10 and (1 << 5 * (k + 1)) * 3**12 <= (3 + 2 * d) ** 12:
            k += 1
        classes[d] = k
    return np.concatenate([-classes[:0:-1], classes[:-1]]) + 10


SIGNED = _signed()
_FEW = np.array([min(4, ((4 + d) >> 2).bit_length() - 1) for d in range(SIGNED_OFFSET + 1)])
SIGNED_FEW = np.concatenate([-_FEW[:0:-1], _FEW[:-1]]) + 4
"""sign(d) floor(log2(1 + |d| / 4)) + 4, at most 8."""


def _logistic() -> NDArray[np.int64]:
    """2^30 / (1 + exp(-(i - 1024) / 64)), rounded from decimal digits."""
    digits = decimal.Context(prec=25)
    values = ((1 << 30) / (1 + digits.exp(Decimal(1024 - i) / 64)) for i in range(2049))
    return np.array([int(value.to_integral_value(decimal.ROUND_HALF_EVEN)) for value in values])


LOGISTIC = _logistic()
