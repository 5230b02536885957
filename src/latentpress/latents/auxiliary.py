"""The auxiliary prior of a delta-VAE: an LSTM whose Gaussian conditionals are a correction to AR(1).

The delta-VAE (Razavi et al., arXiv 1901.03416) commits its rate against a prior that is simpler than the
latents which the posterior ends up making. A second prior, fitted to samples of the posterior beside the
model and without a gradient to it, is what the latents are then coded and generated under:

    z_t | z_<t  ~  N( alpha z_(t-1) + m(h_t),  exp(l_t + s(h_t))^2 ),    l_1 = 0, later ln(1 - alpha^2) / 2,

where h_t is the LSTM's output after it has read z_0 = 0, z_1, ..., z_(t-1). With m = s = 0, which is where
it starts, that is AR(1) exactly; with alpha = 0 too, independent standard normals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentpress.config import AuxiliaryConfig

__all__ = ["LOG_STD_LIMIT", "AuxiliaryPrior", "Conditionals"]

LOG_STD_LIMIT = 4.0
"""How far the logarithm of a standard deviation may be from AR(1)'s."""

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Conditionals:
    """Gaussian conditionals of every step given those before it.

    Args:
        mean: (B, n, d).
        log_std: (B, n, d), natural logarithms of standard deviations.
    """

    mean: Tensor
    log_std: Tensor


class AuxiliaryPrior(nn.Module):
    """A single-layer LSTM with Gaussian conditionals, a correction to AR(1).

    Making one leaves torch's global random state as it was.

    Args:
        config: the LSTM's width.
        alphas: the coefficient of AR(1) in each of the d channels, between -1 and 1.

    >>> prior = AuxiliaryPrior(AuxiliaryConfig(width=8), alphas=(0.5,))
    >>> z = torch.tensor([[[1.0], [2.0], [0.0]]])
    >>> prior(z).mean.flatten().tolist()  # at the start: alpha times the one before
    [0.0, 0.5, 1.0]
    >>> prior.nll_nats(z).shape
    torch.Size([1])
    """

    coefficients: Tensor

    def __init__(self, config: AuxiliaryConfig, alphas: Sequence[float]) -> None:
        super().__init__()
        self.config = config
        self.alphas = tuple(float(alpha) for alpha in alphas)
        if not self.alphas or not all(abs(alpha) < 1 for alpha in self.alphas):
            raise ValueError(f"alphas: one or more between -1 and 1 are needed, got {self.alphas}")
        channels = len(self.alphas)
        with torch.random.fork_rng(devices=[]):
            self.lstm = nn.LSTM(channels, config.width, batch_first=True)
            self.correction = nn.Linear(config.width, 2 * channels)
        coefficients = torch.tensor(self.alphas, device="cpu")  # even while a checkpoint builds on meta
        self.register_buffer("coefficients", coefficients, persistent=False)
        with torch.no_grad():
            for parameter in self.correction.parameters():
                parameter.zero_()
            forget = slice(config.width, 2 * config.width)
            self.lstm.get_parameter("bias_ih_l0")[forget] += 1  # remembers at the start

    @property
    def channels(self) -> int:
        """Numbers a step, d."""
        return len(self.alphas)

    def forward(self, z: Tensor) -> Conditionals:
        """Conditionals of the steps of `z` (B, n, d) given those before."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.coefficients.dtype)
            before = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], dim=1)
            first = torch.arange(z.shape[1], device=z.device) == 0
            return self._conditionals(before, self.lstm(before)[0], first)

    def nll_nats(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """-ln p(z) of each item, (B,).

        Args:
            z: (B, n, d).
            mask: (B, n) bool, false at padding, which stands at the end and adds exactly 0.
        """
        if mask is not None:
            z = z.where(mask[..., None], 0)  # whatever is there: not even a NaN has a gradient
        found = self(z)
        standard = (z - found.mean) * torch.exp(-found.log_std)
        nll = found.log_std + (standard.square() + math.log(2 * math.pi)) / 2
        if mask is not None:
            nll = nll.where(mask[..., None], 0)
        return nll.sum((1, 2))

    @torch.no_grad()
    def sample(self, count: int, steps: int, generator: torch.Generator) -> Tensor:
        """Draws `count` sequences (count, steps, d), step by step."""
        coefficients = self.coefficients
        shape = (steps, count, self.channels)
        noise = torch.randn(shape, generator=generator, device=generator.device, dtype=coefficients.dtype)
        noise = noise.to(coefficients.device)
        z, state, out = torch.zeros_like(noise[:1]).squeeze(0), None, []
        for t in range(steps):
            seen, state = self._read(z[:, None], state)
            first = torch.tensor([t == 0], device=z.device)
            found = self._conditionals(z[:, None], seen, first)
            z = (found.mean + torch.exp(found.log_std) * noise[t, :, None])[:, 0]
            out.append(z)
        return torch.stack(out, dim=1)

    def _read(self, z: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self.lstm(z, state)

    def _conditionals(self, before: Tensor, seen: Tensor, first: Tensor) -> Conditionals:
        """`before` (B, n, d) is what comes before each step, `seen` (B, n, width), `first` (n,) bool."""
        shift, stretch = self.correction(seen).chunk(2, dim=-1)
        innovation = 0.5 * torch.log1p(-self.coefficients.square())
        innovation = innovation.where(~first[:, None], 0)
        bounded = LOG_STD_LIMIT * torch.tanh(stretch / LOG_STD_LIMIT)
        return Conditionals(self.coefficients * before + shift, innovation + bounded)
