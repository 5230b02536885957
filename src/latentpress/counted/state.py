"""What counted contexts know: of the training items, of how far to trust that, and of the item at hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.counted.arithmetic import SQUASH, SQUASH_REACH
from latentpress.counted.mixing import new_curves
from latentpress.counted.slots import new_slots

__all__ = ["CONTEXTS", "INPUTS", "LOCAL_CONTEXTS", "SETS", "Learned", "Local", "Prior", "Scratch"]

CONTEXTS = 20  # of bytes, see `latentpress.counted.contexts`
LOCAL_CONTEXTS = np.array([0, 1, 2, 3, 5, 7, 8, 14])
"""Those that are counted in the item at hand too."""

SETS = np.array([0, 256, 512, 1536, 2048, 3200, 3456])
"""Where each set of weights begins, and how many rows there are."""

INPUTS = 2 * CONTEXTS + 2 * len(LOCAL_CONTEXTS) + 8
MATCH_BITS, LOCAL_MATCH_BITS, ORDER2_BITS = 22, 16, 22
_FIRST_WEIGHT = 10486  # 0.16
_LAST_SCALE = 1 << 16
_CURVES = (1 << 12, 1 << 16, 1 << 16)

Array = NDArray[Any]


class Prior(NamedTuple):
    """What was counted in the training items; only `count` changes it.

    `slots`: uint16, the contexts' tables, each of 2^slot_bits. `order1`, `order2`: uint32, slow counters, 22
    bits of probability above 10 of count. `history`: uint8, the training items, one after another. `matches`:
    int32 (2, 2^22), by the hash of some bytes, where in the history they last came.
    """

    slots: Array
    order1: Array
    order2: Array
    history: Array
    matches: Array

    @classmethod
    def fresh(cls, slot_bits: int, history: int) -> Prior:
        """Nothing counted yet, with room for so many bytes."""
        half = np.uint32(1 << 31)
        return cls(
            new_slots(CONTEXTS, slot_bits),
            np.full(1 << 16, half, np.uint32),
            np.full(1 << ORDER2_BITS, half, np.uint32),
            np.zeros(history, np.uint8),
            np.full((2, 1 << MATCH_BITS), -1, np.int32),
        )


class Learned(NamedTuple):
    """How far inputs are trusted: learned from training items, and on from there within every item.

    `maps`, `local_maps`: int32 (contexts, 16, 64), what comes after a slot of a count and a stretch, 22 bits.
    `weights`: int32 (rows, inputs) and `last` (256, sets), see `latentpress.counted.mixing`. `curves`:
    refinements. `hits`: int32 (2, 64) and `byte_hits` (2, 4096), how often a match goes on, 22 bits.
    """

    maps: Array
    local_maps: Array
    weights: Array
    last: Array
    curves: Array
    hits: Array
    byte_hits: Array

    @classmethod
    def fresh(cls) -> Learned:
        """Before the first item."""
        middles = np.arange(64) * 64 + 32 - 2048
        known = (SQUASH[middles + SQUASH_REACH + 1] << 6).astype(np.int32)
        sets = len(SETS) - 1
        return cls(
            np.tile(known, (CONTEXTS, 16, 1)),
            np.tile(known, (len(LOCAL_CONTEXTS), 16, 1)),
            np.full((SETS[-1], INPUTS), _FIRST_WEIGHT, np.int32),
            np.full((256, sets), _LAST_SCALE // sets, np.int32),
            new_curves(sum(_CURVES)),
            np.full((2, 64), 60000 << 6, np.int32),
            np.full((2, 4096), 60000 << 6, np.int32),
        )

    def copy(self) -> Learned:
        """The same, to be changed."""
        return Learned(*(part.copy() for part in self))


class Local(NamedTuple):
    """What was counted in the item at hand: it begins with nothing.

    `slots` and `matches` as in `Prior`, and which bytes came last after a byte and after two.
    """

    slots: Array
    matches: Array
    after1: Array
    after2: Array

    @classmethod
    def fresh(cls, slot_bits: int) -> Local:
        """Nothing counted yet."""
        return cls(
            new_slots(len(LOCAL_CONTEXTS), slot_bits),
            np.full((2, 1 << LOCAL_MATCH_BITS), -1, np.int32),
            np.zeros(1 << 8, np.uint16),
            np.zeros(1 << 16, np.uint16),
        )


class Scratch(NamedTuple):
    """Numbers of the byte and the decision at hand, int64 but for the inputs, int32."""

    inputs: Array
    hashes: Array
    buckets: Array
    local_buckets: Array
    cells: Array
    local_cells: Array
    rows: Array
    outputs: Array
    errors: Array
    at: Array
    match: Array
    run: Array

    @classmethod
    def fresh(cls) -> Scratch:
        """Before the first byte of an item."""
        contexts, local, sets = CONTEXTS, len(LOCAL_CONTEXTS), len(SETS) - 1
        sizes = (contexts, contexts, local, contexts, local, sets, sets, sets, 16)
        match = np.zeros((6, 2), np.int64)
        match[2] = 8  # misses
        run = np.zeros(16, np.int64)
        run[11] = 1  # the first line's indentation is open
        numbers = [np.zeros(size, np.int64) for size in sizes]
        return cls._make([np.zeros(INPUTS, np.int32), *numbers, match, run])
