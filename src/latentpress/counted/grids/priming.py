"""What training items teach, made by coding them once, and made again from what that gave.

Each stream of training items is coded first, as an archive's would be, with what was counted before it, and
counted then. A model keeps these codes: decoding them does the same again, to the same integers. Beside a
network the streams are coded a second time, to learn how far to trust either; that is kept as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from latentpress.autoregressive.engine.coder import Streams, finish_stream
from latentpress.counted.arithmetic import DECODE, ENCODE, MEASURE
from latentpress.counted.cache import keep, recall
from latentpress.counted.grids.coding import Beside, Primed, Report, Run, hashed_labels, slot_bits_of
from latentpress.counted.grids.kernels import count
from latentpress.counted.grids.pieces import Order, Piece
from latentpress.counted.grids.state import Form, Learned, Prior
from latentpress.errors import CheckpointError

__all__ = ["fresh", "primed_again", "primed_by", "warm_up"]

_FIRST_RATE, _LAST_RATE = 12, 6  # of the weights, over the training items
_MOST_BITS = 22  # of a context's slots


Pieces = Iterable[Piece]


@dataclass(eq=False)
class _Priming:
    """Streams being learned from, one after the other."""

    primed: Primed
    total: int
    streams: Streams
    report: Report
    done: int = field(default=0)

    def rate(self) -> int:
        share = min(1.0, 2 * self.done / max(1, self.total))
        return _FIRST_RATE - round((_FIRST_RATE - _LAST_RATE) * share)

    def take(self, piece: Piece, action: int) -> Run:
        """Codes or decodes a stream, and counts it."""
        lanes, form = len(piece.labels), self.primed.form
        shape = int(np.prod(piece.grid)), lanes, len(form.alphabets)
        ranks = np.zeros(shape, np.int32)
        if piece.symbols is not None:
            for p in range(shape[2]):
                ranks[..., p] = form.order[p][piece.symbols[..., p]]
        labels = hashed_labels(piece.labels, lanes)
        run = Run(self.primed, piece.grid, ranks, labels, learned=self.primed.learned)
        run.code(action, self.streams, rate=self.rate())
        return run

    def count(self, run: Run) -> None:
        """Counts a stream, once all have coded it."""
        count(self.primed.form, run.task, self.primed.prior, run.scratch)
        self.done += run.ranks.size
        self.report(run.ranks.size)


def fresh(order: Order, total: int, foretold: bool = False) -> Primed:
    """Before the first of training items of so many symbols."""
    form = Form.of(order, foretold)
    slot_bits = min(_MOST_BITS, slot_bits_of(form, total))
    return Primed(form, Prior.fresh(form, slot_bits), Learned.fresh(form), slot_bits)


def primed_by(
    order: Order,
    pieces: Pieces,
    total: int,
    beside: Callable[[Piece], Beside] | None,
    report: Report,
) -> tuple[Primed, bytes, list[Piece], Learned | None]:
    """Codes training streams of `total` symbols; returns the state, their codes, and the streams themselves.

    Last comes what was learned beside a network, if `beside` gives one's lanes. `report` is called with how
    many symbols were done since the last call; what it raises ends all.
    """
    primed, seen = fresh(order, total), list[Piece]()
    room = primed.form.bits * (total + (1 << 10)) // 2 + 16
    streams = Streams.over(np.zeros((1, room), np.uint32))
    streams.reset(0, 0, room)
    priming, learned = _Priming(primed, total, streams, report), None
    form = primed.form._replace(foretold=1)
    if beside is not None:
        learned = Learned.fresh(form)
    for piece in pieces:
        run = priming.take(piece, ENCODE)
        if beside is not None and learned is not None:
            mixed = primed._replace(form=form, learned=learned)
            second = Run(mixed, piece.grid, run.ranks, run.task.labels, beside(piece), learned)
            second.code(MEASURE, streams, rate=priming.rate())
        priming.count(run)
        seen.append(piece)
    finish_stream(streams, 0)
    return primed, streams.words[: int(streams.cursors[0])].astype("<u4").tobytes(), seen, learned


def primed_again(order: Order, codes: bytes, pieces: Pieces, total: int, id: bytes, report: Report) -> Primed:
    """The state that `primed_by` came to: from the cache, or by decoding the training items.

    Raises:
        CheckpointError: the codes are damaged.
    """
    primed = fresh(order, total)
    if there := recall((*primed.prior, *primed.learned), id):
        return primed
    if there is not None:
        primed = fresh(order, total)  # what was read of a damaged file is forgotten
    words = np.frombuffer(codes[: len(codes) // 4 * 4], "<u4").astype(np.uint32)
    streams = Streams.over(np.concatenate([words, np.zeros(1, np.uint32)])[None])
    streams.start_decoding(0, 0, len(words))
    priming = _Priming(primed, total, streams, report)
    for piece in pieces:
        run = priming.take(piece, DECODE)
        if streams.damaged[0]:
            raise CheckpointError("the training items of the counted prior are damaged")
        priming.count(run)
    keep((*primed.prior, *primed.learned), id)
    return primed


@functools.cache
def warm_up() -> None:
    """Codes a symbol, for which machine code is made."""
    piece = Piece((1,), np.zeros((1, 1, 0), np.int32), np.zeros((1, 1, 1), np.int32))
    primed_by([np.arange(2)], [piece], 1, None, lambda _: None)
