"""Figures and pictures of a model on the items that training does not see."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from latentpress.data.batches import Batch
from latentpress.items.image import write_png
from latentpress.latents import CodeUsage
from latentpress.model import VQVAE, to_pixels, to_signal
from latentpress.train.codes import encode_batch
from latentpress.train.pixels import pixel_nats
from latentpress.train.stages import prior_nats

__all__ = ["codec_figures", "pixel_figures", "prior_figures", "sample_sheet"]

_COLUMNS = 8
_PIXEL_DIMS = 1 << 19  # samples that the decoder of pixels is judged on: it takes its time


@torch.inference_mode()
def codec_figures(model: VQVAE, batches: Sequence[Batch]) -> dict[str, float]:
    """PSNR (pooled over all samples), bits per dimension of -log p(x | z_q), and usage of the codes."""
    error, nats, dims, codes = 0.0, 0.0, 0, []
    with _evaluating(model):
        for batch in batches:
            signal = to_signal(batch.pixels.to(model.device))
            codes.append(model.latents.encode(model.encoder(signal)))
            parameters = model.decoder(model.latents.decode(codes[-1]))
            error += float((signal - model.likelihood.mean(parameters)).square().sum())
            nats += float(model.likelihood(parameters, signal).sum())
            dims += signal.numel()
    positions = torch.cat([each.flatten(0, -2) for each in codes])
    usage = CodeUsage.of(positions, model.config.latents.codebook_size)
    return {
        "psnr_db": 10 * math.log10(4 * dims / error) if error else math.inf,
        "bits_per_dim": nats / dims / math.log(2),
        "perplexity": usage.perplexity,
    }


@torch.inference_mode()
def prior_figures(model: VQVAE, batches: Sequence[Batch]) -> dict[str, float]:
    """Bits per code of the float prior."""
    nats, count = 0.0, 0
    with _evaluating(model):
        for batch in batches:
            codes = encode_batch(model, batch)
            nats += float(prior_nats(model, codes).sum())
            count += codes.codes.numel()
    return {"bits_per_code": nats / count / math.log(2)}


@torch.inference_mode()
def pixel_figures(model: VQVAE, batches: Sequence[Batch]) -> dict[str, float]:
    """Bits per dimension of the pixels given their codes, under the float decoder of pixels."""
    nats, dims = 0.0, 0
    with _evaluating(model):
        for batch in batches:
            if dims < _PIXEL_DIMS:
                nats += float(pixel_nats(model, batch.pixels).sum())
                dims += batch.pixels.numel()
    return {"pixel_bits_per_dim": nats / dims / math.log(2)}


@torch.inference_mode()
def sample_sheet(model: VQVAE, batch: Batch) -> bytes:
    """A PNG of the first images of `batch`, each above its reconstruction."""
    pixels = batch.pixels[:_COLUMNS]
    with _evaluating(model):
        codes = encode_batch(model, Batch(pixels, batch.labels[:_COLUMNS])).codes
        restored = to_pixels(model.likelihood.mean(model.decoder(model.latents.decode(codes))))
    return write_png(np.concatenate([_row(pixels), _row(restored)]))


def _row(images: Tensor) -> np.ndarray:
    """(B, C, H, W) side by side, as (H, B * W, C)."""
    return np.concatenate(list(images.permute(0, 2, 3, 1).cpu().numpy()), axis=1)


@contextmanager
def _evaluating(model: VQVAE) -> Iterator[None]:
    """Within it the model is in evaluation mode; each part then returns to its own."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
