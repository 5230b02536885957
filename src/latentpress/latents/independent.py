"""Gaussian latents with the prior N(0, 1), and posteriors that are kept away from it, scalar by scalar.

Three constraints of arXiv 1901.03416 (section 2.2): a fixed ratio of variances; a variance below the
one that commits the rate at mean 0; a mean as far away as the variance needs. The rate of a sequence
is the sum of its scalars'. `build_gaussian` makes a family of any kind.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.config import (
    AR1Config,
    GaussianLatentsConfig,
    MeanBoundConfig,
    PlainGaussianConfig,
    VarianceBoundConfig,
    VarianceRatioConfig,
)
from latentpress.latents.gaussian import AR1Latents, GaussianLatents, PlainLatents, Posterior
from latentpress.latents.rates import ratio_rate_nats, variance_roots

__all__ = ["MeanBoundLatents", "VarianceBoundLatents", "VarianceRatioLatents", "build_gaussian"]


class VarianceRatioLatents(GaussianLatents):
    """s^2 = ratio, mu free: KL >= (a - 1 - ln a) / 2 a scalar, reached at mu = 0.

    >>> latents = VarianceRatioLatents(channels=1, ratio=0.25)
    >>> round(latents.committed_rate_nats(steps=10), 3)
    3.181
    """

    params = 1

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__((0.0,) * channels)
        self.ratio = ratio

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        return Posterior(raw, torch.full_like(raw, math.log(self.ratio)))

    def committed_rate_nats(self, steps: int) -> float:
        """N d (a - 1 - ln a) / 2."""
        return steps * self.channels * ratio_rate_nats(self.ratio)


class VarianceBoundLatents(GaussianLatents):
    """s^2 <= the lower root v of ln v - v + 2 delta + 1 = 0, mu free: KL >= delta, reached at v and mu = 0.

    >>> latents = VarianceBoundLatents(channels=2, rate_nats=0.5)
    >>> latents.committed_rate_nats(steps=3)
    3.0
    """

    def __init__(self, channels: int, rate_nats: float) -> None:
        super().__init__((0.0,) * channels)
        self.rate_nats = rate_nats
        self.largest = math.log(variance_roots(rate_nats)[0])

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        mean, width = raw.chunk(2, dim=-1)
        return Posterior(mean, self.largest - F.softplus(width))

    def committed_rate_nats(self, steps: int) -> float:
        """N d delta."""
        return steps * self.channels * self.rate_nats


class MeanBoundLatents(GaussianLatents):
    """s^2 between the two roots, and mu >= sqrt(2 delta + 1 + ln s^2 - s^2): KL >= delta, reached there.

    >>> latents = MeanBoundLatents(channels=1, rate_nats=0.5)
    >>> posterior = latents.posterior(torch.tensor([[[-40.0, 1.3]]]))  # as near as may be
    >>> round(latents.kl_nats(posterior).item(), 4)
    0.5
    """

    def __init__(self, channels: int, rate_nats: float) -> None:
        super().__init__((0.0,) * channels)
        self.rate_nats = rate_nats
        self.roots = variance_roots(rate_nats)

    def posterior(self, raw: Tensor, mask: Tensor | None = None) -> Posterior:
        """See `GaussianLatents.posterior`."""
        mean, width = raw.chunk(2, dim=-1)
        low, high = (math.log(root) for root in self.roots)
        log_variance = low + (high - low) * torch.sigmoid(width)
        needed = 2 * self.rate_nats + 1 + log_variance - log_variance.exp()
        nearest = needed.clamp(min=1e-12).sqrt()  # the gradient of a square root at 0 is infinite
        return Posterior(nearest + F.softplus(mean), log_variance)

    def committed_rate_nats(self, steps: int) -> float:
        """N d delta."""
        return steps * self.channels * self.rate_nats


def build_gaussian(config: GaussianLatentsConfig) -> GaussianLatents:
    """The Gaussian latent space that a configuration names.

    >>> build_gaussian(VarianceRatioConfig(channels=2, ratio=0.5)).channels
    2
    """
    match config:
        case AR1Config():
            return AR1Latents(config.alphas)
        case PlainGaussianConfig():
            return PlainLatents(config.channels)
        case VarianceRatioConfig():
            return VarianceRatioLatents(config.channels, config.ratio)
        case VarianceBoundConfig():
            return VarianceBoundLatents(config.channels, config.rate_nats)
        case MeanBoundConfig():
            return MeanBoundLatents(config.channels, config.rate_nats)
