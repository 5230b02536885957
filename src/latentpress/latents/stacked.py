"""Latents on stacks: integer Gaussians pushed and popped, of many items at once.

Latents of items of different lengths are together in one array (L, N, *cells, d), the shorter ones filled up
with values that are never used. An item's symbols are popped step by step, in each cell by cell, in each
channel by channel, and pushed in reverse order. The cells of an item are sequences by themselves for the
prior (see `IntegerLSTM`), and share the item's stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.ans import Stacks
from latentpress.coding.gaussians import interval, symbol_at, symbols_of
from latentpress.coding.tables import TOTAL_BITS
from latentpress.latents.integer_lstm import IntegerLSTM

__all__ = ["LatentStacks", "finest", "rounded_means"]

Integers = NDArray[Any]
Symbols = NDArray[np.int64]
Bits = NDArray[np.float64]


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


class LatentStacks:
    """The stacks of L items: the `rows` (L,), all different, of `stacks`; the items have `steps` (L,)."""

    def __init__(self, stacks: Stacks, rows: Sequence[int], steps: Sequence[int]) -> None:
        self._stacks = stacks
        self._rows, self._steps = np.array(rows, np.int64), np.array(steps, np.int64)

    def pop_posterior(self, mean: Integers, scale: Integers) -> tuple[Symbols, Bits]:
        """Pops symbols (L, N, *cells, d) at step 1, and returns them with their ideal lengths (L,)."""
        means, scales = _by_step(mean), _by_step(scale)
        symbols, counts = np.zeros(means.shape, np.int64), np.ones(means.shape, np.int64)
        for t in range(means.shape[1]):
            items = self._at(t)
            symbols[items, t], counts[items, t] = self._pop(items, means[items, t], scales[items, t], 1)
        return symbols.reshape(mean.shape), self._bits(counts)

    def push_posterior(self, mean: Integers, scale: Integers, symbols: Integers) -> None:
        """Pushes symbols (L, N, *cells, d) at step 1: the inverse of `pop_posterior`."""
        self._push(*interval(mean, scale, 1, symbols_of(1), symbols))

    def push_prior(self, prior: IntegerLSTM, symbols: Integers, step: int) -> Bits:
        """Pushes symbols (L, N, *cells, d) at `step` under a prior at step 1; returns ideal lengths (L,)."""
        count, steps = symbols.shape[:2]
        by_time = np.ascontiguousarray(symbols.swapaxes(0, 1)).reshape(steps, -1, prior.channels)
        lows, counts = np.zeros_like(by_time), np.ones_like(by_time)
        for t, (mean, scale) in enumerate(prior.walk(finest(by_time, step))):
            lows[t], counts[t] = interval(mean, scale, step, symbols_of(step), by_time[t])
        lows, counts = (part.reshape(steps, count, -1).swapaxes(0, 1) for part in (lows, counts))
        self._push(lows, counts)
        return self._bits(counts)

    def pop_prior(self, prior: IntegerLSTM, step: int, cells: tuple[int, ...] = ()) -> Symbols:
        """Pops symbols (L, N, *cells, d) at `step` under a prior at step 1: the inverse of `push_prior`."""
        count, steps, width = len(self._rows), int(self._steps.max(initial=0)), math.prod(cells)
        symbols = np.full((steps, count, width * prior.channels), symbols_of(step) // 2)
        read = np.zeros((steps, count * width, prior.channels), np.int64)
        for t, (mean, scale) in enumerate(prior.walk(read)):
            items = self._at(t)
            means, scales = (part.reshape(count, -1)[items] for part in (mean, scale))
            symbols[t, items], _ = self._pop(items, means, scales, step)
            read[t] = finest(symbols[t], step).reshape(read[t].shape)
        return symbols.swapaxes(0, 1).reshape(count, steps, *cells, prior.channels)

    def _at(self, step: int) -> Integers:
        """Indices of the items that have a step of that number."""
        return np.flatnonzero(self._steps > step)

    def _bits(self, counts: Integers) -> Bits:
        """Ideal lengths (L,) of symbols that have `counts` (L, N, C) of the 2^24 numbers."""
        there = np.arange(counts.shape[1]) < self._steps[:, None]
        return ((TOTAL_BITS - np.log2(counts)).sum(axis=2) * there).sum(axis=1)

    def _pop(self, items: Integers, mean: Integers, scale: Integers, step: int) -> tuple[Symbols, Symbols]:
        """Pops a symbol of each Gaussian (items, C), the first first; their counts too."""
        size, rows = symbols_of(step), self._rows[items]
        symbols, counts = np.zeros_like(mean), np.ones_like(mean)
        for c in range(mean.shape[1]):
            symbols[:, c] = symbol_at(mean[:, c], scale[:, c], step, size, self._stacks.points(rows))
            low, counts[:, c] = interval(mean[:, c], scale[:, c], step, size, symbols[:, c])
            self._stacks.drop(low, counts[:, c], rows)
        return symbols, counts

    def _push(self, lows: Integers, counts: Integers) -> None:
        """Pushes intervals (L, N, *cells, d), the last of each stack first."""
        lows, counts = _by_step(lows), _by_step(counts)
        for t in reversed(range(lows.shape[1])):
            items = self._at(t)
            for c in reversed(range(lows.shape[2])):
                self._stacks.push(lows[items, t, c], counts[items, t, c], self._rows[items])


def _by_step(values: Integers) -> Integers:
    """(L, N, *cells, d) -> (L, N, cells * d)."""
    return values.reshape(*values.shape[:2], -1)
