"""Streams of integer Gaussians, coded and decoded side by side.

A stream codes the grids (n, *cells) of `lanes` items, n * cells positions in raster order: in each position
channel by channel, in each channel lane by lane. Every cell of every lane is a sequence by itself, and the
sequences of all streams advance together, in arrays (steps, sequences, d): those of the longest stream first,
so that those which go on lead.
"""

from __future__ import annotations

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
"""Means and scales of every step, of symbols (steps, sequences, d) and lengths: `IntegerLSTM.walk`."""


def encode_streams(
    walk: Walk, streams: Sequence[Stream], channels: int, step: int
) -> list[tuple[bytes, NDArray[np.float64]]]:
    """Codes streams; see `IntegerDistribution.encode`.

    Args:
        walk: gives the Gaussians.
        streams: with their symbols, each in 0..`symbols_of(step)` - 1.
        channels: d.
        step: units between two symbols.
    """
    parts, lengths = _sequences(streams)
    symbols, means, scales = np.zeros((3, lengths.max(initial=0), len(lengths), channels), np.int64)
    for stream, part in zip(streams, parts, strict=True):
        place = symbols[: stream.grid[0], part]
        place[:] = _symbols(stream, symbols_of(step)).reshape(place.shape)
    for t, (mean, scale) in enumerate(walk(symbols, lengths)):
        means[t, : len(mean)], scales[t, : len(mean)] = mean, scale
    coded = []
    for stream, part in zip(streams, parts, strict=True):
        values = (each[: stream.grid[0], part] for each in (symbols, means, scales))
        payload, bits = _encode(*(_in_order(each, stream.lanes) for each in values), step)
        coded.append((payload, bits.reshape(-1, stream.lanes).sum(0)))
    return coded


def decode_streams(
    walk: Walk, streams: Sequence[Stream], channels: int, step: int
) -> list[NDArray[np.int32] | None]:
    """Decodes streams with their payloads; see `IntegerDistribution.decode` and `encode_streams`.

    A damaged stream goes on with zeros, and the others do not notice.
    """
    parts, lengths = _sequences(streams)
    symbols, size = np.zeros((lengths.max(initial=0), len(lengths), channels), np.int64), symbols_of(step)
    order = np.arange(symbols[:1].size).reshape(-1, channels)  # of a step's symbols, turned to the streams'
    for stream, part in zip(streams, parts, strict=True):
        order[part] = _in_order(order[part], stream.lanes).reshape(-1, channels)
    decoders = [_Decoder(stream.payload) for stream in streams]
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
        codes = symbols[: stream.grid[0], part].reshape(-1, stream.lanes, channels).astype(np.int32)
        found.append(None if decoder.damaged else codes)
    return found


class _Decoder:
    """A stream's decoder, which gives zeros once its bytes turn out to be damaged."""

    def __init__(self, payload: bytes) -> None:
        self.damaged = False
        self._coder = RangeDecoder(payload)

    def take(self, tables: Integers) -> Integers | int:
        ...
