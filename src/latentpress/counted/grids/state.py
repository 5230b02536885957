"""What counted contexts of grids know: of training items, how far to trust that, of the stream at hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.counted.arithmetic import SQUASH, SQUASH_REACH
from latentpress.counted.grids.contexts import CONTEXTS, LOCAL_CONTEXTS, SOURCES
from latentpress.counted.mixing import new_curves
from latentpress.counted.slots import new_slots

__all__ = [
    "COMPONENTS",
    "CURVES",
    "INPUTS",
    "MOST_BITS",
    "NODES",
    "SETS",
    "Form",
    "Learned",
    "Local",
    "Prior",
    "Scratch",
    "Task",
]

MOST_BITS = 12  # of a symbol
NODES = 256 + MOST_BITS + 1  # of the first eight decisions each its own, of later ones one each
COMPONENTS = 4  # that have weights of their own: the others share those of the last
_LOCALS = len(LOCAL_CONTEXTS)
INPUTS = 2 * CONTEXTS + 2 * _LOCALS + 4
SETS = np.cumsum([0, COMPONENTS * NODES, 32 * 16, 32 * 16, 64 * 16])
"""Where each set of weights begins, and how many rows there are."""

CURVES = (COMPONENTS * NODES, 1 << 12, 1 << 12)
_FIRST_WEIGHT, _NETWORK_WEIGHT, _LAST_SCALE = 10486, 1 << 16, 1 << 16  # 0.16, 1, 1

Array = NDArray[Any]


class Form(NamedTuple):
    """What the symbols of a position are.

    `alphabets`: int64 (P,). `order`: int32 (P, largest), the rank of every symbol, and `symbols` its inverse.
    `bits`: of a rank, the same for all components. `foretold`: 1 beside a network, else 0.
    """

    alphabets: Array
    order: Array
    symbols: Array
    bits: int
    foretold: int

    @classmethod
    def of(cls, order: list[NDArray[np.int64]], foretold: bool) -> Form:
        """Of each component's symbols in their order."""
        largest = max(len(each) for each in order)
        symbols, ranks = np.zeros((2, len(order), largest), np.int32)
        for p, each in enumerate(order):
            symbols[p, : len(each)] = each
            ranks[p, each] = np.arange(len(each))
        alphabets = np.array([len(each) for each in order], np.int64)
        return cls(alphabets, ranks, symbols, max(1, (largest - 1).bit_length()), int(foretold))


class Prior(NamedTuple):
    """What was counted in the training items; only `count` changes it.

    `slots`: uint16, the contexts' tables, each of 2^slot_bits. `order0`: uint32 (P, 2^bits), slow counters
    of every decision, 22 bits of probability above 10 of count.
    """

    slots: Array
    order0: Array

    @classmethod
    def fresh(cls, form: Form, slot_bits: int) -> Prior:
        """Nothing counted yet."""
        order0 = np.full((len(form.alphabets), 1 << form.bits), 1 << 31, np.uint32)
        return cls(new_slots(CONTEXTS, slot_bits), order0)


class Learned(NamedTuple):
    """How far inputs are trusted: learned from training items, and on from there within every stream.

    `maps`, `local_maps`: int32 (contexts, 16, 64), what comes after a slot of a count and a stretch, 22 bits.
    `weights`: int32 (rows, inputs) and `last` (NODES, sets), see `latentpress.counted.mixing`. `curves`:
    refinements.
    """

    maps: Array
    local_maps: Array
    weights: Array
    last: Array
    curves: Array

    @classmethod
    def fresh(cls, form: Form) -> Learned:
        """Before the first item."""
        middles = np.arange(64) * 64 + 32 - 2048
        known = (SQUASH[middles + SQUASH_REACH + 1] << 6).astype(np.int32)
        weights = np.full((SETS[-1], INPUTS), _FIRST_WEIGHT, np.int32)
        if form.foretold:  # what is counted corrects the network
            weights[:] = 0
            weights[:, -2] = _NETWORK_WEIGHT
        sets = len(SETS) - 1
        return cls(
            np.tile(known, (CONTEXTS, 16, 1)),
            np.tile(known, (_LOCALS, 16, 1)),
            weights,
            np.full((NODES, sets), _LAST_SCALE // sets, np.int32),
            new_curves(sum(CURVES)),
        )

    def copy(self) -> Learned:
        """The same, to be changed."""
        return Learned(*(part.copy() for part in self))


class Local(NamedTuple):
    """What was counted in the stream at hand, `slots` as in `Prior`: it begins with nothing."""

    slots: Array

    @classmethod
    def fresh(cls, slot_bits: int) -> Local:
        """Nothing counted yet."""
        return cls(new_slots(_LOCALS, slot_bits))


class Task(NamedTuple):
    """A stream, and what is done with it.

    `ranks`: int32 (positions, lanes, P). `labels`: int64 (lanes, 1 or rows), hashes. `extents` of three axes,
    and the `neighbours`' offsets. `sizes`: the bits of the prior's and the local slots' numbers. `bits`:
    float64 (lanes,), what the ranks cost. `points`: uint32, as `ranks`, numbers of 24 bits that choose
    symbols, but for those of the `known` first positions. `rate`: of the weights.
    """

    ranks: Array
    labels: Array
    extents: Array
    neighbours: Array
    sizes: Array
    bits: Array
    points: Array
    known: int
    rate: int
    action: int


class Scratch(NamedTuple):
    """Numbers of the symbol and the decision at hand, int64 but for the inputs, int32.

    `shares`: uint64, of a network's weights in the order of ranks those before each. `costs`, `logits`,
    `weights` and `counts` are of a symbol that is drawn.
    """

    inputs: Array
    sources: Array
    hashes: Array
    buckets: Array
    local_buckets: Array
    cells: Array
    local_cells: Array
    rows: Array
    outputs: Array
    errors: Array
    at: Array
    place: Array
    shares: Array
    costs: Array
    logits: Array
    weights: Array
    counts: Array

    @classmethod
    def fresh(cls, form: Form) -> Scratch:
        """Before the first symbol."""
        sets, whole = len(SETS) - 1, 1 << form.bits
        sizes = (SOURCES, CONTEXTS, CONTEXTS, _LOCALS, CONTEXTS, _LOCALS, sets, sets, sets, 16, 3)
        numbers = [np.zeros(size, np.int64) for size in sizes]
        shares, costs = np.zeros(whole + 1, np.uint64), np.zeros(2 * whole, np.int32)
        drawn = [np.zeros(form.order.shape[1], dtype) for dtype in (np.int32, np.uint32, np.int64)]
        return cls._make([np.zeros(INPUTS, np.int32), *numbers, shares, costs, *drawn])
