"""What the stages of a VQ-VAE minimise.

codec, encoder   -log p(x | z_q) / samples + commitment loss + codebook loss  (arXiv 1711.00937, equation 3)
decoder          -log p(x | codes) / samples, given the codes of the finished codec
prior            -log p(codes) / codes

There is a likelihood for each decoder, and its gradient reaches the encoder straight through the codes'
vectors. A prior that is trained jointly adds its loss to the codec's. It reaches no other part, since codes
are integers, and its gradients are clipped apart: the codec follows its other losses alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

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
from latentpress.train.loop import StageLoss
from latentpress.train.terms import Fit, Terms, calibration, decoder_terms, hidden, summed, whole_rows

__all__ = ["CodeBatch", "VQVAEObjective", "cell_mask", "code_stream", "encoded_codes", "looked_up_codes"]

_CALIBRATION_BATCHES = 4  # of codes
_CHUNK = 256  # items encoded at once
_MOST_CODES = 1 << 28  # held in memory, 4 bytes each


class CodeBatch(NamedTuple):
    """Codes, int64 (B, *G, P), labels as in a `Batch`, and which codes are not padding, (B, *G) or None."""

    codes: Tensor
    labels: Tensor
    mask: Tensor | None = None


CodeStream = Callable[[int], Iterator[CodeBatch]]
"""Endless batches from a number on; batch i is a pure function of i."""


class VQVAEObjective:
    """What the stages of a VQ-VAE minimise, and the integer forms that they leave."""

    def __init__(self, fit: Fit) -> None:
        assert isinstance(fit.model, VQVAE)
        self.fit, self.model = fit, fit.model
        self.codes, self.stream = encoded_codes(self.model, fit.source), cast(Any, fit.source.stream)
        if fit.name == "prior":
            self.codes = self.stream = code_stream(self.model, fit.source, fit.expected)

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
        device, mask = self.model.device, batch.mask
        codes, labels = batch.codes.to(device, non_blocking=True), hidden(batch.labels.to(device))
        return summed(self._prior_terms(CodeBatch(codes, labels, None if mask is None else mask.to(device))))

    def measures(self, batch: Batch, latents: Latents, terms: Terms) -> Terms:
        """The cost of the codes, where there is a prior that was fitted to them."""
        if latents.codes is None or ("prior" not in self.fit.parts and self.model.integer.prior is None):
            return {}
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
            given = {"codebook": model.latents.codebook, "labels": labels}
            decoder = IntegerDecoder.convert(model.autoregressive, batch.symbols, codes, **given)
            forms = replace(forms, decoder=decoder)
        if model.prior is not None and "prior" in self.fit.parts:
            batches = list(itertools.islice(self.codes(0), _CALIBRATION_BATCHES))
            rows = whole_rows([batch.mask for batch in batches])
            pairs = [(b.codes[kept], b.labels[kept]) for b, kept in zip(batches, rows, strict=True)]
            codes, labels = (torch.cat(parts).to(model.device) for parts in zip(*pairs, strict=True))
            chosen = model.labels_for("prior", labels)
            prior = IntegerNetwork.convert(model.prior, codes, Conditioning(labels=chosen))
            forms = replace(forms, prior=prior)
        return forms

    def _prior_terms(self, batch: CodeBatch) -> Terms:
        """What codes on the model's device cost under the float prior."""
        assert self.model.prior is not None
        conditioning = Conditioning(labels=self.model.labels_for("prior", batch.labels))
        nats = self.model.prior.nats(batch.codes, conditioning, batch.mask)
        count = batch.codes.numel() if batch.mask is None else batch.mask.sum() * batch.codes.shape[-1]
        return {"bits_per_code": (nats.sum(), count)}


def code_stream(model: VQVAE, batches: Batches, expected: int | None) -> CodeStream:
    """The cheaper way to `expected` batches (None: many) of the codes of `batches`.

    Where every item is seen whole and more than once, that is to encode all of them first.
    """
    extents, views = batches.dataset.extents, len(batches.dataset) * (1 + batches.flip)
    codes = views * math.prod(model.grid(extents[0].tolist())) * len(model.alphabets)
    whole = (extents == extents[0]).all() and (extents[0] <= batches.size).all()
    often = model.item.epoch == "item" and (expected is None or expected * batches.batch_size >= views)
    return (looked_up_codes if whole and often and codes <= _MOST_CODES else encoded_codes)(model, batches)


def encoded_codes(model: VQVAE, batches: Batches) -> CodeStream:
    """Batches of items, encoded as they come."""

    def stream(start: int) -> Iterator[CodeBatch]:
        for batch in batches.stream(start):
            yield CodeBatch(_codes(model, batch), batch.labels, cell_mask(batch.mask, model.hop))

    return stream


def looked_up_codes(model: VQVAE, batches: Batches) -> CodeStream:
    """The codes of all items and their mirror images, encoded in one order when the first batch is wanted."""
    dataset, axis = batches.dataset, model.item.mirror

    def encoded(start: int, mirror: bool) -> Tensor:
        items = np.stack([dataset[i] for i in range(start, min(start + _CHUNK, len(dataset)))])
        items = np.flip(items, axis + 1) if mirror and axis is not None else items
        return model.encode(items).int()

    @cache
    def table() -> Tensor:
        starts, mirrors = range(0, len(dataset), _CHUNK), (False, True)[: 1 + batches.flip]
        return torch.stack([torch.cat([encoded(i, mirror) for i in starts]) for mirror in mirrors])

    def stream(start: int) -> Iterator[CodeBatch]:
        for step in itertools.count(start):
            pieces = batches.draw(step)
            labels = np.stack([dataset.labels[index] for index in pieces.indices])
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
