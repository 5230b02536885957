"""The contexts of a symbol of a grid, compiled: symbols about it and before it, whole or by their first bits.

A symbol's number is its rank in an order in which neighbours are alike (`order.py`), so its first bits say
what kind of symbol it is. A context is a list of *sources*, each with how many of its bits count:

    0-5   the same component's symbols before it in the grid: in two axes W, N, NE, NW, WW, NN
    6-7   the components before it at its own position, the last and the last but one
    8-9   the component before it (of the first the last one) of neighbours 0 and 1
    10    the position        11    the labels
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.slots import MULTIPLIER

__all__ = ["CONTEXTS", "LOCAL_CONTEXTS", "NEIGHBOURS", "SOURCES", "gather", "hash_contexts"]
__all__ += ["names"]

SOURCES = 12
_EARLIER, _BESIDE, _PLACE, _LABELS = 6, 8, 10, 11
_WHOLE = 32

NEIGHBOURS: NDArray[np.int64] = np.array(
    [
        [(-1, 0, 0), (-2, 0, 0), (-3, 0, 0), (-4, 0, 0), (-5, 0, 0), (-6, 0, 0)],
        [(0, -1, 0), (-1, 0, 0), (-1, 1, 0), (-1, -1, 0), (0, -2, 0), (-2, 0, 0)],
        [(-1, 0, 0), (0, 0, -1), (0, -1, 0), (-1, 0, 1), (-1, 1, 0), (0, -1, 1)],
    ]
)
"""Of grids of one, two and three axes, how far the neighbours are, along three axes."""

_Source = tuple[int, int]


def _whole(*sources: int) -> list[_Source]:
    return [(source, _WHOLE) for source in sources]


def _first(bits: int, *sources: int) -> list[_Source]:
    return [(source, bits) for source in sources]


_COMMON = [
    [],
    _whole(0),
    _whole(1),
    _whole(0, 1),
    _first(5, 0, 1, 2),
    _first(4, 0, 1, 2, 3),
    _whole(_PLACE),
    _first(4, 0, 1) + _whole(_PLACE),
    _first(5, 0) + _whole(_LABELS),
]
_FIRST = [
    _whole(0, 2),
    _whole(1, 2),
    _whole(1, 3),
    _first(6, 0, 1),
    _first(3, 0, 1, 2, 3, 4, 5),
    _whole(8, 0),
    _whole(9, 1),
]
_LATER = [
    _whole(6),
    _whole(6, 0),
    _whole(6, 1),
    _whole(6, 7),
    _first(5, 6, 0, 1),
    _first(4, 6, 7, 0, 1),
    _whole(6, 8, 0),
]
CONTEXTS = len(_COMMON) + len(_FIRST)
_MOST = 6  # sources of a context

LOCAL_CONTEXTS = np.array([0, 1, 2, 3, 4, 5, 9, 13])
"""Those that are counted in the stream at hand too."""


def _table(contexts: list[list[_Source]]) -> NDArray[np.int64]:
    table = np.full((CONTEXTS, _MOST, 2), -1, np.int64)
    for row, context in zip(table, contexts, strict=True):
        row[: len(context)] = np.array(context, np.int64).reshape(-1, 2)
    return table


_RECIPES = np.stack([_table(_COMMON + _FIRST), _table(_COMMON + _LATER)])


_WORDS = [
    [f"the code {count} before" for count in range(1, 7)],
    ["W", "N", "NE", "NW", "WW", "NN"],
    ["the step before", "W", "N", "the step before's E", "the step before's S", "NE"],
]
_OTHERS = ["codebook before", "the one before", "its codebook before", "second's codebook before"]
_OTHERS += ["position", "labels"]


def names(rank: int, components: int) -> list[str]:
    """Of the contexts, for people: of a grid of so many axes, of the first component; later ones."""
    words = _WORDS[rank - 1] + _OTHERS

    def named(context: list[_Source]) -> str:
        sources = ", ".join(words[source] for source, _ in context) or "order 0"
        kept = min((bits for _, bits in context), default=_WHOLE)
        return sources if kept == _WHOLE else f"{sources} ({kept} bits)"

    pairs = zip(_COMMON + _FIRST, _COMMON + _LATER, strict=True)
    both = [(named(first), named(later)) for first, later in pairs]
    return [a if a == b or components == 1 else f"{a}; later {b}" for a, b in both]


@inlined
def gather(symbols, place, lane, component, extents, neighbours, labels, sources):
    """Fills in the sources of a symbol, each one more than its number, and 0 where there is none.

    `symbols` is (positions, lanes, P), `place` the indices along three axes, `labels` (lanes, rows).
    """
    components = symbols.shape[2]
    for n in range(6):
        i, j, k = place[0] + neighbours[n, 0], place[1] + neighbours[n, 1], place[2] + neighbours[n, 2]
        there = i >= 0 and 0 <= j < extents[1] and 0 <= k < extents[2]
        at = (i * extents[1] + j) * extents[2] + k if there else np.int64(0)
        sources[n] = symbols[at, lane, component] + 1 if there else 0
        if n < 2:
            beside = component - 1 if component > 0 else components - 1
            known = there and components > 1
            sources[_BESIDE + n] = symbols[at, lane, beside] + 1 if known else 0
    here = (place[0] * extents[1] + place[1]) * extents[2] + place[2]
    for n in range(2):
        earlier = component - 1 - n
        sources[_EARLIER + n] = symbols[here, lane, max(earlier, 0)] + 1 if earlier >= 0 else 0
    row = min(place[0], np.int64(63))
    if extents[1] == 1:
        row = np.int64(0)
    sources[_PLACE] = 1 + (row * 64 + min(place[1], np.int64(63))) * 64 + min(place[2], np.int64(63))
    sources[_LABELS] = labels[lane, min(place[0], np.int64(labels.shape[1] - 1))]


@inlined
def hash_contexts(component, bits, sources, hashes):
    """Fills in the contexts' hashes of a symbol of so many bits, whose sources are there."""
    later = 1 if component > 0 else 0
    for c in range(CONTEXTS):
        mixed = np.int64(component + 1)
        for s in range(_MOST):
            source, kept = _RECIPES[later, c, s, 0], _RECIPES[later, c, s, 1]
            if source >= 0:
                value = sources[source]
                if kept < bits and value > 0:
                    value = ((value - 1) >> (bits - kept)) + 1
                mixed = (mixed + value + 1) * MULTIPLIER
                mixed ^= (mixed >> 29) & 0x7FFFFFFFF
        hashes[c] = mixed
