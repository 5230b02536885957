"""The stages of a delta-VAE: what is minimised, what is asserted, what stays as it is."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from delta_parts import IMAGES, STAGE, TEXTS, jolted, lengths_mask
from latentpress.config import (
    AnnealedObjectiveConfig,
    BetaObjectiveConfig,
    DeltaVAEConfig,
    FreeBitsObjectiveConfig,
    PlainGaussianConfig,
)
from latentpress.data.symbols import SymbolBatch
from latentpress.latents.gaussian import AR1Latents
from latentpress.model import DeltaVAE
from latentpress.train.committed import AuxiliaryStage, DeltaVAEStage

PLAIN = replace(TEXTS, latents=PlainGaussianConfig(), auxiliary=None)


class Fixed:
    """One batch, again and again."""

    def __init__(self, batch: SymbolBatch) -> None:
        self.batch = batch

    def stream(self, start: int) -> Iterator[SymbolBatch]:
        while True:
            yield self.batch


def texts(lengths: tuple[int, ...] = (13, 1, 4, 6)) -> SymbolBatch:
    symbols = np.random.default_rng(0).integers(0, 256, (len(lengths), max(lengths), 1), dtype=np.uint8)
    return SymbolBatch(torch.from_numpy(symbols), lengths_mask(lengths, max(lengths)))


def images() -> SymbolBatch:
    return SymbolBatch(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 5, 4, 1), np.uint8)))


def stage_of(config: DeltaVAEConfig, batch: SymbolBatch) -> DeltaVAEStage:
    torch.manual_seed(0)
    return DeltaVAEStage(jolted(DeltaVAE(config), size=0.2), STAGE, Fixed(batch))


def value(stage: DeltaVAEStage, batch: SymbolBatch, progress: float = 0.5) -> float:
    torch.manual_seed(1)
    return stage.loss(batch, progress).total.item()


def parts(stage: DeltaVAEStage, batch: SymbolBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """-log p(x | z) and KL of every item, for the draw that `value` sees."""
    torch.manual_seed(1)
    elbo = stage.model.elbo(batch.symbols.long(), batch.mask)
    return elbo.nll_nats.detach(), elbo.kl_nats.detach()


@pytest.mark.parametrize(("config", "batch", "dims"), [(IMAGES, images(), 80), (TEXTS, texts(), 24)])
def test_the_loss_is_the_negative_elbo_of_a_dimension(config: DeltaVAEConfig, batch: SymbolBatch, dims: int):
    stage = stage_of(replace(config, auxiliary=None), batch)
    nll, kl = parts(stage, batch)
    assert batch.dims == dims
    assert value(stage, batch) == pytest.approx(float((nll + kl).sum()) / dims, rel=1e-5)
    torch.manual_seed(1)
    figures = stage.loss(batch, 0.5).figures
    assert figures["bits_per_dim"].item() == pytest.approx(float((nll + kl).sum()) / dims / math.log(2))
    assert figures["kl_nats"].item() == pytest.approx(float(kl.mean()))
    assert "auxiliary_kl_nats" not in figures


def test_free_bits_are_free_up_to_so_many_nats():
    batch = texts()
    stage = stage_of(replace(PLAIN, objective=FreeBitsObjectiveConfig(nats=1e-3)), batch)
    nll, kl = parts(stage, batch)
    mean = kl.mean().item()
    for nats, paid in ((mean / 2, mean), (3 * mean, 3 * mean)):
        stage.objective = FreeBitsObjectiveConfig(nats=nats)
        wanted = (nll.sum().item() + 4 * paid) / batch.dims
        assert value(stage, batch) == pytest.approx(wanted, rel=1e-5)
    stage.loss(batch, 0.5).total.backward()  # below the free nats nothing pulls at the KL
    without = stage_of(replace(PLAIN, objective=BetaObjectiveConfig(beta=1e-30)), batch)
    torch.manual_seed(1)
    stage.model.zero_grad()
    stage.loss(batch, 0.5).total.backward()
    torch.manual_seed(1)
    without.loss(batch, 0.5).total.backward()
    for one, other in zip(stage.model.parameters(), without.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.2, 0.5), (0.4, 1.0), (0.9, 1.0)])
def test_annealing_goes_from_nothing_to_the_elbo(progress: float, weight: float):
    batch = texts()
    stage = stage_of(replace(PLAIN, objective=AnnealedObjectiveConfig(share=0.4)), batch)
    nll, kl = parts(stage, batch)
    wanted = float((nll + weight * kl).sum()) / batch.dims
    assert value(stage, batch, progress) == pytest.approx(wanted, rel=1e-5)


def test_beta_weighs_the_kl():
    batch = texts()
    stage = stage_of(replace(PLAIN, objective=BetaObjectiveConfig(beta=3.0)), batch)
    nll, kl = parts(stage, batch)
    assert value(stage, batch) == pytest.approx(float((nll + 3 * kl).sum()) / batch.dims, rel=1e-5)


def test_the_auxiliary_prior_gives_the_others_no_gradient():
    batch = texts()
    gradients = []
    for config in (TEXTS, replace(TEXTS, auxiliary=None)):
        stage = stage_of(config, batch)
        torch.manual_seed(1)
        stage.loss(batch, 0.5).total.backward()
        own = [name for name, _ in stage.model.named_parameters() if not name.startswith("auxiliary")]
        gradients.append([stage.model.get_parameter(name).grad for name in own])
        if stage.model.auxiliary is not None:
            assert all(p.grad is not None and p.grad.any() for p in stage.model.auxiliary.parameters())
            beside = {id(parameter) for parameter in stage.model.auxiliary.parameters()}
            assert [{id(p) for p in group} & beside for group in stage.groups()] == [set(), beside]
    assert all(
        torch.equal(one, other)
        for one, other in zip(*gradients, strict=True)
        if one is not None and other is not None
    )


@pytest.mark.parametrize("batch", [texts(), texts((5, 5))])
def test_a_kl_below_the_committed_rate_stops_the_training(
    batch: SymbolBatch, monkeypatch: pytest.MonkeyPatch
):
    stage = stage_of(TEXTS, batch)
    assert stage.loss(batch, 0.0).figures["committed_nats"] > 0
    rate = AR1Latents.committed_rate_nats
    monkeypatch.setattr(AR1Latents, "committed_rate_nats", lambda self, steps: 100 + rate(self, steps))
    with pytest.raises(AssertionError, match="below the committed rate"):
        stage.loss(batch, 0.0)


def test_every_item_has_the_floor_of_its_own_length():
    batch = texts()
    stage = stage_of(TEXTS, batch)
    assert stage.model.latents is not None
    wanted = np.mean([stage.model.latents.committed_rate_nats(n) for n in (4, 1, 1, 2)])
    assert stage.loss(batch, 0.0).figures["committed_nats"].item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("config", "batch"), [(IMAGES, images()), (TEXTS, texts())])
def test_the_refit_moves_the_auxiliary_prior_alone(config: DeltaVAEConfig, batch: SymbolBatch):
    torch.manual_seed(0)
    model = jolted(DeltaVAE(config), size=0.2)
    stage = AuxiliaryStage(model, STAGE, Fixed(batch))
    loss = stage.loss(batch, 0.5)
    loss.total.backward()
    assert model.auxiliary is not None
    moved = {id(parameter) for group in stage.groups() for parameter in group}
    assert moved == {id(parameter) for parameter in model.auxiliary.parameters()}
    assert all((parameter.grad is not None) == (id(parameter) in moved) for parameter in model.parameters())
    torch.manual_seed(1)
    with torch.no_grad():
        elbo = model.elbo(batch.symbols.long(), batch.mask)
        assert elbo.posterior is not None and elbo.z is not None
        kl = elbo.posterior.log_density(elbo.z, elbo.step_mask) + model.auxiliary.nll_nats(
            elbo.z, elbo.step_mask
        )
    torch.manual_seed(1)
    found = stage.loss(batch, 0.5).figures["auxiliary_kl_nats"].item()
    assert found == pytest.approx(kl.mean().item(), rel=1e-4)


def test_the_exact_decoder_is_made_once_and_of_the_finished_weights():
    batch = images()
    stage = stage_of(IMAGES, batch)
    stage.finish()
    model, first = stage.model, stage.model.pixels_id
    AuxiliaryStage(model, STAGE, Fixed(SymbolBatch(batch.symbols.flip(1)))).finish()
    assert model.pixels_id == first != bytes(16)
    jolted(model, size=0.2)
    DeltaVAEStage(model, STAGE, Fixed(batch)).finish()
    assert model.pixels_id != first
