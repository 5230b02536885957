"""A sample as decisions under mixed counters: its residual's tree, and each decision's probability, compiled."""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.coder import decode_bit, encode_bit
from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.arithmetic import RECIPROCALS, SQUASH, SQUASH_REACH, STRETCH
from latentpress.counted.mixing import learn_weights, mix, refine
from latentpress.counted.pictures.contexts import BASE, ERROR, FRACTION, NEAR, SPREAD, TEXTURE
from latentpress.counted.pictures.state import CLASSES, CONTEXTS, DENSITY, SETS
from latentpress.counted.pictures.tables import BITS_FROM, BUCKETS, LEVELS, LOGISTIC, NODES, UNARY

__all__ = ["DECODE", "ENCODE", "FORETELL", "MEASURE", "settle"]

DECODE, ENCODE, MEASURE, FORETELL = range(4)
_LIKELIHOOD = 3  # entry of `Scratch.real`
_STRETCH, _ONES, _CURVE, _MIXTURE, _BELOW, _ABOVE = 8, 9, 10, 11, 12, 13  # entries of `Scratch.at`
_CONSTANT, _CONSTANT_INPUT = DENSITY + 1, 256
_MOST_COUNT, _CURVE_RATE, _LAST_RATE = 1000, 6, 2
_LEAST_PROBABILITY = 24  # of 2^16
_CURVES = 32
_ZERO, _SIGN = 0, 1


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
def _expect_beyond(sign, inner, split, outer, scratch):
    """The density's input of a value from `inner` to `outer`, away from the prediction: that it is beyond `split`."""
    if sign:
        _expect(outer - split, outer - inner, scratch)
    else:
        _expect(split - outer, inner - outer, scratch)


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
    """Codes a sample of which the contexts are there; returns it. `real[3]` becomes its probability."""
    base = scratch.at[BASE]
    scratch.real[_LIKELIHOOD] = 1.0
    low, high = _below(base - 0.5, scratch), _below(base + 0.5, scratch)
    least, most = _below(-0.5, scratch), _below(LEVELS - 0.5, scratch)
    _expect(high - low, most - least, scratch)
    zero = np.int64(value == base)
    zero = _decide(plane, _ZERO, zero, rate, action, streams, stream, learned, touched, scratch)
    if zero:
        return base
    _expect(most - high, low - least + most - high, scratch)
    sign = np.int64(value > base)
    sign = _decide(plane, _SIGN, sign, rate, action, streams, stream, learned, touched, scratch)
    room = LEVELS - 1 - base if sign else base
    if room == 0:  # a damaged stream
        return base
    size, bucket = abs(value - base), np.int64(0)
    inner, outer = (
        (high, most) if sign else (low, least)
    )  # the density below the nearest values, and the last
    next_inner = inner
    while True:
        above = (np.int64(1) << bucket) + 1
        if above > room:
            next_inner = outer
            break
        next_inner = _below(base + above - 0.5 if sign else base - above + 0.5, scratch)
        _expect_beyond(sign, inner, next_inner, outer, scratch)
        node, bit = UNARY[sign] + bucket, np.int64(BUCKETS[size] > bucket)
        if not _decide(plane, node, bit, rate, action, streams, stream, learned, touched, scratch):
            break
        bucket, inner = bucket + 1, next_inner
    least_size = (np.int64(1) << (bucket - 1)) + 1 if bucket > 0 else np.int64(1)
    rest, done = size - least_size, np.int64(0)
    for t in range(bucket - 1):
        shift = bucket - 2 - t
        node = BITS_FROM[sign, bucket] + (0 if t == 0 else (1 + done if t == 1 else t + 1))
        first = least_size + (done << (shift + 1))
        middle = first + (np.int64(1) << shift)
        split = _below(base + middle - 0.5 if sign else base - middle + 0.5, scratch)
        _expect_beyond(sign, inner, split, next_inner, scratch)
        bit = (rest >> shift) & 1
        bit = _decide(plane, node, bit, rate, action, streams, stream, learned, touched, scratch)
        if bit:
            inner = split
        else:
            next_inner = split
        done = done * 2 + bit
    size = least_size + done
    return min(max(base + size if sign else base - size, np.int64(0)), np.int64(LEVELS - 1))
