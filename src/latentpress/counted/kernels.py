"""Bytes coded under counted contexts, compiled: eight decisions each, the most significant bit first.

The inputs of a decision: of every context two, its slot's stretch as experience corrects it, and how far the
slot itself is from a half; of every context counted in the item at hand the same; slow counters of the last
byte, of the last two, and of none; of each match two; and a constant.
"""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.coder import decode_bit, encode_bit
from latentpress.autoregressive.engine.compiling import compiled_bare, inlined
from latentpress.counted.arithmetic import (
    COST,
    DECODE,
    ENCODE,
    SQUASH,
    SQUASH_REACH,
    STRETCH,
    reciprocals,
)
from latentpress.counted.contexts import (
    BEFORE,
    CLASSES,
    LENGTH,
    WORD,
    advance,
    hash_contexts,
)
from latentpress.counted.matching import BIT, KEY, NEXT, follow, remember
from latentpress.counted.mixing import learn_curves, learn_weights, mix, refine
from latentpress.counted.slots import (
    MULTIPLIER,
    count_slot,
    count_slowly,
    find_bucket,
    find_buckets,
    learn_maps,
    slot_inputs,
)
from latentpress.counted.state import CONTEXTS, LOCAL_CONTEXTS, SETS

__all__ = ["code", "count", "foretell", "settle"]

_LOCALS = len(LOCAL_CONTEXTS)
_COUNT_STEPS, _LOCAL_STEPS = reciprocals(250), reciprocals(12)  # faster in an item than over all of them
_SLOW, _MATCHED, _CONSTANT = 2 * CONTEXTS + 2 * _LOCALS, 2 * CONTEXTS + 2 * _LOCALS + 3, -1
_SLOW_LIMIT, _HIT_RATE, _CURVE_RATE, _LAST_RATE = 255, 8, 7, 2
_LEAST_PROBABILITY = 16  # of 2^16
_ORDER1, _ORDER2, _CELL, _LOW, _MIXED, _FINAL = 0, 1, 2, 5, 8, 9  # entries of `Scratch.at`
_CURVE_STARTS = np.array([0, 1 << 12, (1 << 12) + (1 << 16)])
_ORDER2_MASK = (1 << 22) - 1
_MOST_TREES = 7


@inlined
def _predict(tree, step, prior, learned, local, scratch):
    """The probability of a one, 16 bits, of the decision after those of `tree`, a byte's bits after a one."""
    inputs, at, match, run = scratch.inputs, scratch.at, scratch.match, scratch.run
    nibble = tree if step < 4 else (1 << (step - 4)) | (tree & ((1 << (step - 4)) - 1))
    seen = np.int64(0)
    slot_inputs(prior.slots, scratch.buckets, nibble, learned.maps, scratch.cells, inputs, 0)
    maps, cells = learned.local_maps, scratch.local_cells
    slot_inputs(local.slots, scratch.local_buckets, nibble, maps, cells, inputs, 2 * CONTEXTS)
    for i in range(_MOST_TREES):
        if scratch.cells[i] >= 0:
            seen += 1
    before = run[BEFORE]
    last, last2 = before & 0xFF, (before >> 8) & 0xFF
    at[_ORDER1] = last * 256 + tree
    at[_ORDER2] = (((before & 0xFFFF) * 256 + tree) * MULTIPLIER >> 36) & _ORDER2_MASK
    inputs[_SLOW] = STRETCH[prior.order1[tree] >> 20]
    inputs[_SLOW + 1] = STRETCH[prior.order1[at[_ORDER1]] >> 20]
    inputs[_SLOW + 2] = STRETCH[prior.order2[at[_ORDER2]] >> 20]
    foretold = np.int64(0)
    for m in range(2):
        j = _MATCHED + 2 * m
        match[BIT, m] = -1
        inputs[j] = inputs[j + 1] = 0
        if match[NEXT, m] >= 0 and match[NEXT, m] >> (8 - step) == tree:
            bit = (match[NEXT, m] >> (7 - step)) & 1
            match[BIT, m] = bit
            by_byte = (match[NEXT, m] & 0xFF) * 16 + (match[KEY, m] & 15)
            sign = 1 if bit else -1
            inputs[j] = sign * STRETCH[learned.hits[m, match[KEY, m]] >> 10]
            inputs[j + 1] = sign * STRETCH[learned.byte_hits[m, by_byte] >> 10]
            if m == 0:
                foretold = 1 + min(np.int64(14), match[KEY, m] & 15) + 16 * bit
    inputs[_CONSTANT] = 256
    rows = scratch.rows
    rows[0] = SETS[0] + foretold * 8 + step
    rows[1] = SETS[1] + tree
    rows[2] = SETS[2] + last + 256 * (step >> 1)
    rows[3] = SETS[3] + seen * 8 + step + 64 * min(run[LENGTH], np.int64(7))
    rows[4] = SETS[4] + CLASSES[last] * 12 + CLASSES[last2] + 144 * step
    rows[5] = SETS[5] + last2
    stretch = mix(inputs, learned.weights, rows, scratch.outputs, scratch.errors, learned.last, tree)
    at[_MIXED] = SQUASH[stretch + SQUASH_REACH + 1]
    long = match[KEY, 0] & 15 if match[NEXT, 0] >= 0 else np.int64(0)
    at[_CELL] = _CURVE_STARTS[0] + (tree | long << 8)
    at[_CELL + 1] = _CURVE_STARTS[1] + (((tree | (before & 0xFFFF) << 8) * 0x2F0B4C47 >> 13) & 0xFFFF)
    at[_CELL + 2] = _CURVE_STARTS[2] + (((tree + run[WORD] * 31) * MULTIPLIER >> 44) & 0xFFFF)
    total = at[_MIXED] * 2
    for k in range(3):
        total += 2 * refine(learned.curves, at[_CELL + k], stretch)
    at[_LOW] = min(max(stretch, -2047), 2047)
    return min(max((total + 4) >> 3, np.int64(_LEAST_PROBABILITY)), np.int64(65536 - _LEAST_PROBABILITY))


@inlined
def _learn(tree, step, bit, rate, learned, local, scratch):
    """Takes in how a decision came out, but for the prior."""
    at, match = scratch.at, scratch.match
    nibble = tree if step < 4 else (1 << (step - 4)) | (tree & ((1 << (step - 4)) - 1))
    target22, target16 = (bit << 22) - bit, (bit << 16) - bit
    learn_maps(learned.maps, scratch.cells, target22)
    learn_maps(learned.local_maps, scratch.local_cells, target22)
    for i in range(_LOCALS):
        count_slot(local.slots, scratch.local_buckets[i] + nibble, bit, _LOCAL_STEPS)
    for m in range(2):
        if match[BIT, m] >= 0:
            hit = np.int64(1) if match[BIT, m] == bit else np.int64(0)
            target, key = (hit << 22) - hit, match[KEY, m]
            by_byte = (match[NEXT, m] & 0xFF) * 16 + (key & 15)
            learned.hits[m, key] += (target - learned.hits[m, key]) >> _HIT_RATE
            learned.byte_hits[m, by_byte] += (target - learned.byte_hits[m, by_byte]) >> _HIT_RATE
        learn_weights(
            scratch.inputs,
            learned.weights,
            scratch.rows,
            scratch.outputs,
            scratch.errors,
            learned.last,
            tree,
            at[_MIXED],
            bit,
            rate,
            _LAST_RATE,
        )
    learn_curves(learned.curves, at, _CELL, 3, at[_LOW], target16, _CURVE_RATE)


@compiled_bare
def code(
    text,
    start,
    stop,
    size,
    slot_bits,
    local_bits,
    rate,
    action,
    streams,
    stream,
    prior,
    learned,
    local,
    scratch,
):
    """Codes the bytes of a text from `start` to `stop`, what came before being there; returns their bits."""
    bits = 0.0
    for position in range(start, stop):
        hash_contexts(text, position, local, scratch.hashes, scratch.run)
        follow(text, position, size, prior, local, scratch.match)
        bits += settle(
            text,
            position,
            slot_bits,
            local_bits,
            rate,
            action,
            streams,
            stream,
            prior,
            learned,
            local,
            scratch,
        )
    return bits


@compiled_bare
def settle(
    text, position, slot_bits, local_bits, rate, action, streams, stream, prior, learned, local, scratch
):
    """Codes one byte whose contexts are there, and learns it; returns its bits."""
    byte, tree, likelihood, sizes = np.int64(text[position]), np.int64(1), 1.0, (slot_bits, local_bits)
    for step in range(8):
        if step == 0 or step == 4:
            prefix = tree if step else np.int64(0)
            find_buckets(prior.slots, local.slots, LOCAL_CONTEXTS, sizes, prefix, True, scratch)
        ones = _predict(tree, step, prior, learned, local, scratch)
        if action == DECODE:
            bit = decode_bit(streams, stream, ones << 8)
        else:
            bit = (byte >> (7 - step)) & 1
            if action == ENCODE:
                encode_bit(streams, stream, ones << 8, bit)
        likelihood *= ones if bit else 65536 - ones
        _learn(tree, step, bit, rate, learned, local, scratch)
        tree = tree * 2 + bit
    byte = tree & 0xFF
    text[position] = byte
    advance(position, byte, local, scratch.run)
    return 128.0 - np.log2(likelihood)


@compiled_bare
def count(text, size, slot_bits, prior, local, scratch):
    """Counts a training text into the prior, behind `size` bytes of history."""
    for position in range(len(text)):
        hash_contexts(text, position, local, scratch.hashes, scratch.run)
        remember(text, position, size, prior.matches)
        byte, tree, before = np.int64(text[position]), np.int64(1), scratch.run[BEFORE]
        for step in range(8):
            bit = (byte >> (7 - step)) & 1
            nibble = tree if step < 4 else (1 << (step - 4)) | (tree & ((1 << (step - 4)) - 1))
            for i in range(CONTEXTS):
                if step == 0 or step == 4:
                    hashed = (scratch.hashes[i] + (tree if step else 0)) * MULTIPLIER
                    scratch.buckets[i] = find_bucket(prior.slots, i, slot_bits, hashed, True)
                count_slot(prior.slots, scratch.buckets[i] + nibble, bit, _COUNT_STEPS)
            count_slowly(prior.order1, tree, bit, _SLOW_LIMIT)
            count_slowly(prior.order1, (before & 0xFF) * 256 + tree, bit, _SLOW_LIMIT)
            pair = (((before & 0xFFFF) * 256 + tree) * MULTIPLIER >> 36) & _ORDER2_MASK
            count_slowly(prior.order2, pair, bit, _SLOW_LIMIT)
            tree = tree * 2 + bit
        advance(position, byte, local, scratch.run)
        prior.history[size + position] = byte


@compiled_bare
def foretell(text, position, size, slot_bits, local_bits, prior, learned, local, scratch, costs, logits):
    """Fills in the logits of all 256 bytes at a position, in the engine's unit; `settle` then takes one.

    `costs` has room for 512 numbers.
    """
    hash_contexts(text, position, local, scratch.hashes, scratch.run)
    follow(text, position, size, prior, local, scratch.match)
    sizes = (slot_bits, local_bits)
    for high in range(17):
        first = (
            np.int64(1) if high == 0 else np.int64(high + 15)
        )  # the first nibble's trees, then each second's
        prefix = np.int64(0) if high == 0 else first
        find_buckets(prior.slots, local.slots, LOCAL_CONTEXTS, sizes, prefix, False, scratch)
        for deep in range(4):
            step = deep if high == 0 else deep + 4
            for k in range(1 << deep):
                tree = (first << deep) + k
                ones = _predict(tree, step, prior, learned, local, scratch)
                costs[2 * tree] = costs[tree] + COST[(65536 - ones) >> 4]
                costs[2 * tree + 1] = costs[tree] + COST[ones >> 4]
    for byte in range(256):
        logits[byte] = -costs[256 + byte]
