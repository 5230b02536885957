"""Smooth functions in integers: tables made once by correctly rounded arithmetic, and straight lines between.

A curve here rises from 0 to 1 and is symmetric, f(-x) = 1 - f(x). Its table T holds f(i h), i = 0, 1, ...,
in steps of 1 / `one`, rounded half up. Its argument is an integer of unit h / 2^b: with |x| capped where the
table ends, i = floor(|x| / 2^b) and r = |x| mod 2^b

    y = T_i + floor((T_(i+1) - T_i) r / 2^b)      and      f(x) = y where x >= 0, else one - y

which never falls. The tables come from the decimal module, which is correctly rounded by specification.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "logistic", "normal_distribution", "rounded"]

Integers = NDArray[Any]

_DIGITS = 30
_CHUNK = 1 << 14  # arguments worked on at a time, so that they stay in the processor's cache
_PI = Decimal("3.14159265358979323846264338327950288")


@dataclass(frozen=True)
class Curve:
    """A rising symmetric function: its `table` at 0, h, ..., N h, int64 (N + 1,), which ends in `one`."""

    table: NDArray[np.int64]
    bits: int

    def __call__(self, x: Integers) -> NDArray[np.int64]:
        """Its values at integers `x`, of any shape."""
        x, most = np.asarray(x, np.int64), (len(self.table) - 1 << self.bits) - 1
        out = np.empty(x.size, np.int64)
        for start in range(0, x.size, _CHUNK):
            part = x.reshape(-1)[start : start + _CHUNK]
            distance = np.minimum(np.abs(part), most)
            entry = distance >> self.bits
            distance &= (1 << self.bits) - 1
            y = self.table.take(entry)
            distance *= self.table.take(entry + 1) - y
            y += distance >> self.bits
            out[start : start + _CHUNK] = np.where(part < 0, self.table[-1] - y, y)
        return out.reshape(x.shape)


def rounded(values: Iterable[Decimal]) -> NDArray[np.int64]:
    """A table, not to be written to, of positive numbers rounded half up."""
    table = np.array([math.floor(x + Decimal("0.5")) for x in values], np.int64)
    table.flags.writeable = False
    return table


@functools.cache
def logistic() -> Curve:
    """1 / (1 + exp(-x)): x in units of 2^-12, values in units of 2^-15, a table of 2^-6 steps up to 16.

    >>> logistic()(np.array([-(1 << 12), 0, 1 << 12, 1 << 40])).tolist()
    [8813, 16384, 23955, 32768]
    """
    with localcontext(prec=_DIGITS):
        values = [(1 << 15) * (1 / (1 + (Decimal(-i) / 64).exp())) for i in range(1024)]
        return Curve(rounded([*values, Decimal(1 << 15)]), 6)


@functools.cache
def normal_distribution() -> Curve:
    """P(X < x) for a standard normal X: x in units of 2^-16, values of 2^-30, steps of 2^-8 up to 7.

    >>> normal_distribution()(np.array([-(1 << 16), 0, 1 << 16])).tolist()
    [170354782, 536870912, 903387042]
    """
    with localcontext(prec=_DIGITS):
        values = [(1 << 30) * _normal(Decimal(i) / 256) for i in range(1792)]
        return Curve(rounded([*values, Decimal(1 << 30)]), 8)


def _normal(x: Decimal) -> Decimal:
    """1/2 + exp(-x^2 / 2) / sqrt(2 pi) (x + x^3 / 3 + x^5 / (3 * 5) + ...), x >= 0: no term is negative."""
    square, term, total, odd = x * x, x, x, 1
    while term > total * Decimal(10) ** -20:
        odd += 2
        term = term * square / odd
        total += term
    return Decimal("0.5") + (-square / 2).exp() / (2 * _PI).sqrt() * total
