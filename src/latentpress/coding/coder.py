"""Range coding of symbols whose frequency tables are known on both sides.

The stream is that of constriction's range coder (Bamler, arXiv 2201.01741; after Martin 1979): a queue of
32-bit words with 64 bits of state, written as little-endian bytes. docs/archive.md states its decoder.
A damaged stream seldom shows: most often it decodes to other symbols. Checksums are the container's.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ArchiveError

__all__ = ["RangeDecoder", "RangeEncoder"]

Integers = NDArray[Any]

_stream: Any = constriction.stream  # pyright: ignore[reportAttributeAccessIssue] (a compiled module)


def _model(tables: Integers) -> tuple[Any, ...]:
    """The model, as constriction takes it, of tables (N, K), or of one table (K,)."""
    # It gives every symbol one unit and shares 2^24 - K among them in proportion to these floats.
    # They sum to exactly 2^24 - K, so its scale is exactly 1 and its table is ours.
    shares = tables.astype(np.float64) - 1.0
    categorical = _stream.model.Categorical
    return (categorical(perfect=False), shares) if tables.ndim > 1 else (categorical(shares, perfect=False),)


class RangeEncoder:
    """Appends symbols to a stream.

    >>> table = np.array([3 << 22, 1 << 22])
    >>> encoder = RangeEncoder()
    >>> encoder.encode(np.array([0, 0, 1, 0]), table)
    >>> encoder.encode(np.array([1]), np.array([[1 << 23, 1 << 23]]))
    >>> decoder = RangeDecoder(encoder.to_bytes())
    >>> decoder.decode(table, 4).tolist(), decoder.decode(np.array([[1 << 23, 1 << 23]])).tolist()
    ([0, 0, 1, 0], [1])
    """

    def __init__(self) -> None:
        self._coder = _stream.queue.RangeEncoder()

    def encode(self, symbols: Integers, tables: Integers) -> None:
        """Codes symbols (N,), each under its row of tables (N, K) that sum to 2^24, or all under one (K,)."""
        assert symbols.shape == tables.shape[:-1] or tables.ndim == symbols.ndim == 1
        self._coder.encode(np.ascontiguousarray(symbols, np.int32), *_model(tables))

    def to_bytes(self) -> bytes:
        """Returns the stream so far: a multiple of four bytes, none for no symbols."""
        return self._coder.get_compressed().astype("<u4").tobytes()


class RangeDecoder:
    """Takes symbols from the front of a stream, in the order in which they were encoded.

    Raises:
        ArchiveError: the stream is not whole words, or a symbol of it fits no table.
    """

    def __init__(self, stream: bytes) -> None:
        if len(stream) % 4:
            raise ArchiveError(f"a coded stream of {len(stream)} bytes is not a whole number of 32-bit words")
        self._coder = _stream.queue.RangeDecoder(np.frombuffer(stream, "<u4").astype(np.uint32))

    def decode(self, tables: Integers, count: int | None = None) -> NDArray[np.int32]:
        """Returns the next symbols, one under each row of tables (N, K), or `count` under one table (K,)."""
        try:
            return self._coder.decode(*_model(tables), *(() if count is None else (count,)))
        except AssertionError:  # what constriction raises for a point outside the tables
            raise ArchiveError("a coded stream is damaged: it fits no symbol") from None
