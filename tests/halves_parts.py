"""Small models of both kinds with all their exact forms, without training, for the tests of halves."""

from __future__ import annotations

import numpy as np
import torch

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.config import (
    AnticausalConfig,
    AuxiliaryConfig,
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    DeltaVAEConfig,
    ImageConfig,
    PixelsConfig,
    SequenceDecoderConfig,
    VQVAEConfig,
)
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.model import VQVAE, DeltaVAE, to_signal

SIDE = 12
_STRIDE = 32


def images(count: int = 20) -> np.ndarray:
    """Noise of few values, (N, SIDE, SIDE, 1): WebP makes little of it, the decoders below more."""
    noise = np.random.default_rng(3).integers(0, 256 // _STRIDE, (count, SIDE, SIDE, 1))
    return (noise * _STRIDE).astype(np.uint8)


def _expect_them(network: CausalNetwork) -> None:
    with torch.no_grad():
        network.heads[0].logits.bias -= 12  # type: ignore[index, union-attr]
        network.heads[0].logits.bias[::_STRIDE] += 12  # type: ignore[index, union-attr]


def codebook_model(pixels: bool = True) -> VQVAE:
    """A VQ-VAE with a prior and, if wanted, a decoder of pixels."""
    conv = ConvConfig(width=32, depths=(0, 0))
    lossless = PixelsConfig(
        width=8, depth=1, radius=1, head_width=8, map_width=8, map_channels=4, differences=False
    )
    torch.manual_seed(1)
    model = VQVAE(
        VQVAEConfig(
            item=ImageConfig(channels=1),
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=8, code_dim=4),
            prior=CausalConfig(width=8, depth=1, radius=2, embedding=4, head_width=8),
            pixels=lossless if pixels else None,
        )
    ).eval()
    signal = to_signal(torch.from_numpy(images())).permute(0, 3, 1, 2)
    with torch.no_grad():
        model.latents.train()(model.encoder(signal))  # which starts the codebook
        for weight in model.decoder.parameters():
            weight.add_(torch.randn_like(weight) / 10)  # its last layer begins with zeros
    model.latents.update()
    codes = model.eval().encode(images())
    assert model.prior is not None
    model.exact_prior = IntegerNetwork.convert(model.prior, codes)
    if model.pixels is not None:
        _expect_them(model.pixels.network)
        model.exact_pixels = IntegerDecoder.convert(model.pixels, torch.from_numpy(images()).long(), codes)
    return model


def committed_model() -> DeltaVAE:
    """A delta-VAE of images with an auxiliary prior."""
    torch.manual_seed(2)
    model = DeltaVAE(
        DeltaVAEConfig(
            item=ImageConfig(channels=1, size=(SIDE, SIDE)),
            encoder=AnticausalConfig(width=8, depth=1, hidden=8, stride=2, radius=1, embedding=4),
            decoder=SequenceDecoderConfig(width=8, depth=1, radius=1, embedding=4, head_width=8, map_width=8),
            auxiliary=AuxiliaryConfig(width=4),
        )
    ).eval()
    assert model.auxiliary is not None
    symbols = torch.from_numpy(images()).long()
    _expect_them(model.decoder.network)
    codes = torch.randint(100, 155, (len(symbols), SIDE // 2, 1, 1))
    model.exact_decoder = IntegerDecoder.convert(model.decoder, symbols, codes)
    model.exact_prior = IntegerLSTM.convert(model.auxiliary, 12)
    return model
