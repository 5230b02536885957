"""The arithmetic of an integer network for one position of some lanes, compiled.

This is `latentpress.autoregressive.integer.forward` again, operation by operation, on a `Program`'s arrays:

    x  = clip((h + half) >> scale, int8)               a layer's input, into its ring
    i, j = clip((W taps(x) + V local + b) >> s)        indices of the two halves of the gates' table
    g  = (gates[i] * gates[j] + 2^15) >> 16            -127..127
    h += (R g + b) >> s, clipped to 16 bits

The inputs of an affine map are int16 for a few lanes and float32 for many; `_affine` is the only
function that differs between the two, and both give the same integers.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from latentpress.autoregressive.engine.compiling import compiled
from latentpress.exact.affine import GATE_ENTRIES, INT8_LIMIT, RESIDUAL_LIMIT

__all__ = ["begin_position", "component_logits", "end_position"]


@compiled
def begin_position(program, lanes, order, local, labels, x, room):
    """Computes the heads' input of every lane in `order` at its present position, `lanes.trunk`."""
    n, layers = len(order), len(program.taps)
    if len(program.label_starts):
        _add_labels(program, lanes, order, labels)
    h = room.residual
    h[:n] = 0
    for layer in range(layers):
        if layer:
            _remember(program, lanes, order, layer, h)
        _gather(program, lanes, order, local, layer, x)
        for step in range(2 if layer else 1):  # the input layer has no gates
            _affine(program, lanes, order, max(0, 2 * layer - 1) + step, x, room)
            if layer and step == 0:
                _gate(program, n, x, room)
            else:
                _add(n, h, room)
    for row in range(n):
        _to_int8(h[row], program.scales[-1], lanes.trunk[order[row]])


@compiled
def _add_labels(program, lanes, order, labels):
    """Sums the conditioned biases of lanes whose labels begin or change here."""
    period, count = len(program.skips), lanes.biases.shape[1]
    for row in range(len(order)):
        lane = order[row]
        position, step = lanes.positions[lane], lanes.label_steps[lane]
        if position != lanes.due[lane]:
            continue
        biases, scaled = lanes.biases[lane], lanes.scaled_biases[lane]
        for c in range(count):
            biases[c] = program.biases[c]
        first = lanes.label_starts[lane] + position // period * step
        for number in range(len(program.label_starts)):
            entry = program.label_tables[program.label_starts[number] + labels[first + number]]
            for c in range(count):
                biases[c] += entry[c]
        for c in range(count):
            scaled[c] = np.float32(biases[c]) * program.factors[c]
        lanes.due[lane] = position + period if step else np.int64(-1)


@compiled
def _add(n, h, room):
    """Adds an affine map's outputs to the residual stream."""
    width = h.shape[1]
    for row in range(n):
        sums = room.sums[row * width : (row + 1) * width]
        for c in range(width):
            h[row, c] = min(max(h[row, c] + sums[c], -RESIDUAL_LIMIT), RESIDUAL_LIMIT)


@compiled
def component_logits(program, lanes, order, component, x, room):
    """Puts the logits of a component, n rows of alphabets[component], into `room.sums`."""
    n, width = len(order), program.scales.shape[1]
    number = 2 * len(program.taps) - 1 + 2 * component
    inputs, hidden = program.affines[number, 1], program.affines[number, 2]
    embedding = (inputs - width) // max(1, component)
    for row in range(n):
        lane, target = order[row], x[row * inputs : (row + 1) * inputs]
        trunk = lanes.trunk[lane]
        for c in range(width):
            target[c] = trunk[c]
        start, at = 0, width
        for p in range(component):
            first = start + lanes.components[lane, p] * embedding
            source = program.head_embeddings[first : first + embedding]
            for c in range(embedding):
                target[at + c] = source[c]
            start += program.alphabets[p] * embedding
            at += embedding
    for step in range(2):
        _affine(program, lanes, order, number + step, x, room)
        if step == 0:
            sums, target = room.sums[: n * hidden], x[: n * hidden]
            for i in range(n * hidden):
                target[i] = min(max(sums[i], 0), INT8_LIMIT)


@compiled
def end_position(program, lanes, order):
    """Moves every lane in `order` on, once all its components are known."""
    period = len(program.skips)
    for row in range(len(order)):
        lane = order[row]
        _embed(program, lanes, lane)
        skip = program.skips[lanes.positions[lane] % period]
        lanes.positions[lane] += 1
        for layer in range(len(program.taps)):
            start, length, channels = program.taps[layer, 2], program.taps[layer, 3], program.taps[layer, 4]
            turn = lanes.turns[lane, layer] + 1
            if turn == length:
                turn = 0
            for _ in range(min(skip, length)):  # the raster's empty places count as zero
                lanes.rings[lane, start + turn * channels : start + (turn + 1) * channels] = 0
                turn += 1
                if turn == length:
                    turn = 0
            if skip > length:
                turn = (turn + skip - length) % length
            lanes.turns[lane, layer] = turn


@compiled
def _embed(program, lanes, lane):
    """Puts the position's embedding into the input layer's ring."""
    components = len(program.alphabets)
    start, channels = program.taps[0, 2], program.taps[0, 4]
    at, each, first = start + lanes.turns[lane, 0] * channels, channels // components, 0
    for p in range(components):
        begin = first + lanes.components[lane, p] * each
        for c in range(each):
            lanes.rings[lane, at + c] = program.embeddings[begin + c]
        at += each
        first += program.alphabets[p] * each


@compiled
def _remember(program, lanes, order, layer, h):
    """Rounds the residual stream into the layer's ring."""
    start, channels = program.taps[layer, 2], program.taps[layer, 4]
    scale = program.scales[layer - 1]
    for row in range(len(order)):
        lane = order[row]
        first = start + lanes.turns[lane, layer] * channels
        _to_int8(h[row], scale, lanes.rings[lane, first : first + channels])


@compiled
def _to_int8(h, scale, target):
    for c in range(len(target)):
        value = (h[c] + ((np.int32(1) << scale[c]) >> np.int32(1))) >> scale[c]
        target[c] = min(max(value, -INT8_LIMIT), INT8_LIMIT)


@compiled
def _gather(program, lanes, order, local, layer, x):
    """Lays the layer's taps, and the context map here, side by side for every lane."""
    first, count, start = program.taps[layer, 0], program.taps[layer, 1], program.taps[layer, 2]
    length, channels = program.taps[layer, 3], program.taps[layer, 4]
    inputs = program.affines[max(0, 2 * layer - 1), 1]
    extra = inputs - count * channels
    for row in range(len(order)):
        lane, at = order[row], row * inputs
        turn = lanes.turns[lane, layer]
        for tap in range(count):
            slot = turn - program.tap_shifts[first + tap]
            if slot < 0:
                slot += length
            begin = start + slot * channels
            source, target = lanes.rings[lane, begin : begin + channels], x[at : at + channels]
            for c in range(channels):
                target[c] = source[c]
            at += channels
        if extra:
            begin = lanes.local_starts[lane] + lanes.positions[lane] * extra
            source, target = local[begin : begin + extra], x[at : at + extra]
            for c in range(extra):
                target[c] = source[c]


@compiled
def _gate(program, n, x, room):
    """Tanh times sigmoid of the two halves of every row, by the table."""
    width = program.scales.shape[1]
    for row in range(n):
        a = room.sums[2 * row * width : (2 * row + 1) * width]
        b = room.sums[(2 * row + 1) * width : (2 * row + 2) * width]
        target = x[row * width : (row + 1) * width]
        for c in range(width):
            i = np.uint32(min(max(a[c], 0), GATE_ENTRIES - 1))
            j = np.uint32(min(max(b[c], GATE_ENTRIES), 2 * GATE_ENTRIES - 1))
            target[c] = (program.gates[i] * program.gates[j] + np.int32(32768)) >> np.int32(16)


def _affine(program, lanes, order, number, x, room):
    """floor((W x + b) 2^-shift) of every lane, into `room.sums`; see `_dots` and `_products`."""
    raise NotImplementedError


@overload(_affine)
def _choose(program, lanes, order, number, x, room):
    """Takes the one or the other by the type of `x`, when the caller is compiled."""
    return _dots if x.dtype == types.int16 else _products


def _dots(program, lanes, order, number, x, room):
    entry = program.affines[number]
    first, inputs, outputs, bias, labelled = entry[0], entry[1], entry[2], entry[3], entry[4]
    shifts = program.shifts[bias : bias + outputs]
    for row in range(len(order)):
        biases = program.biases[bias : bias + outputs]
        if labelled:
            biases = lanes.biases[order[row], bias : bias + outputs]
        vector = x[row * inputs : (row + 1) * inputs]
        sums = room.sums[row * outputs : (row + 1) * outputs]
        for o in range(outputs):
            weights = program.weights[first + o * inputs : first + (o + 1) * inputs]
            total = np.int32(0)
            for i in range(inputs):  # this very shape becomes multiply-add instructions of 16 bits
                total += np.int32(weights[i]) * np.int32(vector[i])
            sums[o] = total
        for o in range(outputs):
            total = sums[o] + biases[o]
            down, up = max(shifts[o], np.int32(0)), max(-shifts[o], np.int32(0))
            sums[o] = (total << up) >> down


def _products(program, lanes, order, number, x, room):
    entry = program.affines[number]
    first, inputs, outputs, bias, labelled = entry[0], entry[1], entry[2], entry[3], entry[4]
    n = len(order)
    matrix = program.columns[first : first + inputs * outputs].reshape(inputs, outputs)
    products = room.products[: n * outputs]
    np.dot(x[: n * inputs].reshape(n, inputs), matrix, products.reshape(n, outputs))
    for row in range(n):
        biases = program.scaled_biases[bias : bias + outputs]
        if labelled:
            biases = lanes.scaled_biases[order[row], bias : bias + outputs]
        sums, scaled = room.sums[row * outputs :], products[row * outputs :]
        for o in range(outputs):
            sums[o] = np.int32(np.floor(scaled[o] + biases[o]))
