"""An evaluation's figures follow from one another and from the archive, for every model and kind of item."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.config import LabelConfig
from latentpress.data import ItemRef, Source, array_source, open_sources
from latentpress.errors import ConfigError, ItemError, LatentpressError
from latentpress.evaluate import Evaluation, evaluate, evaluation
from latentpress.evaluate.latents import as_tensor
from latentpress.evaluate.quality import distortion
from latentpress.items import Content
from latentpress.items.base import Item
from latentpress.model import Model
from latentpress.press import compress, decode_archive
from small.configs import ITEMS, vq_vae
from small.items import samples_of
from small.models import MODELS, finished, jolted, small_model

KINDS = ("colour", "toy")
SIZES = [(16, 20), (24, 12), (16, 20), (9, 30)]


def as_source(item: Item, sizes=None, count: int = 5, **labels: list[str]) -> Source:
    """Items of the kind's size, or images of these sizes."""
    arrays = [samples_of(item, size, seed) for seed, size in enumerate(sizes or [item.size] * count)]
    named = [{name: values[n] for name, values in labels.items()} for n in range(len(arrays))]
    return Source(item, [ItemRef.of(f"set/{n:02}.x", a, named[n]) for n, a in enumerate(arrays)])


def archived(model: Model, source: Source, **how: bool) -> bytes:
    file = io.BytesIO()
    compress(model, source, file, **how)
    return file.getvalue()


@pytest.fixture(scope="module", params=[(case, kind) for case in MODELS for kind in KINDS], ids="-".join)
def model(request: pytest.FixtureRequest) -> Model:
    return small_model(*request.param)


@pytest.fixture(scope="module")
def found(model: Model) -> Evaluation:
    return evaluate(model, as_source(model.item))


@pytest.fixture(scope="module")
def images() -> Model:
    return small_model("vq-both", "colour")


@pytest.fixture(scope="module")
def mixed(images: Model) -> Evaluation:
    return evaluate(images, as_source(images.item, SIZES), against=["jpeg"])


def test_counts_and_bytes_are_those_of_a_real_archive(model: Model, found: Evaluation) -> None:
    positions = 5 * math.prod(model.item.size or ())
    assert (found.num_items, found.positions, found.dims) == (5, positions, positions * model.item.channels)
    archive = archived(model, as_source(model.item))
    assert found.archive_bytes == len(archive)
    assert 0 < sum(found.part_bytes.values()) < found.archive_bytes and found.file_bytes is None
    assert found.bits_per_dim * model.item.channels == pytest.approx(found.bits_per_position)


def test_quality_is_that_of_what_comes_out_of_the_archive(model: Model, found: Evaluation) -> None:
    source = as_source(model.item)
    back = dict(decode_archive(archived(model, source), model))
    pairs = [(ref.read()[None], back[ref.name][None]) for ref in source.items]
    alone = [distortion(model.item, before, after) for before, after in pairs]
    assert found.lossy is not None and found.quality is not None
    for result, one, ref in zip(found.lossy.items, alone, source.items, strict=True):
        assert result.name == ref.name and result.size == model.item.size
        assert result.psnr_db == pytest.approx(one.psnr_db[0])
    assert found.quality.mean_psnr_db == pytest.approx(np.mean([one.psnr_db[0] for one in alone]))


def test_what_the_model_says_of_the_cost_is_there(model: Model, found: Evaluation) -> None:
    samples = as_tensor(np.stack([ref.read() for ref in as_source(model.item).items]))
    latents = model.infer(samples, generator=torch.Generator().manual_seed(0))
    bits = [
        float(nats.sum()) / math.log(2)
        for nats in (model.latent_nats(latents), model.sample_nats(samples, latents))
    ]
    assert found.lossy is not None and found.model_bits_per_dim is not None
    assert 8 * found.lossy.latent_bytes == pytest.approx(bits[0], rel=1e-4)
    assert found.model_bits_per_dim * found.dims == pytest.approx(sum(bits), rel=1e-4)
    assert found.lossy.stochastic == model.stochastic and found.model_bits
    figures, expected = (dict(d.values) for d in (found.lossy.details, model.details(latents)))
    assert figures.pop("counts", None) == expected.pop("counts", None)
    assert figures == pytest.approx(expected, rel=1e-3)


def test_shares_add_up_to_the_archive(found: Evaluation) -> None:
    assert found.lossy is not None
    assert sum(item.size_bytes for item in found.lossy.items) == pytest.approx(found.archive_bytes)


def test_a_lossless_archive_gives_everything_back(model: Model) -> None:
    if model.integer.decoder is None:
        with pytest.raises(LatentpressError, match="autoregressive"):
            evaluate(model, as_source(model.item), lossless=True)
        return
    found = evaluate(model, as_source(model.item), lossless=True)
    assert found.archive_bytes == len(archived(model, as_source(model.item), lossless=True))
    assert found.lossy is found.quality is found.model_bits_per_dim is None
    assert {each.codec for each in found.comparisons} == {
        each.name for each in model.item.lossless_baselines()
    }


@pytest.mark.parametrize("kind", ["colour", "text", "toy"])
def test_bits_back_is_measured(kind: str) -> None:
    model = small_model("delta-autoregressive", kind)
    found = evaluate(model, as_source(model.item), bits_back=True)
    assert found.lossy is None and found.part_bytes.get("chain", 0) + found.part_bytes.get("fallback", 0) > 0


def test_texts_are_always_kept() -> None:
    model = small_model("vq-both", "text")
    found = evaluate(model, as_source(model.item))
    layouts = {(each.codec, each.layout) for each in found.comparisons}
    assert found.lossy is None and {("xz -9e", "files"), ("xz -9e", "tar")} <= layouts
    assert found.words.position == "byte"


def test_json_is_strict_and_holds_the_derived_figures(found: Evaluation) -> None:
    tree = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tree["archive_bytes"] == found.archive_bytes and tree["bits_per_dim"] == found.bits_per_dim
    assert found.lossy is not None and len(tree["lossy"]["items"]) == 5
    assert tree["lossy"]["details"] == json.loads(json.dumps(dict(found.lossy.details.values)))
    assert len(tree["comparisons"]) == len(found.comparisons)


def test_the_bytes_that_come_in_are_those_of_the_files(images: Model, tmp_path: Path) -> None:
    for ref in as_source(images.item, count=3).items:
        with (tmp_path / f"{ref.name[-4:-2]}.png").open("wb") as file:
            images.item.write(Content.of(ref.read()), file)
    found = evaluate(images, open_sources([tmp_path], images.item), against=[])
    assert found.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert found.ratio == found.file_bytes / found.archive_bytes


def test_mixed_sizes_are_compared_each_at_its_bytes(mixed: Evaluation) -> None:
    (comparison,) = mixed.comparisons
    assert mixed.lossy is not None and [item.size for item in mixed.lossy.items] == SIZES
    assert comparison.layout == "each"
    assert comparison.budget_bytes == sum(round(item.size_bytes) for item in mixed.lossy.items)
    assert comparison.quality is not None
    assert mixed.gain_db(comparison) == mixed.lossy.quality.psnr_db - comparison.quality.psnr_db


def test_small_images_of_one_size_are_compared_joined_too(images: Model) -> None:
    found = evaluate(images, as_source(images.item), against=["jpeg", "webp"])
    layouts = [(each.codec, each.layout) for each in found.comparisons]
    assert layouts == [(codec, layout) for codec in ("jpeg", "webp") for layout in ("mosaic", "files")]
    assert all(each.budget_bytes == found.archive_bytes for each in found.comparisons)


def test_batches_do_not_change_the_figures(images: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(images, as_source(images.item), against=[])
    monkeypatch.setattr(evaluation, "_BATCH_POSITIONS", 2 * 6 * 4)
    pieces = evaluate(images, as_source(images.item), against=[])
    assert pieces.quality is not None and whole.quality is not None
    assert pieces.quality.psnr_db == pytest.approx(whole.quality.psnr_db)
    assert pieces.lossy is not None and whole.lossy is not None
    assert pieces.lossy.details == whole.lossy.details and pieces.archive_bytes == whole.archive_bytes


def test_items_that_are_there_twice_cost_nothing_the_second_time(images: Model) -> None:
    one = samples_of(images.item, (40, 40))
    refs = [ItemRef.of(name, one) for name in ("a.png", "b.png")]
    found = evaluate(images, Source(images.item, refs), against=[])
    assert found.duplicates == 1 and found.lossy is not None
    first, second = found.lossy.items
    assert second.size_bytes < first.size_bytes and first.psnr_db == second.psnr_db


def test_items_that_the_model_does_not_take_come_back_as_they_were() -> None:
    model = small_model("delta-both", "colour")
    found = evaluate(model, as_source(model.item, [(6, 4), (7, 5), (6, 4)]), against=[])
    assert found.fallbacks == 1 and found.lossy is not None
    psnr = [item.psnr_db for item in found.lossy.items]
    assert psnr[1] == math.inf and math.isfinite(psnr[0]) and math.isfinite(psnr[2])


def test_labels_condition_what_the_latents_cost() -> None:
    config = vq_vae(ITEMS["colour"])
    labels = (LabelConfig(values=("cat", "dog")),)
    model = finished(replace(config, labels=labels, prior=replace(config.prior, labels=("class",))))
    jolted(model.prior, 0.5)
    costs = []
    for names in (["cat", "dog"], ["dog", "cat"], ["cow", "cow"]):
        source = as_source(model.item, count=2, **{"class": names})
        measured = evaluate(model, source, against=[]).lossy
        assert measured is not None
        costs.append(measured.latent_bytes)
    assert len(set(costs)) == 3


def test_progress_reaches_its_end(images: Model) -> None:
    calls: list[tuple[str, int, int]] = []
    evaluate(images, as_source(images.item), against=["jpeg"], progress=lambda *call: calls.append(call))
    assert ("restore", 5, 5) in calls and ("compare with jpeg", 0, 1) in calls


def test_users_errors_are_said(images: Model) -> None:
    with pytest.raises(ItemError, match="no images to evaluate on"):
        evaluate(images, Source(images.item, ()))
    with pytest.raises(ConfigError, match="no codec 'gif'"):
        evaluate(images, as_source(images.item), against=["gif"])
    text = small_model("vq-both", "text")
    empty = array_source([np.zeros((0, 1), np.uint8)], text.item)
    with pytest.raises(ItemError, match="no byte to measure"):
        evaluate(text, empty)


def test_samples_that_change_on_the_way_are_an_error(images: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(archive: bytes, model: Model):
        yield from ((name, samples + 1) for name, samples in decode_archive(archive, model))

    monkeypatch.setattr(evaluation, "decode_archive", changed)
    with pytest.raises(ItemError, match="does not give back"):
        evaluate(images, as_source(images.item), lossless=True)
