"""Auxiliary priors and their integer forms, small and not as they start."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentpress.coding.gaussians import LATENT_UNIT
from latentpress.config import AuxiliaryConfig
from latentpress.latents import AuxiliaryPrior, IntegerLSTM

__all__ = ["ALPHAS", "auxiliary_prior", "fixed_lstm", "real_latents"]

ALPHAS = (0.9, -0.5)


def auxiliary_prior(width: int = 24, spread: float = 0.15) -> AuxiliaryPrior:
    """One of two channels whose weights are all noise of that spread."""
    generator = torch.Generator().manual_seed(width)
    prior = AuxiliaryPrior(AuxiliaryConfig(width=width), ALPHAS)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return prior


def fixed_lstm() -> IntegerLSTM:
    """A small LSTM of integers that depend on no generator of floating-point numbers."""
    tensors = IntegerLSTM.convert(auxiliary_prior(width=3), step=8).tensors()
    rng = np.random.Philox(key=5)
    for name in ("gates", "corrections"):
        weight = tensors[f"{name}.weight"]
        raw = (rng.random_raw(weight.numel()) % np.uint64(60001)).astype(np.int64) - 30000
        tensors[f"{name}.weight"] = torch.from_numpy(raw).to(torch.int16).view(weight.shape)
        tensors[f"{name}.bias"] = torch.arange(len(weight), dtype=torch.int32) * 11 - 60
        tensors[f"{name}.shift"].fill_(19 if name == "gates" else 20)
    tensors["scales"] = torch.tensor([[35166, 35166], [30256, 34316]], dtype=torch.int32)
    return IntegerLSTM.from_tensors(tensors)


def real_latents(prior: IntegerLSTM, codes: Tensor) -> Tensor:
    """The real latents that symbols stand for, float32."""
    return ((codes - prior.alphabets[0] // 2) * prior.step * LATENT_UNIT).float()
