"""The contexts of a byte: what came before it, hashed in twenty ways, compiled.

0-6    the last 1, 2, 3, 4, 5, 6 and 8 bytes
7-10   the word so far with the byte before it; with the word before; with two words before; skipping one
11-12  the second and third last bytes; the second to the fourth
13-14  the last byte and those above, a line before; column, indentation, and the line's first letter
15-16  what last came after the last byte; after the last two
17     the classes of the bytes before, runs of letters, digits and spaces as one, with the last byte
18-19  word, punctuation and the line's first letter; word before, length of the word, last byte
"""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.slots import MULTIPLIER

__all__ = [
    "BEFORE",
    "CLASSES",
    "LENGTH",
    "NAMES",
    "WORD",
    "advance",
    "hash_contexts",
]

BEFORE, WORD, _WORD1, _WORD2, LENGTH, _MARK, _COLUMN, _INDENT, _FIRST, _LINE, _ABOVE, _OPEN, _SHAPE = range(
    13
)
"""Entries of the run of a text: its last eight bytes, words, and where in its lines it is."""

NAMES = (
    "the last byte",
    *(f"the last {count} bytes" for count in (2, 3, 4, 5, 6, 8)),
    "the word so far, the byte before it",
    "the word so far, the word before",
    "the word so far, two words before",
    "the word so far, the word but one before",
    "the second and third last bytes",
    "the second to fourth last bytes",
    "the last byte and those above",
    "column, indentation, first letter",
    "what came after the last byte",
    "what came after the last 2 bytes",
    "classes of the bytes before",
    "the word so far, first letter",
    "the word before, length of the word",
)
"""Of the contexts, for people."""

_MULTIPLIER2 = 0x2545F4914F6CDD1D
_WORD_MULTIPLIER = 0x2F0B4C4700D1
_UPPER, _NEWLINE, _SPACE, _MOST_INDENT, _MOST_COLUMN = 2, 10, 32, 20, 100


def _class(byte: int) -> int:
    if byte >= 128:
        return 10
    kinds = ("", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ", "\n")
    kinds += (".,;:!?", "'\"`", "()[]{}<>", "=-+*/_~#")
    return next((kind for kind, members in enumerate(kinds) if chr(byte) in members), 11)


CLASSES = np.array([_class(byte) for byte in range(256)], np.int64)


@inlined
def hash_contexts(text, position, local, hashes, run):
    """Fills in the contexts' hashes of the byte at `position`, from what came before."""
    before, word = run[BEFORE], run[WORD]
    last, column, line, above_line = before & 0xFF, run[_COLUMN], run[_LINE], run[_ABOVE]
    above, next_above = np.int64(0), np.int64(0)
    if above_line + column < line:
        above = np.int64(text[above_line + column])
        if above_line + column + 1 < line:
            next_above = np.int64(text[above_line + column + 1])
    hashes[0] = last
    hashes[1] = before & 0xFFFF
    hashes[2] = before & 0xFFFFFF
    hashes[3] = before & 0xFFFFFFFF
    hashes[4] = before & 0xFFFFFFFFFF
    hashes[5] = before & 0xFFFFFFFFFFFF
    hashes[6] = before * _MULTIPLIER2
    hashes[7] = word * _MULTIPLIER2 + last
    hashes[8] = word * _MULTIPLIER2 + run[_WORD1] * 31
    hashes[9] = hashes[8] * _MULTIPLIER2 + run[_WORD2] * 77
    hashes[10] = word * _MULTIPLIER2 + run[_WORD2] * 127
    hashes[11] = (before >> 8) & 0xFFFF
    hashes[12] = (before >> 8) & 0xFFFFFF
    hashes[13] = last | (above << 8) | (next_above << 16)
    hashes[14] = min(column, _MOST_COLUMN) | (run[_INDENT] << 8) | (run[_FIRST] << 16)
    hashes[15] = last | (np.int64(local.after1[last]) << 8)
    hashes[16] = last | (np.int64(local.after2[before & 0xFFFF]) << 8)
    hashes[17] = run[_SHAPE] * _MULTIPLIER2 + last
    hashes[18] = (word * _MULTIPLIER2 + run[_MARK]) * _MULTIPLIER2 + run[_FIRST]
    hashes[19] = (run[_WORD1] * _MULTIPLIER2 + run[LENGTH]) * _MULTIPLIER2 + last
    for i in range(len(hashes)):
        hashed = (hashes[i] + i + 1) * MULTIPLIER
        hashes[i] = hashed ^ ((hashed >> 29) & 0x7FFFFFFFF)


@inlined
def advance(position, byte, local, run):
    """Takes the byte at `position` into the run."""
    before = run[BEFORE]
    pair = before & 0xFFFF
    local.after2[pair] = ((np.int64(local.after2[pair]) << 8) | byte) & 0xFFFF
    local.after1[pair & 0xFF] = ((np.int64(local.after1[pair & 0xFF]) << 8) | byte) & 0xFFFF
    run[BEFORE] = (before << 8) | byte
    kind = CLASSES[byte]
    if (run[_SHAPE] & 15) != kind or kind > 4:
        run[_SHAPE] = ((run[_SHAPE] << 4) | kind) & 0xFFFFFFFFFF
    if kind == 1 or kind == _UPPER or kind == 10:
        letter = byte + 32 if kind == _UPPER else byte
        word = (run[WORD] + letter + 1) * _WORD_MULTIPLIER
        run[WORD] = word ^ ((word >> 23) & 0xFFFFFFFFFF)
        run[LENGTH] += 1
    elif run[LENGTH] > 0:
        run[_WORD2], run[_WORD1], run[WORD], run[LENGTH] = run[_WORD1], run[WORD], 0, 0
        run[_MARK] = byte
    elif byte != _SPACE:
        run[_MARK] = byte
    if byte == _NEWLINE:
        run[_ABOVE], run[_LINE] = run[_LINE], position + 1
        run[_COLUMN], run[_INDENT], run[_FIRST], run[_OPEN] = 0, 0, 0, 1
        return
    run[_COLUMN] += 1
    if run[_OPEN]:
        if byte == _SPACE:
            run[_INDENT] = min(run[_INDENT] + 1, np.int64(_MOST_INDENT))
        else:
            run[_OPEN], run[_FIRST] = 0, byte
