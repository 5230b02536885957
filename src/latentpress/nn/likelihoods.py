r"""Likelihoods p(x | z) of samples on a scale of `levels` values, in nats: what a decoder's outputs mean.

Samples x lie on the scale [-1, 1], the i-th of L levels at 2i / (L - 1) - 1, so neighbouring levels are
2 / (L - 1) apart: bytes 2/255. Every likelihood is stated as -log of the *probability mass of the
sample's level*: exactly for the discretised logistic, as density times bin width 2 / (L - 1) for the
Gaussian and the Laplace. So all of them, and lossless coders too, compare in bits per dimension =
nats / (dimensions * ln 2).

The scale sets the weight of the reconstruction against the codebook's terms: a Gaussian of scale s
costs (x - mean)^2 / (2 s^2) nats a sample, thus s = sqrt(1/2) = 0.71 is the plain squared error, and a
learned s, whose optimum is the root mean square error, raises that weight as reconstructions improve.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentpress.config import DiscretizedLogisticConfig, GaussianConfig, LaplaceConfig, LikelihoodConfig

__all__ = ["DiscretizedLogistic", "Gaussian", "Laplace", "Likelihood", "build_likelihood"]

_START = 0.1  # scale of a new model: a PSNR of 26 dB


class Likelihood(nn.Module, ABC):
    """A distribution of samples on `levels` levels, factorised over samples given the decoder's outputs.

    Args:
        channels: C, of the samples.
        levels: values that a sample can have, 2 or more.

    Attributes:
        params_per_sample: decoder outputs for each sample, the locations of all channels first.
    """

    params_per_sample: ClassVar[int] = 1

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.channels = channels
        self.levels = levels
        self.half_bin = 1 / (levels - 1)

    @abstractmethod
    def elementwise_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """-log P(level) of each sample: float32 (B, C * params_per_sample, *S), (B, C, *S) -> (B, C, *S)."""

    def nats(self, params: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """-log P(item) of each item, (B,), in float32.

        Args:
            params: (B, C * params_per_sample, *S).
            x: (B, C, *S) on [-1, 1].
            mask: (B, *S) bool, false at padding, which adds exactly 0.
        """
        if params.shape[1] != self.channels * self.params_per_sample or x.shape[1] != self.channels:
            raise ValueError(
                f"x takes {self.channels} channels and params {self.channels * self.params_per_sample}, "
                f"got {x.shape[1]} and {params.shape[1]}"
            )
        nats = self.elementwise_nats(params.float(), x.float())
        if mask is not None:
            nats = nats.where(mask[:, None], 0)
        return nats.flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        """The reconstruction (B, C, *S) on [-1, 1]: the locations, clipped."""
        return params[:, : self.channels].float().clamp(-1, 1)


class _Scaled(Likelihood):
    """One scale s for each channel on [-1, 1], given, or learned where it is `None`, for all items alike."""

    def __init__(self, channels: int, levels: int, scale: float | None = None) -> None:
        super().__init__(channels, levels)
        self._floor = min(self.half_bin, _START / 2)  # no density is sharper than a level
        if scale is None:
            self.log_scale = nn.Parameter(torch.full((channels,), math.log(_START - self._floor)))
        else:
            self.register_buffer("fixed", torch.full((channels,), scale))
        self.learned = scale is None

    @property
    def scale(self) -> Tensor:
        """Scale of each channel (C,); a learned one stays above half a bin."""
        return self.log_scale.exp() + self._floor if self.learned else self.get_buffer("fixed")

    def _standardised(self, params: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The error in units of the scale, and the log of scale / bin width, both to broadcast with x."""
        scale = self.scale.view(-1, *(1,) * (x.dim() - 2))
        return (x - params) / scale, scale.log() - math.log(2 * self.half_bin)


class Gaussian(_Scaled):
    """Independent normal distributions, density times bin width.

    nats = (x - mean)^2 / (2 s^2) + log s + log(2 pi) / 2 - log(2 / (L - 1))

    >>> x = torch.zeros(1, 3, 2, 2)
    >>> nats = Gaussian(3, levels=256, scale=2 / 255).nats(x, x)
    >>> round(float(nats) / (12 * math.log(2)), 4)  # bits per dimension
    1.3257
    """

    def elementwise_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """See `Likelihood.elementwise_nats`."""
        error, log_bins = self._standardised(params, x)
        return 0.5 * error.square() + (log_bins + 0.5 * math.log(2 * math.pi))


class Laplace(_Scaled):
    """Independent Laplace distributions, density times bin width.

    nats = |x - mean| / s + log(2 s) - log(2 / (L - 1))

    >>> x = torch.zeros(1, 3, 2, 2)
    >>> round(float(Laplace(3, levels=256, scale=2 / 255).nats(x, x)) / (12 * math.log(2)), 4)
    1.0
    """

    def elementwise_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """See `Likelihood.elementwise_nats`."""
        error, log_bins = self._standardised(params, x)
        return error.abs() + (log_bins + math.log(2))


class DiscretizedLogistic(Likelihood):
    r"""Logistic distributions integrated over each level's bin (arXiv 1701.05517, section 2.1).

    P(x) = sigmoid(a) - sigmoid(b),  a, b = (x +- 1/(L - 1) - mean) / s; the bins of the lowest and the
    highest level reach to infinity, so the L masses sum to one. It is computed without cancellation as
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)), whose logarithm has finite gradients everywhere.

    The second half of params, r, gives log s, bounded on both sides, since a scale far under a bin or far
    over the range would only cost precision: from an eighth of a bin up to log s = 2, with -2.5 at r = 0.
    For 256 levels that is log s = 9 sigmoid(r / 2) - 7.

    >>> levels = (torch.arange(256) / 127.5 - 1).view(256, 1, 1)
    >>> nats = DiscretizedLogistic(1, 256).nats(torch.full((256, 2, 1), 0.3), levels)
    >>> abs(float(nats.neg().exp().sum()) - 1) < 1e-5
    True
    """

    params_per_sample = 2

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__(channels, levels)
        self._lowest = min(-7 - math.log((levels - 1) / 255), -3.0)
        self._span = 2 - self._lowest
        self._offset = math.log((-2.5 - self._lowest) / 4.5)

    def elementwise_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """See `Likelihood.elementwise_nats`."""
        mean, raw = params.chunk(2, dim=1)
        inverse_scale = torch.exp(-self._lowest - self._span * torch.sigmoid(raw / 2 + self._offset))
        upper = (x + self.half_bin - mean) * inverse_scale
        lower = (x - self.half_bin - mean) * inverse_scale
        first, last = x < -1 + self.half_bin, x > 1 - self.half_bin
        below_upper = F.softplus(-upper).masked_fill(last, 0)
        above_lower = F.softplus(lower).masked_fill(first, 0)
        between = torch.log(-torch.expm1(-2 * self.half_bin * inverse_scale)).masked_fill(first | last, 0)
        return below_upper + above_lower - between


def build_likelihood(config: LikelihoodConfig, channels: int, levels: int) -> Likelihood:
    """The likelihood that `config` describes, for `channels` channels of samples on `levels` levels."""
    match config:
        case GaussianConfig():
            return Gaussian(channels, levels, config.scale)
        case LaplaceConfig():
            return Laplace(channels, levels, config.scale)
        case DiscretizedLogisticConfig():
            return DiscretizedLogistic(channels, levels)
