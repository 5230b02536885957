"""Small models of both kinds with all their exact forms, without training, for the tests of halves."""

from __future__ import annotations

import numpy as np
import torch

from latentpress.config import (
    AnticausalConfig,
    AuxiliaryConfig,
    CodebookConfig,
    CommittedModelConfig,
    ConvConfig,
    GridConfig,
    ImageConfig,
    ModelConfig,
    PixelsConfig,
    SequenceDecoderConfig,
)
from latentpress.grid import ExactGrid, GridNetwork
from latentpress.grid.decoder import ExactDecoder
from latentpress.latents.exact_auxiliary import ExactAuxiliary
from latentpress.model import CommittedModel, LatentModel

SIDE = 12
_VALUES = 8


def images(count: int = 20) -> np.ndarray:
    """Dark grey images, (N, SIDE, SIDE, 1), of noise: WebP makes little of them, the decoders below more."""
    return np.random.default_rng(3).integers(0, _VALUES, (count, SIDE, SIDE, 1)).astype(np.uint8)


def _expect_dark(network: GridNetwork) -> None:
    with torch.no_grad():
        network.heads[0].logits.bias[_VALUES:] -= 12  # type: ignore[index, union-attr]


def codebook_model(pixels: bool = True) -> LatentModel:
    """A VQ-VAE with a prior and, if wanted, a decoder of pixels."""
    conv = ConvConfig(width=32, depths=(0, 0))
    lossless = PixelsConfig(
        width=8, depth=1, reach=1, head_width=8, map_width=8, map_channels=4, differences=False
    )
    torch.manual_seed(1)
    model = LatentModel(
        ModelConfig(
            item=ImageConfig(channels=1),
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=8, code_dim=4),
            prior=GridConfig(width=8, depth=1, reach=2, embedding=4, head_width=8),
            pixels=lossless if pixels else None,
        )
    ).eval()
    codes = model.encode(images())
    assert model.prior is not None
    model.exact_prior = ExactGrid.convert(model.prior, codes)
    if model.pixels is not None:
        _expect_dark(model.pixels.network)
        model.exact_pixels = ExactDecoder.convert(model.pixels, torch.from_numpy(images()).long(), codes)
    return model


def committed_model() -> CommittedModel:
    """A delta-VAE of images with an auxiliary prior."""
    torch.manual_seed(2)
    model = CommittedModel(
        CommittedModelConfig(
            item=ImageConfig(channels=1, size=(SIDE, SIDE)),
            encoder=AnticausalConfig(width=8, depth=1, hidden=8, stride=2, reach=1, embedding=4),
            decoder=SequenceDecoderConfig(width=8, depth=1, reach=1, embedding=4, head_width=8, map_width=8),
            auxiliary=AuxiliaryConfig(width=4),
        )
    ).eval()
    assert model.auxiliary is not None
    symbols = torch.from_numpy(images()).long()
    _expect_dark(model.decoder.network)
    codes = torch.randint(100, 155, (len(symbols), SIDE // 2, 1, 1))
    model.exact_decoder = ExactDecoder.convert(model.decoder, symbols, codes)
    model.exact_prior = ExactAuxiliary.convert(model.auxiliary, 12)
    return model
