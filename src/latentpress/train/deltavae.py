"""What the stages of a delta-VAE minimise.

codec, encoder   -log p(x | z) + KL(q || p), z drawn by reparameterisation, and for the auxiliary prior
                 -log p_aux(z) on the same draws, through which no gradient goes
decoder          -log p(x | z), given draws of the finished encoder
prior            -log p_aux(z) alone

The KL is exact and stands in the loss as it is: no weight, no schedule, no free bits. Those are other
objectives (`DeltaVAEConfig.objective`), there to be compared with. With both decoders the loss is the
negative ELBO of two observations of x, independent given z: one by each decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.coding.gaussians import LATENT_UNIT
from latentpress.config import AR1Config, ObjectiveConfig
from latentpress.data.batches import Batch
from latentpress.latents import IntegerLSTM, Posterior
from latentpress.latents.sequences import from_sequences
from latentpress.model import DeltaVAE, IntegerForms, Latents
from latentpress.model.decoding import symbols_of
from latentpress.train.loop import StageLoss
from latentpress.train.plan import DECODERS, sees_latents
from latentpress.train.terms import Fit, Terms, calibration, decoder_terms, hidden, summed

__all__ = ["DeltaVAEObjective"]

_TOLERANCE = 1e-3  # nats, and in proportion: the KL is a sum in float32
_MOST_STEP = 63  # of an archive's codes, in the finest steps
_COMMITS_NOTHING = (
    "items have one latent step, over which an AR(1) prior commits nothing; take a smaller "
    "model.encoder.hop, or longer pieces (codec.crop)"
)


class DeltaVAEObjective:
    """What the stages of a delta-VAE minimise, and the integer forms that they leave."""

    def __init__(self, fit: Fit) -> None:
        assert isinstance(fit.model, DeltaVAE)
        self.fit, self.model = fit, fit.model
        self.stream = fit.source.stream
        self._last: Latents | None = None  # of the last batch

    def infer(self, batch: Batch, generator: torch.Generator | None = None) -> Latents:
        """The latents of a batch on the CPU, on the model's device; with gradients to the encoder."""
        return self.model.infer(batch.samples, mask=batch.mask, generator=generator)

    def codec_loss(self, batch: Batch, progress: float) -> StageLoss:
        """Of the stages codec and encoder."""
        model, latents, dims = self.model, self.infer(batch), batch.dims
        batch = batch.to(model.device)
        terms = decoder_terms(model, self.fit.decoders, batch, latents, hidden(batch.labels))
        if latents.posterior is None:
            return summed(terms)
        mean, log_variance = latents.posterior.mean.detach(), latents.posterior.log_variance.detach()
        fixed = Latents(latents.vectors.detach(), None, Posterior(mean, log_variance), latents.step_mask)
        self._last, kl = fixed, model.kl_nats(latents)
        floor = self._reached_floor(fixed, kl.detach())
        elbo = (self._nats(terms) + kl.sum()) / dims / math.log(2)
        figures = {"elbo_bits_per_dim": elbo, "kl_nats": kl.mean(), "committed_nats": floor.mean()}
        others = [_weighed(model.config.objective, kl, progress).sum() / dims]
        if "auxiliary" in self.fit.parts:
            nats = model.auxiliary_nats(fixed)
            others.append(nats.sum() / fixed.vectors.numel())
            figures["auxiliary_kl_nats"] = (nats - model.posterior_nats(fixed)).mean()
        return summed(terms, *others, figures={name: value.detach() for name, value in figures.items()})

    def prior_loss(self, batch: Batch, progress: float) -> StageLoss:
        """Of the stage prior."""
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            latents = self.infer(batch)
        nats = self.model.auxiliary_nats(latents)
        figures = {"auxiliary_kl_nats": (nats - self.model.posterior_nats(latents)).detach().mean()}
        return StageLoss(nats.sum() / latents.vectors.numel(), figures)

    def measures(self, batch: Batch, latents: Latents, terms: Terms) -> Terms:
        """The negative ELBO, and that with the auxiliary prior, of a batch whose decoders cost `terms`."""
        if latents.posterior is None:
            return {}
        nats, model = self._nats(terms), self.model
        elbos: Terms = {"elbo_bits_per_dim": (nats + model.kl_nats(latents).sum(), batch.dims)}
        if model.auxiliary is None:
            return elbos
        auxiliary = (model.auxiliary_nats(latents) - model.posterior_nats(latents)).sum()
        return {**elbos, "auxiliary_elbo_bits_per_dim": (nats + auxiliary, batch.dims)}

    def status(self) -> tuple[Mapping[str, float], str | None]:
        """The information in the last batch's latents, and a warning where an AR(1) prior has one step."""
        model, first = self.model, self.fit.name == "codec"
        one = (
            isinstance(model.config.latents, AR1Config) and self.fit.source.size[0] <= model.hop[0] and first
        )
        details = {} if self._last is None else model.details(self._last).values
        return {n: details[n] for n in details if n == "information_nats"}, _COMMITS_NOTHING if one else None

    def forms(self) -> IntegerForms:
        """The model's integer forms, those of the fitted parts made anew.

        Codes of archives are the posterior's means in steps of sqrt(12) of its mean standard deviation:
        rounding then errs by as much as a draw from the posterior would, which the decoder is used to. The
        step is of the stage codec; after it, codes keep their meaning.
        """
        model, parts, forms = self.model, self.fit.parts, self.model.integer
        batch = calibration(self.fit.source)
        latents = self.infer(batch, torch.Generator().manual_seed(0))
        if "autoregressive" in parts:
            forms = replace(forms, decoder=self._integer_decoder(batch.to(model.device), latents))
        if model.latents is None or latents.posterior is None:
            return forms
        if "encoder" in parts and isinstance(model.encoder, AnticausalEncoder):
            symbols = symbols_of(model.item, batch.samples, False).to(model.device)
            encoder = IntegerEncoder.convert(model.encoder, model.latents.posterior, symbols)
            forms = replace(forms, encoder=encoder)
        if self.fit.name not in ("codec", "prior"):
            return forms
        deviation = float(torch.exp(latents.posterior.log_variance / 2).mean())
        step = min(_MOST_STEP, max(1, round(math.sqrt(12) * deviation / LATENT_UNIT)))
        if isinstance(forms.prior, IntegerLSTM) and self.fit.name == "prior":
            step = forms.prior.step
        if model.auxiliary is not None:
            return replace(forms, prior=IntegerLSTM.convert(model.auxiliary, step))
        return replace(forms, prior=IntegerLSTM.ar1(model.latents.alphas.tolist(), step))

    def _integer_decoder(self, batch: Batch, latents: Latents) -> IntegerDecoder:
        """Calibrated on samples of the prior too, so that new items do not clip what the latents say."""
        model, symbols, vectors, codes = self.model, batch.symbols, latents.vectors, None
        assert model.autoregressive is not None and symbols is not None
        labels = model.labels_for("autoregressive", batch.labels)
        if model.latents is not None and sees_latents(model.config, "autoregressive"):
            count, cells, generator = len(vectors), vectors.shape[3:], torch.Generator().manual_seed(1)
            new = model.latents.sample(count * math.prod(cells), vectors.shape[2], generator)
            z = torch.cat([vectors.cpu(), from_sequences(new, cells)]).movedim(1, -1)
            codes = IntegerLSTM.ar1(model.latents.alphas.tolist(), 1).quantise(z).to(model.device)
            symbols, labels = torch.cat([symbols] * 2), None if labels is None else torch.cat([labels] * 2)
        return IntegerDecoder.convert(model.autoregressive, symbols, codes, labels=labels)

    def _nats(self, terms: Terms) -> Tensor:
        """Of the decoder whose ELBO is shown: the autoregressive one if it sees the latents."""
        names = [f"{name}_bits_per_dim" for name in DECODERS if sees_latents(self.model.config, name)]
        return [terms[name][0] for name in names if name in terms][-1]

    def _reached_floor(self, latents: Latents, kl: Tensor) -> Tensor:
        """The committed rate of each item in nats, (B,), below which no KL may be."""
        assert self.model.latents is not None and latents.posterior is not None
        sequences, steps = latents.posterior.mean.shape[:2]
        counts = [steps] * sequences if latents.step_mask is None else latents.step_mask.sum(1).tolist()
        rates = {count: self.model.latents.committed_rate_nats(count) for count in set(counts)}
        floor = torch.tensor([rates[count] for count in counts]).view(len(latents), -1).sum(1).to(kl)
        reached = (kl >= floor - _TOLERANCE * (1 + floor)).all() | ~kl.isfinite().all()
        if kl.is_cuda:  # does not wait for the device
            torch._assert_async(reached)  # pyright: ignore[reportPrivateImportUsage]
        else:
            assert bool(reached), "an item's KL is below the committed rate"
        return floor


def _weighed(objective: ObjectiveConfig, kl: Tensor, progress: float) -> Tensor:
    """What stands in the loss for each item's KL, (B,)."""
    if objective.kind == "free_bits":
        return kl.mean().clamp(min=objective.nats).expand_as(kl)
    if objective.kind == "annealed":
        return kl * min(1.0, progress / objective.share)
    return kl * objective.beta if objective.kind == "beta" else kl
