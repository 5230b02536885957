"""The diagnosis of delta-VAEs: collapsed, in use, and without latents."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from delta_parts import IMAGES, TEXTS, jolted
from latentpress.config import AnticausalConfig, AR1Config, DeltaVAEConfig, PlainGaussianConfig
from latentpress.errors import LatentpressError
from latentpress.evaluate.diagnosis import Diagnosis, diagnose
from latentpress.model import DeltaVAE

SHADES = replace(
    TEXTS,
    encoder=AnticausalConfig(stride=4, width=8, depth=1, radius=2, dilations=(1,), embedding=4, hidden=16),
    latents=AR1Config(alpha=0.9),
)


def shades(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of one letter each, which the decoder cannot know before the first."""
    labels = np.random.default_rng(0).integers(0, 4, count)
    return (97 + 5 * labels[:, None, None] + np.zeros((1, 12, 1), np.int64)).astype(np.uint8), labels


def model_of(config: DeltaVAEConfig, size: float = 0.1) -> DeltaVAE:
    torch.manual_seed(0)
    return jolted(DeltaVAE(config), size=size).eval()


def collapsed(config: DeltaVAEConfig) -> DeltaVAE:
    """Its encoder says the same of every item, which is what costs least."""
    model = model_of(config)
    assert model.encoder is not None
    with torch.no_grad():
        model.encoder.out.weight.zero_()
        model.encoder.out.bias.zero_()
    return model


@pytest.fixture(scope="module")
def used() -> DeltaVAE:
    """A model that was trained until its latents say which letter comes."""
    torch.manual_seed(0)
    model = DeltaVAE(SHADES)
    symbols = torch.from_numpy(shades(64)[0]).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(180):
        optimizer.zero_grad()
        elbo = model.elbo(symbols)
        assert model.auxiliary is not None and elbo.z is not None
        loss = elbo.nll_nats + elbo.kl_nats + model.auxiliary.nll_nats(elbo.z.detach())
        loss.mean().backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("latents", [SHADES.latents, PlainGaussianConfig(channels=2)])
def test_a_collapsed_model_is_called_one(latents):
    model, (items, labels) = collapsed(replace(SHADES, latents=latents)), shades(400)
    found = diagnose(model, items, labels)
    assert "not used" in found.verdict
    assert abs(found.shuffled_gap_nats) < 0.05 and abs(found.information_nats) < 1e-3
    assert (found.active_units == 0 and found.price is None) or found.price > 100
    assert found.kl_nats == pytest.approx(found.committed_nats, abs=1e-4)
    assert found.min_kl_nats == pytest.approx(found.committed_nats, abs=1e-4)
    assert found.probe_accuracy < found.majority_share + 0.1
    if latents.kind == "plain":
        assert "committed rate (model.latents.kind=ar1)" in found.verdict and found.committed_nats == 0
    else:
        assert "larger alpha" in found.verdict and found.committed_nats > 1


def test_a_model_in_use_is_called_one(used: DeltaVAE):
    items, labels = shades(200)
    found = diagnose(used, items, labels)
    assert "in use" in found.verdict and found.shuffled_gap_nats > 1
    assert found.prior_gap_nats > 1 and found.probe_accuracy > found.majority_share + 0.15
    assert 0.5 < found.information_nats <= found.information_cap_nats == pytest.approx(math.log(200))
    assert found.committed_nats <= found.min_kl_nats <= found.kl_nats
    assert found.price == pytest.approx(found.kl_nats / found.information_nats)
    assert found.negative_elbo_auxiliary_nats - found.negative_elbo_nats == pytest.approx(
        found.auxiliary_kl_nats - found.kl_nats, rel=1e-6
    )
    assert 1 <= found.active_units <= found.steps * found.channels == 3
    assert (found.num_items, found.dims_per_item) == (200, 12)
    assert found.auxiliary_kl_nats > found.information_nats - 0.2


def test_the_same_seed_finds_the_same(used: DeltaVAE):
    items, labels = shades(50)
    torch.manual_seed(0)
    before = torch.rand(2)
    torch.manual_seed(0)
    found = diagnose(used, items, labels, seed=1)
    assert torch.equal(torch.rand(2), before)
    assert diagnose(used, items, labels, seed=1) == found != diagnose(used, items, labels, seed=2)


def test_pieces_do_not_matter(used: DeltaVAE, monkeypatch: pytest.MonkeyPatch):
    items, _ = shades(50)
    whole = diagnose(used, items)
    monkeypatch.setattr("latentpress.evaluate.diagnosis._BATCH_SYMBOLS", 12 * 7)
    for name, value in vars(diagnose(used, items)).items():
        before = getattr(whole, name)
        assert value == before or value == pytest.approx(before, rel=1e-4, abs=1e-4)


def test_a_decoder_alone_has_no_figures_of_latents():
    alone = model_of(replace(TEXTS, latents=None, auxiliary=None))
    items, labels = shades(20)
    found = diagnose(alone, items, labels)
    assert "decoder alone" in found.verdict and found.price is None
    absent = {name for name, value in vars(found).items() if value is None}
    assert {"kl_nats", "information_nats", "shuffled_gap_nats", "active_units", "alone_nats"} <= absent
    with torch.no_grad():
        nll = alone.decoder.nll_nats(torch.from_numpy(items).long()).mean().item()
    assert found.negative_elbo_nats == pytest.approx(nll, rel=1e-5)
    beside = diagnose(model_of(TEXTS), items, alone=alone)
    assert beside.alone_nats == pytest.approx(nll, rel=1e-5)


@pytest.mark.parametrize("config", [TEXTS, IMAGES, replace(TEXTS, auxiliary=None)])
def test_json_has_every_figure(config: DeltaVAEConfig):
    size = (5, 4, 1) if config is IMAGES else (9, 1)
    items = np.random.default_rng(0).integers(0, 256, (6, *size), dtype=np.uint8)
    items.flags.writeable = False
    found = diagnose(model_of(config), items)
    tree = json.loads(found.to_json())
    assert tree.pop("verdict") == found.verdict and tree.pop("price") == found.price
    assert Diagnosis(**tree) == found
    assert (found.auxiliary_kl_nats is None) == (config.auxiliary is None)
    assert found.probe_accuracy is None


def test_verdicts_between():
    base = {"num_items": 9, "dims_per_item": 9, "negative_elbo_nats": 1.0, "kl_nats": 5.0}
    low = Diagnosis(**base, committed_nats=4.0, information_nats=1.9, shuffled_gap_nats=1.0)
    assert "less than half" in low.verdict and low.price == pytest.approx(5 / 1.9)
    assert "in use" in replace(low, information_nats=2.1).verdict
    assert "not used" in replace(low, shuffled_gap_nats=0.01).verdict
    assert replace(low, information_nats=-0.01).price is None
    silent = replace(low, shuffled_gap_nats=0.0, channels=1)
    assert "larger alpha" in replace(silent, steps=4).verdict
    assert "model.latents.kind=ar1" in replace(silent, steps=4, committed_nats=0.0).verdict
    assert "one latent step commits nothing" in replace(silent, steps=1, committed_nats=0.0).verdict


def test_one_item_is_nothing_to_compare():
    with pytest.raises(LatentpressError, match="two or more"):
        diagnose(model_of(TEXTS), shades(1)[0])
