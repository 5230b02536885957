"""Grids of Gaussian latents as sequences: every cell of the axes after the first runs by itself in time.

    vectors (B, d, n, *G')  <->  sequences (B * cells, n, d),   cells = the product of G'

The cells of an item follow one another in raster order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

__all__ = ["as_sequences", "from_sequences", "mask_sequences"]


def as_sequences(vectors: Tensor) -> Tensor:
    """Sequences (B * cells, n, d) of channel-first vectors (B, d, n, *G').

    >>> import torch
    >>> as_sequences(torch.zeros(2, 3, 5, 4, 4)).shape
    torch.Size([32, 5, 3])
    """
    batch, channels, steps, *cells = vectors.shape
    return vectors.reshape(batch, channels, steps, math.prod(cells)).permute(0, 3, 2, 1).flatten(0, 1)


def from_sequences(sequences: Tensor, cells: Sequence[int]) -> Tensor:
    """The inverse of `as_sequences`, given G': vectors (B, d, n, *G')."""
    by_item = sequences.unflatten(0, (-1, math.prod(cells))).permute(0, 3, 2, 1)
    return by_item.reshape(*by_item.shape[:3], *cells)


def mask_sequences(mask: Tensor, cells: Sequence[int]) -> Tensor:
    """Which steps (B, n) of items are not padding, for each of their sequences: (B * cells, n)."""
    return mask.repeat_interleave(math.prod(cells), dim=0)
