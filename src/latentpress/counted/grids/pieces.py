"""What a model keeps of the training items: their symbols' order, and the streams that they were coded in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.config.networks import MAX_COUNTED_ALPHABET, MAX_COUNTED_SYMBOLS
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Conditioning

__all__ = ["Order", "Piece", "order_of", "pieces_of"]

_MOST_COMPONENTS, _MOST_LABELS = 64, 64
_SIZES = "counted prior: its training items have no sensible sizes"

Order = list[NDArray[np.int64]]
"""Of each component of a tuple, its symbols in their order."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A training stream: items of one shape.

    Args:
        grid: their size.
        labels: int (lanes, rows, L), rows being 1 where labels are of whole items.
        symbols: (positions, lanes, P), or None where they are still to be decoded.
    """

    grid: tuple[int, ...]
    labels: NDArray[np.int32]
    symbols: NDArray[np.int32] | None = None

    @property
    def conditioning(self) -> Conditioning:
        """The labels as networks take them."""
        if not self.labels.shape[2]:
            return Conditioning()
        rows = torch.from_numpy(self.labels.astype(np.int64))
        return Conditioning(labels=rows[:, 0] if rows.shape[1] == 1 else rows)


def order_of(tensors: Mapping[str, Tensor]) -> Order:
    """Each component's symbols in their order; raises `CheckpointError` where they are no permutations."""
    sizes, flat = tensors["alphabets"].tolist(), tensors["order"].numpy().astype(np.int64)
    sound = 1 <= len(sizes) <= _MOST_COMPONENTS and all(2 <= size <= MAX_COUNTED_ALPHABET for size in sizes)
    if not sound or sum(sizes) != len(flat):
        raise CheckpointError("counted prior: its alphabets have no sensible sizes")
    order = np.split(flat, np.cumsum(sizes)[:-1])
    if not all(np.array_equal(np.sort(each), np.arange(len(each))) for each in order):
        raise CheckpointError("counted prior: the order of its symbols is none")
    return order


def pieces_of(tensors: Mapping[str, Tensor], components: int, total: int) -> Iterator[Piece]:
    """The training streams without their symbols; raises `CheckpointError` for senseless sizes."""
    shapes, labels, start, symbols = tensors["shapes"], tensors["labels"].numpy(), 0, 0
    if not 3 <= shapes.shape[1] <= 5 or labels.shape[1] > _MOST_LABELS or total > MAX_COUNTED_SYMBOLS:
        raise CheckpointError(_SIZES)
    for lanes, rows, *grid in shapes.tolist():
        symbols += math.prod(grid) * lanes * components
        if min(lanes, rows, *grid) < 1 or rows > grid[0] or symbols > total:
            raise CheckpointError(_SIZES)
        there = labels[start : start + lanes * rows]
        start += lanes * rows
        if len(there) != lanes * rows:
            raise CheckpointError("counted prior: its training items lack labels")
        yield Piece(tuple(grid), there.reshape(lanes, rows, labels.shape[1]))
    if symbols != total or start != len(labels):
        raise CheckpointError(_SIZES)
