"""The ways in which a block's symbols become bytes.

A block is an integer array (T, L, P): T positions in raster order, L lanes, P tuple members, those
of member p from 0 to sizes[p] - 1. Every way has an encoder and a decoder that is its inverse; the
decoders take hostile bytes and raise `ArchiveError` or return symbols in range. Raw, static and
adaptive go through the members one by one, each with its T x L symbols in that order; the prior
goes through the positions, each with its members, each with its lanes, as a prior needs it. So do the
pixels of a lossless archive. The last modes, WebP and LZMA, are for who can read images and texts.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    "encode_prior",
    "encode_raw",
    "encode_static",
]

PERIOD = 64
"""Symbols after which the adaptive mode renews its table."""

Integers = NDArray[Any]
Codes = NDArray[np.int32]
Shape = tuple[int, int]


class Mode(IntEnum):
    """A block's mode byte."""

    RAW = 0
    STATIC = 1
    ADAPTIVE = 2
    PRIOR = 3
    PIXELS = 4
    WEBP = 5
    LZMA = 6


def encode_raw(codes: Integers, sizes: Sequence[int]) -> bytes:
    """Packs each symbol into ceil(log2 K) bits, the most significant first, zeros at the end.

    >>> encode_raw(np.array([[[1], [4], [3]]]), sizes=[5]).hex()  # 001 100 011 0000000
    '3180'
    """
    if all(_width(size) == 8 for size in sizes):
        return np.moveaxis(codes, -1, 0).astype(np.uint8).tobytes()
    bits = [_bits(codes[..., p], _width(size)) for p, size in enumerate(sizes)]
    return np.packbits(np.concatenate(bits)).tobytes()


def decode_raw(payload: bytes, shape: Shape, sizes: Sequence[int]) -> Codes:
    """Inverse of `encode_raw`; `shape` is (T, L)."""
    count = shape[0] * shape[1]
    total = count * sum(_width(size) for size in sizes)
    if len(payload) != (total + 7) // 8:
        raise ArchiveError("damaged archive: a raw block has the wrong length")
    data, start, members = np.frombuffer(payload, np.uint8), 0, []
    whole = all(_width(size) == 8 for size in sizes)
    bits = data if whole else np.unpackbits(data)
    for size in sizes:
        width = 1 if whole else _width(size)
        member = bits[start : start + count * width]
        if not whole:
            member = member.reshape(count, width) @ (1 << np.arange(width - 1, -1, -1))
        members.append(member)
        start += count * width
        if members[-1].max() >= size:
            raise ArchiveError("damaged archive: a raw block holds a symbol out of range")
    return _join(members, shape)


def encode_static(codes: Integers, tables: Sequence[Integers]) -> bytes:
    """Codes member p under `tables[p]` (sizes[p],), a frequency table of the whole archive."""
    encoder = RangeEncoder()
    for p, table in enumerate(tables):
        encoder.encode_static(codes[..., p].ravel(), table)
    return encoder.to_bytes()


def decode_static(payload: bytes, shape: Shape, tables: Sequence[Integers]) -> Codes:
    """Inverse of `encode_static`; `shape` is (T, L)."""
    decoder = RangeDecoder(payload)
    return _join([decoder.decode_static(shape[0] * shape[1], table) for table in tables], shape)


def encode_adaptive(codes: Integers, sizes: Sequence[int]) -> bytes:
    """Codes each member under what came before it in the block.

    After every `PERIOD` symbols of a member its table is `normalize(4 n + 1)` anew, n being how often
    each symbol has come so far: the estimate of Krichevsky and Trofimov (1981), with 1/4 for their 1/2.
    """
    encoder = RangeEncoder()
    for p, size in enumerate(sizes):
        symbols, weights = codes[..., p].ravel(), np.ones(size, np.int64)
        for start in range(0, len(symbols), PERIOD):
            part = symbols[start : start + PERIOD]
            encoder.encode_static(part, normalize(weights[None])[0])
            np.add.at(weights, part, 4)
    return encoder.to_bytes()


def decode_adaptive(payload: bytes, shape: Shape, sizes: Sequence[int]) -> Codes:
    """Inverse of `encode_adaptive`; `shape` is (T, L)."""
    decoder = RangeDecoder(payload)
    members, count = [], shape[0] * shape[1]
    for size in sizes:
        weights, parts = np.ones(size, np.int64), []
        for start in range(0, count, PERIOD):
            parts.append(decoder.decode_static(min(PERIOD, count - start), normalize(weights[None])[0]))
            np.add.at(weights, parts[-1], 4)
        members.append(np.concatenate(parts))
    return _join(members, shape)


def encode_prior(codes: Integers, tables: Sequence[Integers]) -> bytes:
    """Codes under the prior's tables, `tables[p]` (T, L, sizes[p]) for member p.

    The decoder learns the tables only on the way, so its loop is in the hands of who has the prior:
    for each position, for each member: L symbols with `RangeDecoder.decode`.
    """
    encoder = RangeEncoder()
    for position, symbols in enumerate(codes):
        for p, table in enumerate(tables):
            encoder.encode(symbols[:, p], table[position])
    return encoder.to_bytes()


def _width(size: int) -> int:
    return (size - 1).bit_length()


def _bits(symbols: Integers, width: int) -> NDArray[np.uint8]:
    shifts = np.arange(width - 1, -1, -1)
    return (symbols.reshape(-1, 1) >> shifts & 1).astype(np.uint8).ravel()


def _join(members: Sequence[Integers], shape: Shape) -> Codes:
    return np.stack([member.reshape(shape) for member in members], axis=-1).astype(np.int32)
