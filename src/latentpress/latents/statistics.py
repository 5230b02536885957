"""What a batch says of codes: how often and by which vectors each was chosen, and which could start one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Statistics", "broadcast", "count", "distinct_rows", "flat_codes", "initial_vectors"]

_CANDIDATES = 512  # at most so many codes of a codebook are revived in one step
_PRIME = 2988479047  # its multiples fall evenly, modulo the usual numbers of vectors in a batch
_MODULUS = 2**31 - 1


def distinct_rows(size: int, rows: int, mask: Tensor | None, seed: Tensor, step: Tensor) -> Tensor:
    """Returns `size` numbers of rows, those where `mask` (rows,) is true, each once before any twice.

    The i-th is the (offset + i * prime)-th valid row, modulo their number; a prime larger than that number
    visits each before any again. The offset depends on `seed` and `step`, scalars.

    >>> chosen = distinct_rows(8, 8, None, torch.tensor(5), torch.tensor(0))
    >>> chosen.sort().values.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    offset = (seed % _MODULUS + step % _MODULUS * 69621) % _MODULUS * 48271 % _MODULUS
    place = torch.arange(size, device=seed.device) * _PRIME + offset
    if mask is None:
        return place % rows
    return torch.argsort(~mask, stable=True)[place % mask.sum().clamp(min=1)]


def initial_vectors(rows: Tensor, mask: Tensor | None, size: int, seed: Tensor) -> Tensor:
    """Returns vectors (P, size, D) to start codebooks from: distinct ones of the batch `rows` (N, P, D).

    Where there are fewer, the rest are midpoints of two, so that no two codes start as equals and stay so.
    """
    valid = len(rows) if mask is None else mask.sum().clamp(min=1)
    chosen = distinct_rows(2 * size, len(rows), mask, seed, torch.zeros_like(seed))
    first = torch.arange(size, device=rows.device)
    second = first + first // valid  # the same row in the first round, its r-th neighbour in round r
    return ((rows[chosen[first]] + rows[chosen[second]]) / 2).transpose(0, 1).contiguous()


def count(rows: Tensor, codes: Tensor, mask: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Returns how many rows chose each of `size` codes, (P, K), and their sums, (P, K, D).

    `rows` (N, P, D) are zero where `mask` (N,) is false, and do not count there; `codes` are (N, P).
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

    `counts` (P, K) and `sums` (P, K, D) are of the vectors that chose each code. Codes are revived from
    `candidates` (P, R, D), distinct vectors of the last batch, the first `available` of which are valid.
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
        counts, sums = self.counts + later.counts, self.sums + later.sums
        return Statistics(counts, sums, later.candidates, later.available)

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
