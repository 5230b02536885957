"""The auxiliary prior of a delta-VAE: an LSTM whose Gaussian conditionals are a correction to AR(1).

A delta-VAE (Razavi et al., arXiv 1901.03416) commits its rate against a prior that is simpler than the
latents which its posterior makes. A second prior, fitted to samples of the posterior with no gradient to
the model, is what the latents are then coded and generated under:

    z_t | z_<t  ~  N( alpha z_(t-1) + m(h_t),  exp(l_t + s(h_t))^2 ),    l_1 = 0, later ln(1 - alpha^2) / 2,

where h_t is the LSTM's output after it has read z_0 = 0, z_1, ..., z_(t-1). With m = s = 0, which is where
it starts, that is AR(1) exactly; with alpha = 0 too, independent standard normals.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentpress.config import AuxiliaryConfig
from latentpress.latents.gaussian import sum_steps

__all__ = ["AuxiliaryPrior"]

_LOG_STD_LIMIT = 4.0  # how far the logarithm of a standard deviation may be from AR(1)'s


class AuxiliaryPrior(nn.Module):
    """A single-layer LSTM with Gaussian conditionals, which corrects AR(1) of one of `alphas` a channel.

    Making one leaves torch's global random state as it was.

    >>> prior = AuxiliaryPrior(AuxiliaryConfig(width=8), alphas=(0.5,))
    >>> z = torch.tensor([[[1.0], [2.0], [0.0]]])
    >>> prior(z).mean.flatten().tolist()  # at the start: alpha times the one before
    [0.0, 0.5, 1.0]
    >>> prior.nats(z).shape
    torch.Size([1])
    """

    coefficients: Tensor

    def __init__(self, config: AuxiliaryConfig, alphas: Sequence[float]) -> None:
        super().__init__()
        self.config = config
        self.alphas = tuple(float(alpha) for alpha in alphas)
        if not self.alphas or not all(abs(alpha) < 1 for alpha in self.alphas):
            raise ValueError(f"alphas: one or more between -1 and 1 are needed, got {self.alphas}")
        self.channels = channels = len(self.alphas)
        with torch.random.fork_rng(devices=[]):
            self.lstm = nn.LSTM(channels, config.width, batch_first=True)
            self.correction = nn.Linear(config.width, 2 * channels)
        coefficients = torch.tensor(self.alphas, device="cpu")  # even while a model is built on meta
        self.register_buffer("coefficients", coefficients, persistent=False)
        with torch.no_grad():
            for parameter in self.correction.parameters():
                parameter.zero_()
            forget = slice(config.width, 2 * config.width)
            self.lstm.get_parameter("bias_ih_l0")[forget] += 1  # remembers at the start

    def forward(self, z: Tensor) -> Normal:
        """p(z_t | z_<t) of every step of `z` (B, n, d), a distribution of that shape."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.coefficients.dtype)
            before = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], dim=1)
            shift, stretch = self.correction(self.lstm(before)[0]).chunk(2, dim=-1)
            first = torch.arange(z.shape[1], device=z.device) == 0
            innovation = (0.5 * torch.log1p(-self.coefficients.square())).where(~first[:, None], 0)
            log_std = innovation + _LOG_STD_LIMIT * torch.tanh(stretch / _LOG_STD_LIMIT)
            return Normal(self.coefficients * before + shift, torch.exp(log_std), validate_args=False)

    def nats(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """-ln p(z) of each sequence `z` (B, n, d), (B,).

        `mask` (B, n) is false at padding, which is at the end and adds exactly 0.
        """
        if mask is not None:
            z = z.where(mask[..., None], 0)  # whatever is there: not even a NaN has a gradient
        return sum_steps(-self(z).log_prob(z), mask)
