"""Runs into folders that hold something: what is refused, continued and kept."""

from pathlib import Path
from typing import Any

import pytest

from latentpress.errors import CheckpointError, ConfigError, TrainingError
from latentpress.model import VQVAE, load
from latentpress.train import run
from small.training import Case, dataset_for, dying_at, train, weights

CASE = Case("colour", "vq", "both")  # its autoregressive decoder is fitted to the finished codec


@pytest.mark.parametrize("stage", ["prior", "decoder", "encoder"])
def test_later_stages_need_a_codec_in_the_folder(stage: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match="no model folder"):
        train(CASE, tmp_path, stages=(stage,))


@pytest.mark.parametrize("arguments", [{"steps": 3, "seconds": 3.0}, {"steps": 0}, {"stages": ()}])
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], tmp_path: Path):
    with pytest.raises(ConfigError):
        run(CASE.config(), dataset_for("colour"), tmp_path, device="cpu", **arguments)
    assert not any(tmp_path.iterdir())


def test_items_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(TrainingError, match="the items are texts"):
        run(CASE.config(), dataset_for("text"), tmp_path, steps=1, device="cpu")
    assert not any(tmp_path.iterdir())


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path):
    train(CASE, tmp_path, steps=2, stages=("codec",))
    with pytest.raises(TrainingError, match="seed differ"):
        train(CASE, tmp_path, steps=2, stages=("codec",), seed=1)
    with pytest.raises(TrainingError, match="data differ"):
        dataset = dataset_for("colour")
        options: dict[str, Any] = {"steps": 2, "stages": ("codec",), "device": "cpu"}
        run(CASE.config(), dataset.subset(range(103)), tmp_path, **options)


def test_a_folder_that_holds_a_model_is_not_trained_over(tmp_path: Path):
    train(CASE, tmp_path, steps=2, stages=("codec",))
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="holds a model already"):
        train(CASE, tmp_path, steps=2)
    assert weights(tmp_path) == before and not (tmp_path / "run").exists()


def test_a_replaced_codec_is_not_undone_by_its_old_prior(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    for seed, folder in enumerate((first, second)):
        train(CASE, folder, steps=2, seed=seed, stages=("codec",))
    train(CASE, first, steps=2, stages=("prior",))
    before = weights(first)
    assert train(CASE, first, steps=2, stages=("prior",)).steps == 2
    assert weights(first) == before
    (first / "model.safetensors").write_bytes(weights(second))
    with pytest.raises(TrainingError, match="codec_weights differ"):
        train(CASE, first, steps=2, stages=("prior",))


def test_a_finished_codec_run_again_keeps_what_was_fitted_since(tmp_path: Path):
    train(CASE, tmp_path, steps=2, stages=("codec",))
    train(CASE, tmp_path, steps=2, stages=("prior",))
    before = weights(tmp_path)
    again = train(CASE, tmp_path, steps=2, stages=("codec",))
    assert again.finished and again.model.integer.prior is not None and weights(tmp_path) == before


def test_a_stage_alone_is_continued_with_what_others_left(tmp_path: Path):
    train(CASE, tmp_path, steps=4, stages=("codec", "prior"))
    with pytest.raises(SystemExit):
        train(CASE, tmp_path, stages=("decoder",), progress=dying_at(1), checkpoint_seconds=0)
    result = train(CASE, tmp_path, stages=("decoder",))
    assert result.finished and {"prior", "decoder"} == result.model.integer.ids.keys()


def test_a_kill_before_the_model_is_written_costs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train(CASE, tmp_path, steps=2, stages=("codec",))
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(VQVAE, "save_pretrained", None)
        train(CASE, tmp_path, steps=2, stages=("prior",))
    model = train(CASE, tmp_path, steps=2, stages=("prior",)).model
    assert load(tmp_path, "cpu").integer.ids == model.integer.ids != {}
