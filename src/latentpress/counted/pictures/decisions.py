"""A sample as decisions under mixed counters: the tree of its residual, and their probabilities, compiled."""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.coder import decode_bit, encode_bit
from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.arithmetic import DECODE, ENCODE, RECIPROCALS, SQUASH, SQUASH_REACH, STRETCH
from latentpress.counted.mixing import learn_weights, mix, refine
from latentpress.counted.pictures.contexts import BASE, ERROR, FRACTION, NEAR, SPREAD, TEXTURE
from latentpress.counted.pictures.state import CLASSES, CONTEXTS, DENSITY, SETS
from latentpress.counted.pictures.tables import BITS_FROM, BUCKETS, LEVELS, LOGISTIC, NODES, UNARY

__all__ = ["FORETELL", "settle"]

FORETELL = 3  # beside the actions that learn
_LIKELIHOOD = 3  # entry of `Scratch.real`
_STRETCH, _ONES, _CURVE, _MIXTURE, _BELOW, _ABOVE = 8, 9, 10, 11, 12, 13  # entries of `Scratch.at`
_CONSTANT, _CONSTANT_INPUT = DENSITY + 1, 256
_MOST_COUNT, _CURVE_RATE, _LAST_RATE = 1000, 6, 2
_LEAST_PROBABILITY = 24  # of 2^16
_CURVES = 32
_ZERO, _SIGN = 0, 1  # nodes
_IS_ZERO, _WHICH_SIGN, _HOW_MANY_BITS, _WHICH_BITS = range(4)  # phases


@inlined
def _below(edge, scratch):
    """How much of the density is below a number, in 2^30ths of about 256, and a little for every value."""
    total = np.int64(0)
    for k in range(len(scratch.means)):
        place = np.int64((edge - scratch.means[k]) * scratch.widths[k] + 1024.5)
        total += scratch.shares[k] * LOGISTIC[min(max(place, np.int64(0)), np.int64(2048))]
    return (total >> 8) + np.int64(edge * 4.0)


@inlined
def _expect(part, whole, scratch):
    """The density's input: the stretch of part / whole."""
    share = (part << 12) // whole if whole > 0 else np.int64(2048)
    scratch.inputs[DENSITY] = STRETCH[min(max(share, np.int64(0)), np.int64(4095))]


@inlined
def _expect_beyond(sign, node, base, beyond, inner, outer, action, scratch):
    """The density's input of |e| >= `beyond`, where it is between two bounds; returns the density below that.

    In `FORETELL` a node that was met before keeps it.
    """
    if action == FORETELL and scratch.known[node] != 0:
        return scratch.splits[node]
    split = _below(base + beyond - 0.5 if sign else base - beyond + 0.5, scratch)
    if sign:
        _expect(outer - split, outer - inner, scratch)
    else:
        _expect(split - outer, inner - outer, scratch)
    scratch.splits[node] = split
    return split


@inlined
def _predict(plane, node, learned, scratch):
    """The probability of a one, 16 bits, of the decision at a node, whose density is there."""
    inputs, at, rows = scratch.inputs, scratch.at, scratch.rows
    for k in range(CONTEXTS):
        inputs[k] = STRETCH[np.int64(learned.counters[scratch.contexts[k], node]) >> 20]
    inputs[_CONSTANT] = _CONSTANT_INPUT
    own = np.int64(0)
    for s in range(SETS):
        own = at[NEAR] if s == 0 else (at[SPREAD] if s == 1 else (at[TEXTURE] if s == 2 else np.int64(0)))
        rows[s] = ((plane * SETS + s) * CLASSES + own) * NODES + node
    last = plane * NODES + node
    stretch = mix(inputs, learned.weights, rows, scratch.outputs, scratch.mixed, learned.last, last)
    at[_MIXTURE] = SQUASH[stretch + SQUASH_REACH + 1]
    fine = at[FRACTION] if node == _SIGN else at[ERROR]
    at[_CURVE] = last * _CURVES + fine
    at[_STRETCH] = min(max(stretch, np.int64(-2047)), np.int64(2047))
    ones = (at[_MIXTURE] + refine(learned.curves, at[_CURVE], stretch) + 1) >> 1
    return min(max(ones, np.int64(_LEAST_PROBABILITY)), np.int64(65536 - _LEAST_PROBABILITY))


@inlined
def _learn(plane, node, bit, rate, learned, touched, scratch):
    """Takes in how a decision came out."""
    at = scratch.at
    target, target16 = (bit << 22) - bit, (bit << 16) - bit
    for k in range(CONTEXTS):
        counter = np.int64(learned.counters[scratch.contexts[k], node])
        p, n = counter >> 10, counter & 1023
        p += (((target - p) >> 3) * RECIPROCALS[n]) >> 13
        learned.counters[scratch.contexts[k], node] = (p << 10) | min(n + 1, np.int64(_MOST_COUNT))
    for s in range(SETS):
        touched.weights[scratch.rows[s]] = 1
    last = plane * NODES + node
    learn_weights(
        scratch.inputs,
        learned.weights,
        scratch.rows,
        scratch.outputs,
        scratch.mixed,
        learned.last,
        last,
        at[_MIXTURE],
        bit,
        rate,
        _LAST_RATE,
    )
    place = at[_STRETCH] + 2048
    knot = (place >> 7) + ((place & 127) >> 6)
    here = np.int64(learned.curves[at[_CURVE], knot])
    learned.curves[at[_CURVE], knot] = here + ((target16 - here) >> _CURVE_RATE)
    touched.curves[at[_CURVE]] = 1


@inlined
def _decide(plane, node, bit, rate, action, streams, stream, learned, touched, scratch):
    """Codes a decision and learns it, or in `FORETELL` only prices it; returns the bit."""
    if action == FORETELL:
        if scratch.known[node] == 0:
            scratch.known[node] = _predict(plane, node, learned, scratch)
        ones = scratch.known[node]
    else:
        ones = _predict(plane, node, learned, scratch)
        if action == DECODE:
            bit = decode_bit(streams, stream, ones << 8)
        elif action == ENCODE:
            encode_bit(streams, stream, ones << 8, bit)
        _learn(plane, node, bit, rate, learned, touched, scratch)
    scratch.real[_LIKELIHOOD] *= (ones if bit else 65536 - ones) * (1.0 / 65536.0)
    return bit


@inlined
def settle(plane, value, rate, action, streams, stream, learned, touched, scratch):
    """Codes a sample of which the contexts are there; returns it. `real[3]` becomes its probability.

    It has one call of `_decide`, as every one is compiled by itself.
    """
    base, size = scratch.at[BASE], abs(value - scratch.at[BASE])
    scratch.real[_LIKELIHOOD] = 1.0
    low, high = _below(base - 0.5, scratch), _below(base + 0.5, scratch)
    least, most = _below(-0.5, scratch), _below(LEVELS - 0.5, scratch)
    phase, sign, bucket, left, done = _IS_ZERO, np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    room, inner, split, outer = np.int64(0), high, high, most
    while True:
        if phase == _IS_ZERO:
            _expect(high - low, most - least, scratch)
            node, bit = np.int64(_ZERO), np.int64(value == base)
        elif phase == _WHICH_SIGN:
            _expect(most - high, low - least + most - high, scratch)
            node, bit = np.int64(_SIGN), np.int64(value > base)
        elif phase == _HOW_MANY_BITS:
            beyond = (np.int64(1) << bucket) + 1
            if beyond > room:
                phase, left = _WHICH_BITS, bucket - 1
                continue
            node, bit = UNARY[sign] + bucket, np.int64(BUCKETS[size] > bucket)
            split = _expect_beyond(sign, node, base, beyond, inner, outer, action, scratch)
        else:
            smallest = (np.int64(1) << (bucket - 1)) + 1 if bucket > 0 else np.int64(1)
            if left <= 0:
                size = smallest + done
                break
            middle = smallest + ((2 * done + 1) << (left - 1))
            before = bucket - 1 - left
            node = BITS_FROM[sign, bucket] + (0 if before == 0 else (1 + done if before == 1 else before + 1))
            bit = ((size - smallest) >> (left - 1)) & 1
            split = _expect_beyond(sign, node, base, middle, inner, outer, action, scratch)
        bit = _decide(plane, node, bit, rate, action, streams, stream, learned, touched, scratch)
        if phase == _IS_ZERO:
            if bit:
                return base
            phase = _WHICH_SIGN
        elif phase == _WHICH_SIGN:
            phase, sign = _HOW_MANY_BITS, bit
            room = LEVELS - 1 - base if sign else base
            inner, outer = (high, most) if sign else (low, least)
            if room == 0:  # a damaged stream
                return base
        elif phase == _HOW_MANY_BITS:
            if bit:
                bucket, inner = bucket + 1, split
            else:
                phase, left, outer = _WHICH_BITS, bucket - 1, split
        else:
            done, left = 2 * done + bit, left - 1
            if bit:
                inner = split
            else:
                outer = split
    return min(max(base + size if sign else base - size, np.int64(0)), np.int64(LEVELS - 1))
