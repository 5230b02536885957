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

__all__ = ["BUCKET", "UNSEEN", "count_slot", "find_bucket", "new_slots", "prefetch_bucket"]

BUCKET = 16  # slots of a bucket, the tag among them
UNSEEN = 32768  # a slot that has counted nothing: one half
_UNSEEN, _CLAIMED = np.uint16(UNSEEN), np.uint16(1)


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
def prefetch_bucket(slots, context, slot_bits, hashed):
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
