"""Counters that are found by hashes of contexts: slots of 16 bits in buckets, compiled.

A *slot* is a probability of 12 bits above a count of 4. A *bucket* holds a tag of 16 bits of its hash and the
15 slots of the decisions that a nibble takes. Every context has a table of buckets of its own, one after
another in one array, which ends with a bucket that is never written to: what is not there is found in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.arithmetic import RECIPROCALS, STRETCH

__all__ = [
    "BUCKET",
    "MULTIPLIER",
    "UNSEEN",
    "count_slot",
    "count_slowly",
    "find_bucket",
    "find_buckets",
    "learn_maps",
]
__all__ += ["new_slots", "slot_inputs"]

BUCKET = 16  # slots of a bucket, the tag among them
UNSEEN = 32768  # a slot that has counted nothing: one half
_UNSEEN = np.uint16(UNSEEN)
MULTIPLIER = -7046029254386353131  # 2^64 / golden ratio
_MAP_RATE = 7


def new_slots(contexts: int, slot_bits: int) -> np.ndarray:
    """Empty tables of 2^slot_bits slots for so many contexts."""
    size, line = (contexts << slot_bits) + BUCKET, 2 * BUCKET
    room = np.empty(size + line, np.uint16)
    start = -(room.ctypes.data // 2) % line  # two neighbouring buckets are in one line of the cache
    slots = room[start : start + size]
    slots[:] = UNSEEN
    slots[::BUCKET] = 0
    return slots


@intrinsic
def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Asks for an element of an array ahead of its use."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        bits, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        place = builder.bitcast(builder.gep(made.data, [arguments[1]]), byte)
        form = ir.FunctionType(ir.VoidType(), [byte, bits, bits, bits])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], form)
        builder.call(function, [place, bits(1), bits(3), bits(1)])  # to be written, kept, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


_ahead: Any = _prefetch  # as compiled code calls it


@inlined
def _prefetch_bucket(slots, context, slot_bits, hashed):
    """Asks for the bucket of a hash ahead of `find_bucket`."""
    place = (hashed >> 18) & ((np.int64(1) << (slot_bits - 4)) - 1)
    _ahead(slots, (context << slot_bits) + place * BUCKET)


@inlined
def find_bucket(slots, context, slot_bits, hashed, claim):
    """Where the bucket of a hash begins; if it is not there, one that is empty, or is given to it.

    Of the two places that a hash has, the one whose first decision was counted less is given up.
    """
    last = (np.int64(1) << (slot_bits - 4)) - 1
    place = (hashed >> 18) & last
    tag = (hashed >> 48) & 0xFFFF
    if tag == 0:
        tag = 1
    first = (context << slot_bits) + place * BUCKET
    second = (context << slot_bits) + (place ^ 1) * BUCKET
    if slots[first] == tag:
        return first
    if slots[second] == tag:
        return second
    if not claim:
        return np.int64(len(slots) - BUCKET)
    if slots[first] != 0 and (slots[second] == 0 or (slots[second + 1] & 15) < (slots[first + 1] & 15)):
        first = second
    slots[first] = tag
    for node in range(1, BUCKET):
        slots[first + node] = _UNSEEN
    return first


@inlined
def count_slot(slots, at, bit, steps):
    """Moves a slot towards a bit by the step of its count (`reciprocals`), and counts it."""
    slot = np.int64(slots[at])
    p, n = slot >> 4, slot & 15
    if bit:
        p += ((4095 - p) * steps[n] + 32768) >> 16
    else:
        p -= (p * steps[n] + 32768) >> 16
    slots[at] = (p << 4) | min(n + 1, np.int64(15))


@inlined
def count_slowly(counters, at, bit, limit):
    """Moves a counter, 22 bits of probability above 10 of count, by 1 / (count + 1.5), at least 1 / limit."""
    counter = np.int64(counters[at])
    p, n = counter >> 10, counter & 1023
    p += ((((bit << 22) - bit - p) >> 3) * RECIPROCALS[n]) >> 13
    counters[at] = (p << 10) | min(n + 1, np.int64(limit))


@inlined
def find_buckets(slots, local_slots, locals_of, sizes, offset, claim, scratch):
    """Fills in where the buckets of all contexts begin: those of training items, and of the item at hand.

    `locals_of` are the contexts that have slots in the latter too, which are claimed; `sizes` the bits of
    both; `offset` is added to every context's hash, and says which decisions of a symbol the buckets are of.
    """
    contexts, hashes = len(scratch.buckets), scratch.hashes
    for i in range(contexts):
        _prefetch_bucket(slots, i, sizes[0], (hashes[i] + offset) * MULTIPLIER)
    for i in range(len(locals_of)):
        _prefetch_bucket(local_slots, i, sizes[1], (hashes[locals_of[i]] + offset) * MULTIPLIER)
    for i in range(contexts):
        hashed = (hashes[i] + offset) * MULTIPLIER
        scratch.buckets[i] = find_bucket(slots, i, sizes[0], hashed, False)
    for i in range(len(locals_of)):
        hashed = (hashes[locals_of[i]] + offset) * MULTIPLIER
        scratch.local_buckets[i] = find_bucket(local_slots, i, sizes[1], hashed, claim)


@inlined
def slot_inputs(slots, buckets, node, maps, cells, inputs, first):
    """Fills in two inputs a context, from `first` on, and the maps' cells: -1 where nothing was counted.

    They are the stretch of what comes after such a slot, and how far the slot itself is from a half.
    """
    for i in range(len(buckets)):
        slot, j = np.int64(slots[buckets[i] + node]), first + 2 * i
        p, n = slot >> 4, slot & 15
        if n == 0:
            inputs[j] = inputs[j + 1] = 0
            cells[i] = -1
        else:
            cell = n * 64 + ((np.int64(STRETCH[p]) + 2048) >> 6)
            inputs[j] = STRETCH[maps[i, cell >> 6, cell & 63] >> 10]
            inputs[j + 1] = (p - 2048) >> 2
            cells[i] = cell


@inlined
def learn_maps(maps, cells, target):
    """Moves the maps' cells towards what came, in 22 bits."""
    for i in range(len(cells)):
        cell = cells[i]
        if cell >= 0:
            maps[i, cell >> 6, cell & 63] += (target - maps[i, cell >> 6, cell & 63]) >> _MAP_RATE
