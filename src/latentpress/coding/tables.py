"""Frequency tables: what the entropy coder knows of the next symbol, in integers only.

A table of K symbols is K positive integers that sum to exactly `TOTAL` = 2^24. It is made from
integer logits (natural logarithms in units of 2^-5) or from counts, by the same few integer
operations on every machine, so that encoder and decoder agree to the last bit.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOGIT_BITS", "TOTAL", "TOTAL_BITS", "WEIGHTS", "code_length_bits", "frequencies", "normalize"]

TOTAL_BITS = 24
TOTAL = 1 << TOTAL_BITS
LOGIT_BITS = 5
_RECIPROCAL_BITS = 38  # (TOTAL << 38) and its product with a weight's share stay under 2^63
_CHUNK = 1 << 15  # entries worked on at a time, so that they stay in the processor's cache

Integers = NDArray[Any]


def _exponentials() -> NDArray[np.int64]:
    """Returns round(2^32 exp(-d / 32)) for d = 0 ... 767; the last is 0."""
    with localcontext() as context:
        context.prec = 40
        return np.array([int((2**32 * (Decimal(-d) / 32).exp()).to_integral_value()) for d in range(768)])


WEIGHTS = _exponentials()
"""Weight of a symbol whose logit is d steps of 2^-5 below the largest; d is clipped at the end."""


def frequencies(logits: Integers) -> NDArray[np.int32]:
    """Turns integer logits into frequency tables, one a row.

    With d = max(logits) - logits, clipped to 767, the table is `normalize(WEIGHTS[d])`: close to
    2^24 softmax(logits / 32), never zero.

    Args:
        logits: integers (N, K), natural logarithms in units of 2^-5, K from 1 to 65536.

    Returns:
        int32 (N, K), every entry at least 1, every row summing to 2^24.

    >>> frequencies(np.array([[0, 0], [32, 0]])).tolist()  # odds 1:1 and e:1
    [[8388608, 8388608], [12265128, 4512088]]
    """
    out = np.empty(logits.shape, np.int32)
    step = max(1, _CHUNK // logits.shape[1])
    for start in range(0, len(logits), step):
        rows = logits[start : start + step].astype(np.int64)
        below = np.subtract(rows.max(axis=1, keepdims=True), rows, out=rows)
        np.minimum(below, len(WEIGHTS) - 1, out=below)
        out[start : start + step] = normalize(WEIGHTS[below])
    return out


def normalize(weights: Integers) -> NDArray[np.int32]:
    """Scales rows of weights to frequency tables with integer operations.

    With M = 2^24 - K, S the row's sum and r = floor(2^38 M / S), entry k is 1 + floor(w_k r / 2^38);
    what the row then lacks to 2^24 goes to its largest weight, the first of equals.

    Args:
        weights: non-negative integers (N, K), each row's sum from 1 to 2^62.

    Returns:
        int32 (N, K), every entry at least 1, every row summing to 2^24.

    >>> normalize(np.array([[3, 1, 0, 0]])).tolist()
    [[12582910, 4194304, 1, 1]]
    """
    rows = np.asarray(weights, np.int64)
    spread = TOTAL - rows.shape[1]
    largest = rows.argmax(axis=1)
    counts = rows * ((spread << _RECIPROCAL_BITS) // rows.sum(axis=1, keepdims=True))
    counts >>= _RECIPROCAL_BITS
    counts[np.arange(len(rows)), largest] += spread - counts.sum(axis=1)
    counts += 1
    return counts.astype(np.int32)


def code_length_bits(tables: Integers, symbols: Integers) -> float:
    """Returns the ideal length in bits of symbols (...) under their tables (..., K): sum of -log2 p.

    >>> code_length_bits(np.array([[1 << 23, 1 << 22, 1 << 22]]), np.array([2]))
    2.0
    """
    chosen = np.take_along_axis(tables, np.asarray(symbols, np.int64)[..., None], axis=-1)
    return float(TOTAL_BITS * chosen.size - np.log2(chosen).sum())
