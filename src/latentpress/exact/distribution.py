"""What symbols are coded with and sampled from: a distribution that is computed with integers alone.

A prior or a decoder in integer form gives every symbol a table of frequencies made of the symbols before
it. Press, generation and proofs see this interface and not the network behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.strict import Bounds, Strict, within

__all__ = ["Conditioning", "IntegerDistribution", "Sampling", "Stream"]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a network sees besides the symbols (local and global conditioning, arXiv 1609.03499, section 2.5).

    `local`: (B, Cm, *G), aligned with the grid; float for networks in floating point, int8 for integer forms.
    `labels`: int64 (B, L), or (B, T, L) where rows along the first axis have labels of their own; -1 is
    unknown.
    """

    local: Tensor | None = None
    labels: Tensor | None = None

    def rows(self, rows: slice) -> Conditioning:
        """The conditioning of some of the items."""
        return Conditioning(*(None if part is None else part[rows] for part in (self.local, self.labels)))


@dataclass(frozen=True, eq=False)
class Stream:
    """Items of one shape that share a coded stream.

    Args:
        grid: their size; all streams of a call have the same extents but for the first.
        lanes: how many they are.
        conditioning: theirs, in integers.
        payload: the coded bytes, for decoding.
        symbols: (positions, lanes, P), for encoding.
    """

    grid: tuple[int, ...]
    lanes: int
    conditioning: Conditioning = field(default_factory=Conditioning)
    payload: bytes = b""
    symbols: NDArray[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling(Strict):
    """How symbols are sampled.

    Args:
        seed: 0 to 2^64 - 1; one seed gives the same symbols on every machine.
        temperature: divides the log-probabilities, 0.01 to 100.
        top_k: sample only from so many of the likeliest symbols, 0 for all.
        top_p: sample only from the fewest likeliest symbols that have this probability together.
    """

    seed: Annotated[int, within(0, (1 << 64) - 1)] = 0
    temperature: Annotated[float, within(0.01, 100)] = 1.0
    top_k: Annotated[int, within(0)] = 0
    top_p: Annotated[float, Bounds("over 0, to 1", lambda value: 0 < value <= 1)] = 1.0


class IntegerDistribution(Protocol):
    """Symbols on a grid, one after the other, in integers."""

    @property
    def id(self) -> bytes:
        """16 bytes, a hash of all its integers."""
        ...

    @property
    def alphabets(self) -> tuple[int, ...]:
        """How many symbols each of the P components of a position's tuple has."""
        ...

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """Codes streams with their symbols; returns each one's bytes and each lane's ideal bits, (lanes,)."""
        ...

    def decode(self, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
        """The symbols (positions, lanes, P) of streams with their payloads; None where one is damaged."""
        ...

    def sample(
        self,
        count: int,
        grid: tuple[int, ...],
        how: Sampling,
        *,
        conditioning: Conditioning | None = None,
        prefix: Tensor | None = None,
        numbers: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Samples items symbol by symbol.

        Args:
            count: how many.
            grid: the size of each.
            how: see `Sampling`.
            conditioning: theirs.
            prefix: (count, n, P) int64, the symbols of the first n positions in raster order, kept as given.
            numbers: which items of the seed these are; by default 0, 1, ..., count - 1.
            progress: called on the way with how many symbols were done since the last call.

        Returns:
            (count, *grid, P) int64, on the CPU.
        """
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """All integers, on the CPU."""
        ...

    def to(self, device: torch.device | str) -> IntegerDistribution:
        """The same distribution on another device."""
        ...
