"""The stage that fits the autoregressive decoder of pixels to a finished codec, which stays as it is.

decoder   the pixel network and its upsampler, by -log p(pixels | codes), the codes being those that
          the frozen encoder gives for the batch
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.config import StageConfig
from latentpress.data.batches import Batch, Batches
from latentpress.model import VQVAE, to_signal
from latentpress.nn import pad_to_hop
from latentpress.train.loop import StageLoss

__all__ = ["PixelStage", "differences_of", "pixel_nats"]

_CALIBRATION_BATCHES = 4
_CALIBRATION_POSITIONS = 1 << 14


class PixelStage:
    """Fits the decoder of pixels.

    Arguments:
        model: put into evaluation mode but for its decoder of pixels.
        config: how the stage is trained.
        source: batches of pixels, of any size.
    """

    name = "decoder"

    def __init__(self, model: VQVAE, config: StageConfig, source: Batches) -> None:
        assert model.pixels is not None
        self.model, self.config, self.source = model, config, source
        self.pixels = model.pixels
        model.eval().requires_grad_(False)
        self.pixels.train().requires_grad_(True)

    def groups(self) -> list[list[Parameter]]:
        """What the optimiser moves."""
        return [list(self.pixels.parameters())]

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches of pixels from number `start` on."""
        return self.source.stream(start)

    def loss(self, batch: Batch, progress: float) -> StageLoss:
        """The loss of `batch`, in nats per dimension."""
        nats = pixel_nats(self.model, batch.pixels).mean() / batch.pixels[0].numel()
        return StageLoss(nats, {"pixel_bits_per_dim": nats.detach() / math.log(2)})

    def stepped(self) -> None:
        """Nothing but the optimiser moves the decoder."""

    def finish(self) -> None:
        """Freezes the decoder and makes its exact form."""
        self.model.eval().requires_grad_(False)
        batches = list(islice(self.source.stream(0), _CALIBRATION_BATCHES))
        self.model.exact_pixels = _exact(self.model, [batch.pixels for batch in batches])


def pixel_nats(model: VQVAE, pixels: Tensor) -> Tensor:
    """-log p(pixels | codes) of each image under the float decoder, (B,) nats, from uint8 (B, C, H, W)."""
    assert model.pixels is not None
    pixels = pixels.to(model.device, non_blocking=True)
    return model.pixels.nll_nats(_symbols(model, pixels), _codes(model, pixels))


def _exact(model: VQVAE, batches: Sequence[Tensor]) -> IntegerDecoder:
    """The integer form of the decoder, calibrated on some of the batches' images."""
    assert model.pixels is not None
    pixels = torch.cat(list(batches)).to(model.device)
    pixels = pixels[: max(1, _CALIBRATION_POSITIONS // pixels[0, 0].numel())]
    return IntegerDecoder.convert(model.pixels, _symbols(model, pixels), _codes(model, pixels))


def _symbols(model: VQVAE, pixels: Tensor) -> Tensor:
    """uint8 (B, C, H, W) as the symbols that the model's decoder knows, int64 (B, H, W, C)."""
    config = model.config.pixels
    assert config is not None
    return (differences_of(pixels) if config.differences else pixels).permute(0, 2, 3, 1).long()


def differences_of(pixels: Tensor) -> Tensor:
    """`latentpress.items.differences` of uint8 (B, C, H, W), on any device."""
    if pixels.shape[1] == 3:
        red, green, blue = pixels.unbind(1)
        pixels = torch.stack([green, red - green, blue - green], 1)
    across = pixels - F.pad(pixels, (1, -1))
    return across - F.pad(across, (0, 0, 1, -1))


@torch.no_grad()
def _codes(model: VQVAE, pixels: Tensor) -> Tensor | None:
    """The codes of images, (B, *G, P), where the decoder of pixels looks at them."""
    if model.pixels is None or model.pixels.upsampler is None:
        return None
    return model.latents.encode(model.encoder(pad_to_hop(to_signal(pixels), model.hop_length)))
