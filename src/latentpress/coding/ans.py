"""Stacks of symbols: asymmetric numeral systems, for coding with bits back.

A stack gives symbols back in reverse order (range ANS: Duda, arXiv 1311.2540). Symbols that nobody pushed can
be *popped* from it too, under any distribution: they come out as if sampled from it, and pushing them again
restores the stack. Bits-back coding (Townsend et al., arXiv 1901.04866) is made of both.

A stack is a state s, 2^32 <= s < 2^64, and 32-bit words. Under a table of 2^24 points, `count` of which
from `low` on are the symbol's:

    push:  if s >= 2^40 count:  put the word s mod 2^32;  s = floor(s / 2^32)
           s = 2^24 floor(s / count) + s mod count + low
    pop:   point = s mod 2^24                   one of the symbol's: low <= point < low + count
           s = count floor(s / 2^24) + point - low
           if s < 2^32:  s = 2^32 s + the word last put

A fresh stack is not empty, since the first symbols may be popped: its state is 2^32 + v_0, and below it
are the words v_1, v_2, ... of a fixed sequence without an end (`supply`). A reader that has undone all
that was done gets that again, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.tables import TOTAL, TOTAL_BITS
from latentpress.errors import ArchiveError

__all__ = ["Stacks", "supply"]

_WORD_BITS = 32
_LEAST = np.uint64(1 << _WORD_BITS)
_ROOM = 64  # words by which a row's room grows, at least

Integers = NDArray[Any]


def supply(start: int, stop: int) -> NDArray[np.uint32]:
    """v_start to v_(stop - 1), which are below every stack: upper halves of SplitMix64 (Steele et al., 2014).

    >>> [hex(v) for v in supply(0, 3).tolist()]
    ['0xe220a839', '0x6e789e6a', '0x6c45d18']
    """
    z = np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


_START = _LEAST + supply(0, 1)[0]


class Stacks:
    """Stacks side by side; `rows` below are numbers of stacks, each once.

    Attributes:
        states: uint64 (S,).
        words: uint32 (S, room), the words of each, the last put being the last.
        heights: int64 (S,), how many of a row's words are on its stack.
        damaged: bool (S,), whether more was popped than there was.

    Args:
        supplied: how many words of the supply are in `words`; 0 for stacks that end.

    >>> stacks, rows = Stacks.fresh(2), np.arange(2)
    >>> lows, counts = np.array([0, 1 << 23]), np.array([1 << 23, 1 << 22])  # symbols of 1 and of 2 bits
    >>> stacks.push(lows, counts, rows)
    >>> [bool(low <= point < low + n) for low, point, n in zip(lows, stacks.points(rows), counts)]
    [True, True]
    >>> stacks.drop(lows, counts, rows)
    >>> stacks.are_fresh().tolist()
    [True, True]
    """

    def __init__(self, states: Integers, words: Integers, heights: Integers, supplied: int) -> None:
        self.states, self.words, self.heights = states, words, heights
        self.damaged = np.zeros(len(states), bool)
        self._supplied = supplied
        self._lowest = np.full(len(states), supplied)  # how many words were never popped

    @classmethod
    def fresh(cls, count: int) -> Stacks:
        """Stacks on which nothing has been done."""
        words = np.repeat(supply(1, _ROOM + 1)[None, ::-1], count, axis=0)
        return cls(np.full(count, _START), words, np.full(count, _ROOM), _ROOM)

    @classmethod
    def from_payloads(cls, payloads: Sequence[bytes]) -> Stacks:
        """The inverse of `payloads`; `ArchiveError` for bytes that are no stack."""
        for payload in payloads:
            if len(payload) % 4 or len(payload) < 8 or not any(payload[-4:]):
                raise ArchiveError("damaged archive: a chain's bytes are no stack")
        heights = np.array([len(payload) // 4 - 2 for payload in payloads], np.int64)
        words = np.zeros((len(payloads), int(heights.max(initial=1))), np.uint32)
        for row, height, payload in zip(words, heights, payloads, strict=True):
            row[:height] = np.frombuffer(payload[:-8], "<u4")
        states = np.frombuffer(b"".join(payload[-8:] for payload in payloads), "<u8").astype(np.uint64)
        return cls(states, words, heights, 0)

    def payloads(self) -> list[bytes]:
        """Each stack's bytes: its words, those of the supply left out that were never popped; its state."""
        words, states = self.words.astype("<u4", copy=False), self.states.astype("<u8")
        spans = enumerate(zip(self._lowest, self.heights, strict=True))
        return [words[row, low:high].tobytes() + states[row].tobytes() for row, (low, high) in spans]

    def points(self, rows: Integers) -> NDArray[np.int64]:
        """The point, 0 to 2^24 - 1, that each stack has for the symbol popped next."""
        return (self.states[rows] & np.uint64(TOTAL - 1)).astype(np.int64)

    def drop(self, lows: Integers, counts: Integers, rows: Integers) -> None:
        """Takes a symbol off each stack: `counts` (1 to 2^24) points from `lows` on, its own among them."""
        states, counts = self.states[rows], counts.astype(np.uint64)
        points = states & np.uint64(TOTAL - 1)
        states = counts * (states >> np.uint64(TOTAL_BITS)) + (points - lows.astype(np.uint64))
        low = np.flatnonzero(states < _LEAST)
        if len(low):
            states[low] = (states[low] << np.uint64(_WORD_BITS)) | self._taken(rows[low])
        self.states[rows] = states

    def push(self, lows: Integers, counts: Integers, rows: Integers) -> None:
        """Puts a symbol onto each stack; the arguments are those of `drop`."""
        states, counts = self.states[rows], counts.astype(np.uint64)
        high = np.flatnonzero(states >> np.uint64(64 - TOTAL_BITS) >= counts)
        if len(high):
            full = rows[high]
            self.reserve(1, full)
            self.words[full, self.heights[full]] = states[high].astype(np.uint32)
            self.heights[full] += 1
            states[high] >>= np.uint64(_WORD_BITS)
        states, rest = np.divmod(states, counts)
        self.states[rows] = (states << np.uint64(TOTAL_BITS)) + rest + lows.astype(np.uint64)

    def settle(self, row: int, state: int, height: int, damaged: bool = False) -> None:
        """Takes over what compiled code made of a stack; its words are in `words` already."""
        self.states[row], self.heights[row] = state, height
        self._lowest[row] = min(self._lowest[row], height)
        self.damaged[row] |= damaged

    def are_fresh(self) -> NDArray[np.bool_]:
        """Whether each stack is as `fresh` makes it, (S,)."""
        fresh = (self.states == _START) & ~self.damaged
        for row in np.flatnonzero(fresh):
            words = self.words[row, : self.heights[row]]
            fresh[row] = np.array_equal(words, supply(1, len(words) + 1)[::-1])
        return fresh

    def reserve(self, count: int, rows: Integers) -> None:
        """Makes room for so many more words on each of these stacks."""
        missing = int(self.heights[rows].max(initial=0)) + count - self.words.shape[1]
        if missing > 0:
            more = max(missing, _ROOM, self.words.shape[1] // 2)
            self.words = np.pad(self.words, ((0, 0), (0, more)))

    def _taken(self, rows: Integers) -> NDArray[np.uint64]:
        """Takes the last word off each of these stacks; if one is empty, all get more of the supply first."""
        if self._supplied and not self.heights[rows].all():
            more = supply(self._supplied + 1, 2 * self._supplied + 1)[::-1]
            self.words = np.concatenate([np.repeat(more[None], len(self.words), axis=0), self.words], axis=1)
            self.heights += len(more)
            self._lowest += len(more)
            self._supplied += len(more)
        empty = self.heights[rows] == 0
        self.damaged[rows[empty]] = True
        heights = np.maximum(self.heights[rows] - 1, 0)
        self.heights[rows] = heights
        self._lowest[rows] = np.minimum(self._lowest[rows], heights)
        return np.where(empty, 0, self.words[rows, heights]).astype(np.uint64)
