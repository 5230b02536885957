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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import torch

from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.data.batches import Batch
from latentpress.exact.distribution import Conditioning
from latentpress.model import VQVAE, IntegerForms, Latents
from latentpress.train.codes import CodeBatch, EncodedBatches, LookedUpCodes, cell_mask, code_source, encode
from latentpress.train.fits import Fit, Terms, calibration, decoder_terms, hidden, summed
from latentpress.train.loop import StageLoss

__all__ = ["VQVAEObjective"]

_CALIBRATION_BATCHES = 4  # of codes


class VQVAEObjective:
    """What the stages of a VQ-VAE minimise, and the integer forms that they leave."""

    def __init__(self, fit: Fit) -> None:
        assert isinstance(fit.model, VQVAE)
        self.fit, self.model = fit, fit.model
        self.codes: EncodedBatches | LookedUpCodes = EncodedBatches(self.model, fit.source)

    @torch.no_grad()
    def infer(self, batch: Batch, generator: torch.Generator | None = None) -> Latents:
        """The latents of a batch on the CPU, on the model's device."""
        codes = self.model.latents.encode(encode(self.model, batch.to(self.model.device)))
        return Latents(self.model.latents.decode(codes), codes)

    def codec_loss(self, batch: Batch, progress: float) -> StageLoss:
        """Of the stages codec and encoder."""
        model, batch = self.model, batch.to(self.model.device)
        labels, cells = hidden(batch.labels), cell_mask(batch.mask, model.hop)
        quantized = model.latents(encode(model, batch), cells)
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

    def prior_stream(self, expected: int | None) -> Callable[[int], Iterator[CodeBatch]]:
        """The batches of the stage prior, of which so many are `expected` (None: many)."""
        self.codes = code_source(self.model, self.fit.source, expected)
        return self.codes.stream

    def measures(self, batch: Batch, latents: Latents, terms: Terms) -> Terms:
        """The cost of the codes, where there is a prior that was fitted to them."""
        if "prior" not in self.fit.parts and self.model.integer.prior is None:
            return {}
        assert latents.codes is not None
        return self._prior_terms(
            CodeBatch(latents.codes, batch.labels, cell_mask(batch.mask, self.model.hop))
        )

    def status(self) -> tuple[Mapping[str, float], str | None]:
        """The codes' perplexity while the codebook learns, and what to do where they are not in use."""
        if self.fit.name != "codec":
            return {}, None
        usage = self.model.latents.usage()
        return {"perplexity": usage.perplexity}, usage.warning

    def stepped(self) -> None:
        """Lets the codebook learn from the step's statistics, if it is fitted."""
        if "latents" in self.fit.parts:
            self.model.latents.update()

    def forms(self) -> IntegerForms:
        """The model's integer forms, those of the fitted parts made anew."""
        model, forms = self.model, self.model.integer
        if "autoregressive" in self.fit.parts:
            assert model.autoregressive is not None
            batch = calibration(self.fit.source).to(model.device)
            labels = model.labels_for("autoregressive", batch.labels)
            codes, vectors = self.infer(batch).codes, model.latents.codebook
            assert batch.symbols is not None
            decoder = IntegerDecoder.convert(
                model.autoregressive, batch.symbols, codes, codebook=vectors, labels=labels
            )
            forms = replace(forms, decoder=decoder)
        if "prior" in self.fit.parts:
            assert model.prior is not None
            batches = [batch.whole() for batch in islice(self.codes.stream(0), _CALIBRATION_BATCHES)]
            joined = CodeBatch(
                *(torch.cat([getattr(b, name) for b in batches]) for name in ("codes", "labels"))
            )
            joined = joined.to(model.device)
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
