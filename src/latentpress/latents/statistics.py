"""What one optimiser step's batches tell of the codes, over micro-batches and replicas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from latentpress.latents.sampling import spread

__all__ = ["Statistics", "broadcast", "count", "flat_codes"]

_CANDIDATES = 512  # at most so many codes of a partition are revived in one step


def count(rows: Tensor, codes: Tensor, mask: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Returns how many rows chose each code, and their sums.

    Args:
        rows: (N, P, D), zero where masked.
        codes: (N, P), integers in 0..size-1.
        mask: (N,) bool, false for rows that do not count, or None.
        size: codes in a partition, K.

    Returns:
        Counts (P, K) and sums (P, K, D), float32.
    """
    partitions, dim = rows.shape[1:]
    flat = flat_codes(codes, size).flatten()
    ones = rows.new_ones(codes.shape) if mask is None else mask[:, None].expand_as(codes).to(rows.dtype)
    counts = rows.new_zeros(partitions * size).index_add_(0, flat, ones.flatten())
    sums = rows.new_zeros(partitions * size, dim).index_add_(0, flat, rows.reshape(-1, dim))
    return counts.view(partitions, size), sums.view(partitions, size, dim)


def flat_codes(codes: Tensor, size: int) -> Tensor:
    """Returns codes (..., P) as indices into all partitions' vectors, one partition after the other."""
    return codes + torch.arange(codes.shape[-1], device=codes.device) * size


def broadcast(tensor: Tensor) -> None:
    """Gives every replica the first one's values, where there are several."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(tensor, src=0)


@dataclass(frozen=True)
class Statistics:
    """Gathered in forward passes, applied once an optimiser step.

    Args:
        counts: (P, K), how many vectors chose each code.
        sums: (P, K, D), the sums of those vectors.
        candidates: (P, R, D), distinct vectors of the last batch, to revive codes from.
        available: scalar int64, how many of the candidates are valid.
    """

    counts: Tensor
    sums: Tensor
    candidates: Tensor
    available: Tensor

    @classmethod
    def gather(
        cls, rows: Tensor, codes: Tensor, mask: Tensor | None, size: int, seed: Tensor, step: Tensor
    ) -> Statistics:
        """Returns the statistics of one batch; see `count` and `spread`."""
        counts, sums = count(rows, codes, mask, size)
        drawn = spread(min(size, len(rows), _CANDIDATES), len(rows), mask, seed, step)
        available = seed.new_full((), len(drawn)) if mask is None else mask.sum().clamp(max=len(drawn))
        return cls(counts, sums, rows[drawn].transpose(0, 1).contiguous(), available)

    def __add__(self, later: Statistics) -> Statistics:
        return Statistics(
            self.counts + later.counts, self.sums + later.sums, later.candidates, later.available
        )

    def reduce(self) -> None:
        """Replaces the values by those over all replicas: sums, and the first one's candidates."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self.counts)
            dist.all_reduce(self.sums)
        broadcast(self.candidates)
        broadcast(self.available)

    def replacements(self, dead: Tensor) -> tuple[Tensor, Tensor]:
        """Returns which of the `dead` (P, K) codes can be revived, and vectors (P, K, D) for them.

        The j-th dead code of a partition takes its j-th candidate.
        """
        place = dead.cumsum(1) - 1
        revived = dead & (place < self.available)
        place = place.clamp(0, self.candidates.shape[1] - 1).unsqueeze(-1)
        return revived, self.candidates.gather(1, place.expand(-1, -1, self.candidates.shape[2]))
