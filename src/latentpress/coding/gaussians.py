"""Discretised Gaussians as frequency tables, in integers: what quantised latents are coded under.

A latent is an integer q, in real numbers q * `LATENT_UNIT`. Its symbols are `count` = 2C + 1 multiples of
a step: symbol s is q = (s - C) * step and takes the probability of the interval between its neighbours'
middles, the outermost symbols that of the tails. A Gaussian is given by two integers:

    mean    in units of 2^-6 of a unit of q, |mean| < 2^31
    scale   0 to `SCALES` - 1: the standard deviation is 2^((scale - 64) / 16) units of q

The K = count symbols' cumulative bounds, from 0 to 2^24, are

    e_k = (2 (k - C) - 1) * step * 2^5                      the interval's lower end, in the mean's units
    x_k = sign(e_k - mean) floor(|e_k - mean| v / 2^16)     v = round(2^(26 - (scale - 64) / 16))
    b_k = k + floor((2^24 - K) Phi(x_k) / 2^30)             for 0 < k < K;   b_0 = 0,  b_K = 2^24

so that each symbol has at least one count, and the bounds of one need no other's. With count * step <= 2^25,
|e_k - mean| stays under 2^32 and v, up to 2^30, is multiplied within 63 bits.
"""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.fixed_point import normal_distribution, rounded
from latentpress.coding.tables import TOTAL

__all__ = [
    "LATENT_LIMIT",
    "LATENT_UNIT",
    "MEAN_BITS",
    "SCALES",
    "SCALES_PER_OCTAVE",
    "UNIT_SCALE",
    "bounds",
    "interval",
    "symbol_at",
    "symbols_of",
]

LATENT_UNIT = 1 / 24  # the real value of one step of an integer latent
LATENT_LIMIT = 127  # the largest integer latent
MEAN_BITS = 6
SCALES = 192
SCALES_PER_OCTAVE = 16
UNIT_SCALE = 64  # whose standard deviation is one unit of q
_INVERSE_BITS = 26
_LARGEST = 1 << 25

Integers = NDArray[Any]
Int64 = NDArray[np.int64]


def symbols_of(step: int) -> int:
    """How many symbols latents of -127..127 have at that step: 2 floor(127 / step) + 1.

    >>> symbols_of(1), symbols_of(12)
    (255, 21)
    """
    return 2 * (LATENT_LIMIT // step) + 1


def bounds(mean: Integers, scale: Integers, step: int, count: int) -> Int64:
    """Bounds of every symbol of Gaussians (...), int64 (..., count + 1), whose differences are tables.

    >>> np.diff(bounds(np.array([64]), np.array([64]), 1, 5)).tolist()  # mean 1, standard deviation 1
    [[104181, 1016659, 4055562, 6424413, 5176401]]
    """
    out = _inner(np.asarray(mean)[..., None], np.asarray(scale)[..., None], step, count, np.arange(count + 1))
    out[..., 0], out[..., -1] = 0, TOTAL
    return out


def interval(mean: Integers, scale: Integers, step: int, count: int, symbol: Integers) -> tuple[Int64, Int64]:
    """Where one symbol (...) of each Gaussian begins among the 2^24 counts, and how many it has.

    >>> [part.tolist() for part in interval(np.array([64]), np.array([64]), 1, 5, np.array([3]))]
    [[5176402], [6424413]]
    """
    low = _bound(mean, scale, step, count, symbol)
    return low, _bound(mean, scale, step, count, symbol + 1) - low


def symbol_at(mean: Integers, scale: Integers, step: int, count: int, point: Integers) -> Int64:
    """The symbol of each Gaussian that has the count `point` (...), 0 to 2^24 - 1: `interval`'s inverse.

    >>> symbol_at(np.array([64, 64]), np.array([64, 64]), 1, 5, np.array([5176401, 5176402])).tolist()
    [2, 3]
    """
    mean, scale, point = np.broadcast_arrays(mean, scale, point)
    low, high = np.zeros(mean.shape, np.int64), np.full(mean.shape, count, np.int64)
    for _ in range((count - 1).bit_length()):  # the bound of low is at most the point, that of high above
        middle = (low + high) >> 1
        below = _bound(mean, scale, step, count, middle) <= point
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def _bound(mean: Integers, scale: Integers, step: int, count: int, symbol: Integers) -> Int64:
    inner = _inner(mean, scale, step, count, symbol)
    return np.where(symbol <= 0, 0, np.where(symbol >= count, TOTAL, inner))


def _inner(mean: Integers, scale: Integers, step: int, count: int, symbol: Integers) -> Int64:
    """Bounds of symbols that are not at an end."""
    if step < 1 or count < 3 or count % 2 == 0 or step * count > _LARGEST:
        raise ValueError(f"a positive step and an odd count from 3 are needed, got {step} and {count}")
    edge = (2 * symbol.astype(np.int64) - count) * (step << MEAN_BITS - 1)
    away = edge - mean
    x = np.abs(away) * _inverses()[scale] >> _INVERSE_BITS - 10
    phi = normal_distribution()(np.where(away < 0, -x, x))
    return symbol + ((TOTAL - count) * phi >> 30)


@functools.cache
def _inverses() -> Int64:
    """2^26 over the standard deviation of each scale, int64 (SCALES,); part of the format."""
    with localcontext(prec=60):
        root = Decimal(2).sqrt().sqrt().sqrt().sqrt()
        return rounded(Decimal(2) ** _INVERSE_BITS / root ** (scale - UNIT_SCALE) for scale in range(SCALES))
