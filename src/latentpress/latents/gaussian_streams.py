"""Streams of integer Gaussians, coded and decoded side by side.

A stream codes the grids (n, *cells) of `lanes` items, n * cells positions in raster order: in each position
channel by channel, in each channel lane by lane. Every cell of every lane is a sequence by itself, and the
sequences of all streams advance together, in arrays (steps, sequences, d): those of the longest stream come
first, so that those which go on lead.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.coder import RangeDecoder, RangeEncoder
from latentpress.coding.gaussians import bounds, interval, symbols_of
from latentpress.coding.tables import TOTAL_BITS
from latentpress.errors import ArchiveError
from latentpress.exact.distribution import Stream

__all__ = ["Walk", "decode_streams", "encode_streams"]

_CHUNK = 1 << 21  # entries of tables that are in memory at once

Integers = NDArray[Any]
Symbols = NDArray[np.int64]

Walk = Callable[[Symbols, Integers], Iterator[tuple[Symbols, Symbols]]]
"""Every step's means and scales, given symbols (steps, sequences, d) and lengths: see `IntegerLSTM.walk`."""


def encode_streams(
    walk: Walk, streams: Sequence[Stream], channels: int, step: int
) -> list[tuple[bytes, NDArray[np.float64]]]:
    """See `IntegerDistribution.encode`; `channels` are d, and symbols are `step` units apart."""
    parts, lengths = _sequences(streams)
    symbols, means, scales = np.zeros((3, lengths.max(initial=0), len(lengths), channels), np.int64)
    size, coded = symbols_of(step), []
    for stream, part in zip(streams, parts, strict=True):
        given = np.asarray(stream.symbols, np.int64)
        if given.size and not 0 <= int(given.min()) <= int(given.max()) < size:
            raise ValueError(f"symbols: a channel's alphabet is {size}, and one is outside")
        place = symbols[: stream.grid[0], part]
        place[:] = given.reshape(place.shape)
    for t, (mean, scale) in enumerate(walk(symbols, lengths)):
        means[t, : len(mean)], scales[t, : len(mean)] = mean, scale
    for stream, part in zip(streams, parts, strict=True):
        arrays = (each[: stream.grid[0], part] for each in (symbols, means, scales))
        given, mean, scale = (_in_order(each, stream.lanes) for each in arrays)
        encoder = RangeEncoder()
        for rows in _chunks(len(given), size):
            encoder.encode(given[rows], np.diff(bounds(mean[rows], scale[rows], step, size)))
        bits = TOTAL_BITS - np.log2(interval(mean, scale, step, size, given)[1])
        coded.append((encoder.to_bytes(), bits.reshape(-1, stream.lanes).sum(0)))
    return coded


def decode_streams(
    walk: Walk, streams: Sequence[Stream], channels: int, step: int
) -> list[NDArray[np.int32] | None]:
    """See `IntegerDistribution.decode`, and `encode_streams`."""
    parts, lengths = _sequences(streams)
    symbols = np.zeros((lengths.max(initial=0), len(lengths), channels), np.int64)
    order = np.arange(len(lengths) * channels).reshape(-1, channels)  # a step's symbols, as streams have them
    for stream, part in zip(streams, parts, strict=True):
        order[part] = _in_order(order[part], stream.lanes).reshape(-1, channels)
    size, decoders = symbols_of(step), [_Decoder(stream.payload) for stream in streams]
    for t, (mean, scale) in enumerate(walk(symbols, lengths)):
        active = order[: len(mean)].reshape(-1)
        means, scales, decoded = mean.reshape(-1)[active], scale.reshape(-1)[active], np.zeros_like(active)
        for rows in _chunks(len(active), size):
            tables = np.diff(bounds(means[rows], scales[rows], step, size))
            for decoder, part in zip(decoders, parts, strict=True):
                start = max(part.start * channels, rows.start)
                stop = min(part.stop * channels, rows.start + len(tables))
                if start < stop:
                    decoded[start:stop] = decoder.take(tables[start - rows.start : stop - rows.start])
        symbols[t].reshape(-1)[active] = decoded
    found = []
    for stream, part, decoder in zip(streams, parts, decoders, strict=True):
        codes = symbols[: stream.grid[0], part].reshape(-1, stream.lanes, channels)
        found.append(None if decoder.coder is None else codes.astype(np.int32))
    return found


class _Decoder:
    """A stream's decoder; where it is damaged its `coder` is None, and it goes on with zeros."""

    def __init__(self, payload: bytes) -> None:
        self.coder: RangeDecoder | None = None
        with contextlib.suppress(ArchiveError):
            self.coder = RangeDecoder(payload)

    def take(self, tables: Integers) -> Integers | int:
        try:
            return 0 if self.coder is None else self.coder.decode(tables)
        except ArchiveError:
            self.coder = None
            return 0


def _sequences(streams: Sequence[Stream]) -> tuple[list[slice], Symbols]:
    """Where each stream's sequences are among those of all, and how many steps each of all has."""
    steps = np.array([stream.grid[0] for stream in streams], np.int64)
    widths = np.array([math.prod(stream.grid[1:]) * stream.lanes for stream in streams], np.int64)
    longest_first = np.argsort(-steps, kind="stable")
    stops = np.empty_like(widths)
    stops[longest_first] = np.cumsum(widths[longest_first])
    parts = [slice(*ends) for ends in zip((stops - widths).tolist(), stops.tolist(), strict=True)]
    return parts, np.repeat(steps[longest_first], widths[longest_first])


def _in_order(values: Integers, lanes: int) -> Integers:
    """Values (..., cells * lanes, d) of a stream's sequences in the stream's order, flat."""
    return values.reshape(-1, lanes, values.shape[-1]).swapaxes(1, 2).reshape(-1)


def _chunks(rows: int, size: int) -> list[slice]:
    """Runs of rows whose tables of `size` entries fit the memory."""
    together = max(1, _CHUNK // size)
    return [slice(start, start + together) for start in range(0, rows, together)]
