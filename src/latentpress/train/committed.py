"""The stages of a delta-VAE.

    codec   encoder and decoder by -log p(x | z) + KL(q || p), z drawn by reparameterisation, and beside
            them the auxiliary prior by -log p_aux(z) on the same draws, through which no gradient goes
    prior   the auxiliary prior alone, refitted to the latents of the finished encoder

The KL is exact and stands in the loss as it is: no weight, no schedule, no free bits. Those are other
objectives (`DeltaVAEConfig.objective`), there to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.autoregressive.sequence import CODES
from latentpress.config import ObjectiveConfig, StageConfig
from latentpress.data.symbols import SymbolBatch
from latentpress.latents.information import mutual_information_nats
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.model import DeltaVAE
from latentpress.model.deltavae import Elbo
from latentpress.train.loop import StageLoss

__all__ = ["AuxiliaryStage", "DeltaVAEStage", "SymbolSource", "auxiliary_kl", "make_exact"]

_TOLERANCE = 1e-3  # nats, and in proportion: the KL is a sum in float32
_CALIBRATION_BATCHES = 4
_CALIBRATION_POSITIONS = 1 << 14


class SymbolSource(Protocol):
    """Endless batches of items; batch i is a pure function of i."""

    def stream(self, start: int) -> Iterator[SymbolBatch]:
        """Yields the batches from number `start` on."""
        ...


class DeltaVAEStage:
    """Fits encoder, decoder and auxiliary prior at once.

    Arguments:
        model: put into training mode; stays where it is.
        config: how the stage is trained.
        source: batches of items.
    """

    name = "codec"

    def __init__(self, model: DeltaVAE, config: StageConfig, source: SymbolSource) -> None:
        self.model, self.config, self.source = model, config, source
        self.objective = model.config.objective
        model.train().requires_grad_(True)

    def groups(self) -> list[list[Parameter]]:
        """Encoder and decoder; and apart from them the auxiliary prior, which must not change them."""
        beside = [] if self.model.auxiliary is None else list(self.model.auxiliary.parameters())
        others = {id(parameter) for parameter in beside}
        own = [parameter for parameter in self.model.parameters() if id(parameter) not in others]
        return [own, beside] if beside else [own]

    def batches(self, start: int) -> Iterator[SymbolBatch]:
        """Batches from number `start` on."""
        return self.source.stream(start)

    def loss(self, batch: SymbolBatch, progress: float) -> StageLoss:
        """The negative ELBO in nats per dimension, and the auxiliary prior's loss beside it."""
        model, batch = self.model, batch.to(self.model.device)
        elbo = model.elbo(batch.symbols, batch.mask)
        count, dims = len(batch.symbols), batch.dims
        nats = elbo.nll_nats.sum() / dims
        figures = {"bits_per_dim": (elbo.nll_nats + elbo.kl_nats).detach().sum() / dims / math.log(2)}
        if model.latents is None:
            return StageLoss(nats, figures)
        floor = self._asserted_floor(elbo)
        total = nats + _weighed(self.objective, elbo.kl_nats, progress).sum() / dims
        figures |= {"kl_nats": elbo.kl_nats.detach().mean(), "committed_nats": floor.mean()}
        assert elbo.posterior is not None and elbo.z is not None
        figures["information_nats"] = mutual_information_nats(elbo.posterior, elbo.z, elbo.step_mask)
        if model.auxiliary is not None:
            auxiliary = model.auxiliary.nll_nats(elbo.z.detach(), elbo.step_mask).sum()
            figures["auxiliary_kl_nats"] = auxiliary_kl(elbo, auxiliary.detach() / count)
            total = total + auxiliary / elbo.z.numel()
        return StageLoss(total, figures)

    def stepped(self) -> None:
        """Nothing but the optimiser moves the model."""

    def finish(self) -> None:
        """Freezes the model and makes its exact form."""
        self.model.eval().requires_grad_(False)
        self.model.exact_decoder = self.model.exact_encoder = None
        make_exact(self.model, list(islice(self.source.stream(0), _CALIBRATION_BATCHES)))

    def _asserted_floor(self, elbo: Elbo) -> Tensor:
        """The committed rate of each item, (B,), which its KL has to reach: it is the family's minimum."""
        kl, model = elbo.kl_nats.detach(), self.model
        assert model.latents is not None and elbo.z is not None
        if elbo.step_mask is None:
            floor = torch.full_like(kl, model.latents.committed_rate_nats(elbo.z.shape[1]))
        else:
            floor = model.committed_rates(elbo.step_mask).to(kl)
        reached = (kl >= floor - _TOLERANCE * (1 + floor)).all() | ~kl.isfinite().all()
        if kl.is_cuda:
            # does not wait for the device
            torch._assert_async(reached)  # pyright: ignore[reportPrivateImportUsage]
        else:
            assert bool(reached), "an item's KL is below the committed rate"
        return floor


class AuxiliaryStage:
    """Fits the auxiliary prior to the latents of a finished encoder.

    Arguments:
        model: put into evaluation mode but for its auxiliary prior.
        config: how the stage is trained.
        source: batches of items.
    """

    name = "prior"

    def __init__(self, model: DeltaVAE, config: StageConfig, source: SymbolSource) -> None:
        assert model.auxiliary is not None
        self.model, self.config, self.source = model, config, source
        self.auxiliary = model.auxiliary
        model.eval().requires_grad_(False)
        self.auxiliary.train().requires_grad_(True)

    def groups(self) -> list[list[Parameter]]:
        """What the optimiser moves."""
        return [list(self.auxiliary.parameters())]

    def batches(self, start: int) -> Iterator[SymbolBatch]:
        """Batches from number `start` on."""
        return self.source.stream(start)

    def loss(self, batch: SymbolBatch, progress: float) -> StageLoss:
        """-log p_aux(z) of latents drawn from the posterior, in nats per number."""
        batch = batch.to(self.model.device)
        with torch.no_grad():
            posterior, step_mask = self.model.posterior(batch.symbols, batch.mask)
            z = posterior.sample(torch.randn_like(posterior.mean))
            entropy = posterior.log_density(z, step_mask).mean()
        nats = self.auxiliary.nll_nats(z, step_mask).sum()
        return StageLoss(nats / z.numel(), {"auxiliary_kl_nats": entropy + nats.detach() / len(z)})

    def stepped(self) -> None:
        """Nothing but the optimiser moves the auxiliary prior."""

    def finish(self) -> None:
        """Freezes the auxiliary prior and makes the exact form that follows from it."""
        self.model.eval().requires_grad_(False)
        make_exact(self.model, list(islice(self.source.stream(0), _CALIBRATION_BATCHES)))


def auxiliary_kl(elbo: Elbo, auxiliary_nats: Tensor) -> Tensor:
    """E [ln q(z | x) - ln p_aux(z)] over the items, a scalar, from the mean of -ln p_aux(z)."""
    assert elbo.posterior is not None and elbo.z is not None
    return elbo.posterior.log_density(elbo.z, elbo.step_mask).detach().mean() + auxiliary_nats


@torch.no_grad()
def make_exact(model: DeltaVAE, batches: Sequence[SymbolBatch]) -> None:
    """Gives `model` its integer forms, calibrated on some of the batches' items.

    An exact decoder or encoder that is there stays: with another one, older archives could no longer be
    read. The decoder is calibrated on draws from the prior too, so that new items do not clip what the
    latents say.
    Codes of archives are the posterior's means in steps of sqrt(12) of its mean standard deviation:
    rounding then errs by as much as a draw from the posterior would, which the decoder is used to.
    """
    batch = _some(batches).to(model.device)
    if model.latents is None:
        model.exact_decoder = IntegerDecoder.convert(model.decoder, batch.symbols)
        return
    posterior, _ = model.posterior(batch.symbols)
    unit = model.unit
    if model.exact_decoder is None:
        generator = torch.Generator().manual_seed(0)  # the same draw in a run that was resumed
        noise = torch.randn(posterior.mean.shape, generator=generator)
        drawn = model.latents.draw(len(noise), noise.shape[1], generator)
        z = torch.cat([posterior.sample(noise.to(posterior.mean)), drawn.to(posterior.mean)])
        codes = torch.round(z / unit).clamp(-(CODES // 2), CODES // 2).long() + CODES // 2
        twice = torch.cat([batch.symbols, batch.symbols])
        model.exact_decoder = IntegerDecoder.convert(model.decoder, twice, model.on_grid(codes))
    if model.exact_encoder is None and isinstance(model.encoder, AnticausalEncoder):
        model.exact_encoder = IntegerEncoder.convert(model.encoder, model.latents.posterior, batch.symbols)
    spread = float(torch.exp(posterior.log_variance / 2).mean())
    step = min(CODES // 4, max(1, round(math.sqrt(12) * spread / unit)))
    assert model.config.latents is not None
    model.exact_prior = (
        IntegerLSTM.ar1(model.config.latents.alphas, step)
        if model.auxiliary is None
        else IntegerLSTM.convert(model.auxiliary, step)
    )


def _some(batches: Sequence[SymbolBatch]) -> SymbolBatch:
    """Whole items, as many as calibration takes: those of the first batches without padding."""
    whole = []
    for batch in batches:
        keep = slice(None) if batch.mask is None else batch.mask.flatten(1).all(1)
        whole.append(batch.symbols[keep])
    symbols = torch.cat(whole)
    if not len(symbols):
        symbols = batches[0].symbols  # all are shorter than a window: padding, then, is what there is
    return SymbolBatch(symbols[: max(1, _CALIBRATION_POSITIONS // symbols[0, ..., 0].numel())])


def _weighed(objective: ObjectiveConfig, kl: Tensor, progress: float) -> Tensor:
    """What stands in the loss for each item's KL, (B,)."""
    if objective.kind == "free_bits":
        return kl.mean().clamp(min=objective.nats).expand_as(kl)
    if objective.kind == "annealed":
        return kl * min(1.0, progress / objective.share)
    return kl * objective.beta if objective.kind == "beta" else kl
