"""Delta-VAEs in integers for the tests of chains: the same on every machine, without training."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from delta_parts import IMAGES, TEXTS
from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.config import AR1Config, DeltaVAEConfig, ImageConfig
from latentpress.data.sources import ItemRef, Source
from latentpress.model import DeltaVAE
from lossless_parts import drawn, integers
from test_latents_exact_auxiliary import fixed

HEIGHT, WIDTH = 10, 8
_TABLE = np.arange(4096) - 2048


def pictures() -> DeltaVAE:
    """A model of grey pictures: it expects dark ones, and a latent pair for every two rows."""
    return _model(replace(IMAGES, item=ImageConfig(channels=1, size=(HEIGHT, WIDTH))), 0)


def prose() -> DeltaVAE:
    """A model of texts: it expects a's, and the fewer the farther after a."""
    return _model(replace(TEXTS, latents=AR1Config(channels=2, alpha=0.8)), ord("a"))


@cache
def _model(config: DeltaVAEConfig, likeliest: int) -> DeltaVAE:
    model = DeltaVAE(config).eval()
    symbols = torch.zeros(1, 10, *([WIDTH] if isinstance(config.item, ImageConfig) else []), 1).long()
    codes = model.on_grid(torch.zeros(1, -(-10 // config.encoder.stride), 2, dtype=torch.int64))
    tensors = drawn(IntegerDecoder.convert(model.decoder, symbols, codes).tensors(), 3)
    name = "network.heads.0.logits.bias"
    tensors[name] = tensors[name].roll(likeliest, dims=-1)
    model.exact_decoder = IntegerDecoder.from_tensors(tensors)
    model.exact_prior = fixed()
    model.exact_encoder = _encoder(model, symbols)
    return model


def _encoder(model: DeltaVAE, symbols: torch.Tensor) -> IntegerEncoder:
    assert model.encoder is not None and model.latents is not None
    made = IntegerEncoder.convert(model.encoder, model.latents.posterior, symbols).tensors()
    tensors = drawn(made, 4)
    tensors["shape"] = made["shape"]
    tensors["hidden.shift"] = torch.full_like(made["hidden.shift"], 9)
    tensors["out.shift"] = torch.full_like(made["out.shift"], 6)
    tensors["out.bias"] = (integers(tuple(made["out.bias"].shape), 5, 500) + (2048 << 6)).to(torch.int32)
    tensors["means"] = torch.from_numpy(_TABLE * 6).to(torch.int32)
    tensors["shifts"] = torch.from_numpy(_TABLE // 16).to(torch.int32)
    tensors["spreads"] = torch.from_numpy(_TABLE).to(torch.int32)
    tensors["bases"] = integers((4, 2), 6, 100).to(torch.int32) + 1600
    return IntegerEncoder.from_tensors(tensors)


def dim(seed: int, count: int) -> list[np.ndarray]:
    """Pictures that the model expects."""
    random = np.random.Generator(np.random.PCG64(seed)).random((count, HEIGHT, WIDTH, 1))
    return list(np.minimum(-2 * np.log(random), 255).astype(np.uint8))


def words(seed: int, length: int) -> np.ndarray:
    """A text that the model expects."""
    random = np.random.Generator(np.random.PCG64(seed)).random((length, 1))
    return (97 + np.minimum(-2 * np.log(random), 100)).astype(np.uint8)


def noise(seed: int, *shape: int) -> np.ndarray:
    """Nothing for anyone."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (*shape, 1), np.uint8)


def images() -> dict[str, np.ndarray]:
    """Pictures: most for the model, one that is noise."""
    found = {f"model/{i:02d}.png": picture for i, picture in enumerate(dim(0, 12))}
    return found | {"raw/noise.png": noise(1, HEIGHT, WIDTH)}


def texts() -> dict[str, np.ndarray]:
    """Texts of many lengths: the folders say for whom. One is cut into bands."""
    found = {f"model/{i:02d}.txt": words(i, 150 + 37 * (i * 5 % 8)) for i in range(9)}
    found |= {"model/long.txt": words(20, 3_001), "model/short.txt": words(21, 40)}
    found |= {"lzma/again.txt": np.tile(words(22, 30), (40, 1)), "raw/noise.bin": noise(2, 300)}
    return found | {"none/empty.txt": np.zeros((0, 1), np.uint8)}


def source(items: dict[str, np.ndarray]) -> Source:
    return Source(tuple(ItemRef(name, None, lambda own=own: own) for name, own in items.items()))
