"""Whole runs, in little."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.config import CausalConfig, CodebookConfig, ConvConfig, RunConfig, StageConfig, VQVAEConfig
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import array_source
from latentpress.errors import ConfigError, TrainingError
from latentpress.items.image import read_image
from latentpress.model import VQVAE
from latentpress.train import Progress, TrainResult, run

CONV = ConvConfig(width=32, depths=(0, 1))
PRIOR = CausalConfig(width=8, depth=1, radius=2, dilations=(1,), embedding=4, head_width=8)
MODEL = VQVAEConfig(
    encoder=CONV, decoder=CONV, latents=CodebookConfig(codebook_size=16, code_dim=4), prior=PRIOR
)
STAGE = StageConfig(batch_size=8, warmup=2, learning_rate=1e-2, average_decay=0.9)
CONFIG = RunConfig(model=MODEL, codec=STAGE, prior=STAGE)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Smooth pictures, each of one colour that fades in one direction."""
    rng = np.random.default_rng(0)
    slopes, colours = rng.uniform(-1, 1, (120, 2)), rng.uniform(0, 255, (120, 1, 1, 3))
    y, x = np.mgrid[-1:1:12j, -1:1:8j]
    images = colours + 60 * (slopes[:, :1, None] * y + slopes[:, 1:, None] * x)[..., None]
    return load_pool(array_source(images.clip(0, 255).astype(np.uint8), labels=np.arange(120) % 2))


@pytest.fixture(scope="module")
def trained(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[Progress]]:
    seen: list[Progress] = []
    result = run(
        CONFIG, pool, tmp_path_factory.mktemp("trained"), steps=60, device="cpu", progress=seen.append
    )
    return result, seen


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_reconstructions_and_the_prior_improve(trained: tuple[TrainResult, list[Progress]]):
    result, seen = trained
    codec = [p.figures["psnr_db"] for p in seen if p.stage == "codec" and "psnr_db" in p.figures]
    prior = [p.figures["bits_per_code"] for p in seen if p.stage == "prior" and "bits_per_code" in p.figures]
    assert codec[-1] > codec[0] + 1
    assert prior[-1] < prior[0] < 4.1
    assert result.finished and result.steps == 60
    assert {"psnr_db", "bits_per_dim", "bits_per_code"} <= result.figures.keys()


def test_the_folder_holds_a_model_and_the_run(trained: tuple[TrainResult, list[Progress]], pool: Pool):
    folder = trained[0].folder
    model = VQVAE.from_pretrained(folder, "cpu")
    assert model.exact_prior is not None
    pixels = np.stack([pool[i] for i in range(4)])
    assert torch.equal(model.encode(pixels), trained[0].model.encode(pixels))
    assert f"{trained[0].figures['psnr_db']:.4g}" in (folder / "README.md").read_text()
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert {path.name for path in (folder / "run").glob("step-*")} == {"step-36", "step-60"}
    assert read_image((folder / "run" / "samples" / "step-36.png").read_bytes()).shape == (24, 8 * 2, 3)


def test_the_same_command_after_the_end_changes_nothing(
    trained: tuple[TrainResult, list[Progress]], pool: Pool
):
    before = weights(trained[0].folder)
    again = run(CONFIG, pool, trained[0].folder, steps=60, device="cpu")
    assert again.steps == 60 and weights(trained[0].folder) == before


@pytest.mark.parametrize("at", [20, 36, 56])
def test_an_interrupted_run_ends_bit_identical(
    at: int, trained: tuple[TrainResult, list[Progress]], pool: Pool, tmp_path: Path
):
    def die(progress: Progress) -> None:
        if progress.step == at:
            raise SystemExit

    with pytest.raises(SystemExit):
        run(CONFIG, pool, tmp_path, steps=60, device="cpu", progress=die, checkpoint_seconds=0.2)
    torch.manual_seed(at)
    resumed = run(CONFIG, pool, tmp_path, steps=60, device="cpu")
    assert weights(tmp_path) == weights(trained[0].folder)
    assert resumed.figures == trained[0].figures


def test_sigterm_saves_and_sigint_interrupts(
    trained: tuple[TrainResult, list[Progress]], pool: Pool, tmp_path: Path
):
    def stop(progress: Progress) -> None:
        if progress.step in stops:
            os.kill(os.getpid(), stops.pop(progress.step))

    stops = {20: signal.SIGTERM, 56: signal.SIGINT}
    result = run(CONFIG, pool, tmp_path, steps=60, device="cpu", progress=stop)
    assert not result.finished and (tmp_path / "run" / f"step-{result.steps}").is_dir()
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, pool, tmp_path, steps=60, device="cpu", progress=stop)
    assert run(CONFIG, pool, tmp_path, steps=60, device="cpu").finished
    assert weights(tmp_path) == weights(trained[0].folder)


def test_training_leaves_the_callers_random_numbers_alone(pool: Pool, tmp_path: Path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("codec",))
    assert torch.equal(torch.rand(3), expected)


def test_the_prior_alone_keeps_the_codec(
    trained: tuple[TrainResult, list[Progress]], pool: Pool, tmp_path: Path
):
    run(CONFIG, pool, tmp_path, steps=4, device="cpu", stages=("codec",))
    codec = VQVAE.from_pretrained(tmp_path, "cpu")
    assert codec.exact_prior is None
    item = replace(MODEL.item, size=(8, 12))  # in which new images are made: no matter of the codec
    wider = replace(CONFIG, model=replace(MODEL, item=item, prior=replace(PRIOR, width=12)))
    model = run(wider, pool, tmp_path, steps=4, device="cpu", stages=("prior",)).model
    assert model.exact_prior is not None and model.codebook_id == codec.codebook_id
    assert model.config.item.size == (8, 12)
    other = replace(CONFIG, model=replace(MODEL, latents=CodebookConfig(codebook_size=32, code_dim=4)))
    with pytest.raises(TrainingError, match="run-prior holds another run"):
        run(other, pool, tmp_path, steps=4, device="cpu", stages=("prior",))


def test_a_codec_with_other_settings_is_refused(pool: Pool, tmp_path: Path):
    run(CONFIG, pool, tmp_path, steps=1, device="cpu", stages=("codec",))
    other = replace(CONFIG, model=replace(MODEL, latents=CodebookConfig(codebook_size=32, code_dim=4)))
    with pytest.raises(TrainingError, match="other settings: latents"):
        run(other, pool, tmp_path, steps=1, device="cpu", stages=("prior",))


def test_a_joint_prior_is_trained_with_the_codec_and_made_exact(pool: Pool, tmp_path: Path):
    joint = replace(PRIOR, training="joint", class_conditional=True)
    model = replace(MODEL, prior=joint, labels=pool.label_names)
    seen: list[Progress] = []
    result = run(replace(CONFIG, model=model), pool, tmp_path, steps=30, device="cpu", progress=seen.append)
    assert {p.stage for p in seen} == {"codec"} and result.model.exact_prior is not None
    bits = [p.figures["bits_per_code"] for p in seen if "bits_per_code" in p.figures]
    assert bits[-1] < bits[0] and "bits_per_code" in result.figures


def test_a_limit_in_seconds_is_shared_by_the_stages(pool: Pool, tmp_path: Path):
    result = run(CONFIG, pool, tmp_path, seconds=1.0, device="cpu")
    state = json.loads((tmp_path / "run" / f"step-{result.steps}" / "state.json").read_text())
    assert result.finished and state["stage"] == "prior" and state["stage_step"] > 0
    assert state["stage_start"] >= 0.6 and state["elapsed"] >= 1.0


def test_another_seed_in_the_same_folder_is_refused(trained: tuple[TrainResult, list[Progress]], pool: Pool):
    with pytest.raises(TrainingError, match="seed differ"):
        run(CONFIG, pool, trained[0].folder, steps=60, seed=1, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 3, "seconds": 3.0}, "not both"),
        ({"steps": 0}, "positive"),
        ({"stages": ("decoder",)}, "no pixels section"),
        ({"stages": ("encoder",)}, "stages"),
        ({"stages": ()}, "stages"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message: str, pool: Pool, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        run(CONFIG, pool, tmp_path, device="cpu", **arguments)
    assert not any(tmp_path.iterdir())


def test_a_replaced_codec_is_not_undone_by_its_old_prior(pool: Pool, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    for seed, folder in enumerate((first, second)):
        run(CONFIG, pool, folder, steps=2, seed=seed, device="cpu", stages=("codec",))
    run(CONFIG, pool, first, steps=2, device="cpu", stages=("prior",))
    before = weights(first)
    assert run(CONFIG, pool, first, steps=2, device="cpu", stages=("prior",)).steps == 2
    assert weights(first) == before
    (first / "model.safetensors").write_bytes(weights(second))
    with pytest.raises(TrainingError, match="codec_weights differ"):
        run(CONFIG, pool, first, steps=2, device="cpu", stages=("prior",))


def test_a_finished_codec_run_again_keeps_the_prior(pool: Pool, tmp_path: Path):
    run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("codec",))
    run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("prior",))
    before = weights(tmp_path)
    again = run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("codec",))
    assert again.finished and again.model.exact_prior is not None and weights(tmp_path) == before


def test_a_kill_before_the_model_is_written_costs_no_model(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("codec",))
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(VQVAE, "save_pretrained", None)
        run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("prior",))
    model = run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("prior",)).model
    assert VQVAE.from_pretrained(tmp_path, "cpu").prior_id == model.prior_id != bytes(16)


def test_a_folder_that_holds_a_model_is_not_trained_over(pool: Pool, tmp_path: Path):
    run(CONFIG, pool, tmp_path, steps=2, device="cpu", stages=("codec",))
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="holds a model already"):
        run(CONFIG, pool, tmp_path, steps=2, device="cpu")
    assert weights(tmp_path) == before and not (tmp_path / "run").exists()


def test_a_conditional_prior_learns_to_do_without_a_label(pool: Pool, tmp_path: Path):
    labelled = replace(MODEL, prior=replace(PRIOR, class_conditional=True), labels=pool.label_names)
    config = replace(CONFIG, model=labelled)
    codec = run(config, pool, tmp_path, steps=1, device="cpu", stages=("codec",)).model
    after = run(config, pool, tmp_path, steps=10, device="cpu", stages=("prior",)).model
    assert codec.prior is not None and after.prior is not None
    rows = [
        (old[-1], new[-1])
        for old, new in zip(codec.prior.parameters(), after.prior.parameters(), strict=True)
        if old.ndim == 2 and len(old) == len(pool.label_names) + 1
    ]
    assert rows and any(not torch.equal(old, new) for old, new in rows)
