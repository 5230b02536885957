"""Diagnoses: laws for all models and kinds, and figures of models of which one knows what they do."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from latentpress.config import AnticausalConfig, AR1Config, LabelConfig, PlainGaussianConfig
from latentpress.data import Dataset, ItemRef, Source, array_source, load_dataset
from latentpress.errors import ItemError, LatentpressError
from latentpress.evaluate import Diagnosis, diagnose, diagnosis
from latentpress.evaluate.latents import as_tensor
from latentpress.exact.distribution import Sampling
from latentpress.items import Text
from latentpress.model import DeltaVAE, Model, build
from latentpress.model.latents import Latents
from small.configs import ITEMS, NETWORK, delta_vae
from small.models import MODELS, batch_of, finished, jolted, small_model

KINDS = ("colour", "text", "toy")


def dataset_of(model: Model, count: int = 6, labels: list[str] | None = None) -> Dataset:
    return load_dataset(array_source(list(batch_of(model.item, count)), model.item, labels))


@pytest.fixture(scope="module", params=[(case, kind) for case in MODELS for kind in KINDS], ids="-".join)
def model(request: pytest.FixtureRequest) -> Model:
    return small_model(*request.param)


def test_figures_are_the_models(model: Model) -> None:
    samples = as_tensor(batch_of(model.item))
    found = diagnose(model, dataset_of(model), seed=3)
    latents = model.infer(samples, generator=torch.Generator().manual_seed(3))
    assert (found.items, found.dims) == (6, samples[0].numel())
    assert found.sample_nats == pytest.approx(float(model.sample_nats(samples, latents).mean()), rel=1e-5)
    assert found.latent_nats == pytest.approx(float(model.latent_nats(latents).mean()), rel=1e-5)
    details = model.details(latents)
    assert found.details == details or found.details.values == pytest.approx(dict(details.values), rel=1e-3)
    assert found.shuffled_dims == found.dims and found.prior_gap_nats is not None
    assert found.verdict == found.details.verdict(found.shuffled_gap_nats, found.dims)


def test_the_gap_is_with_another_items_latents(model: Model) -> None:
    samples = as_tensor(batch_of(model.item, 2))
    found = diagnose(model, dataset_of(model, 2), seed=1)
    latents = model.infer(samples, generator=torch.Generator().manual_seed(1))
    swapped = model.sample_nats(samples, latents.take(torch.tensor([1, 0])))
    gap = float((swapped - model.sample_nats(samples, latents)).mean())
    assert found.shuffled_gap_nats == pytest.approx(gap, rel=1e-3, abs=1e-3) and abs(gap) > 1e-3


def test_the_same_seed_finds_the_same(model: Model) -> None:
    dataset = dataset_of(model)
    torch.manual_seed(0)
    before = torch.rand(2)
    torch.manual_seed(0)
    found = diagnose(model, dataset, seed=1)
    assert torch.equal(torch.rand(2), before)
    assert diagnose(model, dataset, seed=1) == found != diagnose(model, dataset, seed=2)


def test_json_has_every_figure(model: Model) -> None:
    found = diagnose(model, dataset_of(model))
    tree = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tree["verdict"] == found.verdict and tree["sample_nats"] == found.sample_nats
    assert tree["probe"] is None and tree["alone_nats"] is None
    assert tree["details"] == json.loads(json.dumps(dict(found.details.values)))


@pytest.mark.parametrize("case", ["vq-both", "delta-both"])
def test_progress_reaches_its_end_at_every_stage(case: str) -> None:
    model, calls = small_model(case), []
    diagnose(model, dataset_of(model), progress=lambda *call: calls.append(call))
    stages = ("infer", "latents", "latents of others", "latents of the prior")
    assert [call for call in calls if call[1] == call[2]] == [(stage, 6, 6) for stage in stages]


def test_batches_do_not_matter_to_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("vq-both", "colour")
    whole = diagnose(model, dataset_of(model))
    monkeypatch.setattr(diagnosis, "_BATCH_POSITIONS", 2 * 6 * 4)
    pieces = diagnose(model, dataset_of(model))
    assert pieces.details == whole.details
    for name in ("sample_nats", "latent_nats", "shuffled_gap_nats"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), rel=1e-5)


def test_few_items_are_enough_for_a_look_at_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("vq-both")
    monkeypatch.setattr(diagnosis, "_PRIOR_POSITIONS", 2 * 3 * 2 + 1)  # grids of 3 x 2
    drawn: list[int] = []
    sample_codes = model.sample_codes
    monkeypatch.setattr(model, "sample_codes", lambda n, *rest: drawn.append(n) or sample_codes(n, *rest))
    assert diagnose(model, dataset_of(model)).prior_gap_nats is not None and drawn == [2]
    monkeypatch.setattr(diagnosis, "_PRIOR_POSITIONS", 0)
    assert diagnose(model, dataset_of(model)).prior_gap_nats is None


@pytest.mark.parametrize("case", MODELS)
def test_latents_of_the_prior_are_those_that_generation_draws(case: str) -> None:
    model, dataset = small_model(case), dataset_of(small_model(case))
    found = diagnose(model, dataset, seed=3)
    size, count = dataset.extents[0].tolist(), len(dataset)
    seed = 3 + diagnosis._PRIOR_POSITIONS - count * math.prod(model.grid(size))
    codes = model.sample_codes(count, size, Sampling(seed=seed))
    samples = torch.from_numpy(np.stack([dataset[number] for number in range(count)]).astype(np.int32))
    own = model.infer(samples, generator=torch.Generator().manual_seed(3))
    drawn = Latents(model.vectors_of(codes, sampled=True), None if own.codes is None else codes)
    nats = [float(model.sample_nats(samples, latents).mean()) for latents in (own, drawn)]
    assert found.prior_gap_nats == pytest.approx(nats[1] - nats[0], rel=1e-4)


def test_items_of_several_sizes_change_latents_within_a_size() -> None:
    model, item = small_model("vq-both"), ITEMS["image"]
    rng = np.random.default_rng(0)
    sizes = [(12, 12), (8, 16), (12, 12), (5, 7)]
    arrays = [rng.integers(0, 256, (*size, 1)).astype(np.uint8) for size in sizes]
    refs = [ItemRef.of(f"{n}.png", a) for n, a in enumerate(arrays)]
    found = diagnose(model, load_dataset(Source(item, refs)))
    assert found.dims == np.mean([height * width for height, width in sizes])
    assert found.shuffled_dims == 144 and found.shuffled_gap_nats is not None
    codes = sum(math.prod(model.grid(size)) for size in sizes) * len(model.alphabets)
    assert found.details.values["num_codes"] == codes
    alone = diagnose(model, load_dataset(Source(item, refs[:2])))
    assert alone.shuffled_gap_nats is None and "two items of one size" in alone.verdict


@pytest.mark.parametrize("case", ["vq-parallel", "delta-autoregressive"])
def test_a_decoder_that_does_not_listen_is_found_out(case: str) -> None:
    deaf = finished(small_model(case).config)
    decoder = deaf.parallel or deaf.autoregressive
    assert decoder is not None
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
    found = diagnose(deaf, dataset_of(deaf))
    assert found.shuffled_gap_nats == pytest.approx(0, abs=1e-4)
    assert "in use" not in found.verdict


def test_codes_of_one_kind_are_a_collapse() -> None:
    model = small_model("vq-both")
    with torch.no_grad():
        collapsed = finished(model.config)
        collapsed.latents.codebook.zero_()
    found = diagnose(collapsed, dataset_of(model))
    assert found.shuffled_gap_nats == pytest.approx(0, abs=1e-5) and "collapsed" in found.verdict


def test_the_probe_reads_labels_from_latents() -> None:
    model = small_model("vq-both")
    dark = batch_of(model.item, 24) // 8
    labels = ["dark"] * 24 + ["bright"] * 24
    both = load_dataset(array_source(np.concatenate([dark, 255 - dark]), model.item, {"tone": labels}))
    found = diagnose(model, both).probe
    assert found is not None and found.label == "tone" and found.majority == 0.5
    assert found.accuracy > 0.9
    assert diagnose(model, load_dataset(array_source(dark, model.item))).probe is None


def test_labels_condition_what_latents_cost() -> None:
    config = small_model("vq-both").config
    prior = replace(config.prior, labels=("class",))
    model = finished(replace(config, labels=(LabelConfig(values=("a", "b")),), prior=prior))
    jolted(model.prior, 0.5)
    known, unknown = (diagnose(model, dataset_of(model, 6, list(names))) for names in ("ababab", "cdcdcd"))
    assert known.latent_nats != pytest.approx(unknown.latent_nats, rel=1e-6)
    assert known.sample_nats == pytest.approx(unknown.sample_nats)


def test_what_cannot_be_diagnosed_is_said(model: Model) -> None:
    with pytest.raises(LatentpressError, match="two or more"):
        diagnose(model, dataset_of(model, 1))
    with pytest.raises(LatentpressError, match="without latents, of the same items"):
        diagnose(model, dataset_of(model), alone=model)


def test_items_that_the_model_does_not_take_are_named() -> None:
    model = small_model("delta-both")
    wide = array_source(np.zeros((2, 6, 9, 1), np.uint8), model.item)
    with pytest.raises(ItemError, match=r"array/00000.png: 6 x 9, and the model takes .*4 columns"):
        diagnose(model, load_dataset(wide))


def test_a_decoder_alone_has_nothing_to_say_of_latents() -> None:
    config = delta_vae(ITEMS["text"], "autoregressive")
    alone = finished(replace(config, latents=None, auxiliary=None))
    dataset = dataset_of(alone)
    found = diagnose(alone, dataset)
    assert "decoder alone" in found.verdict and not found.details.figures()
    assert found.latent_nats == 0 and found.shuffled_gap_nats is None and found.prior_gap_nats is None
    beside = diagnose(small_model("delta-autoregressive", "text"), dataset, alone=alone)
    assert beside.alone_nats == pytest.approx(found.sample_nats, rel=1e-5)


# ---- delta-VAEs that use their latents, and that do not

SHADES = replace(
    delta_vae(Text(size=(12,)), "autoregressive"),
    encoder=AnticausalConfig(hop=(4,), network=replace(NETWORK, embedding=4), hidden=16),
    latents=AR1Config(alpha=0.9),
)


def shades(count: int) -> tuple[np.ndarray, list[str]]:
    """Texts of one letter each, which the decoder cannot know before the first."""
    labels = np.random.default_rng(0).integers(0, 4, count)
    return (97 + 5 * labels[:, None, None] + np.zeros((1, 12, 1), np.int64)).astype(np.uint8), [
        *map(str, labels)
    ]


def diagnosed(model: Model, count: int, **options) -> Diagnosis:
    items, labels = shades(count)
    return diagnose(model, load_dataset(array_source(items, model.item, labels)), **options)


@pytest.fixture(scope="module")
def used() -> DeltaVAE:
    """A model that was trained until its latents say which letter comes."""
    torch.manual_seed(0)
    model = build(SHADES)
    samples = torch.from_numpy(shades(64)[0]).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    assert model.autoregressive is not None
    for _ in range(180):
        optimizer.zero_grad()
        latents = model.infer(samples)
        detached = replace(latents, vectors=latents.vectors.detach())
        loss = model.autoregressive.nats(samples, latents.input) + model.kl_nats(latents)
        (loss + model.auxiliary_nats(detached)).mean().backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("latents", [SHADES.latents, PlainGaussianConfig(channels=2)], ids=lambda x: x.kind)
def test_a_collapsed_delta_vae_is_called_one(latents) -> None:
    torch.manual_seed(0)
    model = build(replace(SHADES, latents=latents))
    jolted(model)
    with torch.no_grad():
        for name, parameter in model.encoder.named_parameters():
            if name.startswith("out."):
                parameter.zero_()  # it says the same of every item
    found = diagnosed(model.eval(), 200)
    details = found.details.values
    assert "not used" in found.verdict
    assert abs(found.shuffled_gap_nats or 0) < 0.05 and abs(details["information_nats"]) < 1e-3
    assert details["active_units"] == 0
    assert details["kl_nats"] == pytest.approx(details["committed_nats"], abs=1e-4)
    assert details["min_kl_nats"] == pytest.approx(details["committed_nats"], abs=1e-4)


def test_a_delta_vae_in_use_is_called_one(used: DeltaVAE) -> None:
    found = diagnosed(used, 200)
    details = found.details.values
    assert "in use" in found.verdict and found.shuffled_gap_nats is not None and found.shuffled_gap_nats > 1
    assert found.probe is not None and found.probe.accuracy > found.probe.majority + 0.15
    assert (
        0.5 < details["information_nats"] <= details["information_cap_nats"] == pytest.approx(math.log(200))
    )
    assert details["committed_nats"] <= details["min_kl_nats"] <= details["kl_nats"]
    assert details["auxiliary_kl_nats"] == pytest.approx(found.latent_nats, rel=1e-6)
    assert found.latent_nats > details["information_nats"] - 0.2
    assert found.prior_gap_nats is None  # it has no integer form to draw from
