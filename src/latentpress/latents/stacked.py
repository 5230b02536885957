"""Latents on stacks: integer Gaussians pushed and popped, of many items at once.

Latents of items of different lengths are together in one array (L, N, *cells, d), the shorter ones filled up
with values that are never used. An item's symbols are popped step by step, in each cell by cell, in each
channel by channel, and pushed in reverse order. The cells of an item are sequences by themselves for the
prior (see `IntegerLSTM`), and share the item's stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.ans import Stacks
from latentpress.coding.gaussians import bounds, interval, symbols_of
from latentpress.coding.tables import TOTAL_BITS
from latentpress.latents.integer_lstm import IntegerLSTM

__all__ = [
    "Sequences",
    "finest",
    "pop_posterior",
    "pop_prior",
    "push_posterior",
    "push_prior",
    "rounded_means",
]

_ENTRIES = 1 << 20  # of tables that are in memory at once

Integers = NDArray[Any]
Symbols = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Which stacks some items belong to, `rows` (L,), all different, and how many `steps` (L,) each has."""

    rows: Integers
    steps: Integers

    @classmethod
    def of(cls, rows: Sequence[int], steps: Sequence[int]) -> Sequences:
        """From lists."""
        return cls(np.array(rows, np.int64), np.array(steps, np.int64))

    def at(self, step: int) -> Integers:
        """Indices of the items that have a step of that number."""
        return np.flatnonzero(self.steps > step)

    def bits(self, counts: Integers) -> NDArray[np.float64]:
        """Ideal lengths (L,) of symbols that have `counts` (L, N, ...) of the 2^24 numbers."""
        there = np.arange(counts.shape[1]) < self.steps[:, None]
        return ((TOTAL_BITS - np.log2(_by_step(counts))).sum(axis=2) * there).sum(axis=1)


def rounded_means(mean: Integers, step: int) -> Symbols:
    """The symbols at that step that are nearest to means, in the units of `coding.gaussians`.

    >>> rounded_means(np.array([-99999, 0, 64 * 7]), step=10).tolist()
    [0, 12, 13]
    """
    half = symbols_of(step) // 2
    return np.clip((mean + 32 * step) // (64 * step), -half, half) + half


def finest(symbols: Integers, step: int) -> Integers:
    """The symbols at step 1 of latents whose symbols at `step` these are."""
    return (symbols - symbols_of(step) // 2) * step + symbols_of(1) // 2


def pop_posterior(
    stacks: Stacks, sequences: Sequences, mean: Integers, scale: Integers
) -> tuple[Symbols, NDArray[np.float64]]:
    """Pops symbols (L, N, *cells, d) at step 1, and returns them with their ideal lengths (L,)."""
    means, scales = _by_step(mean), _by_step(scale)
    symbols, counts = np.zeros(means.shape, np.int64), np.ones(means.shape, np.int64)
    together = max(1, _ENTRIES // (symbols_of(1) * max(1, means[:, 0].size)))
    for start in range(0, means.shape[1], together):
        part = slice(start, start + together)
        tables = _tables(means[:, part], scales[:, part], 1)
        for t in range(start, start + tables.shape[1]):
            items = sequences.at(t)
            symbols[items, t], counts[items, t] = _pop(
                stacks, sequences.rows[items], tables[items, t - start]
            )
    return symbols.reshape(mean.shape), sequences.bits(counts)


def push_posterior(
    stacks: Stacks, sequences: Sequences, mean: Integers, scale: Integers, symbols: Integers
) -> None:
    """Pushes symbols (L, N, *cells, d) at step 1: the inverse of `pop_posterior`."""
    _push(stacks, sequences, *interval(mean, scale, 1, symbols_of(1), symbols))


def push_prior(
    stacks: Stacks, sequences: Sequences, prior: IntegerLSTM, symbols: Integers, step: int
) -> NDArray[np.float64]:
    """Pushes symbols (L, N, *cells, d) at `step` under the prior; returns their ideal lengths, (L,).

    Args:
        stacks: what is pushed onto.
        sequences: where, and how long each is.
        prior: at step 1.
        symbols: those of latents on multiples of `step`.
        step: of the symbols.
    """
    count, steps = symbols.shape[:2]
    by_time = np.ascontiguousarray(symbols.swapaxes(0, 1)).reshape(steps, -1, prior.channels)
    lows, counts = np.zeros_like(by_time), np.ones_like(by_time)
    for t, (mean, scale) in enumerate(prior.walk(finest(by_time, step))):
        lows[t], counts[t] = interval(mean, scale, step, symbols_of(step), by_time[t])
    lows, counts = (part.reshape(steps, count, -1).swapaxes(0, 1) for part in (lows, counts))
    _push(stacks, sequences, lows, counts)
    return sequences.bits(counts)


def pop_prior(
    stacks: Stacks, sequences: Sequences, prior: IntegerLSTM, step: int, cells: tuple[int, ...] = ()
) -> Symbols:
    """Pops symbols (L, N, *cells, d) at `step` under the prior: the inverse of `push_prior`."""
    count, steps, width = len(sequences.rows), int(sequences.steps.max(initial=0)), math.prod(cells)
    symbols = np.full((steps, count, width * prior.channels), symbols_of(step) // 2)
    read = np.zeros((steps, count * width, prior.channels), np.int64)
    for t, (mean, scale) in enumerate(prior.walk(read)):
        items = sequences.at(t)
        means, scales = (part.reshape(count, -1)[items] for part in (mean, scale))
        symbols[t, items], _ = _pop(stacks, sequences.rows[items], _tables(means, scales, step))
        read[t] = finest(symbols[t], step).reshape(read[t].shape)
    return symbols.swapaxes(0, 1).reshape(count, steps, *cells, prior.channels)


def _by_step(values: Integers) -> Integers:
    """(L, N, *cells, d) -> (L, N, cells * d)."""
    return values.reshape(*values.shape[:2], -1)


def _tables(mean: Integers, scale: Integers, step: int) -> Integers:
    """Bounds of all symbols, (..., K + 1)."""
    return bounds(mean, scale, step, symbols_of(step))


def _pop(stacks: Stacks, rows: Integers, tables: Integers) -> tuple[Symbols, Symbols]:
    """Pops symbols off each stack, under tables (L, C, K + 1); returns them and their counts, (L, C)."""
    symbols, counts = np.zeros(tables.shape[:2], np.int64), np.ones(tables.shape[:2], np.int64)
    every = np.arange(len(rows))
    for c in range(tables.shape[1]):
        table = tables[:, c]
        symbol = (table[:, 1:] <= stacks.points(rows)[:, None]).sum(axis=1)
        low = table[every, symbol]
        symbols[:, c], counts[:, c] = symbol, table[every, symbol + 1] - low
        stacks.drop(low, counts[:, c], rows)
    return symbols, counts


def _push(stacks: Stacks, sequences: Sequences, lows: Integers, counts: Integers) -> None:
    """Pushes intervals (L, N, *cells, d), the last of each stack first."""
    lows, counts = _by_step(lows), _by_step(counts)
    for t in reversed(range(lows.shape[1])):
        items = sequences.at(t)
        for c in reversed(range(lows.shape[2])):
            stacks.push(lows[items, t, c], counts[items, t, c], sequences.rows[items])
