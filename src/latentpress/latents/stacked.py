"""Latents on stacks: integer Gaussians pushed and popped, of many sequences at once.

Sequences of different lengths stand side by side, (L, N, d), the shorter ones being filled up with what
nobody looks at. A sequence's symbols are popped step by step, in each channel by channel, and pushed in
reverse order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.ans import Stacks
from latentpress.coding.gaussians import bounds, interval, symbols_of
from latentpress.coding.tables import TOTAL_BITS
from latentpress.latents.integer_lstm import IntegerLSTM

__all__ = ["Sequences", "pop_posterior", "pop_prior", "push_posterior", "push_prior", "rounded_means"]

_ENTRIES = 1 << 20  # of tables that are held at once

Integers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Which stacks some sequences belong to, `rows` (L,), and how many `steps` (L,) each has."""

    rows: Integers
    steps: Integers

    @classmethod
    def of(cls, rows: Sequence[int], steps: Sequence[int]) -> Sequences:
        """From lists."""
        return cls(np.array(rows, np.int64), np.array(steps, np.int64))

    def at(self, step: int) -> Integers:
        """Numbers of the sequences that have a step of that number."""
        return np.flatnonzero(self.steps > step)

    def bits(self, sizes: Integers) -> NDArray[np.float64]:
        """Ideal lengths (L,) of symbols that have `sizes` (L, N, d) of the 2^24 numbers."""
        there = np.arange(sizes.shape[1]) < self.steps[:, None]
        return ((TOTAL_BITS - np.log2(sizes)).sum(axis=2) * there).sum(axis=1)


def rounded_means(mean: Integers, step: int) -> NDArray[np.int64]:
    """The symbols, of those at that step, nearest to means as `coding.gaussians` tells them.

    >>> rounded_means(np.array([-99999, 0, 64 * 7]), step=10).tolist()
    [0, 12, 13]
    """
    half = symbols_of(step) // 2
    return np.clip((mean + 32 * step) // (64 * step), -half, half) + half


def pop_posterior(
    stacks: Stacks, sequences: Sequences, mean: Integers, scale: Integers
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pops symbols (L, N, d) at step 1, and returns them with their ideal lengths (L,)."""
    symbols, sizes = np.zeros(mean.shape, np.int64), np.ones(mean.shape, np.int64)
    together = max(1, _ENTRIES // (symbols_of(1) * max(1, mean[:, 0].size)))
    for start in range(0, mean.shape[1], together):
        part = slice(start, start + together)
        tables = _tables(mean[:, part], scale[:, part], 1)
        for t in range(start, start + tables.shape[1]):
            own = sequences.at(t)
            symbols[own, t], sizes[own, t] = _pop(stacks, sequences.rows[own], tables[own, t - start])
    return symbols, sequences.bits(sizes)


def push_posterior(
    stacks: Stacks, sequences: Sequences, mean: Integers, scale: Integers, symbols: Integers
) -> None:
    """Pushes symbols (L, N, d) at step 1: the inverse of `pop_posterior`."""
    _push(stacks, sequences, *interval(mean, scale, 1, symbols_of(1), symbols))


def push_prior(
    stacks: Stacks, sequences: Sequences, prior: IntegerLSTM, symbols: Integers, step: int
) -> NDArray[np.float64]:
    """Pushes symbols (L, N, d) at `step` under the prior; returns their ideal lengths, (L,).

    Args:
        stacks: what is pushed onto.
        sequences: where, and how long each is.
        prior: at step 1.
        symbols: those of latents on multiples of `step`.
        step: of the symbols.
    """
    lows, sizes = np.zeros(symbols.shape, np.int64), np.ones(symbols.shape, np.int64)
    state = prior.start(len(symbols))
    for t in range(symbols.shape[1]):
        given = interval(*prior.conditionals(state), step, symbols_of(step), symbols[:, t])
        lows[:, t], sizes[:, t] = given
        state = prior.push(state, finest(symbols[:, t], step))
    _push(stacks, sequences, lows, sizes)
    return sequences.bits(sizes)


def pop_prior(stacks: Stacks, sequences: Sequences, prior: IntegerLSTM, step: int) -> NDArray[np.int64]:
    """Pops symbols (L, N, d) at `step` under the prior: the inverse of `push_prior`."""
    shape = len(sequences.rows), int(sequences.steps.max(initial=0)), prior.channels
    symbols, state = np.zeros(shape, np.int64), prior.start(shape[0])
    for t in range(shape[1]):
        own = sequences.at(t)
        tables = _tables(*prior.conditionals(state), step)
        symbols[own, t], _ = _pop(stacks, sequences.rows[own], tables[own])
        state = prior.push(state, finest(symbols[:, t], step))
    return symbols


def finest(symbols: Integers, step: int) -> Integers:
    """The symbols at step 1 of latents whose symbols at `step` these are."""
    return (symbols - symbols_of(step) // 2) * step + symbols_of(1) // 2


def _tables(mean: Integers, scale: Integers, step: int) -> Integers:
    """Bounds of all symbols, (..., K + 1)."""
    return bounds(mean, scale, step, symbols_of(step))


def _pop(stacks: Stacks, rows: Integers, tables: Integers) -> tuple[Integers, Integers]:
    """Pops a symbol a channel off each stack, under tables (L, d, K + 1): symbols and their sizes, (L, d)."""
    found = np.zeros((2, *tables.shape[:2]), np.int64)
    every = np.arange(len(rows))
    for c in range(tables.shape[1]):
        table = tables[:, c]
        symbol = (table[:, 1:] <= stacks.points(rows)[:, None]).sum(axis=1)
        low = table[every, symbol]
        found[:, :, c] = symbol, table[every, symbol + 1] - low
        stacks.drop(low, found[1, :, c], rows)
    return found[0], found[1]


def _push(stacks: Stacks, sequences: Sequences, lows: Integers, sizes: Integers) -> None:
    for t in reversed(range(lows.shape[1])):
        own = sequences.at(t)
        for c in reversed(range(lows.shape[2])):
            stacks.push(lows[own, t, c], sizes[own, t, c], sequences.rows[own])
