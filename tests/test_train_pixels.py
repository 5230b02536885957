"""The stage that fits the decoder of pixels, alone and after the others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.config import (
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    PixelsConfig,
    RunConfig,
    StageConfig,
    VQVAEConfig,
)
from latentpress.data.batches import Batches
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import array_source
from latentpress.errors import CheckpointError, ConfigError, TrainingError
from latentpress.model import VQVAE
from latentpress.press import decode_archive, encode_archive
from latentpress.train import Progress, TrainResult, run
from latentpress.train.plan import STAGES, plan_stages

CONV = ConvConfig(width=32, depths=(0, 1))
PRIOR = CausalConfig(width=8, depth=1, radius=2, dilations=(1,), embedding=4, head_width=8)
PIXELS = PixelsConfig(
    width=8,
    depth=1,
    radius=2,
    dilations=(1,),
    embedding=12,
    head_width=16,
    code_embedding=4,
    map_width=8,
    map_channels=4,
)
LATENTS = CodebookConfig(codebook_size=16, code_dim=4)
MODEL = VQVAEConfig(encoder=CONV, decoder=CONV, latents=LATENTS, prior=PRIOR, pixels=PIXELS)
STAGE = StageConfig(batch_size=8, warmup=2, learning_rate=1e-2, average_decay=0.9)
CONFIG = RunConfig(model=MODEL, codec=STAGE, prior=STAGE, decoder=STAGE, codec_share=0.5, decoder_share=0.5)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Small dark pictures of 9 x 10 pixels: no multiple of the hop."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 40, (120, 1, 1, 3)) + rng.integers(0, 3, (120, 9, 10, 3))
    return load_pool(array_source(level.astype(np.uint8)))


@pytest.fixture(scope="module")
def trained(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[Progress]]:
    seen: list[Progress] = []
    folder = tmp_path_factory.mktemp("trained")
    return run(CONFIG, pool, folder, steps=80, device="cpu", progress=seen.append), seen


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def of(model: VQVAE, *parts: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.split(".")[0] in parts}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_all_stages_in_one_command(trained: tuple[TrainResult, list[Progress]], pool: Pool) -> None:
    result, seen = trained
    assert [p.stage for p in seen] == sorted((p.stage for p in seen), key=STAGES.index)
    bits = [p.figures["pixel_bits_per_dim"] for p in seen if "pixel_bits_per_dim" in p.figures]
    assert bits[-1] < bits[0] - 0.5 and {"pixel_bits_per_dim", "bits_per_code"} <= result.figures.keys()
    assert result.finished and result.steps == 80
    model = VQVAE.from_pretrained(result.folder, "cpu")
    assert any(model.prior_id) and any(model.pixels_id) and model.pixels_id == result.model.pixels_id
    images = {f"{i}.png": pool[i] for i in range(4)}
    restored = dict(decode_archive(encode_archive(model, images, lossless=True), model))
    assert all(np.array_equal(restored[name], image) for name, image in images.items())


@pytest.mark.parametrize("at", [20, 40, 60])
def test_an_interrupted_run_ends_bit_identical(
    at: int, trained: tuple[TrainResult, list[Progress]], pool: Pool, tmp_path: Path
) -> None:
    def die(progress: Progress) -> None:
        if progress.step == at:
            raise SystemExit

    with pytest.raises(SystemExit):
        run(CONFIG, pool, tmp_path, steps=80, device="cpu", progress=die, checkpoint_seconds=0.01)
    torch.manual_seed(at)
    resumed = run(CONFIG, pool, tmp_path, steps=80, device="cpu")
    assert weights(tmp_path) == weights(trained[0].folder)
    assert resumed.figures == trained[0].figures


def test_the_decoder_alone_keeps_all_else(pool: Pool, tmp_path: Path) -> None:
    before = run(CONFIG, pool, tmp_path, steps=8, device="cpu", stages=("codec", "prior")).model
    assert before.exact_pixels is None
    after = run(CONFIG, pool, tmp_path, steps=4, device="cpu", stages=("decoder",)).model
    kept = ("encoder", "latents", "decoder", "likelihood", "prior")
    assert same(of(before, *kept), of(after, *kept)) and before.prior_id == after.prior_id
    assert after.exact_pixels is not None and not same(of(before, "pixels"), of(after, "pixels"))
    again = run(CONFIG, pool, tmp_path, steps=6, seed=1, device="cpu", stages=("prior",)).model
    assert again.pixels_id == after.pixels_id and again.prior_id != after.prior_id
    assert same(of(after, "pixels"), of(again, "pixels"))
    assert VQVAE.from_pretrained(tmp_path, "cpu").pixels_id == after.pixels_id


def test_a_stage_alone_is_continued_with_what_others_left(pool: Pool, tmp_path: Path) -> None:
    run(CONFIG, pool, tmp_path, steps=8, device="cpu", stages=("codec", "prior"))

    def die(progress: Progress) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        run(CONFIG, pool, tmp_path, steps=30, device="cpu", stages=("decoder",), progress=die)
    result = run(CONFIG, pool, tmp_path, steps=30, device="cpu", stages=("decoder",))
    assert result.finished and any(result.model.prior_id) and any(result.model.pixels_id)


def test_a_decoder_that_sees_no_codes_needs_no_codec(pool: Pool, tmp_path: Path) -> None:
    config = replace(CONFIG, model=replace(MODEL, pixels=replace(PIXELS, use_codes=False)))
    model = run(config, pool, tmp_path, steps=4, device="cpu", stages=("decoder",)).model
    assert model.exact_pixels is not None and model.exact_pixels.upsampler is None
    before = weights(tmp_path)
    assert run(config, pool, tmp_path, steps=4, device="cpu", stages=("decoder",)).finished
    assert weights(tmp_path) == before
    images = {"0.png": pool[0]}
    restored = dict(decode_archive(encode_archive(model, images, lossless=True), model))
    assert np.array_equal(restored["0.png"], pool[0])


def test_settings_of_what_stays_must_be_the_same(pool: Pool, tmp_path: Path) -> None:
    run(CONFIG, pool, tmp_path, steps=3, device="cpu")
    for part, value, stage in (("pixels", None, "prior"), ("prior", replace(PRIOR, width=9), "decoder")):
        other = replace(CONFIG, model=replace(MODEL, **{part: value}))
        with pytest.raises(TrainingError, match=f"other settings: {part}"):
            run(other, pool, tmp_path, steps=1, device="cpu", stages=(stage,))  # type: ignore[arg-type]


def test_a_decoder_needs_a_codec_in_the_folder(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        run(CONFIG, pool, tmp_path, steps=1, device="cpu", stages=("decoder",))


@pytest.mark.parametrize(
    ("stages", "lengths"),
    [
        (("codec", "prior", "decoder"), {"codec": 25, "prior": 25, "decoder": 50}),
        (("codec", "prior"), {"codec": 50, "prior": 50}),
        (("codec", "decoder"), {"codec": 50, "decoder": 50}),
        (("prior", "decoder"), {"prior": 50, "decoder": 50}),
        (("decoder",), {"decoder": 100}),
        (("prior",), {"prior": 100}),
    ],
)
def test_stages_share_the_limit(stages, lengths: dict[str, int]) -> None:
    steps = plan_stages(CONFIG, stages, 100, None)
    assert {name: limit.steps for name, limit in steps.items()} == lengths
    ends = plan_stages(CONFIG, stages, None, 10.0)
    total = 0
    for name, limit in ends.items():
        total += lengths[name]
        assert limit.seconds == total / 10


def test_without_a_pixels_section_there_is_no_decoder() -> None:
    plain = replace(CONFIG, model=replace(MODEL, pixels=None))
    assert list(plan_stages(plain, STAGES, 10, None)) == ["codec", "prior"]
    with pytest.raises(ConfigError, match="no pixels section"):
        plan_stages(plain, ("decoder",), 10, None)


def test_crops_begin_at_codes() -> None:
    images = np.arange(30 * 41, dtype=np.uint8).reshape(1, 30, 41, 1).repeat(3, 0)
    pool = load_pool(array_source(images))
    batches = Batches(pool, batch_size=3, crop=12, flip=False, seed=0, multiple_of=1, corner_step=4)
    corners = [batches.draw(step) for step in range(200)]
    tops, lefts = (np.concatenate([getattr(draw, side) for draw in corners]) for side in ("top", "left"))
    assert set(tops) == set(range(0, 17, 4)) and set(lefts) == set(range(0, 29, 4))
