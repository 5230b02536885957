"""Smooth functions in integers: tables made once by correctly rounded arithmetic, and straight lines between.

A curve here rises from 0 to 1 and is symmetric, f(-x) = 1 - f(x): the logistic function and the normal
distribution's. Its table holds f(i h) for i = 0, 1, ... in steps of 1 / `one`, rounded half up. Its
argument is an integer of unit h / 2^b, and with i = floor(|x| / 2^b), capped, and r = |x| mod 2^b

    y = T_i + floor((T_(i+1) - T_i) r / 2^b)      and      f(x) = y where x >= 0, else one - y

which never falls and is symmetric to the last bit. The tables come from the decimal module, whose
operations are correctly rounded by specification: the same integers everywhere.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "logistic", "normal_distribution"]

Integers = NDArray[Any]

_DIGITS = 30
_CHUNK = 1 << 14  # arguments worked on at a time, so that they stay in the processor's cache
_PI = Decimal("3.14159265358979323846264338327950288")


@dataclass(frozen=True)
class Curve:
    """A rising symmetric function from 0 to `one`.

    `table`: int64 (N + 1,), its values at 0, h, ..., N h, the last of them `one`. `bits`: an argument's
    step is h / 2^bits.
    """

    table: NDArray[np.int64]
    bits: int

    @property
    def one(self) -> int:
        """The integer that represents 1."""
        return int(self.table[-1])

    def __call__(self, x: Integers) -> NDArray[np.int64]:
        """Its values at integers `x`, of any shape."""
        x = np.asarray(x, np.int64)
        out = np.empty(x.size, np.int64)
        for start in range(0, x.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            self._fill(out[part], x.reshape(-1)[part])
        return out.reshape(x.shape)

    def _fill(self, out: NDArray[np.int64], x: NDArray[np.int64]) -> None:
        distance = np.abs(x)
        np.minimum(distance, (len(self.table) - 1 << self.bits) - 1, out=distance)
        entry = distance >> self.bits
        distance &= (1 << self.bits) - 1
        self.table.take(entry, out=out, mode="clip")
        entry += 1
        rise = self.table.take(entry, mode="clip")
        rise -= out
        rise *= distance
        rise >>= self.bits
        out += rise
        negative = x >> 63  # all bits: there, one - y = (y ^ -1) + one + 1
        out ^= negative
        negative &= self.one + 1
        out += negative


def _curve(values: list[Decimal], one: int, bits: int) -> Curve:
    table = np.array([int((one * x + Decimal("0.5")).__floor__()) for x in values] + [one], np.int64)
    table.flags.writeable = False
    return Curve(table, bits)


@functools.cache
def logistic() -> Curve:
    """1 / (1 + exp(-x)): x in units of 2^-12, values in units of 2^-15, a table of 2^-6 steps up to 16.

    >>> logistic()(np.array([-(1 << 12), 0, 1 << 12, 1 << 40])).tolist()
    [8813, 16384, 23955, 32768]
    """
    with localcontext(prec=_DIGITS):
        return _curve([1 / (1 + (Decimal(-i) / 64).exp()) for i in range(1024)], 1 << 15, 6)


@functools.cache
def normal_distribution() -> Curve:
    """P(X < x) for a standard normal X: x in units of 2^-16, values of 2^-30, steps of 2^-8 up to 7.

    >>> normal_distribution()(np.array([-(1 << 16), 0, 1 << 16])).tolist()
    [170354782, 536870912, 903387042]
    """
    with localcontext(prec=_DIGITS):
        return _curve([_normal(Decimal(i) / 256) for i in range(1792)], 1 << 30, 8)


def _normal(x: Decimal) -> Decimal:
    """1/2 + exp(-x^2 / 2) / sqrt(2 pi) (x + x^3 / 3 + x^5 / (3 * 5) + ...), x >= 0: no term is negative."""
    square, term, total, odd = x * x, x, x, 1
    while term > total * Decimal(10) ** -20:
        odd += 2
        term = term * square / odd
        total += term
    return Decimal("0.5") + (-square / 2).exp() / (2 * _PI).sqrt() * total
