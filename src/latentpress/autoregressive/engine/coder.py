"""Frequency tables, the range coder and the stack, compiled: `coding.tables`, `.coder`, `.ans` in the loop.

The stream is the one that docs/archive.md defines. The encoder's words are constriction's: `lower` may
still be carried into, so while that is open the words that a carry would change are only counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.compiling import compiled
from latentpress.coding import tables
from latentpress.coding.tables import TOTAL, TOTAL_BITS

__all__ = [
    "Streams",
    "decode_bit",
    "decode_symbol",
    "encode_bit",
    "encode_symbol",
    "find",
    "finish_stream",
    "interval",
    "pop_symbol",
    "push_all",
    "weigh",
]

_STRIDE = 16
_TOTAL_BITS, _SHARE_BITS, _WORD_BITS = np.uint64(TOTAL_BITS), np.uint64(tables.SHARE_BITS), np.uint64(32)
_WORD = np.uint64(0xFFFFFFFF)
_LEAST = np.uint64(1 << 32)  # of a coder's range, and of a stack's state
_ROOM_BITS = np.uint64(64 - TOTAL_BITS)
_WHOLE = np.uint64(2**64 - 1)
_ZERO = np.uint64(0)

Array = NDArray[Any]


class Streams(NamedTuple):
    """Coders side by side, one an entry.

    `words`: uint32, all streams' words. `cursors` and `ends`: int64, each one's next word and where its
    words (or the room for them) end. `lower`, `range`, `point`: uint64, the coders' state. `held`: int64
    and `first_held`: uint64, how many words of an encoder wait for a carry, and the first of them.
    `damaged`: uint8, 1 where a decoder met a point that fits no symbol, or a stack has run out.

    One that is a stack has its state in `lower`, its words from `ends` on, and their end at
    `cursors`.
    """

    words: Array
    cursors: Array
    ends: Array
    lower: Array
    range: Array
    point: Array
    held: Array
    first_held: Array
    damaged: Array

    @classmethod
    def over(cls, words: Array) -> Streams:
        """Coders over the rows of `words`, uint32 (streams, most words); `reset` each first."""
        cursors, ends, held = np.zeros((3, len(words)), np.int64)
        lower, span, point, first_held = np.zeros((4, len(words)), np.uint64)
        damaged = np.zeros(len(words), np.uint8)
        return cls(words.reshape(-1), cursors, ends, lower, span, point, held, first_held, damaged)

    def reset(self, stream: int, start: int, room: int) -> None:
        """Puts a coder before its first symbol, its words being `room` ones from `start` on."""
        self.cursors[stream], self.ends[stream] = start, start + room
        self.lower[stream], self.range[stream], self.point[stream] = 0, 2**64 - 1, 0
        self.held[stream] = self.first_held[stream] = self.damaged[stream] = 0

    def start_decoding(self, stream: int, start: int, room: int) -> None:
        """As `reset`, with the first two words read."""
        self.reset(stream, start, room)
        for _ in range(2):
            _next_word(self, stream)

    def start_popping(self, stream: int, start: int, height: int, state: int) -> None:
        """Makes a coder a stack of that state, whose words are `height` ones from `start` on."""
        self.reset(stream, start, 0)
        self.cursors[stream], self.lower[stream] = start + height, state


@compiled
def weigh(logits, weights):
    """Fills in the weights of a row of logits; returns the factor that makes bounds of their sums.

    Symbol k's numbers begin at k + ((the weights before k) * factor >> 38): `latentpress.coding.tables`.
    """
    count = len(logits)
    largest = logits[0]
    for k in range(1, count):
        largest = max(largest, logits[k])
    for k in range(count):
        below = min(np.uint32(largest - logits[k]), np.uint32(tables.DEEPEST))
        i = below & np.uint32((1 << tables.LOGIT_BITS) - 1)
        mantissa = np.uint32(1 << tables.WEIGHT_BITS) - i * (
            np.uint32(tables.SLOPE) - np.uint32(tables.CURVATURE) * i
        )
        weights[k] = mantissa >> (below >> np.uint32(tables.LOGIT_BITS))
    total = np.uint64(0)
    for k in range(count):
        total += np.uint64(weights[k])
    return (np.uint64(TOTAL - count) << _SHARE_BITS) // total


@compiled
def _bound(symbol, count, before, factor):
    """Where a symbol's numbers begin, and the symbol's before it end."""
    return np.int64((before * factor) >> _SHARE_BITS) + symbol if symbol < count else np.int64(TOTAL)


@compiled
def find(point, weights, count, factor):
    """The symbol whose numbers hold `point`, where they begin, and how many they are."""
    symbol, before, low = 0, np.uint64(0), np.int64(0)
    while symbol + _STRIDE < count:  # whole strides first: their sums need no carrying from entry to entry
        ahead = np.uint64(0)
        for i in range(_STRIDE):
            ahead += np.uint64(weights[symbol + i])
        end = _bound(symbol + _STRIDE, count, before + ahead, factor)
        if point < end:
            break
        symbol, before, low = symbol + _STRIDE, before + ahead, end
    while True:
        before += np.uint64(weights[symbol])
        end = _bound(symbol + 1, count, before, factor)
        if point < end:
            return symbol, low, end - low
        symbol, low = symbol + 1, end


@compiled
def decode_symbol(streams, stream, weights, count, factor):
    """The next symbol of a stream; 0 where the stream is found damaged.

    What was encoded never needs more than one word past its end.
    """
    scale = streams.range[stream] >> _TOTAL_BITS
    point = (streams.point[stream] - streams.lower[stream]) // scale
    if point >= np.uint64(TOTAL) or streams.cursors[stream] > streams.ends[stream] + 1:
        streams.damaged[stream] = 1
        return 0
    symbol, low, size = find(np.int64(point), weights, count, factor)
    streams.lower[stream] += scale * np.uint64(low)
    streams.range[stream] = scale * np.uint64(size)
    if streams.range[stream] < _LEAST:
        streams.lower[stream] <<= _WORD_BITS
        streams.range[stream] <<= _WORD_BITS
        _next_word(streams, stream)
    return symbol


@compiled
def _next_word(streams, stream):
    cursor, word = streams.cursors[stream], _ZERO
    if cursor < streams.ends[stream]:
        word = np.uint64(streams.words[cursor])
    streams.cursors[stream] = cursor + 1
    streams.point[stream] = (streams.point[stream] << _WORD_BITS) | word


@compiled
def interval(weights, count, factor, symbol):
    """Where a symbol's numbers begin, and how many of the 2^24 they are."""
    share = np.uint64(0)
    for k in range(symbol):
        share += np.uint64(weights[k])
    low = _bound(symbol, count, share, factor)
    return low, _bound(symbol + 1, count, share + np.uint64(weights[symbol]), factor) - low


@compiled
def encode_symbol(streams, stream, weights, count, factor, symbol):
    """Appends a symbol to a stream; returns how many of the 2^24 numbers are the symbol's."""
    low, size = interval(weights, count, factor, symbol)
    _encode_interval(streams, stream, low, size)
    return size


@compiled
def _encode_interval(streams, stream, low, size):
    """Appends the symbol whose numbers are `size` of the 2^24, from `low` on."""
    scale = streams.range[stream] >> _TOTAL_BITS
    span = scale * np.uint64(size)
    before = streams.lower[stream]
    lower = before + scale * np.uint64(low)
    if streams.held[stream] and lower + span > lower:  # the end no longer wraps: a carry came or never will
        _release(streams, stream, lower < before)
    if span < _LEAST:
        word = lower >> _WORD_BITS
        lower <<= _WORD_BITS
        span <<= _WORD_BITS
        if streams.held[stream]:
            streams.held[stream] += 1
        elif lower + span > lower:
            _append(streams, stream, word)
        else:
            streams.held[stream] = 1
            streams.first_held[stream] = word
    streams.lower[stream] = lower
    streams.range[stream] = span


@compiled
def encode_bit(streams, stream, ones, bit):
    """Appends a bit that is one with the probability `ones` / 2^24."""
    if bit:
        _encode_interval(streams, stream, np.int64(0), ones)
    else:
        _encode_interval(streams, stream, ones, np.int64(TOTAL) - ones)


@compiled
def decode_bit(streams, stream, ones):
    """The next bit of a stream; 0 where the stream is found damaged."""
    scale = streams.range[stream] >> _TOTAL_BITS
    ahead, split = streams.point[stream] - streams.lower[stream], scale * np.uint64(ones)
    if ahead >= scale << _TOTAL_BITS or streams.cursors[stream] > streams.ends[stream] + 1:
        streams.damaged[stream] = 1
        return np.int64(0)
    if ahead < split:
        streams.range[stream] = split
    else:
        streams.lower[stream] += split
        streams.range[stream] = scale * np.uint64(np.int64(TOTAL) - ones)
    if streams.range[stream] < _LEAST:
        streams.lower[stream] <<= _WORD_BITS
        streams.range[stream] <<= _WORD_BITS
        _next_word(streams, stream)
    return np.int64(1) if ahead < split else np.int64(0)


@compiled
def finish_stream(streams, stream):
    """Writes what the decoder needs to tell the last symbols; a stream without symbols has no words."""
    lower, span = streams.lower[stream], streams.range[stream]
    if span == _WHOLE:
        return
    point = lower + _WORD
    if streams.held[stream]:
        _release(streams, stream, point < lower)
    _append(streams, stream, point >> _WORD_BITS)
    if (lower + span) >> _WORD_BITS == point >> _WORD_BITS:
        _append(streams, stream, _ZERO)


@compiled
def _release(streams, stream, carry):
    first = streams.first_held[stream]
    _append(streams, stream, (first + np.uint64(1)) & _WORD if carry else first)
    for _ in range(1, streams.held[stream]):
        _append(streams, stream, _ZERO if carry else _WORD)
    streams.held[stream] = 0


@compiled
def _append(streams, stream, word):
    cursor = streams.cursors[stream]
    if cursor < streams.ends[stream]:
        streams.words[cursor] = np.uint32(word)
    streams.cursors[stream] = cursor + 1


@compiled
def pop_symbol(streams, stream, weights, count, factor):
    """Takes the symbol off that was pushed last; the stack is damaged if its words run out."""
    state = streams.lower[stream]
    point = state & np.uint64(TOTAL - 1)
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
    """Pushes symbols, the last first, and returns the new height and state.

    `words` has room for three words for four symbols, and one more.
    """
    for i in range(len(lows) - 1, -1, -1):
        size = np.uint64(counts[i])
        if state >> _ROOM_BITS >= size:
            words[height] = np.uint32(state & _WORD)
            height += 1
            state >>= _WORD_BITS
        quotient = state // size
        state = (quotient << _TOTAL_BITS) + (state - quotient * size) + np.uint64(lows[i])
    return height, state
