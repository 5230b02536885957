"""How the vectors of codebooks learn: by moving averages, or by a gradient.

Both classes hold P codebooks of K vectors of dimension D, `vectors` (P, K, D), standard normal at the start.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentpress.config import CodeVectorsConfig, EMAConfig, LearnedConfig

__all__ = ["EMACodebook", "LearnedCodebook", "build_code_vectors", "mean_squared_error"]


def mean_squared_error(vectors: Tensor, target: Tensor, elements: Tensor | int) -> Tensor:
    """Returns the sum of squared differences over `elements`, the number of those that are not padding."""
    # `reduction="sum"` would hold the batch's squares twice.
    return F.mse_loss(vectors, target, reduction="none").sum() / elements


class EMACodebook(nn.Module):
    """Vectors that follow exponential moving averages of the vectors that chose them.

    With n_i vectors z_ij that chose code i in a step (arXiv 1711.00937, appendix A.1):

        N_i <- decay * N_i + (1 - decay) * n_i
        m_i <- decay * m_i + (1 - decay) * sum_j z_ij
        e_i  = m_i / N_i

    Both averages start from zero, so after t steps each is too small by the factor 1 - decay^t. The
    quotient is free of it: already the first steps are right. A vector that nothing chose stays.

    >>> codebook = EMACodebook(EMAConfig(decay=0.5), (1, 2, 1))
    >>> codebook.learn(torch.tensor([[2.0, 0.0]]), torch.tensor([[[6.0], [0.0]]]))
    >>> codebook.vectors[0, 0]
    tensor([3.])
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: EMAConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.decay = config.decay
        self.register_buffer("vectors", torch.empty(shape).normal_())
        self.register_buffer("counts", torch.zeros(shape[:2]))
        self.register_buffer("sums", torch.zeros(shape))

    def loss(self, z: Tensor, chosen: Tensor, elements: Tensor | int) -> Tensor:
        """Returns 0: no gradient moves these vectors."""
        return z.new_zeros(())

    @torch.no_grad()
    def learn(self, counts: Tensor, sums: Tensor) -> None:
        """Takes a step: `counts` (P, K) vectors chose each code, and sum to `sums` (P, K, D)."""
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        mean = self.sums / self.counts.unsqueeze(-1)
        self.vectors.copy_(torch.where(counts.unsqueeze(-1) > 0, mean, self.vectors))

    @torch.no_grad()
    def replace(self, where: Tensor, vectors: Tensor) -> None:
        """Writes `vectors` (P, K, D) where `where` (P, K) is true; their averages start anew."""
        self.vectors.copy_(torch.where(where.unsqueeze(-1), vectors, self.vectors))
        self.counts.masked_fill_(where, 0)
        self.sums.masked_fill_(where.unsqueeze(-1), 0)


class LearnedCodebook(nn.Module):
    """Vectors that are a parameter, moved by weight * ||sg[z] - e||^2 (arXiv 1711.00937, equation 3)."""

    def __init__(self, config: LearnedConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.weight = config.weight
        self.vectors = nn.Parameter(torch.empty(shape).normal_())

    def loss(self, z: Tensor, chosen: Tensor, elements: Tensor | int) -> Tensor:
        """Returns the weighted mean squared error whose gradient reaches the chosen vectors only."""
        return self.weight * mean_squared_error(chosen, z.detach(), elements)

    def learn(self, counts: Tensor, sums: Tensor) -> None:
        """Does nothing: the optimiser has moved the vectors."""

    @torch.no_grad()
    def replace(self, where: Tensor, vectors: Tensor) -> None:
        """Writes `vectors` (P, K, D) where `where` (P, K) is true."""
        self.vectors.copy_(torch.where(where.unsqueeze(-1), vectors, self.vectors))


def build_code_vectors(
    config: CodeVectorsConfig, shape: tuple[int, int, int]
) -> EMACodebook | LearnedCodebook:
    """The vectors of `shape` (P, K, D) that the configuration names."""
    return EMACodebook(config, shape) if isinstance(config, EMAConfig) else LearnedCodebook(config, shape)
