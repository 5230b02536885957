"""Predictions of a sample by regressions and by simple rules, and their blend, compiled.

The blend weighs each predictor by 1 / u^3, u its squared errors in the neighbourhood. All of it are doubles
in an order that the code fixes, see `regression.py`; what comes out is rounded to eighths.
"""

from __future__ import annotations

import math

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.pictures.regression import add_moments, fold_moments, gather, solve
from latentpress.counted.pictures.state import BLOCK, PREDICTORS
from latentpress.counted.pictures.tables import ENERGY, INPUTS, LEVELS, MARGIN, NEIGHBOURS, SHORT
from latentpress.counted.pictures.vectors import LANES

__all__ = ["BLEND", "blend", "clamped", "learn_moments", "look"]

LOCAL_MEAN, WEIGHT, BLEND = 0, 1, 2  # entries of `Scratch.real`
_SIMPLE_TRUST = 1.5  # of the simple rules in the blend
_WEIGHT_OFFSET = 60.0
_TOP = float(LEVELS - 1)


@inlined
def clamped(value, low, high):
    """A number between two; the low one for what is none."""
    if not value >= low:
        return low
    return high if value > high else value


@inlined
def median_rule(west, north, corner):
    """The median of west, north and west + north - corner."""
    most, least = max(west, north), min(west, north)
    if corner >= most:
        return least
    return most if corner <= least else west + north - corner


@inlined
def _local_mean(samples, plane, i, j):
    near = 3 * samples[plane, i, j - 1] + 3 * samples[plane, i - 1, j]
    return (near + samples[plane, i - 1, j + 1] + samples[plane, i - 1, j - 1]) >> 3


@inlined
def _begin_block(plane, block, learned, picture, scratch):
    """The regressions of a block of columns."""
    inputs, columns = INPUTS[plane], picture.columns
    gather(
        scratch.matrix,
        picture.row,
        columns[block],
        columns[block + 1],
        columns[block + 2],
        learned.moments[plane],
        inputs + 1,
    )
    solve(scratch.matrix, inputs, SHORT[plane], scratch.column, scratch.inverses, scratch.rules)
    picture.new[:] = 0.0


@inlined
def look(plane, i, j, learned, picture, scratch):
    """Fills in a sample's inputs, and the means of all predictors; i and j count the margins."""
    samples, z, means = picture.samples, scratch.z, scratch.means
    column = j - MARGIN
    if column % BLOCK == 0:
        _begin_block(plane, column // BLOCK, learned, picture, scratch)
    mean = _local_mean(samples, plane, i, j)
    first = _local_mean(samples, 0, i, j) if plane > 0 else mean
    second = _local_mean(samples, 1, i, j) if plane > 1 else mean
    energy, rules = _WEIGHT_OFFSET, scratch.rules
    near, far, short, wide = 0.0, 0.0, 0.0, 0.0
    for k in range(INPUTS[plane]):
        of = NEIGHBOURS[plane, k, 0]
        value = samples[of, i + NEIGHBOURS[plane, k, 1], j + NEIGHBOURS[plane, k, 2]]
        x = float(value - (mean if of == plane else (first if of == 0 else second)))
        z[k] = x
        near += rules[LANES * k] * x
        far += rules[LANES * k + 1] * x
        short += rules[LANES * k + 2] * x
        wide += rules[LANES * k + 3] * x
        energy += ENERGY[plane, k] * (x * x)
    scratch.real[LOCAL_MEAN], scratch.real[WEIGHT] = float(mean), 1.0 / energy
    means[0] = clamped(near + mean, 0.0, _TOP)
    means[1] = clamped(wide + mean, 0.0, _TOP)
    means[4] = clamped(short + mean, 0.0, _TOP)
    means[5] = clamped(far + mean, 0.0, _TOP)
    w, n = samples[plane, i, j - 1], samples[plane, i - 1, j]
    nw, ne = samples[plane, i - 1, j - 1], samples[plane, i - 1, j + 1]
    if plane > 0:  # with the differences of the plane before
        here = samples[plane - 1, i, j]
        w, n = w + here - samples[plane - 1, i, j - 1], n + here - samples[plane - 1, i - 1, j]
        nw += here - samples[plane - 1, i - 1, j - 1]
        ne += here - samples[plane - 1, i - 1, j + 1]
    means[2] = float(median_rule(w, n, nw))
    means[3] = (w + n) * 0.5 + (ne - nw) * 0.25


@inlined
def blend(i, j, picture, scratch):
    """The predictors' common prediction, and the widths and shares that they have in the density."""
    squares, total, weighted = picture.squares, 0.0, 0.0
    here, above, top = i & 3, (i - 1) & 3, (i - 2) & 3
    for k in range(PREDICTORS):
        near = 2.0 * squares[k, here, j - 1] + 2.0 * squares[k, above, j]
        near += squares[k, above, j - 1] + squares[k, above, j + 1]
        far = squares[k, here, j - 2] + squares[k, top, j] + squares[k, top, j + 1] + squares[k, above, j + 2]
        u = near + 0.5 * far + 1.0
        scratch.widths[k] = 64.0 / (0.5 * math.sqrt(u * 0.1) + 0.25)
        u = u * _SIMPLE_TRUST if k == 2 or k == 3 else u
        power = 1.0 / (u * u * u)
        scratch.powers[k] = power
        total += power
        weighted += power * scratch.means[k]
    scratch.real[BLEND] = clamped(weighted / total, 0.0, _TOP)
    for k in range(PREDICTORS):
        scratch.shares[k] = int(256.0 * scratch.powers[k] / total)


@inlined
def learn_moments(plane, i, j, last, value, picture, scratch):
    """Takes in a sample; `last` says whether it is the last of its row."""
    inputs, z, new = INPUTS[plane], scratch.z, picture.new
    z[inputs] = value - scratch.real[LOCAL_MEAN]
    add_moments(new, z, inputs + 1, scratch.real[WEIGHT])
    z[inputs] = 0.0
    for k in range(PREDICTORS):
        error = value - scratch.means[k]
        picture.squares[k, i & 3, j] = error * error
    column = j - MARGIN
    if column % BLOCK == BLOCK - 1 or last:
        fold_moments(picture.columns[column // BLOCK + 1], picture.row, picture.sums, new, inputs + 1)
