"""A kind of item that no line of the package knows goes the whole way, by both inventions and all decoders.

`small.toy.Toy` has three axes, samples of 16 bits, a file format and a fallback of its own. Here models of it
are trained, saved and loaded, its files are compressed and restored in every way, and models are evaluated,
diagnosed, and asked for new items.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from latentpress import train
from latentpress.coding import inspect_archive
from latentpress.config import AnyModelConfig, DeltaVAEConfig, RunConfig, StageConfig, VQVAEConfig
from latentpress.data.dataset import load_dataset
from latentpress.data.sources import open_sources
from latentpress.evaluate import diagnose, evaluate
from latentpress.generate import generate
from latentpress.items.base import Content
from latentpress.model import VQVAE, DeltaVAE, Model
from latentpress.press import compress, decode_archive, decompress, verify_archive
from small.configs import delta_vae, vq_vae
from small.items import samples_of
from small.models import MODELS
from small.toy import Toy

TOY = Toy(size=(6, 4, 4))
STAGE = StageConfig(batch_size=4, crop=8, learning_rate=3e-3, warmup=1, average_decay=0.5)


@dataclass(frozen=True, kw_only=True)
class ToyVQVAEConfig(VQVAEConfig):
    """A VQ-VAE of toys."""

    item: Toy = TOY  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class ToyDeltaVAEConfig(DeltaVAEConfig):
    """A delta-VAE of toys."""

    item: Toy = TOY  # type: ignore[assignment]


class ToyVQVAE(VQVAE):
    """Reads a folder's configuration as that of toys."""

    config_class: ClassVar = ToyVQVAEConfig


class ToyDeltaVAE(DeltaVAE):
    """Reads a folder's configuration as that of toys."""

    config_class: ClassVar = ToyDeltaVAEConfig


def config_of(case: str) -> AnyModelConfig:
    model, decoders = case.split("-")
    return (vq_vae if model == "vq" else delta_vae)(TOY, decoders)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve toys in two folders, two of which are the same."""
    folder = tmp_path_factory.mktemp("toys")
    for number in range(12):
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number:02d}.toy"
        path.parent.mkdir(exist_ok=True)
        content = Content.of(
            samples_of(TOY, seed=number // 2 if number < 2 else number), {"ticks_per_second": 24}
        )
        with path.open("wb") as file:
            TOY.write(content, file)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def trained(request, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Model, Path]:
    dataset = load_dataset(open_sources([folder], TOY))
    out = tmp_path_factory.mktemp(request.param)
    run = RunConfig(model=config_of(request.param), codec=STAGE, prior=STAGE, decoder=STAGE)
    result = train.run(run, dataset, out, steps=8, device="cpu")
    assert result.finished
    return request.param, result.model, out


def can_lossless(model: Model) -> bool:
    return model.integer.decoder is not None


def ways(model: Model) -> list[dict[str, bool]]:
    found = [{}]
    if can_lossless(model):
        found.append({"lossless": True})
        if model.integer.encoder is not None:
            found.append({"lossless": True, "bits_back": True})
    return found


def test_every_way_is_tried(trained) -> None:
    case, model, _ = trained
    expected = 1 + ("parallel" not in case) + (case.startswith("delta") and "parallel" not in case)
    assert len(ways(model)) == expected


def test_it_is_saved_and_loaded(trained) -> None:
    case, model, out = trained
    loaded = (ToyVQVAE if case.startswith("vq") else ToyDeltaVAE).from_pretrained(out, "cpu")
    items = np.stack([samples_of(TOY, seed=seed) for seed in range(3)])
    codes = model.encode(items)
    assert np.array_equal(loaded.encode(items), codes)
    assert np.array_equal(loaded.decode(codes, TOY.size), model.decode(codes, TOY.size))
    assert loaded.codes_id == model.codes_id and loaded.integer.ids == model.integer.ids


def test_it_is_compressed_and_restored(trained, folder: Path, tmp_path: Path) -> None:
    _, model, _ = trained
    originals = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.toy")}
    for number, way in enumerate(ways(model)):
        archive, out = tmp_path / f"{number}.lpz", tmp_path / f"out{number}"
        summary = compress(model, [folder], archive, **way)
        assert summary.items == 12 and summary.duplicates == 1
        verify_archive(archive, model)
        decompress(archive, model, out)
        restored = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.toy")}
        assert restored.keys() == originals.keys()
        assert inspect_archive(archive).header.kind == "toy"
        for name, data in restored.items():
            assert data[:20] == originals[name][:20], "sizes and tick rates travel"
            assert not way or data == originals[name]


def test_another_size_is_taken_or_stored_by_the_fallback(trained) -> None:
    _, model, _ = trained
    other = samples_of(TOY, (6, 5, 3), seed=3)
    from latentpress.press import encode_archive

    archive = encode_archive(model, {"a.toy": samples_of(TOY), "b.toy": other}, lossless=can_lossless(model))
    found = dict(decode_archive(archive, model))
    assert found["b.toy"].shape == other.shape
    if can_lossless(model) or not model.takes(other.shape):
        assert np.array_equal(found["b.toy"], other)


def test_it_is_evaluated_and_diagnosed(trained, folder: Path) -> None:
    _, model, _ = trained
    source = open_sources([folder], TOY)
    lossy = evaluate(model, source)
    assert lossy.num_items == 12 and lossy.archive_bytes > 0
    assert np.isfinite(lossy.quality.psnr_db)
    if can_lossless(model):
        exact = evaluate(model, source, lossless=True)
        assert exact.archive_bytes > 0
    diagnosis = diagnose(model, load_dataset(source))
    assert np.isfinite(diagnosis.sample_nats) and np.isfinite(diagnosis.latent_nats)
    assert diagnosis.verdict


def test_new_ones_are_generated(trained) -> None:
    _, model, _ = trained
    first, again = (generate(model, 2, size=TOY.size) for _ in range(2))
    assert first.shape == (2, *TOY.size, 1) and first.dtype == np.uint16
    assert np.array_equal(first, again)
    out = io.BytesIO()
    TOY.write(Content.of(first[0]), out)
    assert np.array_equal(TOY.open(out).samples, first[0])


def test_a_beginning_is_continued(trained) -> None:
    _, model, _ = trained
    given = samples_of(TOY, seed=9)[:3]
    items = generate(model, 2, size=TOY.size, given=given)
    assert np.array_equal(items[:, :3], np.stack([given, given]))
