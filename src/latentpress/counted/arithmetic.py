"""Logistic arithmetic in integers: the tables that counters, mixers and refinements share.

A probability has 16 bits, or 22 where it is learned slowly; its *stretch* is ln(p / (1 - p)) in 256ths of a
nat, and *squash* is the inverse. The tables are rounded from decimal logarithms, which are the same digits
on every machine, and what is computed with them is integers.
"""

from __future__ import annotations

import decimal
import functools
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COST",
    "DECODE",
    "ENCODE",
    "LOGARITHMS",
    "MEASURE",
    "RECIPROCALS",
    "SQUASH",
    "SQUASH_REACH",
    "STRETCH",
    "STRETCH_REACH",
    "reciprocals",
]

DECODE, ENCODE, MEASURE = range(3)
"""What is done with a decision: it is read, written, or only priced."""

STRETCH_REACH = 2047  # of a stretch, in 256ths of a nat: 8 nats
SQUASH_REACH = 3071  # of the numbers that are squashed
_UNIT = 256
_DIGITS = decimal.Context(prec=25)
_LOGIT_UNIT = 32  # of the engine's logits, in octaves


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(decimal.ROUND_HALF_EVEN))


@functools.cache
def _stretch_table() -> NDArray[np.int32]:
    """Of probabilities of 12 bits, each taken in the middle of its step."""

    def entry(p: int) -> int:
        odds = Decimal(2 * p + 1) / Decimal(2 * 4096 - 2 * p - 1)
        return max(-STRETCH_REACH, min(STRETCH_REACH, _rounded(_UNIT * _DIGITS.ln(odds))))

    return np.array([entry(p) for p in range(4096)], np.int32)


@functools.cache
def _squash_table() -> NDArray[np.int32]:
    """16 bits: 1 to 65535."""

    def entry(x: int) -> int:
        return max(1, min(65535, _rounded(65536 / (1 + _DIGITS.exp(Decimal(-x) / _UNIT)))))

    return np.array([entry(x) for x in range(-SQUASH_REACH - 1, SQUASH_REACH + 1)], np.int32)


@functools.cache
def _cost_table() -> NDArray[np.int32]:
    """-log2 of probabilities of 12 bits, in 32nds."""
    two = _DIGITS.ln(Decimal(2))
    costs = (-_DIGITS.ln(Decimal(2 * p + 1) / Decimal(2 * 4096)) / two * _LOGIT_UNIT for p in range(4096))
    return np.array([_rounded(cost) for cost in costs], np.int32)


@functools.cache
def _logarithm_table() -> NDArray[np.int32]:
    """ln(1 + i / 4096) in 16384ths."""
    return np.array([_rounded((1 << 14) * _DIGITS.ln(1 + Decimal(i) / 4096)) for i in range(4096)], np.int32)


def reciprocals(limit: int) -> NDArray[np.int32]:
    """2^16 / (n + 1.5) for counts n below 15, and 2^16 / limit for 15: how far a counter steps.

    >>> reciprocals(12)[[0, 1, 15]].tolist()
    [43690, 26214, 5461]
    """
    steps = [(1 << 17) // (2 * n + 3) for n in range(15)]
    return np.array([*steps, (1 << 16) // limit], np.int32)


STRETCH, SQUASH, COST = _stretch_table(), _squash_table(), _cost_table()
LOGARITHMS = _logarithm_table()
RECIPROCALS = np.array([(1 << 17) // (2 * n + 3) for n in range(1024)], np.int32)
"""2^16 / (n + 1.5), of counts of 10 bits."""
