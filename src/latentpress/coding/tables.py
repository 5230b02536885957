"""Frequency tables: what the entropy coder knows of the next symbol, in integers only.

A table of K symbols is K positive integers that sum to exactly `TOTAL` = 2^24. It is made from integer logits
(binary logarithms in units of 2^-5) or from counts, by integer operations that are chosen for the loop that
decodes: no lookup, products of 32-bit numbers only, and bounds of symbols that follow from sums of weights,
so that one symbol's bounds need no other's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CURVATURE",
    "DEEPEST",
    "LOGIT_BITS",
    "SHARE_BITS",
    "SLOPE",
    "TOTAL",
    "TOTAL_BITS",
    "WEIGHT_BITS",
    "frequencies",
    "normalize",
    "random_points",
    "weights",
]

TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
LOGIT_BITS = 5
SHARE_BITS = 38  # (TOTAL << 38) and its product with a share of the weights stay under 2^63
DEEPEST = 1023  # where a logit's distance from the largest is clipped: 32 octaves
WEIGHT_BITS = 31  # of the largest logit's weight
SLOPE, CURVATURE = 44946432, 356000  # of the parabola that weights are within an octave
_CHUNK = 1 << 15  # entries worked on at a time, so that they stay in the processor's cache

Integers = NDArray[Any]


def weights(below: Integers) -> NDArray[np.int64]:
    """Weight of a symbol whose logit is d >= 0 steps of 2^-5 below the largest: nearly 2^(31 - d / 32).

    With i = d mod 32, it is (2^31 - i (44946432 - 356000 i)) >> floor(d / 32): a parabola through both
    ends of each octave, at most 0.3 % off, which costs 2e-6 nats a symbol.

    >>> weights(np.array([0, 16, 32, 1023, 5000])).tolist()
    [2147483648, 1519476736, 1073741824, 0, 0]
    """
    clipped = np.minimum(np.asarray(below, np.int64), DEEPEST)
    i = clipped & 31
    return ((1 << WEIGHT_BITS) - i * (SLOPE - CURVATURE * i)) >> (clipped >> LOGIT_BITS)


def frequencies(logits: Integers) -> NDArray[np.int32]:
    """Tables int32 (N, K) of integer logits (N, K), K up to 65536: close to 2^24 softmax(ln 2 logits / 32).

    They are `normalize(weights(max(logits) - logits))`.

    >>> frequencies(np.array([[0, 0], [32, 0]])).tolist()  # odds 1:1 and 2:1
    [[8388608, 8388608], [11184810, 5592406]]
    """
    out = np.empty(logits.shape, np.int32)
    step = max(1, _CHUNK // logits.shape[1])
    for start in range(0, len(logits), step):
        rows = logits[start : start + step].astype(np.int64)
        out[start : start + step] = normalize(weights(rows.max(axis=1, keepdims=True) - rows))
    return out


def normalize(weights: Integers) -> NDArray[np.int32]:
    """Tables int32 (N, K) of weights: integers (N, K) from 0 on, each row's sum from 1 to 2^62.

    With M = 2^24 - K, W_k the sum of the weights before k, S the row's and r = floor(2^38 M / S), symbol
    k takes the numbers from k + floor(W_k r / 2^38) up to where k + 1 begins, and the last up to 2^24.

    >>> normalize(np.array([[3, 1, 0, 0]])).tolist()
    [[12582910, 4194304, 1, 1]]
    """
    rows = np.asarray(weights, np.int64)
    spread = TOTAL - rows.shape[1]
    ends = rows.cumsum(axis=1)
    ends *= (spread << SHARE_BITS) // ends[:, -1:]
    ends >>= SHARE_BITS
    ends[:, -1] = spread
    return (np.diff(ends, axis=1, prepend=0) + 1).astype(np.int32)


def random_points(seed: int, item: int, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Random points of tables, 0 to 2^24 - 1, to sample symbols with: the same on every machine.

    An item has its own stream, so it does not depend on how many are sampled with it: the counter-based
    generator Philox4x64 (Salmon et al., SC 2011) with the key (seed, item), each 0 to 2^64 - 1.

    >>> random_points(7, 0, (2, 2)).tolist()
    [[14630964, 4955408], [7048069, 6801353]]
    """
    raw = np.random.Philox(key=seed | item << 64).random_raw(math.prod(shape))
    return (raw >> np.uint64(64 - TOTAL_BITS)).astype(np.uint32).reshape(shape)
