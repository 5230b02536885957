"""Stacks of symbols: asymmetric numeral systems, for coding with bits back.

A stack takes symbols and gives them back in reverse order (range ANS: Duda, arXiv 1311.2540). Symbols that
nobody pushed can be *popped* from it too, under any distribution: they come out as if sampled from it, and
pushing them again restores the stack. Bits-back coding (Townsend et al., arXiv 1901.04866) is made of both.

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

_LEAST = 1 << 32
_WORD_BITS = 32
_ROOM = 64  # words by which a row's room grows, at least

Integers = NDArray[Any]


def supply(start: int, stop: int) -> NDArray[np.uint32]:
    """The numbers v_start to v_(stop - 1) that are below every stack.

    They are the upper halves of SplitMix64's (Steele et al., OOPSLA 2014), all modulo 2^64:

        z = 0x9E3779B97F4A7C15 (i + 1);  z = 0xBF58476D1CE4E5B9 (z xor z / 2^30)
        z = 0x94D049BB133111EB (z xor z / 2^27);  z = z xor z / 2^31;  v_i = z / 2^32

    >>> [hex(v) for v in supply(0, 3).tolist()]
    ['0xe220a839', '0x6e789e6a', '0x6c45d18']
    """
    z = np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


_START = np.uint64(_LEAST + int(supply(0, 1)[0]))


class Stacks:
    """Stacks side by side.

    Attributes:
        states: uint64 (S,).
        words: uint32 (S, room), the words of each, the last put being the last.
        heights: int64 (S,), how many of a row's words are on its stack.
        damaged: bool (S,), whether more was popped than there was.

    >>> stacks = Stacks.fresh(2)
    >>> lows, counts = np.array([0, 1 << 23]), np.array([1 << 23, 1 << 22])  # symbols of 1 and of 2 bits
    >>> stacks.push(lows, counts)
    >>> [bool(low <= point < low + n) for low, point, n in zip(lows, stacks.points(), counts)]
    [True, True]
    >>> stacks.drop(lows, counts)
    >>> stacks.are_fresh().tolist()
    [True, True]
    """

    def __init__(self, states: Integers, words: Integers, heights: Integers, *, supplied: bool) -> None:
        self.states, self.words, self.heights = states, words, heights
        self.damaged = np.zeros(len(states), bool)
        self._lowest = heights.copy()
        self._supplied = words.shape[1] if supplied else 0
        self._endless = supplied

    @classmethod
    def fresh(cls, count: int) -> Stacks:
        """Stacks on which nothing has been done."""
        words = np.repeat(supply(1, _ROOM + 1)[None, ::-1], count, axis=0)
        return cls(np.full(count, _START), words, np.full(count, _ROOM), supplied=True)

    @classmethod
    def from_payloads(cls, payloads: Sequence[bytes]) -> Stacks:
        """The inverse of `payloads`; `ArchiveError` for bytes that are no stack."""
        rows = [_words(payload) for payload in payloads]
        heights = np.array([len(row) - 2 for row in rows], np.int64)
        words = np.zeros((len(rows), int(heights.max(initial=0))), np.uint32)
        states = np.zeros(len(rows), np.uint64)
        for number, row in enumerate(rows):
            words[number, : len(row) - 2] = row[:-2]
            states[number] = int(row[-1]) << _WORD_BITS | int(row[-2])
        return cls(states, words, heights, supplied=False)

    def payloads(self) -> list[bytes]:
        """Each stack's bytes: its words, then its state's lower and upper half.

        Words of the supply that were never popped are left out.
        """
        rows = []
        for row, state, lowest, height in zip(
            self.words, self.states.tolist(), self._lowest, self.heights, strict=True
        ):
            halves = np.array([state & (_LEAST - 1), state >> _WORD_BITS], np.uint32)
            kept = row[lowest if self._endless else 0 : height]
            rows.append(np.concatenate([kept, halves]).astype("<u4").tobytes())
        return rows

    def points(self, rows: Integers | None = None) -> NDArray[np.int64]:
        """The point, 0 to 2^24 - 1, that each stack has for the symbol popped next."""
        return (self.states[_all(rows)] & np.uint64(TOTAL - 1)).astype(np.int64)

    def drop(self, lows: Integers, counts: Integers, rows: Integers | None = None) -> None:
        """Takes off each stack the symbol of `counts` points from `lows` on, the stack's point among them.

        Args:
            lows: (S,), or as many as there are rows.
            counts: the same, from 1 to 2^24.
            rows: numbers of stacks, each once; all by default.
        """
        chosen = np.arange(len(self.states)) if rows is None else np.asarray(rows)
        states, counts = self.states[chosen], np.asarray(counts).astype(np.uint64)
        points = states & np.uint64(TOTAL - 1)
        states = counts * (states >> np.uint64(TOTAL_BITS)) + (points - np.asarray(lows).astype(np.uint64))
        low = np.flatnonzero(states < np.uint64(_LEAST))
        if len(low):
            states[low] = (states[low] << np.uint64(_WORD_BITS)) | self._taken(chosen[low])
        self.states[chosen] = states

    def push(self, lows: Integers, counts: Integers, rows: Integers | None = None) -> None:
        """Puts a symbol onto each stack; the arguments are those of `drop`."""
        chosen = np.arange(len(self.states)) if rows is None else np.asarray(rows)
        states, counts = self.states[chosen], np.asarray(counts).astype(np.uint64)
        high = np.flatnonzero(states >> np.uint64(64 - TOTAL_BITS) >= counts)
        if len(high):
            self.reserve(1, chosen[high])
            self.words[chosen[high], self.heights[chosen[high]]] = states[high].astype(np.uint32)
            self.heights[chosen[high]] += 1
            states[high] >>= np.uint64(_WORD_BITS)
        lows = np.asarray(lows).astype(np.uint64)
        self.states[chosen] = ((states // counts) << np.uint64(TOTAL_BITS)) + states % counts + lows

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

    def reserve(self, count: int, rows: Integers | None = None) -> None:
        """Makes room for so many more words on each stack."""
        missing = int(self.heights[_all(rows)].max(initial=0)) + count - self.words.shape[1]
        if missing > 0:
            more = max(missing, _ROOM, self.words.shape[1] // 2)
            self.words = np.pad(self.words, ((0, 0), (0, more)))

    def _taken(self, rows: Integers) -> NDArray[np.uint64]:
        """Takes the last word off each of these stacks."""
        if self._endless and not self.heights[rows].all():
            self._extend_supply()
        empty = self.heights[rows] == 0
        self.damaged[rows[empty]] = True
        heights = np.maximum(self.heights[rows] - 1, 0)
        self.heights[rows] = heights
        self._lowest[rows] = np.minimum(self._lowest[rows], heights)
        if not self.words.shape[1]:
            return np.zeros(len(rows), np.uint64)
        return np.where(empty, 0, self.words[rows, heights]).astype(np.uint64)

    def _extend_supply(self) -> None:
        """Puts more of the supply below all stacks."""
        more = supply(self._supplied + 1, 2 * self._supplied + 1)[::-1]
        self.words = np.concatenate([np.repeat(more[None], len(self.words), axis=0), self.words], axis=1)
        self.heights += len(more)
        self._lowest += len(more)
        self._supplied += len(more)


def _all(rows: Integers | None) -> Any:
    return slice(None) if rows is None else rows


def _words(payload: bytes) -> NDArray[np.uint32]:
    if len(payload) % 4 or len(payload) < 8 or not any(payload[-4:]):
        raise ArchiveError("damaged archive: a chain's bytes are no stack")
    return np.frombuffer(payload, "<u4").astype(np.uint32)
