"""The small models that `mutations.py` mutates."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.config import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    CountedDecoderConfig,
    CountedPriorConfig,
    DeltaVAEConfig,
    ParallelDecoderConfig,
    PriorConfig,
    VQVAEConfig,
)
from latentpress.counted import CountedBytes, CountedDecoder, CountedGrid, CountedPictures
from latentpress.counted.grids.pieces import Piece
from latentpress.items import Image, Text
from latentpress.model import VQVAE, DeltaVAE, IntegerForms, Model

__all__ = ["DARK", "MAKERS", "make_model", "make_texts", "waves"]

DARK = 2.0  # mean of the samples that the decoder expects


def make_model() -> VQVAE:
    """A small model with a sharp random prior and a decoder of dark samples, so that archives use both."""
    torch.manual_seed(0)
    conv = ConvConfig(width=32, depths=(0, 1))
    network = CausalConfig(width=8, depth=1, radius=2, embedding=8, head_width=16)
    config = VQVAEConfig(
        encoder=conv,
        latents=CodebookConfig(codebook_size=32, code_dim=8),
        parallel=ParallelDecoderConfig(network=conv),
        autoregressive=AutoregressiveDecoderConfig(
            network=network, map_width=8, map_channels=4, residual=False
        ),
        prior=PriorConfig(network=network),
    )
    model = VQVAE(config).eval()
    assert model.prior is not None and model.autoregressive is not None
    with torch.no_grad():
        for head in model.autoregressive.network.heads:
            head.get_parameter("logits.bias").copy_(-torch.arange(256) / DARK)
    prior = IntegerNetwork.convert(model.prior, torch.randint(32, (4, 8, 8, 1)))
    samples, codes = torch.randint(8, (4, 16, 16, 3)), torch.randint(32, (4, 4, 4, 1))
    codebook = model.latents.codebook
    decoder = IntegerDecoder.convert(model.autoregressive, samples, codes, codebook=codebook)
    model.integer = IntegerForms(prior=prior, decoder=decoder)
    return model


def make_counted() -> DeltaVAE:
    """A model of texts that counts."""
    config = DeltaVAEConfig(item=Text(), latents=None, auxiliary=None, autoregressive=CountedDecoderConfig())
    model = DeltaVAE(config).eval()
    texts = [np.frombuffer(text, np.uint8) for text in make_texts().values()]
    counted = CountedBytes.primed_by(texts, sum(map(len, texts)), lambda _: None)
    model.integer = IntegerForms(decoder=CountedDecoder(counted))
    return model


def make_pictures() -> DeltaVAE:
    """A model of pictures that counts."""
    counting = CountedDecoderConfig()
    config = DeltaVAEConfig(item=Image(), latents=None, auxiliary=None, autoregressive=counting)
    model = DeltaVAE(config).eval()
    pictures = [waves(number) for number in range(4)]
    counted = CountedPictures.primed_by(pictures, 3, sum(each.size for each in pictures), lambda _: None)
    model.integer = IntegerForms(decoder=CountedDecoder(counted))
    return model


def waves(number: int) -> np.ndarray:
    """A picture."""
    y, x = np.mgrid[:16, :20]
    plane = 100 + 50 * np.sin((x + number) / 3) + 3 * y
    return np.stack([plane, plane + 9, 250 - plane], -1).clip(0, 255).astype(np.uint8)


def make_codes() -> VQVAE:
    """A VQ-VAE whose prior counts beside a network."""
    model = make_model()
    network = model.integer.prior
    assert isinstance(network, IntegerNetwork) and model.config.prior is not None
    model.config = replace(model.config, prior=CountedPriorConfig(network=model.config.prior.network))
    draw, none = np.random.default_rng(0), np.zeros((4, 1, 0), np.int32)
    pieces = [Piece((4, 4), none, draw.binomial(31, 0.3, (16, 4, 1)).astype(np.int32)) for _ in range(6)]
    prior = CountedGrid.primed_by([np.arange(32)], pieces, network, lambda _: None)
    model.integer = IntegerForms(prior=prior, decoder=model.integer.decoder)
    return model


def make_texts() -> dict[str, bytes]:
    """Texts of a small vocabulary, an empty one, and one of noise."""
    draw = random.Random(0)
    words = [f"{draw.getrandbits(20):x}" for _ in range(20)]
    texts = {f"{number}.txt": " ".join(draw.choices(words, k=40)).encode() for number in range(6)}
    return {**texts, "empty.txt": b"", "noise.txt": draw.randbytes(100), "again.txt": texts["3.txt"]}


MAKERS: dict[str, Callable[[], Model]] = {
    "images": make_model,
    "texts": make_counted,
    "pictures": make_pictures,
    "codes": make_codes,
}
