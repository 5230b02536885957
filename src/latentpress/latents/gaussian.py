"""Gaussian latents in a sequence, whose posterior cannot match the prior: the delta-VAE's latent space.

    p(z):     z_1 ~ N(0, 1),   z_t = alpha z_(t-1) + e_t,   e_t ~ N(0, 1 - alpha^2)
    q(z | x): z_t ~ N(mu_t, s_t^2), independent over steps and channels

A posterior that is independent over t cannot be an AR(1) process: KL(q || p) stays above a rate delta
that alpha sets, with the objective untouched (Razavi et al., arXiv 1901.03416). Families with alpha = 0
constrain the posterior instead: see `independent.py`.

Sequences are (B, n, d): n steps of d channels. Where latents form a grid of several axes, every cell of
the further axes is a sequence: see `sequences.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentpress.latents.rates import ar1_rate_nats

__all__ = ["AR1Latents", "GaussianLatents", "Posterior", "sum_steps"]

_LOG_VARIANCE_ROOM = 6.0  # how far a posterior's log-variance may go from the best one, either way


@dataclass(frozen=True)
class Posterior:
    """q(z | x): `mean` and `log_variance`, both (B, n, d)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Z = mu + s * noise, (B, n, d), differentiable in both parameters; `noise` ~ N(0, 1)."""
        return self.mean + torch.exp(self.log_variance / 2) * noise

    def nats(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """-ln q(z | x) of each sequence, (B,); steps that `mask` (B, n) excludes add 0."""
        normal = Normal(self.mean, torch.exp(self.log_variance / 2), validate_args=False)
        return sum_steps(-normal.log_prob(z), mask)


class GaussianLatents(nn.Module, ABC):
    """n steps of d Gaussian latents with an AR(1) prior of variance 1, one of `alphas` a channel.

    The encoder gives `params` numbers for each latent. `rate_nats` is what the posterior's constraint
    commits for each latent; where there is one, alphas are 0.
    """

    alphas: Tensor
    params = 2

    def __init__(self, alphas: Sequence[float], rate_nats: float = 0.0) -> None:
        super().__init__()
        self.channels, self.rate_nats = len(alphas), rate_nats
        self._exact_alphas = tuple(float(alpha) for alpha in alphas)
        # in float64, for 1 - alpha^2 is a small difference; on the CPU even while a model is built on meta
        coefficients = torch.tensor(self._exact_alphas, dtype=torch.float64, device="cpu")
        self.register_buffer("alphas", coefficients, persistent=False)

    @abstractmethod
    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """The posterior that the encoder's numbers stand for.

        Args:
            raw: (B, n, params * d): all means, then the numbers that set the variances.
            mask: (B, n) bool, false at padding, which is at the end.
        """

    def committed_rate_nats(self, steps: int) -> float:
        """The smallest KL(q || p) of a sequence of so many steps, in nats."""
        return ar1_rate_nats(self._exact_alphas, steps) + steps * self.channels * self.rate_nats

    def kl_nats(self, posterior: Posterior, mask: Tensor | None = None) -> Tensor:
        """KL(q || p) of each sequence in nats, exactly, (B,); masked steps add 0.

        (s_1^2 + mu_1^2 - 1 - ln s_1^2) / 2
        + sum_(t >= 2) [(s_t^2 + alpha^2 s_(t-1)^2 + (mu_t - alpha mu_(t-1))^2) / (1 - alpha^2)
                        - 1 - ln s_t^2 + ln(1 - alpha^2)] / 2
        """
        mean, log_variance = posterior.mean, posterior.log_variance
        alphas = self.alphas.to(mean.dtype)
        variance, noise = log_variance.exp(), (1 - self.alphas**2).to(mean.dtype).repeat(mean.shape[1], 1)
        noise[:1] = 1  # the variance of the prior's noise, (n, d)
        squares = (mean - alphas * _before(mean)).square() + variance + alphas**2 * _before(variance)
        return sum_steps((squares / noise - 1 - log_variance + noise.log()) / 2, mask)

    def sample(self, count: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples z ~ p(z) on the CPU: (count, steps, d)."""
        z = torch.randn(count, steps, self.channels, generator=generator)
        alphas, noise = self.alphas.to(z), (1 - self.alphas**2).sqrt().to(z)
        for step in range(1, steps):
            z[:, step] = alphas * z[:, step - 1] + noise * z[:, step]
        return z


class AR1Latents(GaussianLatents):
    """The family of the delta-VAE: mean and variance free, an AR(1) prior (section 2.3 of the paper).

    The variances start at those of the smallest KL, 1 - alpha^2 at both ends and
    (1 - alpha^2) / (1 + alpha^2) inside, and may leave them by a factor of e^6 either way. With alpha = 0
    it is the plain VAE, which commits nothing.

    >>> latents = AR1Latents([0.9, 0.9])
    >>> posterior = latents.posterior(torch.zeros(1, 28, 4))
    >>> bool((latents.kl_nats(posterior) - latents.committed_rate_nats(28)).abs() < 1e-4)
    True
    """

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        mean, width = raw.chunk(2, dim=-1)
        room = _LOG_VARIANCE_ROOM * torch.tanh(width / _LOG_VARIANCE_ROOM)
        return Posterior(mean, self._best_log_variance(mean, mask) + room)

    def _best_log_variance(self, mean: Tensor, mask: Tensor | None) -> Tensor:
        """Log-variances of the smallest KL, (B or 1, n, d)."""
        squares = self.alphas**2
        steps = mean.shape[1]
        ones = torch.ones(1, steps, dtype=torch.bool, device=mean.device) if mask is None else mask
        after = torch.cat([ones[:, 1:], torch.zeros_like(ones[:, :1])], dim=1)  # whether a step follows
        first = torch.arange(steps, device=mean.device) == 0
        inside = (after & ~first)[..., None]
        end = torch.where((first & ~after)[..., None], 0.0, torch.log1p(-squares))  # one step alone: N(0, 1)
        return torch.where(inside, torch.log1p(-squares) - torch.log1p(squares), end).to(mean.dtype)


def _before(x: Tensor) -> Tensor:
    """The values of the step before, (B, n, d); zeros before the first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def sum_steps(terms: Tensor, mask: Tensor | None) -> Tensor:
    """Sums terms (B, n, d) to (B,), those of masked steps, (B, n) false, left out."""
    if mask is not None:
        terms = terms.where(mask[..., None], 0)
    return terms.flatten(1).sum(1)
