"""Nearest neighbours in a codebook, by squared Euclidean distance.

    code(x) = argmin_k ||x - e_k||^2 = argmin_k ||e_k||^2 / 2 - x . e_k

The norm of a row is the same for every k and left out. Both sides are first moved by the codebook's
mean, so that vectors far from the origin cost no precision. Distances exist for a few rows at a
time only: an N x K tensor is never made. On equal distances the lowest k is chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centred", "nearest", "rows_at_a_time"]

_GROUPS = 16
_CPU_SCORES = 1 << 18  # float32 scores at a time: 1 MiB, which stays in a core's cache
_GPU_SCORES = 1 << 21  # 8 MiB: enough to fill the device, and still inside its cache


def nearest(rows: Tensor, codebooks: Tensor) -> Tensor:
    """Returns the index of each row's nearest vector in each codebook.

    Shapes: rows (N, P, D) and codebooks (P, K, D), float32 -> (N, P) int64, each in 0..K-1 even where a row
    is not finite.

    >>> codebooks = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    >>> nearest(torch.tensor([[[0.1, 0.2]], [[0.9, 0.7]]]), codebooks).tolist()
    [[0], [1]]
    """
    return torch.ops.latentpress.nearest(rows, codebooks)


# One operator for `torch.compile`, which would unroll the loop over chunks otherwise. It is not a
# `custom_op`, because the first call of one imports the compiler, which takes seconds.
torch.library.define("latentpress::nearest", "(Tensor rows, Tensor codebooks) -> Tensor")


@torch.library.impl("latentpress::nearest", "default")
def _nearest_in_each(rows: Tensor, codebooks: Tensor) -> Tensor:
    codes = torch.empty(rows.shape[:2], dtype=torch.int64, device=rows.device)
    for p, vectors in enumerate(codebooks):
        codes[:, p] = _nearest(rows[:, p], vectors)
    return codes


@torch.library.register_fake("latentpress::nearest")
def _(rows: Tensor, codebooks: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[:2], dtype=torch.int64)


def rows_at_a_time(size: int, device: torch.device) -> int:
    """Returns how many rows of `size` float32 scores are worth holding at once."""
    return max(1, (_CPU_SCORES if device.type == "cpu" else _GPU_SCORES) // size)


def centred(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mean (D,) of `vectors` (K, D), they without it, and half their squared norms (K,)."""
    mean = vectors.mean(0)
    moved = vectors - mean
    return mean, moved, moved.square().sum(1) / 2


def _nearest(rows: Tensor, vectors: Tensor) -> Tensor:
    size = len(vectors)
    in_group = -(-size // _GROUPS)
    padding = vectors[-1:].expand(in_group * _GROUPS - size, -1)
    mean, moved, bias = centred(torch.cat([vectors, padding]) if len(padding) else vectors)
    codes = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    step = rows_at_a_time(len(moved), rows.device)
    for chunk, out in zip(rows.split(step), codes.split(step), strict=True):
        _two_levels(torch.addmm(bias, chunk - mean, moved.t(), alpha=-1).view(-1, _GROUPS, in_group), out)
    return codes.clamp_(max=size - 1)  # the padding stands for the last vector


def _two_levels(scores: Tensor, codes: Tensor) -> None:
    # `amin` is several times faster than `argmin`, so find the winning group, then the winner inside it.
    group = scores.amin(2).argmin(1)
    inside = scores[torch.arange(len(scores), device=scores.device), group].argmin(1)
    torch.add(inside, group, alpha=scores.shape[2], out=codes)
