"""Small models with all their integer forms, without training: the same ones every time."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.config import AnyModelConfig
from latentpress.items.base import Item, Samples
from latentpress.latents import IntegerLSTM
from latentpress.model import VQVAE, DeltaVAE, IntegerForms, Model, build
from latentpress.model.decoding import symbols_of
from latentpress.nn.signal import to_signal
from small.configs import DECODERS, ITEMS, delta_vae, vq_vae
from small.items import samples_of

__all__ = ["MODELS", "batch_of", "finished", "jolted", "small_model"]

MODELS = [f"{model}-{decoders}" for model in ("vq", "delta") for decoders in DECODERS]
"""Both inventions, with either decoder and with both."""


def small_model(case: str, item: Item | str = "image") -> Model:
    """A model of `MODELS` for a kind of item, or for one of `ITEMS`; do not change it."""
    return _small_model(case, ITEMS[item] if isinstance(item, str) else item)


@cache
def _small_model(case: str, item: Item) -> Model:
    model, _, decoders = case.partition("-")
    return finished({"vq": vq_vae, "delta": delta_vae}[model](item, decoders))


def batch_of(item: Item, count: int = 6, size: tuple[int, ...] | None = None) -> Samples:
    """Items of one size, (count, *size, C)."""
    return np.stack([samples_of(item, size, seed) for seed in range(count)])


def jolted(module: nn.Module, size: float = 0.1, seed: int = 0) -> None:
    """Moves all weights a little: what starts at zero then says something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def finished(config: AnyModelConfig, seed: int = 1) -> Model:
    """A model of that configuration in evaluation mode, with its integer forms."""
    torch.manual_seed(seed)
    model = build(config)
    items = torch.from_numpy(batch_of(config.item).astype(np.int64))
    if isinstance(model, VQVAE):
        signal = to_signal(items, config.item.low, config.item.levels)
        model.train().latents(model.encoder(signal))  # type: ignore[misc]
        model.latents.update()
    jolted(model, seed=seed)
    model.eval().requires_grad_(False)
    model.integer = _vq_forms(model, items) if isinstance(model, VQVAE) else _delta_forms(model, items)  # type: ignore[arg-type]
    return model


def _vq_forms(model: VQVAE, items: torch.Tensor) -> IntegerForms:
    codes, prior, decoder = model.encode(items), None, None
    if model.prior is not None:
        prior = IntegerNetwork.convert(model.prior, codes)
    if model.autoregressive is not None:
        symbols = symbols_of(model.item, items, model.residual)
        decoder = IntegerDecoder.convert(
            model.autoregressive, symbols, codes, codebook=model.latents.codebook
        )
    return IntegerForms(prior=prior, decoder=decoder)


def _delta_forms(model: DeltaVAE, items: torch.Tensor) -> IntegerForms:
    symbols = symbols_of(model.item, items, False)
    prior = encoder = decoder = codes = None
    if model.latents is not None:
        assert model.auxiliary is not None and model.encoder is not None
        prior = IntegerLSTM.convert(model.auxiliary, 12)
        encoder = IntegerEncoder.convert(model.encoder, model.latents.posterior, symbols)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        vectors = model.infer(items, generator=generator).vectors
        codes = prior.with_step(1).quantise(vectors.movedim(1, -1))
    if model.autoregressive is not None:
        own = symbols_of(model.item, items, model.residual)
        decoder = IntegerDecoder.convert(model.autoregressive, own, codes)
    return IntegerForms(prior=prior, decoder=decoder, encoder=encoder)
