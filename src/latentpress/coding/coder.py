"""Range coding of symbols whose frequency tables are known on both sides.

The stream is that of constriction's range coder (Bamler, arXiv 2201.01741; after Martin 1979): a
queue of 32-bit words with 64 bits of state, written here as little-endian bytes. A decoder is short
enough to state in full, all arithmetic being modulo 2^64, with f the table of the next symbol, c its
running sum (c_0 = 0) and words read past the end of the stream being 0:

    start:   lower = 0;  range = 2^64 - 1;  point = word * 2^32 + word
    symbol:  scale = range >> 24
             q = (point - lower) // scale                       damaged if q >= 2^24
             k = the symbol with c_k <= q < c_k + f_k
             lower = lower + scale * c_k;  range = scale * f_k
             if range < 2^32:  lower <<= 32;  range <<= 32;  point = (point << 32) + word

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
_Categorical = _stream.model.Categorical
_FAMILY = _Categorical(perfect=False)


def _counts(tables: Integers) -> NDArray[np.float64]:
    # constriction gives every symbol one unit and shares 2^24 - K among them in proportion to these
    # floats. They sum to exactly 2^24 - K, so its scale is exactly 1 and its table is ours.
    return tables.astype(np.float64) - 1.0


class RangeEncoder:
    """Appends symbols to a stream.

    >>> table = np.array([3 << 22, 1 << 22])
    >>> encoder = RangeEncoder()
    >>> encoder.encode_static(np.array([0, 0, 1, 0]), table)
    >>> encoder.encode(np.array([1]), np.array([[1 << 23, 1 << 23]]))
    >>> decoder = RangeDecoder(encoder.to_bytes())
    >>> decoder.decode_static(4, table).tolist(), decoder.decode(np.array([[1 << 23, 1 << 23]])).tolist()
    ([0, 0, 1, 0], [1])
    """

    def __init__(self) -> None:
        self._coder = _stream.queue.RangeEncoder()

    def encode(self, symbols: Integers, tables: Integers) -> None:
        """Codes symbols (N,), each under its row of tables (N, K) that sum to 2^24."""
        assert symbols.shape == tables.shape[:1] and tables.shape[1] >= 2
        self._coder.encode(np.ascontiguousarray(symbols, np.int32), _FAMILY, _counts(tables))

    def encode_static(self, symbols: Integers, table: Integers) -> None:
        """Codes symbols (N,), all under one table (K,) that sums to 2^24."""
        assert symbols.ndim == 1 and len(table) >= 2
        model = _Categorical(_counts(table), perfect=False)
        self._coder.encode(np.ascontiguousarray(symbols, np.int32), model)

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
        words = np.frombuffer(stream, "<u4").astype(np.uint32)
        self._coder = _stream.queue.RangeDecoder(words)

    def decode(self, tables: Integers) -> NDArray[np.int32]:
        """Returns the next symbols (N,), one under each row of tables (N, K)."""
        return self._decode(_FAMILY, _counts(tables))

    def decode_static(self, count: int, table: Integers) -> NDArray[np.int32]:
        """Returns the next `count` symbols, all under one table (K,)."""
        return self._decode(_Categorical(_counts(table), perfect=False), count)

    def _decode(self, *arguments: Any) -> NDArray[np.int32]:
        try:
            return self._coder.decode(*arguments)
        except AssertionError:  # what constriction raises for a point outside the tables
            raise ArchiveError("a coded stream is damaged: it fits no symbol") from None
