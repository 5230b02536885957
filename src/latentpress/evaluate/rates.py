"""What a model itself says an item costs, in nats: the yardstick of its archive.

    -log p(x, z) = -log p(z) - log p(x | z)

The first term is the float prior's cross-entropy of the codes, which the archive should reach; both
together are the length of a lossless code for the pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive import Conditioning
from latentpress.coding.layout import segments
from latentpress.model import VQVAE, to_signal
from latentpress.nn import tiles

__all__ = ["prior_nats", "reconstruction_nats"]

_TILE = 128  # latent positions a side that are decoded together


@torch.inference_mode()
def prior_nats(model: VQVAE, codes: Tensor, labels: Tensor | None = None) -> Tensor:
    """Cross-entropy of codes (B, rows, columns, P) under the float prior, (B,) float64.

    Large grids are cut into the archive's bands, each of which the prior sees as a grid of its own.
    Without a prior every code costs log K. `labels` (B,) are class indices for a class-conditional prior.
    """
    if model.prior is None:
        uniform = codes[0].numel() * math.log(model.config.latents.codebook_size)
        return torch.full((len(codes),), uniform, dtype=torch.float64)
    context = Conditioning(labels=labels.to(model.device)) if labels is not None else None
    nats = torch.zeros(len(codes), dtype=torch.float64)
    for band, _ in segments(0, codes.shape[1:3]):  # as an archive cuts large images
        symbols = codes[:, band.start : band.stop].to(model.device)
        nats += model.prior.nll_nats(symbols, context).double().cpu()
    return nats


@torch.inference_mode()
def reconstruction_nats(model: VQVAE, pixels: np.ndarray, codes: Tensor) -> Tensor:
    """-log p(x | z) of pixels (B, H, W, C) uint8 given their codes, (B,) float64; in tiles."""
    images = torch.as_tensor(pixels).permute(0, 3, 1, 2)
    nats = torch.zeros(len(codes), dtype=torch.float64)
    hop = model.hop_length
    for tile in tiles(codes.shape[1:3], _TILE, model.decoder.margin):
        rows, columns = (slice(*side) for side in tile.outer)
        params = model.decoder(model.latents.decode(codes[:, rows, columns].to(model.device)))
        rows, columns = (slice(start * hop, stop * hop) for start, stop in tile.inner)
        x = to_signal(images[:, :, rows, columns].to(model.device))
        rows, columns = (
            slice(start * hop, start * hop + side)
            for (start, _), side in zip(tile.crop, x.shape[2:], strict=True)
        )
        nats += model.likelihood.nll_nats(params[:, :, rows, columns], x).double().cpu()
    return nats
