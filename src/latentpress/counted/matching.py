"""What the longest match says comes next: in the item at hand, and in the training items, compiled.

Two matches are followed, of at least 12 and 6 bytes. One that fails is kept for up to eight misses, as copies
with small changes go on. Places are numbered through the history and on through the text.
"""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.slots import MULTIPLIER

__all__ = ["BIT", "KEY", "NEXT", "follow", "remember"]

_PLACE, _LENGTH, _MISSES, KEY, NEXT, BIT = range(6)
"""Of each match: where it is, how long, how often it has missed; what it is known by, the byte that it
foretells, with a one above, or -1; and the bit, or -1."""

_LEAST = np.array([12, 6])
_MOST_MISSES, _VERIFIED, _LONGEST = 8, 40, 65000
_HASH_MULTIPLIER = 0x2545F4914F6CDD1D


def _length_class(length: int) -> int:
    if length < 8:
        return length
    return min(15, 8 + (length - 8) // 4) if length < 28 else min(15, 13 + (length >= 32) + (length >= 64))


_CLASSES = np.array([_length_class(length) for length in range(80)], np.int64)


@inlined
def _byte_at(place, history, size, text):
    return np.int64(history[place]) if place < size else np.int64(text[place - size])


@inlined
def _hash(text, position, length):
    """Of the bytes before a position, 22 bits."""
    hashed = np.int64(0)
    for back in range(1, length + 1):
        hashed = hashed * _HASH_MULTIPLIER + np.int64(text[position - back]) + 1
    return ((hashed * MULTIPLIER) >> 40) & ((1 << 22) - 1)


@inlined
def remember(text, position, size, matches):
    """Notes in the history's `matches` that the bytes before a position came there."""
    for m in range(2):
        if position >= _LEAST[m]:
            matches[m, _hash(text, position, _LEAST[m])] = size + position


@inlined
def follow(text, position, size, prior, local, match):
    """Follows the matches to the byte at `position`, or finds others; `size` bytes of the history count."""
    for m in range(2):
        place, length, misses = match[_PLACE, m], match[_LENGTH, m], match[_MISSES, m]
        if position > 0 and (length > 0 or misses < _MOST_MISSES):
            if _byte_at(place, prior.history, size, text) == np.int64(text[position - 1]):
                length = min(length + 1, np.int64(_LONGEST))
            else:
                misses, length = misses + 1, np.int64(0)
            place += 1
        if position >= _LEAST[m]:
            hashed = _hash(text, position, _LEAST[m])
            if length < _LEAST[m]:
                found = np.int64(local.matches[m, hashed & 0xFFFF])
                if found < 0:
                    found = np.int64(prior.matches[m, hashed])
                if found >= 0:
                    same = np.int64(0)
                    while (
                        same < _VERIFIED
                        and same < found
                        and same < position
                        and _byte_at(found - 1 - same, prior.history, size, text)
                        == np.int64(text[position - 1 - same])
                    ):
                        same += 1
                    if same >= _LEAST[m]:
                        place, length, misses = found, same, np.int64(0)
            local.matches[m, hashed & 0xFFFF] = size + position
        match[_PLACE, m], match[_LENGTH, m], match[_MISSES, m] = place, length, misses
        if (length > 0 or misses < _MOST_MISSES) and 0 < place < size + position:
            match[NEXT, m] = _byte_at(place, prior.history, size, text) + 256
            match[KEY, m] = _CLASSES[min(length, np.int64(79))] + 16 * min(misses, np.int64(3))
        else:
            match[NEXT, m] = -1
