"""Gaussian latent spaces of every family, what an encoder may give them, and their costs by definition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from latentpress.latents import GaussianLatents
from latentpress.latents.gaussian import AR1Latents
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents

__all__ = ["families", "lengths_mask", "prior_nats", "raw_numbers", "smallest_kl"]


def families(seed: int, channels: int = 2) -> list[GaussianLatents]:
    """One of every family, with settings drawn from their ranges."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], channels)
    return [
        AR1Latents((signs * rng.uniform(0.05, 0.99, channels)).tolist()),
        AR1Latents((0.0,) * channels),
        VarianceRatioLatents(channels, float(np.exp(rng.uniform(-3, 2)))),
        VarianceBoundLatents(channels, float(np.exp(rng.uniform(-4, 1)))),
        MeanBoundLatents(channels, float(np.exp(rng.uniform(-4, 1)))),
    ]


def raw_numbers(latents: GaussianLatents, batch: int, steps: int, seed: int = 0) -> Tensor:
    """What an encoder might give, (batch, steps, params * d) in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, steps, latents.params * latents.channels)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def prior_nats(latents: GaussianLatents, z: Tensor) -> Tensor:
    """-ln p(z) of sequences (B, n, d) under the AR(1) prior, step by step, (B,)."""
    nats = torch.zeros(len(z), dtype=z.dtype)
    for t in range(z.shape[1]):
        for k, alpha in enumerate(latents.alphas.tolist()):
            mean, variance = (0, 1) if t == 0 else (alpha * z[:, t - 1, k], 1 - alpha**2)
            nats += ((z[:, t, k] - mean) ** 2 / variance + math.log(2 * math.pi * variance)) / 2
    return nats


def smallest_kl(latents: GaussianLatents, steps: int, seed: int) -> float:
    """The smallest KL that a search over an encoder's numbers finds, from a random start."""
    start = raw_numbers(latents, 1, steps, seed)

    def value(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        raw = torch.from_numpy(numbers).view(start.shape).requires_grad_()
        kl = latents.kl_nats(latents.posterior(raw)).sum()
        (gradient,) = torch.autograd.grad(kl, raw)
        return kl.item(), gradient.numpy().ravel()

    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 0, "gtol": 1e-11}
    return float(minimize(value, start.numpy().ravel(), jac=True, method="L-BFGS-B", options=options).fun)


def lengths_mask(lengths: Sequence[int], size: int) -> Tensor:
    """Bool (B, size), true before the length of each."""
    return torch.arange(size) < torch.tensor(lengths)[:, None]
