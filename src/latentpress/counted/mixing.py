"""Mixing of predictions in the logistic domain, and refining what comes of it, compiled.

Inputs x are stretches. Each of some *sets* of weights, of which a context chooses the row, gives a mixture

    y_s = w_s . x,        w_s += rate (bit - squash(y_s)) x,

and a last row of weights mixes the y_s in the same way (Mahoney, *Adaptive weighing of context models for
lossless data compression*, 2005). Weights are int32, 65536 being 1. A *refinement* is a curve from the
stretch to a probability, one for every context, that moves to what really comes at its 33 points.
"""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.arithmetic import SQUASH, SQUASH_REACH, STRETCH_REACH

__all__ = ["HEAVIEST", "KNOTS", "learn_curves", "learn_weights", "mix", "new_curves", "refine"]

KNOTS = 33  # of a refinement
_SHIFT, _HALF = 20, 1 << 19
HEAVIEST = (1 << 20) - 1
_LIMIT = STRETCH_REACH
_OFFSET = SQUASH_REACH + 1


def new_curves(contexts: int) -> np.ndarray:
    """Refinements, uint16 (contexts, 33), that change nothing."""
    stretches = np.clip((np.arange(KNOTS) - KNOTS // 2) * 128, -SQUASH_REACH, SQUASH_REACH)
    return np.tile(SQUASH[stretches + _OFFSET].astype(np.uint16), (contexts, 1))


@inlined
def mix(inputs, weights, rows, outputs, errors, last, node):
    """The stretch that all sets and the last row make; `outputs` and `errors` are kept for learning.

    `weights` is (all rows, inputs) and `rows` the row of each set; `last` (nodes, sets).
    """
    total = np.int64(0)
    for s in range(len(rows)):
        row, dot = rows[s], np.int32(0)
        for j in range(len(inputs)):
            dot = np.int32(dot + np.int32(np.int32(np.int32(inputs[j]) * np.int32(weights[row, j])) >> 10))
        output = min(max(np.int64(dot) >> 6, np.int64(-_LIMIT)), np.int64(_LIMIT))
        outputs[s] = output
        errors[s] = SQUASH[output + _OFFSET]
        total += output * np.int64(last[node, s])
    return min(max(total >> 16, np.int64(-SQUASH_REACH)), np.int64(SQUASH_REACH))


@inlined
def learn_weights(inputs, weights, rows, outputs, errors, last, node, mixed, bit, rate, last_rate):
    """Moves the weights that `mix` took towards a bit; `mixed` is the 16-bit probability of a one.

    With rates of at most 15 and weights below 16 in 65536ths every product has 31 bits.
    """
    wanted = np.int64(bit) << 16
    for s in range(len(rows)):
        row, step = rows[s], np.int32((wanted - errors[s]) * rate)
        for j in range(len(inputs)):
            change = np.int32(np.int32(np.int32(np.int32(inputs[j]) * step) + np.int32(_HALF)) >> _SHIFT)
            weight = np.int32(np.int32(weights[row, j]) + change)
            weights[row, j] = np.int32(min(max(weight, np.int32(-HEAVIEST)), np.int32(HEAVIEST)))
    step = (wanted - mixed) * last_rate
    for s in range(len(rows)):
        last[node, s] += (outputs[s] * step + _HALF) >> _SHIFT


@inlined
def refine(curves, context, stretch):
    """The probability of a one, 16 bits, that the curve of a context gives for a stretch."""
    place = min(max(stretch, -_LIMIT), _LIMIT) + 2048
    knot, share = place >> 7, place & 127
    low, high = np.int64(curves[context, knot]), np.int64(curves[context, knot + 1])
    return (low * (128 - share) + high * share) >> 7


@inlined
def learn_curves(curves, contexts, first, count, stretch, target, rate):
    """Moves the nearest points of curves `contexts[first]` and `count` - 1 more to what came, 16 bits."""
    place = stretch + 2048
    knot = (place >> 7) + ((place & 127) >> 6)
    for k in range(first, first + count):
        here = np.int64(curves[contexts[k], knot])
        curves[contexts[k], knot] = here + ((target - here) >> rate)
