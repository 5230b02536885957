"""Small delta-VAEs and their data, for the tests of all that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from latentpress.config import (
    AnticausalConfig,
    AR1Config,
    AuxiliaryConfig,
    DeltaVAEConfig,
    ImageConfig,
    RunConfig,
    SequenceDecoderConfig,
    StageConfig,
    TextConfig,
)
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import ItemRef, Source, array_source
from latentpress.data.windows import TextPool, load_text_pool
from latentpress.latents import GaussianLatents
from latentpress.latents.gaussian import AR1Latents, PlainLatents
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents

M = TypeVar("M", bound=nn.Module)

DECODER = SequenceDecoderConfig(
    width=8,
    depth=1,
    radius=2,
    dilations=(1,),
    embedding=6,
    head_width=12,
    map_past=2,
    map_width=8,
    map_channels=4,
)
IMAGES = DeltaVAEConfig(
    item=ImageConfig(channels=1, size=(5, 4)),
    encoder=AnticausalConfig(stride=2, width=6, depth=1, radius=1, dilations=(1,), embedding=4, hidden=8),
    latents=AR1Config(channels=2, alpha=(0.9, 0.5)),
    decoder=DECODER,
    auxiliary=AuxiliaryConfig(width=6),
)
TEXTS = DeltaVAEConfig(
    item=TextConfig(),
    encoder=AnticausalConfig(stride=4, width=6, depth=2, radius=2, dilations=(1, 2), embedding=4, hidden=8),
    latents=AR1Config(channels=1, alpha=0.8),
    decoder=DECODER,
    auxiliary=AuxiliaryConfig(width=6),
)
STAGE = StageConfig(
    batch_size=6, crop=18, flip=False, warmup=2, learning_rate=1e-2, average_decay=0.9, weight_decay=0.01
)


def run_config(model: DeltaVAEConfig) -> RunConfig:
    """A short training of `model`."""
    return RunConfig(model=model, codec=STAGE, prior=STAGE, codec_share=0.75)


def image_pool(count: int = 120) -> Pool:
    """Grey pictures of 5 x 4 pixels, each of one shade."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 16, (count, 1, 1, 1)) * 15 + rng.integers(0, 5, (count, 5, 4, 1))
    return load_pool(array_source(images.astype(np.uint8)))


def text_pool(count: int = 130) -> TextPool:
    """Texts of 0 to 40 bytes, each of a few letters: most of their windows are cut."""
    rng = np.random.default_rng(0)
    texts = [
        rng.integers(97 + start, 101 + start, length, dtype=np.uint8)[:, None]
        for start, length in zip(rng.integers(0, 20, count), np.arange(count) * 7 % 41, strict=True)
    ]
    items = (ItemRef(f"{i}.txt", None, lambda t=t: t.copy()) for i, t in enumerate(texts))
    return load_text_pool(Source(tuple(items)))


def jolted(module: M, seed: int = 0, size: float = 0.3) -> M:
    """The module, with something added to every parameter: at their start many are zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter))
    return module


def families(seed: int, channels: int = 2) -> list[GaussianLatents]:
    """One of every family, with settings drawn from their ranges."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], channels)
    return [
        AR1Latents((signs * rng.uniform(0.05, 0.99, channels)).tolist()),
        PlainLatents(channels),
        VarianceRatioLatents(channels, float(np.exp(rng.uniform(-3, 2)))),
        VarianceBoundLatents(channels, float(np.exp(rng.uniform(-4, 1)))),
        MeanBoundLatents(channels, float(np.exp(rng.uniform(-4, 1)))),
    ]


def raw_numbers(latents: GaussianLatents, batch: int, steps: int, seed: int = 0) -> Tensor:
    """What an encoder might say, (batch, steps, params * d) in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, steps, latents.params * latents.channels)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


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
    """Bool (B, size), true before each one's length."""
    return torch.arange(size) < torch.tensor(lengths)[:, None]
