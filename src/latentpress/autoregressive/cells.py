"""Grids of cells: the samples that one latent position spans, as channels of that position and back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

__all__ = ["depth_to_space", "space_to_depth"]


def depth_to_space(cells: Tensor, hop: Sequence[int], size: Sequence[int]) -> Tensor:
    """Lays cells (B, *G, prod(hop) * C) out on the samples: (B, C, *size); what is over is cut off.

    >>> import torch
    >>> depth_to_space(torch.arange(6).view(1, 2, 3), hop=(3,), size=(5,)).tolist()
    [[[0, 1, 2, 3, 4]]]
    """
    rank = len(hop)
    split = cells.unflatten(-1, (*hop, -1))  # (B, *G, *hop, C)
    pairs = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    laid = split.permute(0, 1 + 2 * rank, *pairs)
    sides = (grid * h for grid, h in zip(cells.shape[1:-1], hop, strict=True))
    laid = laid.reshape(*laid.shape[:2], *sides)
    return laid[(slice(None), slice(None), *map(slice, size))]


def space_to_depth(samples: Tensor, hop: Sequence[int]) -> Tensor:
    """Gathers samples (B, *S, C) into cells: (B, *G, prod(hop) * C), G = ceil(S / hop), filled up with zeros.

    Samples of a cell are in raster order, as `depth_to_space` takes them.

    >>> import torch
    >>> space_to_depth(torch.arange(3.0).view(1, 3, 1), hop=(2,)).tolist()
    [[[0.0, 1.0], [2.0, 0.0]]]
    """
    rank, size = len(hop), samples.shape[1:-1]
    missing = [-side % h for side, h in zip(size, hop, strict=True)]
    if any(missing):
        samples = F.pad(samples, [0, 0, *(n for m in reversed(missing) for n in (0, m))])
    for axis, h in enumerate(hop):
        samples = samples.unflatten(1 + 2 * axis, (-1, h))  # (B, G_1, hop_1, ..., C)
    grid = [1 + 2 * axis for axis in range(rank)]
    cells = samples.permute(0, *grid, *(axis + 1 for axis in grid), 1 + 2 * rank)
    return cells.flatten(1 + rank)
