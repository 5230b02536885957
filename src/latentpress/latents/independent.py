"""Gaussian latents with the prior N(0, 1), and posteriors that are kept away from it, scalar by scalar.

The constraints are those of arXiv 1901.03416, section 2.2; each commits a rate for every scalar.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress import config as configs
from latentpress.latents.gaussian import AR1Latents, GaussianLatents, Posterior
from latentpress.latents.rates import ratio_rate_nats, variance_roots

__all__ = ["MeanBoundLatents", "VarianceBoundLatents", "VarianceRatioLatents", "build_gaussian"]


class _Independent(GaussianLatents):
    def __init__(self, channels: int, rate_nats: float) -> None:
        super().__init__((0.0,) * channels, rate_nats)


class VarianceRatioLatents(_Independent):
    """s^2 = ratio, mu free: KL >= (a - 1 - ln a) / 2 a scalar, reached at mu = 0.

    >>> latents = VarianceRatioLatents(channels=1, ratio=0.25)
    >>> round(latents.committed_rate_nats(steps=10), 3)
    3.181
    """

    params = 1

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__(channels, ratio_rate_nats(ratio))
        self.ratio = ratio

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        return Posterior(raw, torch.full_like(raw, math.log(self.ratio)))


class VarianceBoundLatents(_Independent):
    """s^2 <= the lower root v of ln v - v + 2 delta + 1 = 0, mu free: KL >= delta, reached at v and mu = 0.

    >>> latents = VarianceBoundLatents(channels=2, rate_nats=0.5)
    >>> latents.committed_rate_nats(steps=3)
    3.0
    """

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        mean, width = raw.chunk(2, dim=-1)
        return Posterior(mean, math.log(variance_roots(self.rate_nats)[0]) - F.softplus(width))


class MeanBoundLatents(_Independent):
    """s^2 between the two roots, and mu >= sqrt(2 delta + 1 + ln s^2 - s^2): KL >= delta, reached there.

    >>> latents = MeanBoundLatents(channels=1, rate_nats=0.5)
    >>> posterior = latents.posterior(torch.tensor([[[-40.0, 1.3]]]))  # as near as may be
    >>> round(latents.kl_nats(posterior).item(), 4)
    0.5
    """

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        mean, width = raw.chunk(2, dim=-1)
        low, high = (math.log(root) for root in variance_roots(self.rate_nats))
        log_variance = low + (high - low) * torch.sigmoid(width)
        needed = 2 * self.rate_nats + 1 + log_variance - log_variance.exp()
        nearest = needed.clamp(min=1e-12).sqrt()  # the gradient of a square root at 0 is infinite
        return Posterior(nearest + F.softplus(mean), log_variance)


def build_gaussian(config: configs.GaussianLatentsConfig) -> GaussianLatents:
    """The Gaussian latent space that a configuration names."""
    match config:
        case configs.AR1Config():
            return AR1Latents(config.alphas)
        case configs.PlainGaussianConfig():
            return AR1Latents((0.0,) * config.channels)
        case configs.VarianceRatioConfig():
            return VarianceRatioLatents(config.channels, config.ratio)
        case configs.VarianceBoundConfig():
            return VarianceBoundLatents(config.channels, config.rate_nats)
        case configs.MeanBoundConfig():
            return MeanBoundLatents(config.channels, config.rate_nats)
