"""Repeatable choices of distinct rows of a batch, the same on every machine and in every graph."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["distinct_rows", "initial_vectors"]

_PRIME = 2988479047  # its multiples fall evenly, modulo the usual numbers of vectors in a batch
_MODULUS = 2**31 - 1


def distinct_rows(size: int, rows: int, mask: Tensor | None, seed: Tensor, step: Tensor) -> Tensor:
    """Returns `size` row numbers that differ while there are that many rows to choose from.

    The i-th is the (offset + i * prime)-th valid row, modulo their number; a prime larger than that
    number visits each once before any twice. The offset depends on `seed` and `step`.

    Args:
        size: how many to choose.
        rows: how many rows there are.
        mask: (rows,) bool, true where a row may be chosen, or None for all.
        seed: scalar int64.
        step: scalar int64.

    Returns:
        (size,) int64.

    >>> chosen = distinct_rows(8, 8, None, torch.tensor(5), torch.tensor(0))
    >>> chosen.sort().values.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    offset = (seed % _MODULUS + step % _MODULUS * 69621) % _MODULUS * 48271 % _MODULUS
    place = torch.arange(size, device=seed.device) * _PRIME + offset
    if mask is None:
        return place % rows
    valid = mask.sum().clamp(min=1)
    return torch.argsort(~mask, stable=True)[place % valid]


def initial_vectors(rows: Tensor, mask: Tensor | None, size: int, seed: Tensor) -> Tensor:
    """Returns (P, size, D) vectors of the batch `rows` (N, P, D) to start codebooks from.

    They are distinct rows; when there are fewer than `size`, the rest are midpoints of two rows, so
    that no two codes start as equals and stay so.
    """
    valid = len(rows) if mask is None else mask.sum().clamp(min=1)
    chosen = distinct_rows(2 * size, len(rows), mask, seed, torch.zeros_like(seed))
    first = torch.arange(size, device=rows.device)
    second = first + first // valid  # the same row in the first round, its r-th neighbour in round r
    vectors = (rows[chosen[first]] + rows[chosen[second]]) / 2
    return vectors.transpose(0, 1).contiguous()
