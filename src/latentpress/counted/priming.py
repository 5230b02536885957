"""The prior of training texts, made by coding them once, and made again from what that gave.

Each text is coded first, as an item would be, with what was counted before it, and counted then: so the
weights learn how far to trust a prior that has not seen the text. What a model keeps are these codes, which
are smaller than the counters: decoding them does the same again, to the same integers. As that takes its
time, the state that comes out of it is kept in the user's cache folder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.coder import Streams, finish_stream
from latentpress.config.networks import TRAINING_PIECE
from latentpress.counted.arithmetic import DECODE, ENCODE
from latentpress.counted.cache import keep, recall
from latentpress.counted.kernels import code, count
from latentpress.counted.state import Learned, Local, Prior, Scratch
from latentpress.errors import CheckpointError

__all__ = ["ITEM_RATE", "Lane", "Primed", "primed_again", "primed_by", "warm_up"]

ITEM_RATE = 10  # of the weights, within an item
_FIRST_RATE, _LAST_RATE = 12, 6  # of the weights, over the training texts
_LEAST_BITS, _MOST_BITS = 10, 22  # of a context's slots
_LOCAL_BITS = 18  # at most
_BANDS = 1 << 14  # bytes between two reports
_DUMMY_BITS = 10

Bytes = NDArray[np.uint8]
Report = Callable[[int], None]


class Primed(NamedTuple):
    """The state after the training texts: `size` is their length, `slot_bits` of the prior's contexts."""

    prior: Prior
    learned: Learned
    size: int
    slot_bits: int

    @classmethod
    def fresh(cls, total: int) -> Primed:
        """Before the first of training texts of that length."""
        slot_bits = min(_MOST_BITS, max(_LEAST_BITS, total.bit_length()))
        return cls(Prior.fresh(slot_bits, total), Learned.fresh(), 0, slot_bits)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of them."""
        return *self.prior, *self.learned


class Lane:
    """An item under way, from a primed state that stays as it is."""

    def __init__(self, primed: Primed, length: int, learned: Learned | None = None) -> None:
        self.text = np.zeros(length, np.uint8)
        self.local_bits = min(_LOCAL_BITS, max(_LEAST_BITS, (32 * length).bit_length()))
        self.learned = primed.learned.copy() if learned is None else learned
        self.local, self.scratch, self.primed = Local.fresh(self.local_bits), Scratch.fresh(), primed

    def code(
        self, action: int, streams: Streams, stream: int, rate: int = ITEM_RATE, report: Report | None = None
    ) -> float:
        """Codes its text, or decodes it; returns its ideal length in bits."""
        bits, primed = 0.0, self.primed
        for start in range(0, len(self.text), _BANDS):
            stop = min(start + _BANDS, len(self.text))
            bits += code(
                self.text,
                start,
                stop,
                primed.size,
                primed.slot_bits,
                self.local_bits,
                rate,
                action,
                streams,
                stream,
                primed.prior,
                self.learned,
                self.local,
                self.scratch,
            )
            if report is not None:
                report(stop - start)
        return bits


@functools.cache
def warm_up() -> None:
    """Codes a text of one byte, for which machine code is made."""
    primed_by([np.zeros(1, np.uint8)], 1, lambda _: None)


def primed_by(texts: Iterable[Bytes], total: int, report: Report) -> tuple[Primed, bytes, list[int]]:
    """Codes training texts of `total` bytes at most; returns the state, the codes, and the pieces' lengths.

    A long text is coded in pieces, each as an item would be: so weights meet what was counted before.
    `report` is called with how many bytes were done since the last call; what it raises ends all.
    """
    room, lengths, primed = total + (1 << 10), list[int](), Primed.fresh(total)
    streams = Streams.over(np.zeros((1, room), np.uint32))
    streams.reset(0, 0, room)
    pieces = (
        text[start : start + TRAINING_PIECE]
        for text in texts
        for start in range(0, len(text), TRAINING_PIECE)
    )
    for piece in pieces:
        primed = _take(primed, piece, total, ENCODE, streams, report)
        lengths.append(len(piece))
    finish_stream(streams, 0)
    return primed, streams.words[: int(streams.cursors[0])].astype("<u4").tobytes(), lengths


def primed_again(codes: bytes, lengths: list[int], total: int, id: bytes, report: Report) -> Primed:
    """The state that `primed_by` came to: from the cache, or by decoding the training texts.

    Raises:
        CheckpointError: the codes are damaged.
    """
    primed = Primed.fresh(total)
    if there := recall(primed.arrays, id):
        return primed._replace(size=sum(lengths))
    if there is not None:
        primed = Primed.fresh(total)  # what was read of a damaged file is forgotten
    words = np.frombuffer(codes[: len(codes) // 4 * 4], "<u4").astype(np.uint32)
    streams = Streams.over(np.concatenate([words, np.zeros(1, np.uint32)])[None])
    streams.start_decoding(0, 0, len(words))
    for length in lengths:
        primed = _take(primed, np.zeros(length, np.uint8), total, DECODE, streams, report)
        if streams.damaged[0]:
            raise CheckpointError("the training texts of the counted decoder are damaged")
    keep(primed.arrays, id)
    return primed


def _take(primed: Primed, text: Bytes, total: int, action: int, streams: Streams, report: Report) -> Primed:
    """Codes a training text and counts it."""
    share = min(1.0, 2 * primed.size / max(1, total))
    rate = _FIRST_RATE - round((_FIRST_RATE - _LAST_RATE) * share)
    lane = Lane(primed, len(text), primed.learned)
    lane.text[:] = text
    lane.code(action, streams, 0, rate, report)
    local, scratch = Local.fresh(_DUMMY_BITS), Scratch.fresh()
    count(lane.text, primed.size, primed.slot_bits, primed.prior, local, scratch)
    return primed._replace(size=primed.size + len(text))
