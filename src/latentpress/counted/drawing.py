"""Texts drawn from counted contexts, byte by byte."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.coder import Streams
from latentpress.autoregressive.engine.loop import Choice, choose_symbol
from latentpress.counted.arithmetic import MEASURE
from latentpress.counted.kernels import foretell, settle
from latentpress.counted.priming import ITEM_RATE, Lane, Primed
from latentpress.exact.distribution import Sampling

__all__ = ["draw"]

_SYMBOLS = 256


def draw(
    primed: Primed,
    points: NDArray[np.uint32],
    known: NDArray[np.uint8],
    how: Sampling,
    progress: Callable[[int], None] | None,
) -> NDArray[np.uint8]:
    """A text of as many bytes as there are `points`, random numbers of 24 bits; it begins with `known`.

    The distribution of a byte is that of its eight decisions, with nothing learned in between.
    """
    lane, choice = Lane(primed, len(points)), Choice.of(how)
    streams = Streams.over(np.zeros((1, 1), np.uint32))
    costs, logits, weights = (np.zeros(size, np.int32) for size in (2 * _SYMBOLS, _SYMBOLS, _SYMBOLS))
    weights, counts = weights.astype(np.uint32), np.zeros(_SYMBOLS, np.int64)
    state = primed.prior, lane.learned, lane.local, lane.scratch
    for position, point in enumerate(points):
        sizes = primed.slot_bits, lane.local_bits
        foretell(lane.text, position, primed.size, *sizes, *state, costs, logits)
        if position < len(known):
            lane.text[position] = known[position]
        else:
            lane.text[position] = choose_symbol(logits, weights, point, choice, counts)
        settle(lane.text, position, *sizes, ITEM_RATE, MEASURE, streams, 0, *state)
        if progress is not None:
            progress(1)
    return lane.text
