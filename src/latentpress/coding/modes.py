"""The ways in which a block's symbols become bytes.

A block is an integer array (T, L, P): T positions in raster order, L lanes, P components, those of
component p from 0 to alphabets[p] - 1. The ways that need no model are here, each an encoder and a decoder
that is its inverse; the decoders take hostile bytes and raise `ArchiveError` or return symbols in range.
They go through the components one by one, each with its T x L symbols in that order.

The other modes belong to those who have what they need. Codes under a prior, and samples under a decoder, go
through the positions, each with its components, each with its lanes, as autoregressive networks do. Packed
bytes are for the items' kind, and bits back needs all networks of a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.coder import RangeDecoder, RangeEncoder
from latentpress.coding.tables import normalize
from latentpress.errors import ArchiveError

__all__ = [
    "PERIOD",
    "Mode",
    "decode_adaptive",
    "decode_raw",
    "decode_static",
    "encode_adaptive",
    "encode_raw",
    "encode_static",
]

PERIOD = 64
"""Symbols after which the adaptive mode renews its table."""

_CHUNK = 1 << 16  # symbols whose bits are unpacked at a time; a multiple of 8

Integers = NDArray[Any]
Shape = tuple[int, int]


class Mode(IntEnum):
    """A block's mode byte."""

    RAW = 0
    STATIC = 1
    ADAPTIVE = 2
    PRIOR = 3
    SAMPLES = 4
    PACKED = 5
    BITS_BACK = 6


def encode_raw(symbols: Integers, alphabets: Sequence[int]) -> bytes:
    """Packs each symbol into ceil(log2 K) bits, the most significant first, zeros at the end.

    >>> encode_raw(np.array([[[1], [4], [3]]]), alphabets=[5]).hex()  # 001 100 011 0000000
    '3180'
    """
    widths = [_width(size) for size in alphabets]
    if all(width == 8 for width in widths):
        return np.moveaxis(symbols, -1, 0).astype(np.uint8).tobytes()
    bits = np.empty(symbols[..., 0].size * sum(widths), np.uint8)
    start = 0
    for p, width in enumerate(widths):
        for part in _chunks(symbols[..., p].ravel()):
            stop = start + len(part) * width
            bits[start:stop] = (part[:, None] >> np.arange(width - 1, -1, -1) & 1).ravel()
            start = stop
    return np.packbits(bits).tobytes()


def decode_raw(payload: bytes, shape: Shape, alphabets: Sequence[int]) -> Integers:
    """Inverse of `encode_raw`: the smallest unsigned integers that will do; `shape` is (T, L)."""
    count, widths = shape[0] * shape[1], [_width(size) for size in alphabets]
    if len(payload) != (count * sum(widths) + 7) // 8:
        raise ArchiveError("damaged archive: a raw block has the wrong length")
    data, start = np.frombuffer(payload, np.uint8), 0
    symbols = np.empty((count, len(alphabets)), np.min_scalar_type(max(alphabets) - 1))
    for p, (width, size) in enumerate(zip(widths, alphabets, strict=True)):
        component = symbols[:, p]
        if all(width == 8 for width in widths):
            component[:] = data[p * count : (p + 1) * count]
        else:
            for part in _chunks(component):
                part[:] = _read_bits(data, start, len(part), width)
                start += len(part) * width
        if component.max() >= size:
            raise ArchiveError("damaged archive: a raw block holds a symbol out of range")
    return symbols.reshape(*shape, len(alphabets))


def encode_static(symbols: Integers, tables: Sequence[Integers]) -> bytes:
    """Codes component p under `tables[p]` (alphabets[p],), a frequency table of the whole archive."""
    encoder = RangeEncoder()
    for p, table in enumerate(tables):
        encoder.encode_static(symbols[..., p].ravel(), table)
    return encoder.to_bytes()


def decode_static(payload: bytes, shape: Shape, tables: Sequence[Integers]) -> Integers:
    """Inverse of `encode_static`, int32; `shape` is (T, L)."""
    decoder = RangeDecoder(payload)
    return _join([decoder.decode_static(shape[0] * shape[1], table) for table in tables], shape)


def encode_adaptive(symbols: Integers, alphabets: Sequence[int]) -> bytes:
    """Codes each component under what came before it in the block.

    After every `PERIOD` symbols of a component its table is `normalize(4 n + 1)` anew, n being how often
    each symbol has come so far: the estimate of Krichevsky and Trofimov (1981), with 1/4 for their 1/2.
    """
    encoder = RangeEncoder()
    for p, size in enumerate(alphabets):
        component, weights = symbols[..., p].ravel(), np.ones(size, np.int64)
        for start in range(0, len(component), PERIOD):
            part = component[start : start + PERIOD]
            encoder.encode_static(part, normalize(weights[None])[0])
            np.add.at(weights, part, 4)
    return encoder.to_bytes()


def decode_adaptive(payload: bytes, shape: Shape, alphabets: Sequence[int]) -> Integers:
    """Inverse of `encode_adaptive`, int32; `shape` is (T, L)."""
    decoder = RangeDecoder(payload)
    components, count = [], shape[0] * shape[1]
    for size in alphabets:
        weights, parts = np.ones(size, np.int64), []
        for start in range(0, count, PERIOD):
            parts.append(decoder.decode_static(min(PERIOD, count - start), normalize(weights[None])[0]))
            np.add.at(weights, parts[-1], 4)
        components.append(np.concatenate(parts))
    return _join(components, shape)


def _width(size: int) -> int:
    return (size - 1).bit_length()


def _chunks(component: Integers) -> Iterator[Integers]:
    for start in range(0, len(component), _CHUNK):
        yield component[start : start + _CHUNK]


def _read_bits(data: Integers, start: int, count: int, width: int) -> Integers:
    """Integers of `width` bits each, from bit number `start` on."""
    first, skipped = divmod(start, 8)
    bits = np.unpackbits(data[first : (start + count * width + 7) // 8])[skipped : skipped + count * width]
    return bits.reshape(count, width) @ (1 << np.arange(width - 1, -1, -1))


def _join(components: Sequence[Integers], shape: Shape) -> Integers:
    return np.stack([component.reshape(shape) for component in components], axis=-1)
