"""Whole runs of delta-VAEs, in little."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from delta_parts import IMAGES, TEXTS, image_pool, run_config, text_pool
from latentpress.config import (
    AuxiliaryConfig,
    DeltaVAEConfig,
    FreeBitsObjectiveConfig,
    ImageConfig,
    PlainGaussianConfig,
    RecurrentEncoderConfig,
    SequenceDecoderConfig,
    VQVAEConfig,
)
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import array_source
from latentpress.data.windows import TextPool
from latentpress.errors import ConfigError, TrainingError
from latentpress.latents.gaussian import AR1Latents
from latentpress.model import DeltaVAE
from latentpress.train import Progress, run
from latentpress.train.plan import plan_stages
from test_data_windows import pool_of

KINDS = ("images", "texts")
MODELS = {"images": IMAGES, "texts": TEXTS}
POOLS: dict[str, Pool | TextPool] = {"images": image_pool(), "texts": text_pool()}
STEPS = 40


def trained(kind: str, folder: Path, model: DeltaVAEConfig | None = None, **options):
    config = run_config(model or MODELS[kind])
    return run(config, POOLS[kind], folder, **{"steps": STEPS, "device": "cpu", **options})


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A run from its start to its end, and what it told."""
    seen: list[Progress] = []
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, trained(request.param, folder, progress=seen.append), seen


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def of(model: DeltaVAE, *parts: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.split(".")[0] in parts}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_elbo_improves_and_the_rate_is_committed(whole):
    kind, result, seen = whole
    codec = [p.figures for p in seen if p.stage == "codec" and "kl_nats" in p.figures]
    assert codec[-1]["bits_per_dim"] < codec[0]["bits_per_dim"]
    for figures in codec:
        assert figures["kl_nats"] >= figures["committed_nats"] * (1 - 1e-4) > 0
        assert figures["information_nats"] <= math.log(6) + 1e-4
    assert {p.stage for p in seen} == {"codec", "prior"} and result.finished and result.steps == STEPS
    wanted = {"bits_per_dim", "kl_nats", "auxiliary_kl_nats", "auxiliary_bits_per_dim"}
    assert wanted | {"information_nats", "active_units"} == result.figures.keys()
    assert result.figures["active_units"] <= (6 if kind == "images" else 5)
    card = (result.folder / "README.md").read_text()
    assert "delta-VAE" in card and f"{result.figures['kl_nats']:.4g}" in card and "-ELBO" in card


def test_the_folder_holds_the_model(whole):
    kind, result, _ = whole
    model = DeltaVAE.from_pretrained(result.folder, "cpu")
    assert same(model.state_dict(), result.model.state_dict()) and any(model.pixels_id)
    assert model.pixels_id == result.model.pixels_id and model.config == MODELS[kind]
    lines = [json.loads(line) for line in (result.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"codec", "prior"}


@pytest.mark.parametrize("at", [20, 30, STEPS])
def test_an_interrupted_run_ends_bit_identical(at: int, whole, tmp_path: Path):
    kind, result, _ = whole

    def die(progress: Progress) -> None:
        if progress.step == at:
            raise SystemExit

    with pytest.raises(SystemExit):
        trained(kind, tmp_path, progress=die, checkpoint_seconds=0.05)
    torch.manual_seed(at)
    resumed = trained(kind, tmp_path)
    assert weights(tmp_path) == weights(result.folder) and resumed.figures == result.figures
    assert resumed.model.pixels_id == result.model.pixels_id


@pytest.mark.parametrize("stage", ["codec", "prior"])
def test_a_kill_before_the_model_is_written_costs_no_bit(
    stage: str, whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """All steps are done and saved; only what comes after them is to be done again."""
    kind, result, _ = whole
    save = DeltaVAE.save_pretrained
    calls = iter(["codec", "prior"])

    def killed(model: DeltaVAE, folder: Path, *, card: str = "") -> None:
        if next(calls) == stage:
            raise SystemExit
        save(model, folder, card=card)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(DeltaVAE, "save_pretrained", killed)
        trained(kind, tmp_path)
    torch.manual_seed(99)
    trained(kind, tmp_path)
    assert weights(tmp_path) == weights(result.folder)


def test_the_trajectory_is_the_same_with_the_auxiliary_prior_and_without(whole, tmp_path: Path):
    kind, _, _ = whole
    beside = trained(kind, tmp_path / "with", steps=12, stages=("codec",)).model
    alone_config = replace(MODELS[kind], auxiliary=None)
    alone = trained(kind, tmp_path / "without", alone_config, steps=12, stages=("codec",)).model
    wider = replace(MODELS[kind], auxiliary=AuxiliaryConfig(width=11))
    other = trained(kind, tmp_path / "wider", wider, steps=12, stages=("codec",)).model
    parts = ("encoder", "decoder")
    assert same(of(beside, *parts), of(alone, *parts)) and same(of(beside, *parts), of(other, *parts))
    assert beside.pixels_id == alone.pixels_id
    assert alone.auxiliary is None and not of(alone, "auxiliary") and of(beside, "auxiliary")


def test_every_item_of_every_step_reaches_the_committed_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    least: list[float] = []
    exact = AR1Latents.kl_nats

    def watched(self, posterior, mask=None):
        kl = exact(self, posterior, mask)
        counts = [posterior.mean.shape[1]] * len(kl) if mask is None else mask.sum(1).tolist()
        floor = torch.tensor([self.committed_rate_nats(n) for n in counts])
        least.append(float((kl.detach() - floor).min()))
        return kl

    monkeypatch.setattr(AR1Latents, "kl_nats", watched)
    for kind in KINDS:
        trained(kind, tmp_path / kind, steps=12, stages=("codec",))
    assert len(least) >= 24 and min(least) >= -1e-5


def test_a_family_whose_rate_is_not_reached_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(AR1Latents, "committed_rate_nats", lambda self, steps: 1e3)
    with pytest.raises(AssertionError, match="below the committed rate"):
        trained("images", tmp_path, steps=2)


def test_a_refit_changes_the_auxiliary_prior_alone(whole, tmp_path: Path):
    kind, _, _ = whole
    before = trained(kind, tmp_path, steps=8).model
    wider = replace(MODELS[kind], auxiliary=AuxiliaryConfig(width=9))
    after = trained(kind, tmp_path, wider, steps=6, stages=("prior",)).model
    parts = ("encoder", "latents", "decoder")
    assert same(of(before, *parts), of(after, *parts)) and before.pixels_id == after.pixels_id
    assert after.config.auxiliary.width == 9 and not same(of(before, "auxiliary"), of(after, "auxiliary"))
    loaded = DeltaVAE.from_pretrained(tmp_path, "cpu")
    assert same(loaded.state_dict(), after.state_dict()) and loaded.pixels_id == before.pixels_id


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": RecurrentEncoderConfig(stride=2)},
        {"latents": PlainGaussianConfig(channels=2)},
        {"decoder": SequenceDecoderConfig(width=9)},
    ],
)
def test_a_refit_takes_the_codec_as_it_is(change, tmp_path: Path):
    trained("images", tmp_path, steps=1, stages=("codec",))
    (part,) = change
    with pytest.raises(TrainingError, match=f"other settings: {part}"):
        trained("images", tmp_path, replace(IMAGES, **change), steps=1, stages=("prior",))


def test_a_refit_is_of_images_of_the_codecs_size(tmp_path: Path):
    trained("images", tmp_path, steps=1, stages=("codec",))
    pictures = POOLS["images"]
    assert isinstance(pictures, Pool)
    for size, cut in (((4, 4), np.s_[:, :4]), ((5, 3), np.s_[:, :, :3])):
        smaller = load_pool(array_source(np.stack([pictures[i] for i in range(9)])[cut]))
        config = run_config(replace(IMAGES, item=ImageConfig(channels=1, size=size)))
        with pytest.raises(TrainingError, match="other settings: item"):
            run(config, smaller, tmp_path, steps=1, device="cpu", stages=("prior",))
        shutil.rmtree(tmp_path / "run-prior")


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_alone_has_one_stage(kind: str, tmp_path: Path):
    alone = replace(MODELS[kind], latents=None, auxiliary=None)
    result = trained(kind, tmp_path, alone, steps=6)
    assert result.figures.keys() == {"bits_per_dim"} and any(result.model.pixels_id)
    assert DeltaVAE.from_pretrained(tmp_path, "cpu").pixels_id == result.model.pixels_id
    assert "decoder alone" in (tmp_path / "README.md").read_text()


def test_the_baselines_train(tmp_path: Path):
    free = replace(IMAGES, latents=PlainGaussianConfig(), objective=FreeBitsObjectiveConfig(nats=2.0))
    result = trained("images", tmp_path, free, steps=6)
    assert result.finished and result.figures["kl_nats"] >= 0


@pytest.mark.parametrize("texts", [[b"abc" * 30], [b"x"], [b"", b"yz"], [b"ab" * 90] * 2])
def test_few_bytes_train_and_are_judged(texts: list[bytes], tmp_path: Path):
    result = run(run_config(TEXTS), pool_of(texts), tmp_path, steps=4, device="cpu")
    assert result.finished and all(math.isfinite(value) for value in result.figures.values())
    assert ("kl_nats" in result.figures) == (sum(map(len, texts)) >= 50)


def test_stages_that_there_are_not_are_refused():
    config = run_config(TEXTS)
    assert list(plan_stages(config, ("codec", "prior", "decoder"), 10, None)) == ["codec", "prior"]
    with pytest.raises(ConfigError, match="trained with its encoder"):
        plan_stages(config, ("decoder",), 10, None)
    with pytest.raises(ConfigError, match="no auxiliary prior"):
        plan_stages(replace(config, model=replace(TEXTS, auxiliary=None)), ("prior",), 10, None)


@pytest.mark.parametrize(
    ("kind", "model", "message"),
    [
        ("texts", IMAGES, "one of images, and the items are others"),
        ("images", TEXTS, "one of texts, and the items are others"),
        ("texts", VQVAEConfig(), "one of images, and the items are others"),
        ("images", replace(IMAGES, item=ImageConfig(channels=1, size=(4, 5))), "one size, here 4 x 5"),
        ("images", replace(IMAGES, item=ImageConfig(channels=1)), "one size"),
        ("images", replace(IMAGES, item=ImageConfig(channels=3, size=(5, 4))), "1 channels and the model 3"),
    ],
)
def test_items_that_do_not_fit_are_refused(kind: str, model, message: str, tmp_path: Path):
    with pytest.raises(TrainingError, match=message):
        trained(kind, tmp_path, model)
    assert not any(tmp_path.iterdir())
