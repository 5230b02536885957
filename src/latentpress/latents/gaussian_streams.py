"""Streams of integer Gaussians side by side: their order, and their coding once means and scales are known.

A stream codes the grids (n, *cells) of `lanes` items, n * cells positions in raster order: in each position
channel by channel, in each channel lane by lane. Every cell of every lane is a sequence by itself, and the
sequences of many streams advance together, in arrays (steps, sequences, d).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.coder import RangeDecoder, RangeEncoder
from latentpress.coding.gaussians import bounds, interval, symbols_of
from latentpress.coding.tables import TOTAL_BITS
from latentpress.errors import ArchiveError
from latentpress.exact.distribution import Stream

__all__ = ["GaussianDecoder", "SequenceLayout", "encode_gaussians"]

_CHUNK = 1 << 21  # entries of tables that are in memory at once

Integers = NDArray[Any]
Symbols = NDArray[np.int64]


class SequenceLayout:
    """Where the sequences of streams are: the longest stream first, so that those which go on lead.

    Args:
        streams: what is laid out.
        channels: d.

    Attributes:
        lengths: (sequences,) how many steps each has; they never rise.
        shape: of an array of all symbols, (steps, sequences, d).
        parts: each stream's sequences.
    """

    def __init__(self, streams: Sequence[Stream], channels: int) -> None:
        longest_first = sorted(range(len(streams)), key=lambda number: -streams[number].grid[0])
        steps, widths, rows, start = [], [], [], 0
        self.parts = [slice(0)] * len(streams)
        for number in longest_first:
            grid, lanes = streams[number].grid, streams[number].lanes
            widths.append(math.prod(grid[1:]) * lanes)
            steps.append(grid[0])
            self.parts[number] = slice(start, start + widths[-1])
            by_position = np.arange(widths[-1] * channels).reshape(-1, lanes, channels)
            rows.append(by_position.swapaxes(1, 2).reshape(-1) + start * channels)
            start += widths[-1]
        self.channels = channels
        self.lengths = np.repeat(np.array(steps, np.int64), np.array(widths, np.int64))
        self.shape = max(steps, default=0), start, channels
        self._order = np.concatenate([np.zeros(0, np.int64), *rows])

    def ordered(self, values: Integers) -> Integers:
        """Values (..., sequences, d) of the first sequences, in the order of the streams: (..., rows)."""
        rows = values.shape[-2] * self.channels
        return values.reshape(*values.shape[:-2], rows)[..., self._order[:rows]]

    def restored(self, values: Integers) -> Integers:
        """The inverse of `ordered`."""
        out = np.empty_like(values)
        out[..., self._order[: values.shape[-1]]] = values
        return out.reshape(*values.shape[:-1], -1, self.channels)

    def rows(self, stream: int) -> slice:
        """Where a stream's values are in the streams' order."""
        part = self.parts[stream]
        return slice(part.start * self.channels, part.stop * self.channels)


def encode_gaussians(
    symbols: Integers, mean: Integers, scale: Integers, step: int
) -> tuple[bytes, NDArray[np.float64]]:
    """Codes symbols under Gaussians, all (N,): the bytes, and the ideal bits of each, (N,)."""
    size, encoder = symbols_of(step), RangeEncoder()
    for part in _chunks(len(symbols), size):
        encoder.encode(symbols[part], np.diff(bounds(mean[part], scale[part], step, size)))
    return encoder.to_bytes(), TOTAL_BITS - np.log2(interval(mean, scale, step, size, symbols)[1])


class GaussianDecoder:
    """Decodes streams side by side, a step at a time; where one is damaged it goes on with zeros.

    Args:
        payloads: each stream's bytes.
        layout: of the streams.
        step: units between two symbols.
    """

    def __init__(self, payloads: Sequence[bytes], layout: SequenceLayout, step: int) -> None:
        self._layout, self._step = layout, step
        self._coders = [_coder(payload) for payload in payloads]

    @property
    def damaged(self) -> list[bool]:
        """Which streams turned out to be."""
        return [coder is None for coder in self._coders]

    def take(self, mean: Symbols, scale: Symbols) -> Symbols:
        """The next symbols, under Gaussians (sequences, d) of the sequences that go on."""
        means, scales = self._layout.ordered(mean), self._layout.ordered(scale)
        symbols, size = np.zeros_like(means), symbols_of(self._step)
        for part in _chunks(len(means), size):
            tables = np.diff(bounds(means[part], scales[part], self._step, size))
            for stream in range(len(self._coders)):
                rows = self._layout.rows(stream)
                start, stop = max(rows.start, part.start), min(rows.stop, part.start + len(tables))
                if start < stop:
                    symbols[start:stop] = self._decode(stream, tables[start - part.start : stop - part.start])
        return self._layout.restored(symbols)

    def _decode(self, stream: int, tables: Integers) -> Integers | int:
        coder = self._coders[stream]
        try:
            return 0 if coder is None else coder.decode(tables)
        except ArchiveError:
            self._coders[stream] = None
            return 0


def _coder(payload: bytes) -> RangeDecoder | None:
    try:
        return RangeDecoder(payload)
    except ArchiveError:
        return None


def _chunks(rows: int, size: int) -> list[slice]:
    """Runs of rows whose tables of `size` entries fit the memory."""
    together = max(1, _CHUNK // size)
    return [slice(start, start + together) for start in range(0, rows, together)]
