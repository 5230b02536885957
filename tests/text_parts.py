"""A codec of texts in integers, for the tests of their archives: the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.decoder import GridDecoder, IntegerDecoder
from latentpress.config import PixelsConfig
from latentpress.config.deltavae import DeltaVAEConfig, TextConfig
from latentpress.data.sources import ItemRef, Source
from lossless_parts import CODES, PRIOR, drawn

HOP = 16
BYTES = PixelsConfig(
    width=8,
    depth=2,
    radius=2,
    embedding=6,
    head_width=8,
    code_embedding=4,
    map_width=8,
    map_channels=4,
    differences=False,
)


@cache
def prior(seed: int = 1) -> IntegerNetwork:
    """A prior over the codes of a text."""
    network = CausalNetwork(PRIOR, (CODES,), 1)
    exact = IntegerNetwork.convert(network, torch.zeros(1, 2, 1, dtype=torch.int64))
    return IntegerNetwork(drawn(exact.tensors(), seed))


@cache
def byte_decoder(use_codes: bool, seed: int = 2) -> IntegerDecoder:
    """A decoder of bytes: it expects a's, and the fewer the farther after a."""
    codes = (CODES,) if use_codes else ()
    decoder = GridDecoder(replace(BYTES, use_codes=use_codes), (256,), codes, (HOP,))
    samples, told = torch.zeros(1, 20, 1, dtype=torch.int64), torch.zeros(1, 2, 1, dtype=torch.int64)
    tensors = drawn(IntegerDecoder.convert(decoder, samples, told if use_codes else None).tensors(), seed)
    name = "network.heads.0.logits.bias"
    tensors[name] = tensors[name].roll(ord("a"), dims=-1)
    return IntegerDecoder.from_tensors(tensors)


@dataclass
class TextCodec:
    """A code is the mean of 16 bytes, modulo the alphabet's size."""

    exact_prior: IntegerNetwork | None = None
    exact_pixels: IntegerDecoder | None = None
    sizes: tuple[int, ...] = ()
    codebook_id: bytes = bytes(16)
    hop: tuple[int, ...] = (HOP,)
    differences: bool = False
    num_classes: int = 0

    @property
    def config(self) -> DeltaVAEConfig:
        return DeltaVAEConfig(item=TextConfig())

    @property
    def prior_id(self) -> bytes:
        return self.exact_prior.id if self.exact_prior else bytes(16)

    @property
    def pixels_id(self) -> bytes:
        return self.exact_pixels.id if self.exact_pixels else bytes(16)

    def encode(self, symbols: np.ndarray) -> torch.Tensor:
        padded = np.pad(symbols[..., 0].astype(np.int64), ((0, 0), (0, -symbols.shape[1] % HOP)))
        means = padded.reshape(len(symbols), -1, HOP).sum(axis=2) // HOP
        return torch.from_numpy(means % CODES)[..., None]


def text_codec(use_codes: bool = True) -> TextCodec:
    """The codec with its decoder of bytes and, if it has codes, its prior."""
    if not use_codes:
        return TextCodec(None, byte_decoder(False))
    return TextCodec(prior(), byte_decoder(True), (CODES,))


def after_a(seed: int, length: int) -> bytes:
    """What the decoder of bytes expects, and LZMA makes little of."""
    random = np.random.Generator(np.random.PCG64(seed)).random(length)
    return (97 + np.minimum(-2 * np.log(random), 100)).astype(np.uint8).tobytes()


def noise(seed: int, length: int) -> bytes:
    """Nothing for anyone."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, length, np.uint8).tobytes()


def texts() -> dict[str, bytes]:
    """Texts for every form: the folders say which. The empty one has none."""
    found = {f"model/{i:02d}.txt": after_a(i, 200 + 13 * i) for i in range(6)}
    found |= {"model/same.md": after_a(9, 213), "model/long": after_a(8, 40_001)}
    found |= {"lzma/crlf.bat": b"echo NAIVE\r\n" * 40, "lzma/latin.py": b"# na\xefve \xff\xfe\n" * 30}
    found |= {"raw/noise.bin": noise(0, 300), "raw/one": b"\0", "none/empty.json": b""}
    return found


def source(files: dict[str, bytes]) -> Source:
    def symbols(data: bytes) -> np.ndarray:
        return np.frombuffer(data, np.uint8).reshape(-1, 1)

    return Source(tuple(ItemRef(name, None, lambda d=data: symbols(d)) for name, data in files.items()))
