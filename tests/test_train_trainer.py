"""Whole runs: folders, limits, signals, and what is refused."""

import io
import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentpress.config import (
    AuxiliaryConfig,
    CodebookConfig,
    ConvConfig,
    FreeBitsObjectiveConfig,
    PlainGaussianConfig,
)
from latentpress.data.batches import Batch
from latentpress.errors import LatentpressError, TrainingError
from latentpress.items import Image, Text
from latentpress.latents import IntegerLSTM
from latentpress.model import DeltaVAE, IntegerForms, load, split_model
from latentpress.press import decode_archive, encode_archive
from latentpress.train import Progress, TrainResult, run
from latentpress.train.loop import Limit
from latentpress.train.replicas import Replicas
from latentpress.train.runs import RunFolder
from latentpress.train.stages import make_stage, sample_sheet
from latentpress.train.terms import RunContext
from small.configs import NETWORK
from small.sources import dataset_of
from small.training import STAGE, Case, dataset_for, parts_of, same, stage_of, train, weights

CASE = Case("colour", "vq", "both")  # its autoregressive decoder is fitted to the finished codec
DELTA = Case("image", "delta", "autoregressive")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[Progress]]:
    """A run that is long enough to learn something."""
    seen: list[Progress] = []
    stage = replace(STAGE, batch_size=8, learning_rate=2e-2)
    config = replace(
        CASE.config(), codec=stage, prior=stage, decoder=stage, codec_share=0.6, decoder_share=0.4
    )
    folder = tmp_path_factory.mktemp("trained")
    return train(CASE, folder, config, steps=100, progress=seen.append), seen


def test_reconstructions_and_distributions_improve(trained: tuple[TrainResult, list[Progress]]):
    result, seen = trained
    assert result.finished and result.steps == 100

    def values(stage: str, name: str) -> list[float]:
        return [p.figures[name] for p in seen if p.stage == stage and name in p.figures]

    for stage, name in (
        ("codec", "parallel_bits_per_dim"),
        ("prior", "bits_per_code"),
        ("decoder", "autoregressive_bits_per_dim"),
    ):
        steps = values(stage, name)
        assert len(steps) >= 2 and steps[-1] < steps[0] - 0.1, (stage, steps)
    assert values("codec", "held_out_psnr_db")[-1] > 14
    assert all(p.figures["perplexity"] > 1 for p in seen if p.stage == "codec" and "perplexity" in p.figures)


def test_the_folder_holds_checkpoints_and_sheets(trained: tuple[TrainResult, list[Progress]]):
    folder = trained[0].folder / "run"
    assert {path.name for path in folder.glob("step-*")} == {"step-60", "step-100"}
    with (folder / "samples" / "step-36.png").open("rb") as file:
        assert Image().open(file).shape == (12, 2 * 4, 3)
    assert json.loads((folder / "config.json").read_text())["stages"] == ["codec", "prior", "decoder"]


def test_a_trained_model_makes_lossless_archives(trained: tuple[TrainResult, list[Progress]]):
    model = load(trained[0].folder, "cpu")
    items = {f"{i}.png": dataset_for("colour")[i] for i in range(3)}
    restored = dict(decode_archive(encode_archive(model, items, lossless=True), model))
    assert all(np.array_equal(restored[name], item) for name, item in items.items())


def test_sheets_are_of_what_has_rows_and_columns(trained: tuple[TrainResult, list[Progress]]):
    model = trained[0].model
    items = torch.from_numpy(np.stack([dataset_for("colour")[i] for i in range(11)]))
    png = sample_sheet(model, Batch(items, None, torch.zeros(11, 0, dtype=torch.int64)), model.infer(items))
    assert png is not None
    sheet = Image().open(io.BytesIO(png)).samples
    assert np.array_equal(sheet[:6], np.concatenate(list(items[:8].numpy()), axis=1))
    restored = model.decode(model.encode(items[:8]), (6, 4))
    assert np.array_equal(sheet[6:], np.concatenate(list(restored), axis=1))


def test_sigterm_saves_and_sigint_interrupts(tmp_path: Path):
    def stop(progress: Progress) -> None:
        if progress.step in stops:
            os.kill(os.getpid(), stops.pop(progress.step))

    stops = {20: signal.SIGTERM, 56: signal.SIGINT}
    whole, folder, steps = tmp_path / "whole", tmp_path / "stopped", 60
    train(Case("image", "vq", "parallel"), whole, steps=steps)
    result = train(Case("image", "vq", "parallel"), folder, steps=steps, progress=stop)
    assert not result.finished and (folder / "run" / f"step-{result.steps}").is_file()
    with pytest.raises(KeyboardInterrupt):
        train(Case("image", "vq", "parallel"), folder, steps=steps, progress=stop)
    assert train(Case("image", "vq", "parallel"), folder, steps=steps).finished
    assert weights(folder) == weights(whole)


def test_two_trainings_at_once_into_one_folder_are_refused(tmp_path: Path):
    def second(progress: Progress) -> None:
        with pytest.raises(LatentpressError, match="another process is at work in"):
            train(CASE, tmp_path, steps=2, stages=("codec",))
        refused.append(progress.step)

    refused: list[int] = []
    assert train(CASE, tmp_path, steps=2, stages=("codec",), progress=second).finished and refused
    assert train(CASE, tmp_path, steps=2, stages=("codec",)).finished


def test_training_leaves_the_callers_random_numbers_alone(tmp_path: Path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(CASE, tmp_path, steps=2, stages=("codec",))
    assert torch.equal(torch.rand(3), expected)


def test_a_limit_in_seconds_is_shared_by_the_stages(tmp_path: Path):
    result = train(Case("image", "vq", "parallel"), tmp_path, seconds=1.0)
    state = RunFolder(tmp_path / "run").latest()
    assert state is not None and state.position.step == result.steps
    assert result.finished and state.position.stage == "prior" and state.position.stage_step > 0
    assert state.position.stage_start >= 0.6 and state.position.elapsed >= 1.0


@pytest.mark.parametrize("case", [CASE, DELTA], ids=str)
def test_a_prior_of_other_settings_is_fitted_to_the_codec_in_the_folder(case: Case, tmp_path: Path):
    codec = train(case, tmp_path, stages=("codec",)).model
    item = replace(
        codec.config.item, size=(6, 4) if case is DELTA else (8, 12)
    )  # of new items: the prior's affair
    wider: dict[str, Any] = (
        {"prior": replace(case.config().model.prior, network=replace(NETWORK, width=12))}  # type: ignore[union-attr]
        if case is CASE
        else {"auxiliary": AuxiliaryConfig(width=9)}
    )
    model = train(case, tmp_path, case.config(item=item, **wider), stages=("prior",)).model
    assert same(parts_of(codec, "encoder", "latents"), parts_of(model, "encoder", "latents"))
    assert model.integer.prior is not None and model.config.item.size == item.size
    assert load(tmp_path, "cpu").integer.ids == model.integer.ids
    assert case is DELTA or model.codes_id == codec.codes_id
    with pytest.raises(TrainingError, match="run-prior holds another run"):
        train(case, tmp_path, stages=("prior",))


OTHERS: list[tuple[Case, str, str, dict[str, Any]]] = [
    (CASE, "prior", "latents", {"latents": CodebookConfig(codebook_size=32, code_dim=4, num_codebooks=2)}),
    (CASE, "prior", "encoder", {"encoder": ConvConfig(strides=(2,), depths=(1,), width=32)}),
    (CASE, "prior", "autoregressive", {"autoregressive": None}),
    (CASE, "decoder", "prior", {"prior": None}),
    (CASE, "encoder", "latents", {"latents": CodebookConfig(codebook_size=16, code_dim=8, num_codebooks=2)}),
    (DELTA, "prior", "latents", {"latents": PlainGaussianConfig(channels=2)}),
    (DELTA, "prior", "encoder", {"encoder": replace(DELTA.config().model.encoder, hidden=9)}),
    (DELTA, "prior", "item", {"item": Image(channels=1, size=(6, 5))}),
]


@pytest.mark.parametrize(("case", "stage", "part", "changes"), OTHERS)
def test_what_stays_has_the_settings_of_the_folder(
    case: Case, stage: str, part: str, changes: dict[str, Any], tmp_path: Path
):
    train(case, tmp_path, steps=1, stages=("codec",))
    dataset = dataset_for(case.kind)
    if part == "item":
        dataset = dataset_of(Image(channels=1), [np.zeros((6, 5, 1), np.uint8)] * 3)
    with pytest.raises(TrainingError, match=f"other settings: {part}"):
        run(case.config(**changes), dataset, tmp_path, steps=1, device="cpu", stages=(stage,))  # type: ignore[arg-type]


def test_a_model_of_the_other_invention_is_refused(tmp_path: Path):
    train(DELTA, tmp_path, steps=1, stages=("codec",))
    with pytest.raises(TrainingError, match="another kind"):
        train(Case("image", "vq", "parallel"), tmp_path, steps=1, stages=("prior",))


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_nothing_is_fitted_to_half_a_model(half: str, tmp_path: Path):
    split_model(train(DELTA, tmp_path / "whole").model).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match=f"holds the {half} half"):
        train(DELTA, tmp_path / half, stages=("prior",))


def test_a_more_powerful_encoder_is_fitted_to_a_finished_codec(tmp_path: Path):
    """Longer training of the encoder alone brings a codec that had little of it further."""
    stage = replace(STAGE, batch_size=8, learning_rate=2e-2)
    case = Case("image", "vq", "parallel")
    config = replace(case.config(), codec=stage, encoder=stage)
    before = train(case, tmp_path, config, steps=30, stages=("codec",))
    deeper = replace(
        config, model=replace(config.model, encoder=ConvConfig(strides=(2,), depths=(2,), width=64))
    )
    after = train(case, tmp_path, deeper, steps=60, stages=("encoder",))
    assert after.model.codes_id == before.model.codes_id
    assert same(parts_of(before.model, "parallel", "latents"), parts_of(after.model, "parallel", "latents"))
    assert after.figures["psnr_db"] > before.figures["psnr_db"] - 1
    codes = after.model.encode(np.stack([dataset_for("image")[i] for i in range(3)]))
    restored = [model.decode(codes, (6, 4)) for model in (before.model, after.model)]
    assert np.array_equal(*restored), "codes keep their meaning"


@pytest.mark.parametrize("case", [CASE, Case("text", "vq", "autoregressive")], ids=str)
def test_a_joint_prior_is_trained_with_the_codec(case: Case, tmp_path: Path):
    joint = replace(case.config().model.prior, training="joint")  # type: ignore[union-attr]
    seen: list[Progress] = []
    config, stages = case.config(prior=joint), ("codec", "prior")
    result = train(case, tmp_path, config, steps=30, stages=stages, progress=seen.append)
    assert {p.stage for p in seen} == {"codec"} and result.model.integer.prior is not None
    bits = [p.figures["bits_per_code"] for p in seen if "bits_per_code" in p.figures]
    assert bits[-1] < bits[0] and "bits_per_code" in result.figures
    plain = train(case, tmp_path / "plain", steps=30, stages=("codec",)).model
    parts = ("encoder", "latents", "parallel", "autoregressive")
    assert same(parts_of(plain, *parts), parts_of(result.model, *parts)), "the codec follows its other losses"


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_decoder_alone_needs_no_codec(kind: str, tmp_path: Path):
    case = Case(kind, "delta", "autoregressive")
    config = case.config(latents=None, auxiliary=None)
    result = train(case, tmp_path / "codec", config)
    assert (
        result.figures.keys() == {"autoregressive_bits_per_dim"} and result.model.integer.decoder is not None
    )
    assert "decoder alone" in (tmp_path / "codec" / "README.md").read_text()
    assert load(tmp_path / "codec", "cpu").integer.ids == result.model.integer.ids
    alone = train(case, tmp_path / "decoder", config, stages=("decoder",))
    assert alone.finished and alone.model.integer.decoder is not None
    blind = replace(CASE.config().model.autoregressive, use_latents=False)  # type: ignore[type-var]
    model = train(CASE, tmp_path / "blind", CASE.config(autoregressive=blind), stages=("decoder",)).model
    assert model.integer.decoder is not None
    before = weights(tmp_path / "blind")
    train(CASE, tmp_path / "blind", CASE.config(autoregressive=blind), stages=("decoder",))
    assert weights(tmp_path / "blind") == before


@pytest.mark.parametrize("case", [DELTA, CASE, Case("text", "delta", "both")], ids=str)
def test_held_out_items_are_judged_alike_every_time(case: Case):
    dataset, config = dataset_for(case.kind), case.config()
    model, stage = stage_of(case, "codec")
    assert stage.validate() == ({}, None), "nothing is held out"
    context = RunContext(config, *dataset.split(), True, 0, Replicas())
    stage = make_stage("codec", model, context, Limit(steps=1))
    figures = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        figures.append(stage.validate().figures)
        assert {name for name, part in model.named_children() if part.training} <= {
            *("encoder", "latents", "parallel", "autoregressive", "auxiliary")
        }
    assert figures[0] == figures[1] and figures[0]


@pytest.mark.parametrize("invention", ["vq", "delta"])
def test_pieces_of_a_finished_codecs_decoder_begin_where_latents_do(invention: str):
    case = Case("image", invention, "autoregressive")
    small = replace(STAGE, crop=3)
    config = replace(case.config(), codec=small, decoder=small)
    for name, rows in (("codec", {0, 1, 2, 3}), ("decoder", {0, 2})):
        model, stage = stage_of(case, name, config)
        fit = stage.validate.args[0]  # type: ignore[attr-defined]
        corners = np.concatenate([fit.source.draw(step).corners for step in range(30)])
        assert set(corners[:, 0].tolist()) == rows and (corners[:, 0] % 2 == 0).all() == (name == "decoder")
        assert fit.source.size[0] == 3 and model.hop[0] == 2


def test_a_refitted_prior_keeps_the_step_of_the_codes():
    model, stage = stage_of(DELTA, "prior")
    assert isinstance(model, DeltaVAE) and model.latents is not None
    stage.finish()
    usual = model.integer.prior.step  # type: ignore[union-attr]
    model.integer = IntegerForms(prior=IntegerLSTM.ar1(model.latents.alphas.tolist(), usual + 5))
    stage.finish()
    assert model.integer.prior.step == usual + 5  # type: ignore[union-attr]


@pytest.mark.parametrize("invention", ["vq", "delta"])
def test_a_decoder_of_residuals_is_trained_on_them(invention: str, tmp_path: Path):
    case = Case("image", invention, "autoregressive")
    residual = replace(case.config().model.autoregressive, residual=True)  # type: ignore[type-var]
    config = case.config(autoregressive=residual)
    model, stage = stage_of(case, "codec", config)
    batch = next(iter(stage.stream(0)))
    for samples, symbols in zip(batch.samples.numpy(), batch.symbols.numpy(), strict=True):
        assert np.array_equal(symbols, model.item.to_symbols(samples, residual=True))
    trained = train(case, tmp_path, config).model
    items = {f"{i}.png": dataset_for("image")[i] for i in range(3)}
    restored = dict(decode_archive(encode_archive(trained, items, lossless=True), trained))
    assert all(np.array_equal(restored[name], item) for name, item in items.items())


def test_the_baselines_train(tmp_path: Path):
    free: dict[str, Any] = {
        "latents": PlainGaussianConfig(channels=2),
        "objective": FreeBitsObjectiveConfig(nats=2.0),
    }
    result = train(DELTA, tmp_path, DELTA.config(**free))
    assert result.finished and result.figures["kl_nats"] >= 0


def texts(*lengths: int) -> Any:
    rng = np.random.default_rng(0)
    return dataset_of(Text(), [rng.integers(97, 101, (n, 1), dtype=np.uint8) for n in lengths])


@pytest.mark.parametrize("lengths", [(90,), (1,), (0, 2), (180, 180)])
@pytest.mark.parametrize("invention", ["vq", "delta"])
def test_few_samples_train_and_are_judged(invention: str, lengths: tuple[int, ...], tmp_path: Path):
    case = Case("text", invention, "both")
    result = run(case.config(), texts(*lengths), tmp_path, steps=4, device="cpu")
    assert result.finished and all(math.isfinite(value) for value in result.figures.values())
    assert bool(result.figures) == (sum(lengths) >= 50)
