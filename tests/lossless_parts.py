"""A codec in integers for the tests of lossless archives: the same on every machine, without training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import torch

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.decoder import GridDecoder, IntegerDecoder
from latentpress.config import (
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    ImageConfig,
    PixelsConfig,
    VQVAEConfig,
)
from latentpress.data.sources import ItemRef, Source
from latentpress.items.differences import from_residuals

HOP, CODES = 4, 16
PRIOR = CausalConfig(width=8, depth=1, radius=2, dilations=(1,), embedding=4, head_width=8)
PIXELS = PixelsConfig(
    width=8, depth=2, radius=2, embedding=6, head_width=8, code_embedding=4, map_width=8, map_channels=4
)


def integers(shape: tuple[int, ...], seed: int, most: int) -> torch.Tensor:
    """Integers -most..most that follow from the seed alone."""
    numbers = np.random.Generator(np.random.PCG64(seed)).integers(-most, most + 1, shape)
    return torch.from_numpy(numbers)


def drawn(tensors: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Tensors of the same names, types and shapes, as an exact form may have them."""
    result = {}
    for number, (name, value) in enumerate(sorted(tensors.items())):
        part = name.rpartition(".")[2]
        if part == "structure":
            new = value
        elif part == "shift":
            new = torch.full_like(value, 5)
        elif part == "scale":
            new = torch.full_like(value, 6)
        elif part == "bias":
            new = integers(tuple(value.shape), seed + number, 500)
            if "gates" in name:
                middle = torch.tensor([512, 1536]).repeat_interleave(value.shape[1] // 2)
                new = new + middle * 32
            elif "logits" in name:
                new = new + 32 * _favourites(value.shape[1])
        else:
            most = {"weight": 3 if "logits" in name else 40, "context_exponents": 3}.get(part, 100)
            new = integers(tuple(value.shape), seed + number, most)
        result[name] = new.to(value.dtype)
    return result


def _favourites(size: int) -> torch.Tensor:
    """Logits, in units of 2^-5, of a distribution that falls quickly from symbol 0 on."""
    return -torch.clamp(16 * torch.arange(size), max=400)


@cache
def prior(partitions: int, seed: int = 1) -> IntegerNetwork:
    """A prior over codes."""
    network = CausalNetwork(PRIOR, (CODES,) * partitions, 2)
    symbols = torch.zeros(1, 2, 2, partitions, dtype=torch.int64)
    return IntegerNetwork(drawn(IntegerNetwork.convert(network, symbols).tensors(), seed))


@cache
def pixel_decoder(channels: int, partitions: int, use_codes: bool, seed: int = 2) -> IntegerDecoder:
    """A decoder of pixels: it expects small differences."""
    config = replace(PIXELS, use_codes=use_codes)
    decoder = GridDecoder(config, (256,) * channels, (CODES,) * partitions, (HOP, HOP))
    samples = torch.zeros(1, HOP, HOP, channels, dtype=torch.int64)
    codes = torch.zeros(1, 1, 1, partitions, dtype=torch.int64)
    exact = IntegerDecoder.convert(decoder, samples, codes if use_codes else None)
    return IntegerDecoder.from_tensors(drawn(exact.tensors(), seed))


@dataclass
class LosslessCodec:
    """A code is the mean over a block of pixels of a channel, modulo the codebook's size."""

    channels: Literal[1, 3] = 3
    partitions: int = 1
    use_codes: bool = True
    exact_prior: IntegerNetwork | None = None
    exact_pixels: IntegerDecoder | None = None
    codebook_id: bytes = b"block-sums-00001"
    differences: bool = True

    @property
    def config(self) -> VQVAEConfig:
        conv = ConvConfig(strides=(4,), depths=(0,))
        return VQVAEConfig(
            item=ImageConfig(channels=self.channels),
            latents=CodebookConfig(codebook_size=CODES, num_codebooks=self.partitions),
            encoder=conv,
            decoder=conv,
            prior=PRIOR,
            pixels=replace(PIXELS, use_codes=self.use_codes, differences=self.differences),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        return (CODES,) * self.partitions

    @property
    def hop(self) -> tuple[int, ...]:
        return (HOP, HOP)

    @property
    def num_classes(self) -> int:
        return 0

    @property
    def prior_id(self) -> bytes:
        return self.exact_prior.id if self.exact_prior else bytes(16)

    @property
    def pixels_id(self) -> bytes:
        return self.exact_pixels.id if self.exact_pixels else bytes(16)

    def encode(self, pixels: np.ndarray) -> torch.Tensor:
        height, width = pixels.shape[1:3]
        rows, columns = -(-height // HOP), -(-width // HOP)
        edges = ((0, 0), (0, rows * HOP - height), (0, columns * HOP - width), (0, 0))
        padded = np.pad(pixels.astype(np.int64), edges, "edge")
        sums = padded.reshape(len(pixels), rows, HOP, columns, HOP, -1).sum(axis=(2, 4))
        return torch.from_numpy(
            sums.repeat(self.partitions, axis=-1)[..., : self.partitions] // HOP**2 % CODES
        )


def lossless_codec(channels: Literal[1, 3] = 3, partitions: int = 1, use_codes: bool = True) -> LosslessCodec:
    """The codec with its prior and its decoder of pixels."""
    return LosslessCodec(
        channels,
        partitions,
        use_codes,
        prior(partitions),
        pixel_decoder(channels, partitions, use_codes),
    )


def dim(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Noise whose differences are small: what the decoder of pixels expects, and WebP makes little of."""
    random = np.random.Generator(np.random.PCG64(seed)).random((height, width, channels))
    return from_residuals(np.minimum(-2 * np.log(random), 255).astype(np.uint8))


def flat(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture for WebP."""
    rows, columns = np.mgrid[:height, :width]
    value = 100 + (rows // 9 + columns // 7 + seed) % 5 * 30
    return np.repeat(value[..., None], channels, axis=-1).astype(np.uint8)


def noise(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Nothing for anyone."""
    shape = (height, width, channels)
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)


def items(channels: int = 3) -> dict[str, np.ndarray]:
    """Items for every form: the names say which."""
    images = {f"model/{i:02d}.png": dim(i, 12, 12, channels) for i in range(6)}
    images |= {"model/odd.png": dim(7, 7, 10, channels), "model/tall.png": dim(8, 13, 3, channels)}
    images |= {f"webp/{i}.png": flat(i, 24, 24 + 28 * i, channels) for i in range(2)}
    return images | {"raw/noise.png": noise(0, 9, 9, channels)}


def source(images: dict[str, np.ndarray]) -> Source:
    return Source(tuple(ItemRef(name, None, lambda p=p: p) for name, p in images.items()))
