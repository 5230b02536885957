r"""Likelihoods p(x | z) of 8-bit samples, in nats: what a decoder's outputs mean.

Samples x lie on the scale [-1, 1], the byte v at v / 127.5 - 1, so neighbouring bytes are 2/255
apart. Every likelihood is stated as -log of the *probability mass of the sample's own byte*: exactly
for the discretised logistic, as density times bin width 2/255 for the Gaussian and the Laplace. So all
kinds, and lossless coders too, compare in bits per dimension = nats / (dimensions * ln 2).

The scale sets the weight of the reconstruction beside the codebook's terms: a Gaussian of scale s
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

__all__ = [
    "DiscretizedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "bits_per_dim",
    "build_likelihood",
]

_LOG_BIN = math.log(2 / 255)
_START = 0.1  # scale of a new model: a PSNR of 26 dB
_FLOOR = 1 / 255  # half a bin: no density can be sharper than its byte


def bits_per_dim(nats: Tensor, dims: int) -> Tensor:
    """Nats of an item of `dims` samples as bits per sample.

    >>> float(bits_per_dim(torch.tensor(24 * math.log(2)), 3))
    8.0
    """
    return nats / (dims * math.log(2))


class Likelihood(nn.Module, ABC):
    """A distribution of 8-bit samples, factorised over samples given the decoder's outputs.

    Attributes:
        params_per_sample: Decoder outputs for each sample; params has C * params_per_sample channels,
            the C locations first.
    """

    params_per_sample: ClassVar[int] = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    @abstractmethod
    def sample_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """-log P(byte) of each sample: float32 (B, C * params_per_sample, *S), (B, C, *S) -> (B, C, *S)."""

    def nll_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """-log P(item): params (B, C * params_per_sample, *S) and x (B, C, *S) -> (B,) nats, in float32."""
        if params.shape[1] != self.channels * self.params_per_sample or x.shape[1] != self.channels:
            raise ValueError(
                f"x takes {self.channels} channels and params {self.channels * self.params_per_sample}, "
                f"got {x.shape[1]} and {params.shape[1]}"
            )
        return self.sample_nats(params.float(), x.float()).flatten(1).sum(1)

    def forward(self, params: Tensor, x: Tensor) -> Tensor:
        """The same as `nll_nats`."""
        return self.nll_nats(params, x)

    def mean(self, params: Tensor) -> Tensor:
        """The reconstruction (B, C, *S) on [-1, 1]: the locations, clipped."""
        return params[:, : self.channels].float().clamp(-1, 1)


class _Scaled(Likelihood):
    """One scale for each channel, given or learned, shared by all samples of all items."""

    def __init__(self, channels: int, scale: float | None = None) -> None:
        super().__init__(channels)
        if scale is None:
            self.log_scale = nn.Parameter(torch.full((channels,), math.log(_START - _FLOOR)))
        else:
            self.register_buffer("fixed", torch.full((channels,), scale))
        self.learned = scale is None

    @property
    def scale(self) -> Tensor:
        """Scale of each channel (C,), on [-1, 1]; a learned one stays above half a bin."""
        return self.log_scale.exp() + _FLOOR if self.learned else self.get_buffer("fixed")

    def _standardised(self, params: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the error in units of the scale, and the log scale, both to broadcast with x."""
        scale = self.scale.view(-1, *(1,) * (x.dim() - 2))
        return (x - params) / scale, scale.log()


class Gaussian(_Scaled):
    """Independent normal distributions, density times bin width.

    nats = (x - mean)^2 / (2 s^2) + log s + log(2 pi) / 2 - log(2/255)

    Args:
        channels: C.
        scale: s on the [-1, 1] scale; `None` learns one for each channel.

    >>> x = torch.zeros(1, 3, 2, 2)
    >>> round(float(bits_per_dim(Gaussian(3, scale=2 / 255)(x, x), 12)), 4)
    1.3257
    """

    def sample_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """See `Likelihood.sample_nats`."""
        error, log_scale = self._standardised(params, x)
        return 0.5 * error.square() + (log_scale + 0.5 * math.log(2 * math.pi) - _LOG_BIN)


class Laplace(_Scaled):
    """Independent Laplace distributions, density times bin width.

    nats = |x - mean| / s + log(2 s) - log(2/255)

    Args:
        channels: C.
        scale: s on the [-1, 1] scale; `None` learns one for each channel.

    >>> x = torch.zeros(1, 3, 2, 2)
    >>> float(bits_per_dim(Laplace(3, scale=2 / 255)(x, x), 12))
    1.0
    """

    def sample_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """See `Likelihood.sample_nats`."""
        error, log_scale = self._standardised(params, x)
        return error.abs() + (log_scale + math.log(2) - _LOG_BIN)


class DiscretizedLogistic(Likelihood):
    r"""Logistic distributions integrated over each byte's bin (arXiv 1701.05517, section 2.1).

    P(x) = sigmoid(a) - sigmoid(b),  a, b = (x +- 1/255 - mean) / s; the bins of bytes 0 and 255 reach
    to infinity, so the 256 masses sum to one. It is computed without cancellation as
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)), whose logarithm has finite gradients everywhere.

    The second half of params, r, gives log s = 9 sigmoid(r / 2) - 7: bounded on both sides, since a
    scale far under a bin or far over the range would only cost precision.

    >>> bytes_ = (torch.arange(256) / 127.5 - 1).view(1, 1, 256)
    >>> nats = DiscretizedLogistic(1).sample_nats(torch.full((1, 2, 256), 0.3), bytes_)
    >>> abs(float(nats.neg().exp().sum()) - 1) < 1e-5
    True
    """

    params_per_sample = 2

    def sample_nats(self, params: Tensor, x: Tensor) -> Tensor:
        """See `Likelihood.sample_nats`."""
        mean, raw = params.chunk(2, dim=1)
        inverse_scale = torch.exp(7 - 9 * torch.sigmoid(raw / 2))
        upper = (x + 1 / 255 - mean) * inverse_scale
        lower = (x - 1 / 255 - mean) * inverse_scale
        first, last = x < -1 + 1 / 255, x > 1 - 1 / 255
        below_upper = F.softplus(-upper).masked_fill(last, 0)
        above_lower = F.softplus(lower).masked_fill(first, 0)
        between = torch.log(-torch.expm1(-2 / 255 * inverse_scale)).masked_fill(first | last, 0)
        return below_upper + above_lower - between


def build_likelihood(config: LikelihoodConfig, channels: int) -> Likelihood:
    """The likelihood that `config` describes, for items of `channels` channels.

    >>> build_likelihood(DiscretizedLogisticConfig(), 3).params_per_sample
    2
    """
    match config:
        case GaussianConfig():
            return Gaussian(channels, config.scale)
        case LaplaceConfig():
            return Laplace(channels, config.scale)
        case DiscretizedLogisticConfig():
            return DiscretizedLogistic(channels)
