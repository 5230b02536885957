"""The arithmetic of an integer network for one position of some lanes, compiled.

This is `latentpress.autoregressive.integer.forward` again, operation by operation, on a `Program`'s arrays.
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
    h, sums = room.residual, room.sums
    h[:n] = 0
    for layer in range(layers):
        if layer:
            _remember(program.taps, program.scales[layer - 1], lanes.rings, lanes.turns, order, layer, h)
        number = max(0, 2 * layer - 1)
        inputs = program.maps.table[number, 1]
        _put_taps(program.taps, program.tap_shifts, lanes.rings, lanes.turns, order, layer, inputs, x)
        extra = inputs - program.taps[layer, 1] * program.taps[layer, 4]
        if extra:
            _append(local, lanes.local_starts, lanes.positions, order, inputs, extra, x)
        for step in range(2 if layer else 1):  # the input layer has no gates
            _affine(
                program.maps, lanes.biases, lanes.scaled_biases, order, number + step, x, room.products, sums
            )
            if layer and step == 0:
                _gate(program.gates, n, h.shape[1], sums, x)
            else:
                _add(n, sums, h)
    for row in range(n):
        _to_int8(h[row], program.scales[-1], lanes.trunk[order[row]])


@compiled
def _add_labels(program, lanes, order, labels):
    """Sums the conditioned biases of lanes whose labels begin or change here."""
    period, count, shared = len(program.skips), program.label_tables.shape[1], len(program.biases)
    for row in range(len(order)):
        lane = order[row]
        position, step = lanes.positions[lane], lanes.label_steps[lane]
        if position != lanes.due[lane]:
            continue
        start = shared + lane * count
        biases, scaled = lanes.biases[start : start + count], lanes.scaled_biases[start : start + count]
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
def _add(n, sums, h):
    """Adds an affine map's outputs to the residual stream."""
    width = h.shape[1]
    for row in range(n):
        target, part = h[row], sums[row * width : (row + 1) * width]
        for c in range(width):
            target[c] = min(max(target[c] + part[c], -RESIDUAL_LIMIT), RESIDUAL_LIMIT)


@compiled
def component_logits(program, lanes, order, component, x, room):
    """Puts the logits of a component, n rows of alphabets[component], into `room.sums`."""
    n, width = len(order), program.scales.shape[1]
    number = 2 * len(program.taps) - 1 + 2 * component
    inputs, hidden = program.maps.table[number, 1], program.maps.table[number, 2]
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
        maps, sums = program.maps, room.sums
        _affine(maps, lanes.biases, lanes.scaled_biases, order, number + step, x, room.products, sums)
        if step == 0:
            target = x[: n * hidden]
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
def _remember(taps, scale, rings, turns, order, layer, h):
    """Rounds the residual stream into the layer's ring."""
    start, channels = taps[layer, 2], taps[layer, 4]
    for row in range(len(order)):
        lane = order[row]
        first = start + turns[lane, layer] * channels
        _to_int8(h[row], scale, rings[lane, first : first + channels])


@compiled
def _to_int8(h, scale, target):
    for c in range(len(target)):
        value = (h[c] + ((np.int32(1) << scale[c]) >> np.int32(1))) >> scale[c]
        target[c] = min(max(value, -INT8_LIMIT), INT8_LIMIT)


@compiled
def _put_taps(taps, tap_shifts, rings, turns, order, layer, inputs, x):
    """Lays the layer's taps side by side for every lane."""
    first, count, start = taps[layer, 0], taps[layer, 1], taps[layer, 2]
    length, channels = taps[layer, 3], taps[layer, 4]
    for row in range(len(order)):
        lane, at = order[row], row * inputs
        turn = turns[lane, layer]
        for tap in range(count):
            slot = turn - tap_shifts[first + tap]
            if slot < 0:
                slot += length
            begin = start + slot * channels
            source, target = rings[lane, begin : begin + channels], x[at : at + channels]
            for c in range(channels):
                target[c] = source[c]
            at += channels


@compiled
def _append(local, starts, positions, order, inputs, extra, x):
    """Lays the local conditioning here behind the taps of every lane."""
    for row in range(len(order)):
        lane = order[row]
        begin = starts[lane] + positions[lane] * extra
        source, target = local[begin : begin + extra], x[(row + 1) * inputs - extra : (row + 1) * inputs]
        for c in range(extra):
            target[c] = source[c]


@compiled
def _gate(gates, n, width, sums, x):
    """Tanh times sigmoid of the two halves of every row, by the table."""
    for row in range(n):
        a = sums[2 * row * width : (2 * row + 1) * width]
        b = sums[(2 * row + 1) * width : (2 * row + 2) * width]
        target = x[row * width : (row + 1) * width]
        for c in range(width):
            i = np.uint32(min(max(a[c], 0), GATE_ENTRIES - 1))
            j = np.uint32(min(max(b[c], GATE_ENTRIES), 2 * GATE_ENTRIES - 1))
            target[c] = (gates[i] * gates[j] + np.int32(32768)) >> np.int32(16)


def _affine(maps, biases, scaled_biases, order, number, x, products, sums):
    """floor((W x + b) 2^-shift) of every lane, into `sums`; see `_dots` and `_products`."""
    raise NotImplementedError


@overload(_affine)
def _choose(maps, biases, scaled_biases, order, number, x, products, sums):
    """Takes the one or the other by the type of `x`, when the caller is compiled."""
    return _dots if x.dtype == types.int16 else _products


def _dots(maps, biases, scaled_biases, order, number, x, products, sums):
    entry = maps.table[number]
    first, inputs, outputs, shift, bias, step = entry[0], entry[1], entry[2], entry[3], entry[4], entry[5]
    shifts = maps.shifts[shift : shift + outputs]
    for row in range(len(order)):
        start = bias + step * order[row]
        added = biases[start : start + outputs]
        vector = x[row * inputs : (row + 1) * inputs]
        target = sums[row * outputs : (row + 1) * outputs]
        for o in range(outputs):
            weights = maps.weights[first + o * inputs : first + (o + 1) * inputs]
            total = np.int32(0)
            for i in range(inputs):  # this very shape becomes multiply-add instructions of 16 bits
                total += np.int32(weights[i]) * np.int32(vector[i])
            target[o] = total
        for o in range(outputs):
            total = target[o] + added[o]
            down, up = max(shifts[o], np.int32(0)), max(-shifts[o], np.int32(0))
            target[o] = (total << up) >> down


def _products(maps, biases, scaled_biases, order, number, x, products, sums):
    entry = maps.table[number]
    first, inputs, outputs, bias, step = entry[0], entry[1], entry[2], entry[4], entry[5]
    n = len(order)
    matrix = maps.columns[first : first + inputs * outputs].reshape(inputs, outputs)
    scaled = products[: n * outputs]
    np.dot(x[: n * inputs].reshape(n, inputs), matrix, scaled.reshape(n, outputs))
    for row in range(n):
        start = bias + step * order[row]
        added = scaled_biases[start : start + outputs]
        part = scaled[row * outputs : (row + 1) * outputs]
        target = sums[row * outputs : (row + 1) * outputs]
        for o in range(outputs):
            target[o] = np.int32(np.floor(part[o] + added[o]))
