"""Streams of a grid's symbols coded from a primed state, which stays as it is, and items drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.coder import Streams
from latentpress.autoregressive.engine.lanes import FEW, Lanes, Room
from latentpress.autoregressive.engine.loop import Choice
from latentpress.autoregressive.engine.program import Program
from latentpress.counted.grids.beside import code_beside
from latentpress.counted.grids.contexts import NEIGHBOURS
from latentpress.counted.grids.kernels import code
from latentpress.counted.grids.state import Form, Learned, Local, Prior, Scratch, Task
from latentpress.counted.slots import MULTIPLIER

__all__ = ["ITEM_RATE", "Beside", "Primed", "Run", "hashed_labels", "slot_bits_of"]

ITEM_RATE = 10  # of the weights, within a stream
_LEAST_BITS, _MOST_LOCAL_BITS = 10, 20  # of a context's slots
_BAND = 1 << 6  # positions between two reports

Integers = NDArray[Any]
Report = Callable[[int], None]


class Primed(NamedTuple):
    """The state after the training items; `slot_bits` are of the prior's contexts."""

    form: Form
    prior: Prior
    learned: Learned
    slot_bits: int


class Beside:
    """A network's lanes beside a stream's, before its first position.

    Args:
        program: of the grid.
        labels: int64 (lanes, 1 or rows, L), rows of the labels' tables.
        local: int8 (lanes, positions, channels), or None.
    """

    def __init__(self, program: Program, labels: Integers, local: Integers | None) -> None:
        count, rows, tables = labels.shape
        self.program, self.lanes, self.room = program, Lanes.of(program, count), Room.of(program, count)
        self.order, self.labels = np.arange(count), np.ascontiguousarray(labels).reshape(-1)
        self.local = np.zeros(0, np.int8) if local is None else np.ascontiguousarray(local).reshape(-1)
        for lane in range(count):
            start = lane * len(self.local) // count
            self.lanes.reset(lane, start, lane * rows * tables, tables if rows > 1 else 0)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As `code_beside` takes them."""
        x = self.room.few if len(self.order) < FEW else self.room.many
        return self.program, self.lanes, self.order, self.local, self.labels, x, self.room


class Run:
    """A stream under way: items of one shape side by side, all of which learn from each other.

    Args:
        primed: what is known before the stream.
        grid: of the items.
        ranks: int32 (positions, lanes, P), or zeros that are filled in.
        labels: of the items, see `hashed_labels`.
        beside: the network's lanes, if it is coded beside one.
        learned: that is changed; by default a copy of the primed one.
    """

    def __init__(
        self,
        primed: Primed,
        grid: Sequence[int],
        ranks: Integers,
        labels: Integers,
        beside: Beside | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.primed, self.ranks, self.beside = primed, ranks, beside
        self.learned = primed.learned.copy() if learned is None else learned
        local_bits = min(_MOST_LOCAL_BITS, slot_bits_of(primed.form, ranks.size))
        self.local, self.scratch = Local.fresh(local_bits), Scratch.fresh(primed.form)
        self.task = Task(
            ranks=ranks,
            labels=labels,
            extents=np.array([*grid, *(1,) * (3 - len(grid))], np.int64),
            neighbours=NEIGHBOURS[len(grid) - 1],
            sizes=np.array([primed.slot_bits, local_bits], np.int64),
            bits=np.zeros(ranks.shape[1]),
            points=np.zeros((1, 1, 1), np.uint32),
            known=0,
            rate=ITEM_RATE,
            action=0,
        )

    def code(
        self,
        action: int,
        coder: Streams,
        report: Report | None = None,
        choice: Choice | None = None,
        **how: Any,
    ) -> NDArray[np.float64]:
        """Codes the ranks into the first stream of `coder`, or fills them in; returns each lane's bits.

        `how` are other fields of the task. It ends where the stream is found damaged.
        """
        task, primed = self.task._replace(action=action, **how), self.primed
        state = (primed.form, task, choice or Choice(), coder, primed.prior, self.learned, self.local)
        for start in range(0, len(self.ranks), _BAND):
            stop = min(start + _BAND, len(self.ranks))
            if self.beside is None:
                code(start, stop, *state, self.scratch)
            else:
                code_beside(start, stop, *self.beside.arguments, *state, self.scratch)
            if report is not None:
                report((stop - start) * self.ranks.shape[1] * self.ranks.shape[2])
            if coder.damaged[0]:
                break
        return task.bits


def slot_bits_of(form: Form, symbols: int) -> int:
    """Of each context's slots, so that there are about two buckets for all that so many symbols touch."""
    return max(_LEAST_BITS, (32 * -(-form.bits // 4) * symbols).bit_length())


def hashed_labels(labels: Integers | None, lanes: int) -> NDArray[np.int64]:
    """The labels (lanes, L) or (lanes, rows, L) of items, each's or each row's as one number."""
    if labels is None or not labels.size:
        return np.zeros((lanes, 1), np.int64)
    rows = labels.reshape(lanes, -1, labels.shape[-1]).astype(np.int64)
    hashed = np.zeros(rows.shape[:2], np.int64)
    for column in range(rows.shape[2]):
        hashed = (hashed + rows[..., column] + 2) * MULTIPLIER
    return hashed
