"""How often codes were chosen in an optimiser step, and by which vectors, over micro-batches and replicas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from latentpress.latents.sampling import distinct_rows

__all__ = ["Statistics", "broadcast", "count", "flat_codes"]

_CANDIDATES = 512  # at most so many codes of a codebook are revived in one step


def count(rows: Tensor, codes: Tensor, mask: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Returns how many rows chose each code, and their sums.

    Args:
        rows: (N, P, D), zero where masked.
        codes: (N, P), integers in 0..size-1.
        mask: (N,) bool, false for rows that do not count, or None.
        size: codes in a codebook, K.

    Returns:
        Counts (P, K) and sums (P, K, D), float32.
    """
    codebooks, dim = rows.shape[1:]
    flat = flat_codes(codes, size).flatten()
    ones = rows.new_ones(codes.shape) if mask is None else mask[:, None].expand_as(codes).to(rows.dtype)
    counts = rows.new_zeros(codebooks * size).index_add_(0, flat, ones.flatten())
    sums = rows.new_zeros(codebooks * size, dim).index_add_(0, flat, rows.reshape(-1, dim))
    return counts.view(codebooks, size), sums.view(codebooks, size, dim)


def flat_codes(codes: Tensor, size: int) -> Tensor:
    """Returns codes (..., P) as indices into the vectors of all codebooks, one codebook after the other."""
    return codes + torch.arange(codes.shape[-1], device=codes.device) * size


def broadcast(tensor: Tensor) -> None:
    """Gives every replica the first one's values, where there are several."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(tensor, src=0)


@dataclass(frozen=True)
class Statistics:
    """Collected in forward passes, applied once an optimiser step.

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
    def of(
        cls, rows: Tensor, codes: Tensor, mask: Tensor | None, size: int, seed: Tensor, step: Tensor
    ) -> Statistics:
        """Returns the statistics of one batch; see `count` and `distinct_rows`."""
        counts, sums = count(rows, codes, mask, size)
        chosen = distinct_rows(min(size, len(rows), _CANDIDATES), len(rows), mask, seed, step)
        available = seed.new_full((), len(chosen)) if mask is None else mask.sum().clamp(max=len(chosen))
        return cls(counts, sums, rows[chosen].transpose(0, 1).contiguous(), available)

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

        The j-th dead code of a codebook takes its j-th candidate.
        """
        place = dead.cumsum(1) - 1
        revived = dead & (place < self.available)
        place = place.clamp(0, self.candidates.shape[1] - 1).unsqueeze(-1)
        return revived, self.candidates.gather(1, place.expand(-1, -1, self.candidates.shape[2]))
