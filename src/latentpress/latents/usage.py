"""How well codebooks are used: the share of codes in use and the perplexity of their distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["AverageShare", "CodeUsage", "UsageWindow"]

_COLLAPSED = 0.1  # a perplexity below this share of the codes is a collapse
_ENOUGH = 10  # vectors a code that must have been counted before anything is said of a collapse
_BUCKET = 100  # steps
_DECAY = 0.99  # of the average share
_TRUSTED = 0.1  # weight from which an average is believed: ten steps


@dataclass(frozen=True)
class CodeUsage:
    """How often each code was chosen: `counts`, (P, K) int64.

    >>> usage = CodeUsage.of(torch.tensor([[0], [1], [1], [0]]), codebook_size=4)
    >>> usage.used, usage.usage, round(usage.perplexity, 6)
    (2, 0.5, 2.0)
    """

    counts: Tensor

    @classmethod
    def of(cls, codes: Tensor, codebook_size: int) -> CodeUsage:
        """Counts `codes` (..., P), integers in 0..codebook_size-1."""
        columns = codes.reshape(-1, codes.shape[-1]).unbind(1)
        return cls(torch.stack([torch.bincount(column, minlength=codebook_size) for column in columns]))

    @property
    def used(self) -> int:
        """Codes chosen at least once, over all codebooks."""
        return int((self.counts > 0).sum())

    @property
    def usage(self) -> float:
        """Share of the codes chosen at least once, 0 to 1."""
        return self.used / self.counts.numel()

    @property
    def perplexity(self) -> float:
        """exp(entropy in nats) of the code distribution, 1 to K: the mean over the codebooks."""
        share = self.counts.double() / self.counts.sum(1, keepdim=True).clamp(min=1)
        return torch.special.entr(share).sum(1).exp().mean().item()

    @property
    def warning(self) -> str | None:
        """What to do when the codebook has collapsed; None when it has not, or too little was counted."""
        size = self.counts.shape[1]
        if self.counts.sum(1).min() < _ENOUGH * size or self.perplexity >= _COLLAPSED * size:
            return None
        return (
            f"the codebook has collapsed: {self.used} of {self.counts.numel()} codes are in use, as unevenly "
            f"as if there were {self.perplexity:.1f} of {size}; raise latents.dead_code_threshold (0.1), "
            "lower the learning rate, raise latents.commitment_weight (up to 2), or try "
            "latents.gradient=rotation; if it stays so, the data need no more: lower latents.codebook_size"
        )


class UsageWindow(nn.Module):
    """Counts of the last 100 to 200 steps: a running bucket and the one before it.

    A batch's perplexity depends on its size; that over a window does not.
    """

    counts: Tensor
    age: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(2, *shape, dtype=torch.int64))
        self.register_buffer("age", torch.zeros((), dtype=torch.int64))

    def add(self, counts: Tensor) -> None:
        """Adds the counts (P, K) of one step."""
        full = self.age >= _BUCKET  # a tensor: no wait for the device
        running, before = self.counts
        before.copy_(torch.where(full, running, before))
        running.mul_(~full).add_(counts.long())
        self.age.mul_(~full).add_(1)

    def read(self) -> CodeUsage:
        """Returns the usage over the window."""
        return CodeUsage(self.counts.sum(0))


class AverageShare(nn.Module):
    """Debiased moving average of each code's usage in units of the uniform share, whatever the batch.

    average_i = total_i / weight_i, both moving averages from zero since the code was last reset.
    """

    total: Tensor
    weight: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(shape))
        self.register_buffer("weight", torch.zeros(shape))

    def add(self, counts: Tensor) -> None:
        """Adds the counts (P, K) of one step; a step in which nothing was counted leaves no trace."""
        mean = counts.mean(1, keepdim=True)
        speed = (1 - _DECAY) * (mean > 0)
        self.total += speed * (counts / mean.clamp(min=torch.finfo(mean.dtype).tiny) - self.total)
        self.weight += speed * (1 - self.weight)

    def below(self, share: float) -> Tensor:
        """Returns (P, K) bool: codes watched for long enough, with an average under `share`."""
        return (self.weight > _TRUSTED) & (self.total < share * self.weight)

    def reset(self, where: Tensor) -> None:
        """Starts the averages of some codes anew."""
        self.total.masked_fill_(where, 0)
        self.weight.masked_fill_(where, 0)
