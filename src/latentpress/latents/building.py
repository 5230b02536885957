"""The Gaussian latent space that a configuration names."""

from __future__ import annotations

from latentpress.config import (
    AR1Config,
    GaussianLatentsConfig,
    MeanBoundConfig,
    PlainGaussianConfig,
    VarianceBoundConfig,
)
from latentpress.latents.gaussian import AR1Latents, GaussianLatents, PlainLatents
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents

__all__ = ["build_gaussian"]


def build_gaussian(config: GaussianLatentsConfig) -> GaussianLatents:
    """Makes the latent space of a delta-VAE.

    >>> from latentpress.config import VarianceRatioConfig
    >>> build_gaussian(VarianceRatioConfig(channels=2, ratio=0.5)).channels
    2
    """
    if isinstance(config, AR1Config):
        return AR1Latents(config.alphas)
    if isinstance(config, PlainGaussianConfig):
        return PlainLatents(config.channels)
    if isinstance(config, VarianceBoundConfig):
        return VarianceBoundLatents(config.channels, config.rate_nats)
    if isinstance(config, MeanBoundConfig):
        return MeanBoundLatents(config.channels, config.rate_nats)
    return VarianceRatioLatents(config.channels, config.ratio)
