"""Symbols of grids under counted contexts, compiled: a decision for every bit of a rank, the highest first.

The inputs of a decision: of every context two, its slot's stretch as experience corrects it, and how far the
slot itself is from a half; of every context counted in the stream at hand the same; an order-0 counter;
twice what a network says, if there is one; and a constant.
"""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.coder import decode_bit, encode_bit
from latentpress.autoregressive.engine.compiling import compiled_bare, inlined
from latentpress.autoregressive.engine.loop import choose_symbol
from latentpress.counted.arithmetic import (
    COST,
    DECODE,
    ENCODE,
    LOGARITHMS,
    SQUASH,
    SQUASH_REACH,
    STRETCH,
    reciprocals,
)
from latentpress.counted.grids.contexts import CONTEXTS, LOCAL_CONTEXTS, gather, hash_contexts
from latentpress.counted.grids.state import COMPONENTS, CURVES, INPUTS, NODES, SETS
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

__all__ = ["DRAW", "code", "count", "find_place", "share", "take"]

DRAW = 3  # beside the actions of `arithmetic.py`

_LOCALS = len(LOCAL_CONTEXTS)
_COUNT_STEPS, _LOCAL_STEPS = reciprocals(250), reciprocals(30)  # faster in a stream than over all of them
_ORDER0, _NETWORK, _CONSTANT = INPUTS - 4, INPUTS - 2, INPUTS - 1
_SLOW_LIMIT, _CURVE_RATE, _LAST_RATE = 1000, 7, 2
_LEAST_PROBABILITY = 4  # of 2^16
_SEEN, _SURE, _KINDS = SETS[1], SETS[2], SETS[3]
_HASHED = CURVES[0], CURVES[0] + CURVES[1]
_NODE, _DEPTH, _CURVE, _MIXED, _LOW, _FORETOLD = 0, 1, 2, 5, 6, 7  # entries of `Scratch.at`
_GROUP = 4  # decisions of a bucket


@inlined
def _logarithm(x):
    """ln(x) in 256ths, of 1 <= x < 2^40."""
    exponent, step = np.int64(0), np.int64(32)
    while step > 0:
        if x >> (exponent + step) > 0:
            exponent += step
        step >>= 1
    mantissa = (x << (44 - exponent)) >> 32  # 13 bits, the first of which is a one
    return (exponent * 11357 + LOGARITHMS[mantissa & 4095]) >> 6


@inlined
def share(weights, component, form, scratch):
    """Sums a network's weights in the order of ranks, for `settle`."""
    total = np.uint64(0)
    for rank in range(form.alphabets[component]):
        scratch.shares[rank] = total
        total += np.uint64(weights[form.symbols[component, rank]])
    scratch.shares[form.alphabets[component]] = total


@inlined
def _slot(tree, depth):
    """Where in its bucket a decision is, after those of `tree`, a rank's first bits after a one."""
    within = depth & (_GROUP - 1)
    return (np.int64(1) << within) | (tree & ((np.int64(1) << within) - 1))


@inlined
def _predict(tree, depth, component, form, prior, learned, local, scratch):
    """The probability of a one, 16 bits."""
    inputs, at, slot = scratch.inputs, scratch.at, _slot(tree, depth)
    seen, own = np.int64(0), min(np.int64(component), np.int64(COMPONENTS - 1))
    slot_inputs(prior.slots, scratch.buckets, slot, learned.maps, scratch.cells, inputs, 0)
    maps, cells = learned.local_maps, scratch.local_cells
    slot_inputs(local.slots, scratch.local_buckets, slot, maps, cells, inputs, 2 * CONTEXTS)
    for i in range(CONTEXTS):
        if scratch.cells[i] >= 0:
            seen += 1
    order0 = np.int64(STRETCH[prior.order0[component, tree] >> 20])
    inputs[_ORDER0] = order0
    inputs[_CONSTANT] = 256
    sure = min(np.int64(31), (order0 + 2048) >> 7)
    if form.foretold:
        low = (tree << (form.bits - depth)) & ((np.int64(1) << form.bits) - 1)
        half = np.int64(1) << (form.bits - depth - 1)
        start, middle = np.int64(scratch.shares[low]), np.int64(scratch.shares[low + half])
        end = np.int64(scratch.shares[min(low + 2 * half, form.alphabets[component])])
        stretch = _logarithm(end - middle + 1) - _logarithm(middle - start + 1)
        stretch = min(max(stretch, np.int64(-2047)), np.int64(2047))
        inputs[_NETWORK] = stretch
        inputs[_NETWORK - 1] = (np.int64(SQUASH[stretch + SQUASH_REACH + 1]) - 32768) >> 6
        sure = (stretch + 2048) >> 7
    at[_NODE] = tree if depth < 8 else 256 + depth - 8
    rows, sources, shift = scratch.rows, scratch.sources, max(np.int64(0), form.bits - 3)
    deep = min(depth, np.int64(15))
    kinds = (max(sources[0] - 1, 0) >> shift) * 8 + (max(sources[1] - 1, 0) >> shift)
    rows[0] = own * NODES + at[_NODE]
    rows[1] = _SEEN + seen * 16 + deep
    rows[2] = _SURE + sure * 16 + deep
    rows[3] = _KINDS + kinds * 16 + deep
    stretch = mix(inputs, learned.weights, rows, scratch.outputs, scratch.errors, learned.last, at[_NODE])
    at[_MIXED] = SQUASH[stretch + SQUASH_REACH + 1]
    at[_CURVE] = own * NODES + at[_NODE]
    at[_CURVE + 1] = _HASHED[0] + (((tree * 4099 + sources[0]) * MULTIPLIER >> 40) & 0xFFF)
    beside = sources[6] if component > 0 else sources[1]
    at[_CURVE + 2] = _HASHED[1] + (((tree * 4099 + beside) * MULTIPLIER >> 40) & 0xFFF)
    total = at[_MIXED] * 5
    for k in range(3):
        total += refine(learned.curves, at[_CURVE + k], stretch)
    at[_LOW] = min(max(stretch, np.int64(-2047)), np.int64(2047))
    return min(max((total + 4) >> 3, np.int64(_LEAST_PROBABILITY)), np.int64(65536 - _LEAST_PROBABILITY))


@inlined
def _learn(tree, depth, bit, rate, learned, local, scratch):
    """Takes in how a decision came out, but for the prior."""
    at, slot = scratch.at, _slot(tree, depth)
    target22, target16 = (bit << 22) - bit, (bit << 16) - bit
    learn_maps(learned.maps, scratch.cells, target22)
    learn_maps(learned.local_maps, scratch.local_cells, target22)
    for i in range(_LOCALS):
        count_slot(local.slots, scratch.local_buckets[i] + slot, bit, _LOCAL_STEPS)
    learn_weights(
        scratch.inputs,
        learned.weights,
        scratch.rows,
        scratch.outputs,
        scratch.errors,
        learned.last,
        at[_NODE],
        at[_MIXED],
        bit,
        rate,
        _LAST_RATE,
    )
    learn_curves(learned.curves, at, _CURVE, 3, at[_LOW], target16, _CURVE_RATE)


@inlined
def _ready(task, position, lane, component, form, scratch):
    """Makes the contexts of a symbol."""
    sources, place = scratch.sources, scratch.place
    gather(task.ranks, place, lane, component, task.extents, task.neighbours, task.labels, sources)
    hash_contexts(component, form.bits, sources, scratch.hashes)


@inlined
def _settle(rank, component, form, task, streams, prior, learned, local, scratch):
    """Codes a symbol whose contexts are there, by its rank, and learns it; returns rank and bits."""
    tree, likelihood, last = np.int64(1), 1.0, form.alphabets[component] - 1
    for depth in range(form.bits):
        if depth & (_GROUP - 1) == 0:
            offset = tree * MULTIPLIER
            find_buckets(prior.slots, local.slots, LOCAL_CONTEXTS, task.sizes, offset, True, scratch)
        middle = ((2 * tree + 1) << (form.bits - depth - 1)) & ((np.int64(1) << form.bits) - 1)
        if middle > last:  # no symbol has a one here
            tree *= 2
            continue
        ones = _predict(tree, np.int64(depth), component, form, prior, learned, local, scratch)
        bit = (rank >> (form.bits - depth - 1)) & 1
        if task.action == DECODE:
            bit = decode_bit(streams, 0, ones << 8)
        elif task.action == ENCODE:
            encode_bit(streams, 0, ones << 8, bit)
        likelihood *= (ones if bit else 65536 - ones) * (1.0 / 65536.0)
        _learn(tree, np.int64(depth), bit, task.rate, learned, local, scratch)
        tree = tree * 2 + bit
    return tree & ((np.int64(1) << form.bits) - 1), -np.log2(likelihood)


@inlined
def _foretell(component, form, sizes, prior, learned, local, scratch):
    """Fills in the logits of all symbols whose contexts are there, in the engine's unit."""
    costs, last = scratch.costs, form.alphabets[component] - 1
    costs[1] = 0
    for depth in range(form.bits):
        for tree in range(np.int64(1) << depth, np.int64(2) << depth):
            first = (tree << (form.bits - depth)) & ((np.int64(1) << form.bits) - 1)
            if first > last:
                continue
            if first + (np.int64(1) << (form.bits - depth - 1)) > last:
                costs[2 * tree] = costs[tree]
                continue
            offset = (tree >> (depth & (_GROUP - 1))) * MULTIPLIER
            find_buckets(prior.slots, local.slots, LOCAL_CONTEXTS, sizes, offset, False, scratch)
            ones = _predict(tree, np.int64(depth), component, form, prior, learned, local, scratch)
            costs[2 * tree] = costs[tree] + COST[(65536 - ones) >> 4]
            costs[2 * tree + 1] = costs[tree] + COST[ones >> 4]
    for rank in range(last + 1):
        scratch.logits[form.symbols[component, rank]] = -costs[(np.int64(1) << form.bits) + rank]


@compiled_bare
def take(position, component, lane, form, task, choice, streams, prior, learned, local, scratch):
    """Codes a symbol of the place at hand, or fills it in, and learns it; returns the symbol."""
    ranks = task.ranks
    _ready(task, position, lane, component, form, scratch)
    if task.action == DRAW and position >= task.known:
        _foretell(component, form, task.sizes, prior, learned, local, scratch)
        logits, weights = scratch.logits[: form.alphabets[component]], scratch.weights
        number = task.points[position, lane, component]
        chosen = choose_symbol(logits, weights, number, choice, scratch.counts)
        ranks[position, lane, component] = form.order[component, chosen]
    rank, bits = _settle(
        np.int64(ranks[position, lane, component]), component, form, task, streams, prior, learned, local,
        scratch,
    )  # fmt: skip
    ranks[position, lane, component] = rank
    task.bits[lane] += bits
    return form.symbols[component, rank]


@inlined
def find_place(position, extents, place):
    """Fills in the indices of a position along three axes."""
    row = position // extents[2]
    place[2] = position - row * extents[2]
    place[0] = row // extents[1]
    place[1] = row - place[0] * extents[1]


@compiled_bare
def code(start, stop, form, task, choice, streams, prior, learned, local, scratch):
    """Codes the symbols of positions `start` to `stop` - 1, lane by lane."""
    for position in range(start, stop):
        find_place(position, task.extents, scratch.place)
        for component in range(task.ranks.shape[2]):
            for lane in range(task.ranks.shape[1]):
                take(position, component, lane, form, task, choice, streams, prior, learned, local, scratch)


@compiled_bare
def count(form, task, prior, scratch):
    """Counts a training stream's symbols into the prior."""
    ranks, slot_bits = task.ranks, task.sizes[0]
    for position in range(ranks.shape[0]):
        find_place(position, task.extents, scratch.place)
        for component in range(ranks.shape[2]):
            for lane in range(ranks.shape[1]):
                _ready(task, position, lane, component, form, scratch)
                rank, tree = np.int64(ranks[position, lane, component]), np.int64(1)
                for depth in range(form.bits):
                    bit = (rank >> (form.bits - depth - 1)) & 1
                    slot = _slot(tree, np.int64(depth))
                    for i in range(CONTEXTS):
                        if depth & (_GROUP - 1) == 0:
                            hashed = (scratch.hashes[i] + tree * MULTIPLIER) * MULTIPLIER
                            scratch.buckets[i] = find_bucket(prior.slots, i, slot_bits, hashed, True)
                        count_slot(prior.slots, scratch.buckets[i] + slot, bit, _COUNT_STEPS)
                    count_slowly(prior.order0[component], tree, bit, _SLOW_LIMIT)
                    tree = tree * 2 + bit
