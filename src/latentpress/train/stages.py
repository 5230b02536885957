"""The stages of a model's training: what each moves, and by which loss.

    codec   encoder, latent space and decoder, by
            -log p(x | z_q) / dims + commitment loss + codebook loss      (arXiv 1711.00937, equation 3)
            and, with `prior.training = "joint"`, the prior by its own loss on the codes
    prior   the prior, by -log p(codes) on the codes of the finished codec
    decoder in `pixels.py`

The prior's loss reaches no other part, since codes are integers: joint training saves the time of a
second stage, and the codec follows its own losses alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.nn import Parameter

from latentpress.autoregressive import Conditioning, IntegerNetwork
from latentpress.config import StageConfig
from latentpress.data.batches import Batch, Batches
from latentpress.model import VQVAE, to_signal
from latentpress.train.codes import CodeBatch, CodeSource, encode_batch
from latentpress.train.loop import StageLoss

__all__ = ["CodecStage", "PriorStage", "make_exact", "prior_nats", "psnr_db"]

_CALIBRATION_BATCHES = 4
_UNKNOWN_SHARE = 0.1  # of a batch's labels, hidden in training: the prior learns to do without one


def psnr_db(signal: Tensor, reconstruction: Tensor) -> Tensor:
    """PSNR in dB of all samples together, both on the scale -1..1.

    >>> psnr_db(torch.zeros(1), torch.full((1,), 0.2))
    tensor(20.)
    """
    return -10 * torch.log10((signal - reconstruction).square().mean() / 4)


class CodecStage:
    """Fits encoder, latent space and decoder, and the prior too where it is trained jointly.

    Arguments:
        model: put into training mode; stays where it is.
        config: how the stage is trained.
        source: batches of pixels.
    """

    name = "codec"

    def __init__(self, model: VQVAE, config: StageConfig, source: Batches) -> None:
        self.model, self.config, self.source = model, config, source
        prior = model.config.prior
        self.joint = prior is not None and prior.training == "joint"
        model.train().requires_grad_(True)
        if model.prior is not None:
            model.prior.requires_grad_(self.joint)
        if model.pixels is not None:
            model.pixels.requires_grad_(False)

    def groups(self) -> list[list[Parameter]]:
        """What the optimiser moves."""
        return [[parameter for parameter in self.model.parameters() if parameter.requires_grad]]

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches of pixels from number `start` on."""
        return self.source.stream(start)

    def loss(self, batch: Batch, progress: float) -> StageLoss:
        """The loss of `batch`, in nats per dimension."""
        model = self.model
        signal = to_signal(batch.pixels.to(model.device, non_blocking=True))
        quantized = model.latents(model.encoder(signal))
        parameters = model.decoder(quantized.vectors)
        nats = model.likelihood(parameters, signal).mean() / signal[0].numel()
        figures = {
            "bits_per_dim": nats.detach() / math.log(2),
            "psnr_db": psnr_db(signal, model.likelihood.mean(parameters.detach())),
            "commitment_loss": quantized.commitment_loss.detach(),
        }
        total = nats + quantized.commitment_loss + quantized.codebook_loss
        if self.joint:
            prior = _prior_loss(model, CodeBatch(quantized.codes, batch.labels))
            return StageLoss(total + prior.total, {**figures, **prior.figures})
        return StageLoss(total, figures)

    def stepped(self) -> None:
        """Lets the memory learn from the step's statistics."""
        self.model.latents.update()

    def finish(self) -> None:
        """Freezes the codec, and makes the exact form of a jointly trained prior."""
        self.model.eval().requires_grad_(False)
        if self.joint:
            batches = islice(self.source.stream(0), _CALIBRATION_BATCHES)
            make_exact(self.model, [encode_batch(self.model, batch) for batch in batches])


class PriorStage:
    """Fits the prior to the codes of a finished codec.

    Arguments:
        model: put into evaluation mode but for its prior.
        config: how the stage is trained.
        source: batches of codes.
    """

    name = "prior"

    def __init__(self, model: VQVAE, config: StageConfig, source: CodeSource) -> None:
        assert model.prior is not None
        self.model, self.config, self.source = model, config, source
        self.prior = model.prior
        model.eval().requires_grad_(False)
        self.prior.train().requires_grad_(True)

    def groups(self) -> list[list[Parameter]]:
        """What the optimiser moves."""
        return [list(self.prior.parameters())]

    def batches(self, start: int) -> Iterator[CodeBatch]:
        """Batches of codes from number `start` on."""
        return self.source.stream(start)

    def loss(self, batch: CodeBatch, progress: float) -> StageLoss:
        """The loss of `batch`, in nats per code."""
        return _prior_loss(self.model, batch)

    def stepped(self) -> None:
        """Nothing but the optimiser moves the prior."""

    def finish(self) -> None:
        """Freezes the prior and makes its exact form."""
        self.model.eval().requires_grad_(False)
        make_exact(self.model, list(islice(self.source.stream(0), _CALIBRATION_BATCHES)))


def make_exact(model: VQVAE, batches: list[CodeBatch]) -> None:
    """Gives `model` the integer form of its prior, calibrated on `batches`."""
    assert model.prior is not None
    codes = torch.cat([batch.codes for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    model.exact_prior = IntegerNetwork.convert(model.prior, codes.to(model.device), _context(model, labels))


def prior_nats(model: VQVAE, batch: CodeBatch) -> Tensor:
    """-log p(codes) of each item under the float prior, (B,) nats."""
    assert model.prior is not None
    codes = batch.codes.to(model.device, non_blocking=True)
    return model.prior.nll_nats(codes, _context(model, batch.labels))


def _prior_loss(model: VQVAE, batch: CodeBatch) -> StageLoss:
    """The loss in training, nats per code."""
    if model.config.prior is not None and model.config.prior.class_conditional:
        batch = CodeBatch(batch.codes, _hide_some(batch.labels))
    nats = prior_nats(model, batch).mean() / batch.codes[0].numel()
    return StageLoss(nats, {"bits_per_code": nats.detach() / math.log(2)})


def _hide_some(labels: Tensor) -> Tensor:
    """Makes some labels -1, unknown, by torch's global generator."""
    return labels.masked_fill(torch.rand(labels.shape, device=labels.device) < _UNKNOWN_SHARE, -1)


def _context(model: VQVAE, labels: Tensor) -> Conditioning | None:
    """The context of codes whose items have `labels`, for a prior that wants one."""
    conditional = model.config.prior is not None and model.config.prior.class_conditional
    return Conditioning(labels=labels.to(model.device, non_blocking=True)) if conditional else None
