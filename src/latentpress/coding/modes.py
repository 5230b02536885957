"""The ways in which a block's symbols become bytes.

A block is an integer array (T, L, P): T positions in raster order, L lanes, P components, those of
component p from 0 to alphabets[p] - 1. The ways that need no model are here, each an encoder and a decoder
that is its inverse; they go through the components one by one, each with its T x L symbols in that order.
The decoders take hostile bytes: they raise `ArchiveError` or return symbols in range. `shape` is (T, L).
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
    "Mode",
    "decode_adaptive",
    "decode_raw",
    "decode_static",
    "encode_adaptive",
    "encode_raw",
    "encode_static",
]

_PERIOD = 64  # symbols after which the adaptive mode renews its table
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
    widths = [(size - 1).bit_length() for size in alphabets]
    if set(widths) == {8}:
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
    """Inverse of `encode_raw`: the smallest unsigned integers that will do."""
    count, widths = shape[0] * shape[1], [(size - 1).bit_length() for size in alphabets]
    if len(payload) != (count * sum(widths) + 7) // 8:
        raise ArchiveError("damaged archive: a raw block has the wrong length")
    data, start = np.frombuffer(payload, np.uint8), 0
    symbols = np.empty((count, len(alphabets)), np.min_scalar_type(max(alphabets) - 1))
    for p, (component, width, size) in enumerate(zip(symbols.T, widths, alphabets, strict=True)):
        if set(widths) == {8}:
            component[:] = data[p * count : (p + 1) * count]
        else:
            for part in _chunks(component):
                stop = start + len(part) * width
                bits = np.unpackbits(data[start // 8 : -(-stop // 8)])[start % 8 :][: stop - start]
                part[:] = bits.reshape(-1, width) @ (1 << np.arange(width - 1, -1, -1))
                start = stop
        if component.max() >= size:
            raise ArchiveError("damaged archive: a raw block holds a symbol out of range")
    return symbols.reshape(*shape, len(alphabets))


def encode_static(symbols: Integers, tables: Sequence[Integers]) -> bytes:
    """Codes component p under `tables[p]` (alphabets[p],), a frequency table of the whole archive."""
    encoder = RangeEncoder()
    for p, table in enumerate(tables):
        encoder.encode(symbols[..., p].ravel(), table)
    return encoder.to_bytes()


def decode_static(payload: bytes, shape: Shape, tables: Sequence[Integers]) -> Integers:
    """Inverse of `encode_static`, int32."""
    decoder = RangeDecoder(payload)
    components = [decoder.decode(table, shape[0] * shape[1]) for table in tables]
    return np.stack(components, axis=-1).reshape(*shape, -1)


def encode_adaptive(symbols: Integers, alphabets: Sequence[int]) -> bytes:
    """Codes each component under what came before it in the block.

    After every `_PERIOD` symbols of a component its table is `normalize(4 n + 1)` anew, n being how often
    each symbol has come so far: the estimate of Krichevsky and Trofimov (1981), with 1/4 for their 1/2.
    """
    encoder = RangeEncoder()
    for p, size in enumerate(alphabets):
        component, weights = symbols[..., p].ravel(), np.ones(size, np.int64)
        for start in range(0, len(component), _PERIOD):
            part = component[start : start + _PERIOD]
            encoder.encode(part, normalize(weights[None])[0])
            np.add.at(weights, part, 4)
    return encoder.to_bytes()


def decode_adaptive(payload: bytes, shape: Shape, alphabets: Sequence[int]) -> Integers:
    """Inverse of `encode_adaptive`, int32."""
    decoder = RangeDecoder(payload)
    components, count = [], shape[0] * shape[1]
    for size in alphabets:
        weights, parts = np.ones(size, np.int64), []
        for start in range(0, count, _PERIOD):
            parts.append(decoder.decode(normalize(weights[None])[0], min(_PERIOD, count - start)))
            np.add.at(weights, parts[-1], 4)
        components.append(np.concatenate(parts))
    return np.stack(components, axis=-1).reshape(*shape, -1)


def _chunks(component: Integers) -> Iterator[Integers]:
    for start in range(0, len(component), _CHUNK):
        yield component[start : start + _CHUNK]
