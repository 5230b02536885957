"""The whole delta-VAE: its ELBO, its folder, what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from delta_parts import IMAGES, TEXTS, jolted, lengths_mask
from latentpress.autoregressive.sequence import CODES
from latentpress.config import (
    DeltaVAEConfig,
    ImageConfig,
    MeanBoundConfig,
    PlainGaussianConfig,
    RecurrentEncoderConfig,
    VarianceBoundConfig,
    VarianceRatioConfig,
)
from latentpress.data.symbols import SymbolBatch
from latentpress.errors import CheckpointError, ConfigError
from latentpress.model import VQVAE, DeltaVAE, load
from latentpress.train.committed import make_exact

ALONE = replace(TEXTS, latents=None, auxiliary=None)
RECURRENT = replace(IMAGES, encoder=RecurrentEncoderConfig(stride=3, width=6, embedding=4))


def model_of(config: DeltaVAEConfig) -> DeltaVAE:
    torch.manual_seed(0)
    return jolted(DeltaVAE(config), size=0.1).eval()


def items_of(config: DeltaVAEConfig, count: int = 3) -> torch.Tensor:
    size = (5, 4, 1) if config.item.kind == "image" else (13, 1)
    drawn = np.random.default_rng(0).integers(0, 256, (count, *size), dtype=np.uint8)
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("config", [IMAGES, TEXTS, RECURRENT])
def test_the_parts_fit(config: DeltaVAEConfig):
    model, items = model_of(config), items_of(config)
    elbo = model.elbo(items.long())
    steps = -(-items.shape[1] // model.hop[0])
    assert elbo.z is not None and elbo.z.shape == (3, steps, config.latents.channels)
    assert model.latents is not None and elbo.nll_nats.shape == elbo.kl_nats.shape == (3,)
    assert (elbo.kl_nats >= model.latents.committed_rate_nats(steps) * (1 - 1e-5)).all()
    assert model.hop == ((config.encoder.stride, 4) if config.item.kind == "image" else (4,))


@pytest.mark.parametrize("latents", [VarianceRatioConfig, VarianceBoundConfig, MeanBoundConfig])
def test_every_family_has_its_floor(latents: type):
    model = model_of(replace(TEXTS, latents=latents(channels=2)))
    elbo = model.elbo(items_of(TEXTS, 9).long())
    assert model.latents is not None
    assert (elbo.kl_nats >= model.latents.committed_rate_nats(4) * (1 - 1e-5)).all()


def test_padding_changes_nothing():
    model, lengths = model_of(TEXTS), [13, 1, 4, 6]
    symbols, mask = items_of(TEXTS, 4).long(), lengths_mask(lengths, 13)
    noise = torch.randn(4, 4, 1)
    elbo = model.elbo(symbols, mask, noise)
    other = model.elbo(torch.where(mask[..., None], symbols, 7), mask, noise)
    assert torch.equal(elbo.nll_nats, other.nll_nats) and torch.equal(elbo.kl_nats, other.kl_nats)
    assert elbo.step_mask is not None and elbo.step_mask.sum(1).tolist() == [4, 1, 1, 2]
    assert model.latents is not None
    rates = [model.latents.committed_rate_nats(n) for n in (4, 1, 1, 2)]
    assert model.committed_rates(elbo.step_mask).tolist() == pytest.approx(rates)
    for item, length in enumerate(lengths):
        steps = -(-length // 4)
        alone = model.elbo(symbols[item : item + 1, :length], None, noise[item : item + 1, :steps])
        torch.testing.assert_close(alone.nll_nats[0], elbo.nll_nats[item])
        torch.testing.assert_close(alone.kl_nats[0], elbo.kl_nats[item])


def test_the_steps_of_a_masked_image_are_its_rows():
    model, mask = model_of(IMAGES), torch.ones(2, 5, 4, dtype=torch.bool)
    mask[1, 3:] = False
    elbo = model.elbo(items_of(IMAGES, 2).long(), mask)
    assert elbo.step_mask is not None and elbo.step_mask.sum(1).tolist() == [3, 2]


def test_the_latents_of_a_step_do_not_reach_the_bytes_before_it():
    model, symbols = model_of(TEXTS), items_of(TEXTS).long()
    noise = torch.randn(3, 4, 1)
    first = lengths_mask([8] * 3, 13)
    found = model.decoder.nll_nats(symbols, noise, first)
    noise[:, 2:] += 5
    assert torch.equal(model.decoder.nll_nats(symbols, noise, first), found)


def test_the_decoder_alone_has_an_elbo_too():
    model, symbols = model_of(ALONE), items_of(ALONE).long()
    elbo = model.elbo(symbols, lengths_mask([13, 2, 5], 13))
    assert elbo.z is elbo.posterior is None and not elbo.kl_nats.any() and elbo.nll_nats.all()
    assert model.encoder is model.latents is model.auxiliary is None and model.sizes == ()


@pytest.mark.parametrize("config", [IMAGES, TEXTS, RECURRENT, ALONE])
def test_a_folder_restores_the_model(config: DeltaVAEConfig, tmp_path: Path):
    model, items = model_of(config), items_of(config)
    model.save_pretrained(tmp_path, card="# A card")
    again = DeltaVAE.from_pretrained(tmp_path, "cpu")
    assert again.config == config and isinstance(load(tmp_path, "cpu"), DeltaVAE)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    steps = -(-items.shape[1] // model.hop[0])
    noise = None if config.latents is None else torch.randn(3, steps, config.latents.channels)
    found, wanted = (one.elbo(items.long(), None, noise) for one in (again, model))
    assert torch.equal(found.nll_nats, wanted.nll_nats) and torch.equal(found.kl_nats, wanted.kl_nats)
    if again.auxiliary is not None:
        z = torch.randn(2, 3, config.latents.channels)
        assert torch.equal(again.auxiliary.nll_nats(z), model.auxiliary.nll_nats(z))
    with pytest.raises(CheckpointError, match="another kind"):
        VQVAE.from_pretrained(tmp_path, "cpu")


@pytest.mark.parametrize("config", [IMAGES, TEXTS, ALONE])
def test_exact_forms_are_the_same_each_time_and_fit(config: DeltaVAEConfig):
    batches = [SymbolBatch(items_of(config, 9))]
    ids = set()
    for seed in range(2):
        model = model_of(config)
        torch.manual_seed(seed)
        make_exact(model, batches)
        assert model.exact_decoder is not None and model.exact_decoder.fits(model.decoder)
        ids.add(model.pixels_id)
        forms = {"exact_decoder": model.exact_decoder.tensors()}
        model.exact_decoder = None
        model.restore_exact(forms, torch.device("cpu"))
        ids.add(model.pixels_id)
    assert len(ids) == 1 and bytes(16) not in ids
    with pytest.raises(CheckpointError, match="does not fit"):
        model_of(IMAGES if config is not IMAGES else TEXTS).restore_exact(forms, torch.device("cpu"))
    with pytest.raises(CheckpointError, match="does not fit"):
        model_of(config).restore_exact({"exact_other": {}}, torch.device("cpu"))


def test_exact_latents_are_near_the_real_ones():
    model, batch = model_of(TEXTS), SymbolBatch(items_of(TEXTS, 40))
    make_exact(model, [batch])
    assert model.exact_decoder is not None
    z = model.posterior(batch.symbols.long())[0].sample(torch.randn(40, 4, 1))
    codes = torch.round(z / model.unit).clamp(-127, 127).long() + CODES // 2
    told = model.exact_decoder.context(codes, (13,)).map
    wanted = model.decoder.context(z, (13,)).map
    assert told is not None and wanted is not None
    steps = torch.exp2(model.exact_decoder.network.tensors()["context_exponents"].float())
    assert (told * steps[:, None] - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_codes_need_the_exact_prior():
    with pytest.raises(ConfigError, match="end of training"):
        model_of(TEXTS).encode(items_of(TEXTS))
    model = model_of(TEXTS)
    assert model.prior_id == model.pixels_id == bytes(16) and model.exact_forms() == {}


def test_items_that_do_not_fit_are_refused():
    for config, wanted in ((IMAGES, r"\(B, 5, 4, 1\)"), (TEXTS, r"\(B, T, 1\)")):
        model = model_of(config)
        items = items_of(config)
        for other in (items.long(), items[..., 0], torch.cat([items, items], -1)):
            with pytest.raises(ValueError, match=wanted):
                model.encode(other)
    with pytest.raises(ValueError, match=r"\(B, 5, 4, 1\)"):
        model_of(IMAGES).encode(items_of(IMAGES)[:, :4])


def test_images_need_a_size():
    with pytest.raises(ConfigError, match=r"model\.item\.size"):
        DeltaVAE(replace(IMAGES, item=ImageConfig(channels=1)))


def test_making_a_model_with_an_auxiliary_prior_gives_the_others_the_same_weights():
    torch.manual_seed(0)
    beside = DeltaVAE(IMAGES)
    torch.manual_seed(0)
    alone = DeltaVAE(replace(IMAGES, auxiliary=None))
    state = beside.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())
    assert PlainGaussianConfig().alphas == (0.0,)
