"""Weighted least squares along a picture, in doubles that are the same on every machine, compiled.

The moments of a sample are w z z' of its inputs and itself, z = (x_1, ..., x_n, y). They are kept for blocks
of columns, and four regressions side by side differ in how fast they forget them downwards and along the row.
The weights b of a prediction b'x solve (M + k A) b = m, A the moments of the training pictures.

Only +, -, *, / of IEEE doubles are used, in an order that the code fixes: neither fused multiply-add nor
other sums are allowed to a compiler without being asked for, and sums along a vector are not vectorised.
Moments are the lower triangle of a matrix, row by row: a place (a, b) is a (a + 1) / 2 + b.
"""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.pictures.tables import AROUND
from latentpress.counted.pictures.vectors import (
    LANES,
    add_decayed,
    gather_moments,
    multiply,
    subtract_product,
)

__all__ = ["TRIANGLE", "add_moments", "fold_moments", "gather", "solve"]

TRIANGLE = AROUND * (AROUND + 1) // 2
_LEAST_PIVOT, _RIDGE, _SHUT = 1e-9, 1e-3, 1e9
_SHORT_LANE = 2
_RATES = np.array(
    [
        *(0.7, 0.9, 0.6, 0.97),  # along the row
        *(0.6, 0.8, 0.6, 0.9),  # of the block to the left
        *(0.8, 0.9, 0.8, 0.95),  # of the block to the right
        *(3.0, 10.0, 2.0, 30.0),  # of the training pictures' moments
        *(0.85, 0.95, 0.75, 0.985),  # downwards
    ]
)
_ALONG, _DOWN = np.int64(0), np.int64(4 * LANES)


@inlined
def add_moments(moments, z, count, weight):
    """Adds a sample's; z has `count` numbers, the sample behind its inputs."""
    for a in range(count):
        factor, start = z[a] * weight, a * (a + 1) // 2
        for b in range(a + 1):
            moments[start + b] += factor * z[b]


@inlined
def fold_moments(memory, row, sums, new, count):
    """Takes a block's new moments into those of its columns and of the row, as fast as each forgets.

    And into `sums`, which forget nothing.
    """
    for k in range(count * (count + 1) // 2):
        add_decayed(memory, LANES * k, _RATES, _DOWN, new[k])
        add_decayed(row, LANES * k, _RATES, _ALONG, new[k])
        sums[k] += new[k]


@inlined
def gather(matrix, row, left, here, right, trained, count):
    """The moments that the regressions of a block of columns are made from."""
    for k in range(count * (count + 1) // 2):
        gather_moments(matrix, row, left, here, right, LANES * k, _RATES, trained[k])


@inlined
def solve(matrix, inputs, short, column, inverses, weights):
    """The weights (inputs, 4) of all regressions, one of which takes only the first `short` inputs.

    By elimination of the symmetric `matrix`, which is lost; its last row is that of the sample.
    """
    for k in range(inputs):
        diagonal = LANES * (k * (k + 1) // 2 + k)
        for lane in range(LANES):
            matrix[diagonal + lane] += _RIDGE
        if k >= short:
            matrix[diagonal + _SHORT_LANE] += _SHUT
    for k in range(inputs):
        diagonal = LANES * (k * (k + 1) // 2 + k)
        for lane in range(LANES):
            pivot = matrix[diagonal + lane]
            inverses[lane] = 1.0 / pivot if pivot >= _LEAST_PIVOT else 1.0 / _LEAST_PIVOT
        for i in range(k + 1, inputs + 1):
            place = LANES * (i * (i + 1) // 2 + k)
            for lane in range(LANES):
                column[LANES * i + lane] = matrix[place + lane]
            multiply(matrix, place, inverses, 0)
        for i in range(k + 1, inputs + 1):
            start = LANES * (i * (i + 1) // 2)
            for j in range(k + 1, i + 1):
                subtract_product(matrix, start + LANES * j, matrix, start + LANES * k, column, LANES * j)
    last = LANES * (inputs * (inputs + 1) // 2)
    for k in range(LANES * inputs):
        weights[k] = matrix[last + k]
    for i in range(inputs - 1, 0, -1):
        start = LANES * (i * (i + 1) // 2)
        for j in range(i):
            subtract_product(weights, LANES * j, matrix, start + LANES * j, weights, LANES * i)
