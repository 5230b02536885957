"""The stack of `latentpress.coding.ans`, compiled: popping in the loop, and pushing whole runs of symbols."""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.coder import Streams, find
from latentpress.autoregressive.engine.compiling import compiled
from latentpress.coding.tables import TOTAL, TOTAL_BITS

__all__ = ["pop_symbol", "push_all", "start_popping"]

_TOTAL_BITS, _WORD_BITS = np.uint64(TOTAL_BITS), np.uint64(32)
_POINT = np.uint64(TOTAL - 1)
_LEAST = np.uint64(1 << 32)
_ROOM_BITS = np.uint64(64 - TOTAL_BITS)


def start_popping(streams: Streams, stream: int, start: int, height: int, state: int) -> None:
    """Makes a coder a stack of that state, whose words are `height` ones from `start` on."""
    streams.reset(stream, start, 0)
    streams.cursors[stream] = start + height
    streams.lower[stream] = state


@compiled
def pop_symbol(streams, stream, weights, count, factor):
    """Takes the symbol off that was pushed last; the stack is damaged if its words run out."""
    state = streams.lower[stream]
    point = state & _POINT
    symbol, low, size = find(np.int64(point), weights, count, factor)
    state = np.uint64(size) * (state >> _TOTAL_BITS) + (point - np.uint64(low))
    if state < _LEAST:
        state <<= _WORD_BITS
        cursor = streams.cursors[stream] - 1
        if cursor >= streams.ends[stream]:
            state |= np.uint64(streams.words[cursor])
            streams.cursors[stream] = cursor
        else:
            streams.damaged[stream] = 1
    streams.lower[stream] = state
    return symbol


@compiled
def push_all(words, height, state, lows, counts):
    """Pushes symbols, the last first; `words` has room for three words for four of them, and one more.

    Returns:
        The new height and state.
    """
    for i in range(len(lows) - 1, -1, -1):
        size = np.uint64(counts[i])
        if state >> _ROOM_BITS >= size:
            words[height] = np.uint32(state & np.uint64(0xFFFFFFFF))
            height += 1
            state >>= _WORD_BITS
        quotient = state // size
        state = (quotient << _TOTAL_BITS) + (state - quotient * size) + np.uint64(lows[i])
    return height, state
