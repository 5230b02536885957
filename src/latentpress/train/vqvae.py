"""The objectives of a VQ-VAE.

    codec   encoder, codebook and joint decoders, by
            -log p(x | z_q) / samples + commitment loss + codebook loss      (arXiv 1711.00937, equation 3)
            with a likelihood for each decoder, whose gradient reaches the encoder straight through the
            codes' vectors; and a joint prior by its loss on the codes
    prior   the prior, by -log p(codes) on the codes of the finished codec
    decoder decoders, by -log p(x | codes), given the codes of the finished codec
    encoder another encoder, by the codec's loss; codebook and decoders stay as they are

The prior's loss reaches no other part, since codes are integers, and its gradients are clipped apart: with
a joint prior the codec follows its other losses alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.data.batches import Batch, Batches
from latentpress.exact.distribution import Conditioning
from latentpress.model import VQVAE, IntegerForms, Latents
from latentpress.nn import pad_to_hop, to_signal
from latentpress.train.fits import Fit, Terms, calibration, decoder_terms, hidden, summed, whole_rows
from latentpress.train.loop import StageLoss

__all__ = ["CodeBatch", "VQVAEObjective", "cell_mask", "code_stream", "encoded_codes", "looked_up_codes"]

_CALIBRATION_BATCHES = 4  # of codes
_CHUNK = 256  # items encoded at once
_MOST_CODES = 1 << 28  # held in memory, 4 bytes each


@dataclass(frozen=True, eq=False)
class CodeBatch:
    """Codes, int64 (B, *G, P), labels as in a `Batch`, and which codes are not padding, (B, *G) or None."""

    codes: Tensor
    labels: Tensor
    mask: Tensor | None = None

    def to(self, device: torch.device) -> CodeBatch:
        """The same codes elsewhere."""
        codes, labels = (part.to(device, non_blocking=True) for part in (self.codes, self.labels))
        return CodeBatch(codes, labels, None if self.mask is None else self.mask.to(device))


CodeStream = Callable[[int], Iterator[CodeBatch]]
"""Endless batches from a number on; batch i is a pure function of i."""


class VQVAEObjective:
    """What the stages of a VQ-VAE minimise, and the integer forms that they leave."""

    def __init__(self, fit: Fit) -> None:
        assert isinstance(fit.model, VQVAE)
        self.fit, self.model = fit, fit.model
        self.codes = code_stream(self.model, fit.source, fit.expected if fit.name == "prior" else 0)
        self.stream: Any = self.codes if fit.name == "prior" else fit.source.stream

    def infer(self, batch: Batch, generator: torch.Generator | None = None) -> Latents:
        """The latents of a batch on the CPU, on the model's device, without gradient."""
        codes = _codes(self.model, batch)
        return Latents(self.model.latents.decode(codes), codes)

    def codec_loss(self, batch: Batch, progress: float) -> StageLoss:
        """Of the stages codec and encoder."""
        model, batch = self.model, batch.to(self.model.device)
        labels, cells = hidden(batch.labels), cell_mask(batch.mask, model.hop)
        quantized = model.latents(_encoded(model, batch), cells)
        latents = Latents(quantized.vectors, quantized.codes)
        terms = decoder_terms(model, self.fit.decoders, batch, latents, labels)
        if "prior" in self.fit.parts:
            terms |= self._prior_terms(CodeBatch(quantized.codes, labels, cells))
        figures = {"commitment_loss": quantized.commitment_loss.detach()}
        return summed(terms, quantized.commitment_loss, quantized.codebook_loss, figures=figures)

    def prior_loss(self, batch: CodeBatch, progress: float) -> StageLoss:
        """Of the stage prior."""
        batch = batch.to(self.model.device)
        return summed(self._prior_terms(replace(batch, labels=hidden(batch.labels))))

    def measures(self, batch: Batch, latents: Latents, terms: Terms) -> Terms:
        """The cost of the codes, where there is a prior that was fitted to them."""
        if "prior" not in self.fit.parts and self.model.integer.prior is None:
            return {}
        assert latents.codes is not None
        cells = cell_mask(batch.mask, self.model.hop)
        return self._prior_terms(CodeBatch(latents.codes, batch.labels, cells))

    def status(self) -> tuple[Mapping[str, float], str | None]:
        """The codes' perplexity while the codebook learns, and what to do where they are not in use."""
        usage = self.model.latents.usage()
        learns = "latents" in self.fit.parts
        return ({"perplexity": usage.perplexity}, usage.warning) if learns else ({}, None)

    def forms(self) -> IntegerForms:
        """The model's integer forms, those of the fitted parts made anew."""
        model, forms = self.model, self.model.integer
        if model.autoregressive is not None and "autoregressive" in self.fit.parts:
            batch = calibration(self.fit.source).to(model.device)
            labels, codes = model.labels_for("autoregressive", batch.labels), _codes(model, batch)
            assert batch.symbols is not None
            vectors = {"codebook": model.latents.codebook}
            decoder = IntegerDecoder.convert(
                model.autoregressive, batch.symbols, codes, labels=labels, **vectors
            )
            forms = replace(forms, decoder=decoder)
        if model.prior is not None and "prior" in self.fit.parts:
            batches = list(itertools.islice(self.codes(0), _CALIBRATION_BATCHES))
            rows = whole_rows([batch.mask for batch in batches])
            pairs = [(b.codes[kept], b.labels[kept]) for b, kept in zip(batches, rows, strict=True)]
            joined = CodeBatch(*map(torch.cat, zip(*pairs, strict=True))).to(model.device)
            prior = IntegerNetwork.convert(model.prior, joined.codes, self._conditioning(joined))
            forms = replace(forms, prior=prior)
        return forms

    def _prior_terms(self, batch: CodeBatch) -> Terms:
        """What codes on the model's device cost under the float prior."""
        assert self.model.prior is not None
        nats = self.model.prior.nats(batch.codes, self._conditioning(batch), batch.mask)
        count = batch.codes.numel() if batch.mask is None else batch.mask.sum() * batch.codes.shape[-1]
        return {"bits_per_code": (nats.sum(), count)}

    def _conditioning(self, batch: CodeBatch) -> Conditioning:
        return Conditioning(labels=self.model.labels_for("prior", batch.labels))


def code_stream(model: VQVAE, batches: Batches, expected: int | None) -> CodeStream:
    """The cheaper way to `expected` batches (None: many) of the codes of `batches`.

    Where every item is seen whole and more than once, that is to encode all of them first.
    """
    items = batches.dataset.stacked
    if items is None or model.item.epoch == "sample" or any(np.greater(items.shape[1:-1], batches.size)):
        return encoded_codes(model, batches)
    views = len(items) * (1 + batches.flip)
    codes = views * math.prod(model.grid(items.shape[1:-1])) * len(model.alphabets)
    seen = views if expected is None else expected * batches.batch_size
    return (encoded_codes if codes > _MOST_CODES or seen < views else looked_up_codes)(model, batches)


def encoded_codes(model: VQVAE, batches: Batches) -> CodeStream:
    """Batches of items, encoded as they come."""

    def stream(start: int) -> Iterator[CodeBatch]:
        for batch in batches.stream(start):
            yield CodeBatch(_codes(model, batch), batch.labels, cell_mask(batch.mask, model.hop))

    return stream


def looked_up_codes(model: VQVAE, batches: Batches) -> CodeStream:
    """The codes of all items and of their mirror images, encoded when the first batch is wanted.

    They are encoded in an order that no batch changes, so a resumed run sees the same ones.
    """
    dataset, axis = batches.dataset, model.item.mirror

    @cache
    def table() -> Tensor:
        items = dataset.stacked
        assert items is not None
        views = [items] if not batches.flip or axis is None else [items, np.flip(items, axis + 1)]
        starts = range(0, len(items), _CHUNK)
        chunks = [[np.ascontiguousarray(view[i : i + _CHUNK]) for i in starts] for view in views]
        return torch.stack([torch.cat([model.encode(chunk).int() for chunk in view]) for view in chunks])

    def stream(start: int) -> Iterator[CodeBatch]:
        for step in itertools.count(start):
            pieces = batches.draw(step)
            labels = np.stack([dataset.label_indices(index) for index in pieces.indices])
            codes = table()[torch.from_numpy(pieces.flipped).long(), torch.from_numpy(pieces.indices)]
            yield CodeBatch(codes.long(), torch.from_numpy(labels))

    return stream


def _encoded(model: VQVAE, batch: Batch) -> Tensor:
    """The encoder's output for a batch on the model's device, whose edges are continued to the hop."""
    assert model.encoder is not None
    signal = to_signal(batch.samples, model.item.low, model.item.levels)
    return model.encoder(pad_to_hop(signal, model.hop))


@torch.no_grad()
def _codes(model: VQVAE, batch: Batch) -> Tensor:
    return model.latents.encode(_encoded(model, batch.to(model.device)))


def cell_mask(mask: Tensor | None, hop: Sequence[int]) -> Tensor | None:
    """Which latent positions (B, *G) have any sample that is not padding, from (B, *S).

    >>> cell_mask(torch.tensor([[True, True, True, False, False]]), (2,))
    tensor([[ True,  True, False]])
    """
    if mask is None:
        return None
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(hop) - 1]
    return pool(mask[:, None].float(), tuple(hop), ceil_mode=True)[:, 0] > 0
