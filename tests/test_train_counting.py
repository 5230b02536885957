"""Stages that count: the texts they learn from, where they end, and what the same command does again."""

import io
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentpress.autoregressive import IntegerNetwork
from latentpress.coding import Archive, Part
from latentpress.config import (
    CountedDecoderConfig,
    CountedPriorConfig,
    DeltaVAEConfig,
    LabelConfig,
    PriorConfig,
    RunConfig,
    StageConfig,
)
from latentpress.counted import CountedDecoder, CountedGrid, CountedPictures
from latentpress.counted.grids.order import alike
from latentpress.data import Dataset, array_source, load_dataset
from latentpress.errors import TrainingError
from latentpress.exact.distribution import Stream
from latentpress.items import Image, Text
from latentpress.model import build, load
from latentpress.train import Progress, TrainResult, run
from latentpress.train.counting import counted_decoder
from latentpress.train.counting_codes import pieces_of_items
from latentpress.train.plan import STAGES, plan_stages
from small.archives import compressed
from small.configs import ITEMS, NETWORK, vq_vae
from small.items import samples_of


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache folder of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def texts(lengths: list[int]) -> Dataset:
    """Text number i holds the letter i alone."""
    arrays = [np.full((length, 1), ord("a") + index, np.uint8) for index, length in enumerate(lengths)]
    return load_dataset(array_source(arrays, Text()))


def config(training_bytes: int = 1 << 24) -> DeltaVAEConfig:
    counted = CountedDecoderConfig(training_bytes=training_bytes)
    return DeltaVAEConfig(item=Text(), latents=None, auxiliary=None, autoregressive=counted)


def count(folder: Path, data: Dataset, **options) -> TrainResult:
    return run(RunConfig(model=config()), data, folder, **{"device": "cpu", **options})


def pieces(decoder: CountedDecoder) -> list[int]:
    return decoder.tensors()["counted.lengths"].tolist()


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("most", "learned"),
    [(100, [10, 20, 30]), (60, [10, 20, 30]), (40, [10, 20]), (25, [10]), (5, [5]), (1, [1])],
)
def test_of_more_texts_than_configured_some_are_learned(most, learned):
    decoder = counted_decoder(build(config(most)), texts([10, 20, 30]), None, lambda _: None)
    assert pieces(decoder) == learned and sum(learned) <= most


def test_no_text_is_begun_once_the_seconds_are_over(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("latentpress.train.counting.time", SimpleNamespace(monotonic=lambda: next(clock)))
    shares: list[float] = []
    decoder = counted_decoder(build(config()), texts([10, 20, 30, 40]), 2.5, shares.append)
    assert pieces(decoder) == [10, 20] and shares == [0.1, 0.3]


def test_the_same_command_again_leaves_a_finished_run_as_it_is(tmp_path: Path):
    first = count(tmp_path, texts([50, 60]))
    before, seen = folder_bytes(tmp_path), list[Progress]()
    again = count(tmp_path, texts([50, 60]), progress=seen.append)
    assert first.finished and again.finished and seen == []
    assert folder_bytes(tmp_path) == before and again.model.integer.ids == first.model.integer.ids


def test_more_seconds_count_anew(tmp_path: Path):
    data = texts([50, 60, 70])
    count(tmp_path, data, seconds=1e-9)
    few = pieces(load(tmp_path).integer.decoder)
    count(tmp_path, data, seconds=600)
    assert len(few) < 3 and pieces(load(tmp_path).integer.decoder) == [50, 60, 67]  # 3 are held out
    with pytest.raises(TrainingError, match="seconds differ"):
        count(tmp_path, data, seconds=1)


def test_other_texts_are_another_run(tmp_path: Path):
    count(tmp_path, texts([50, 60]))
    with pytest.raises(TrainingError, match="holds another run: data differ"):
        count(tmp_path, texts([50, 61]))


def test_a_model_that_no_run_of_the_folder_made_is_not_overwritten(tmp_path: Path):
    count(tmp_path / "made", texts([50]))
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "model.safetensors").write_bytes(
        (tmp_path / "made/model.safetensors").read_bytes()
    )
    with pytest.raises(TrainingError, match="holds a model already"):
        count(tmp_path / "copied", texts([50]))


def test_a_signal_ends_counting_and_the_next_call_does_it(tmp_path: Path):
    data, seen = texts([50, 60]), list[Progress]()

    def stop(progress: Progress) -> None:
        seen.append(progress)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

    stopped = count(tmp_path, data, progress=stop)
    assert not stopped.finished and seen[0].fraction < 1
    assert not (tmp_path / "model.safetensors").exists()
    assert count(tmp_path, data).finished and pieces(load(tmp_path).integer.decoder) == [
        50,
        58,
    ]  # 2 are held out


def test_a_long_text_is_one_band(tmp_path: Path):
    """It learns within the item, and does not begin anew at every segment of it."""
    model = count(tmp_path, texts([50, 60])).model
    letters = np.random.default_rng(0).integers(97, 102, (40_000, 1), np.uint8)
    archive = Archive(io.BytesIO(compressed(model, {"a": letters}, lossless=True)[0]))
    assert len(letters) > 2 * Text.segment
    assert [(block.part, block.shape) for block in archive.layout] == [(Part.SAMPLES, (40_000,))]


def pictures(sizes: list[tuple[int, int]]) -> Dataset:
    """Picture number i has the value i alone in its rows' first pixels, and a row's number in the others."""
    arrays = [np.zeros((*size, 3), np.uint8) for size in sizes]
    for index, array in enumerate(arrays):
        array[:, 1:] = np.arange(array.shape[0])[:, None, None] % 256
        array[:, 0] = index
    return load_dataset(array_source(arrays, Image()))


def picture_config(training_bytes: int) -> DeltaVAEConfig:
    counted = CountedDecoderConfig(training_bytes=training_bytes)
    return DeltaVAEConfig(item=Image(), latents=None, auxiliary=None, autoregressive=counted)


@pytest.mark.parametrize(
    ("heights", "most", "rows"),
    [
        ([100, 20, 40], 10**6, [(0, 0, 100), (1, 0, 20), (2, 0, 40)]),  # all there are
        ([100, 20, 40], 2400, [(0, 0, 64)]),  # a half, but 64 rows at least, which is too much of all three
        ([100, 20, 40], 600, [(0, 0, 20)]),
        ([100, 20, 40], 40, [(0, 0, 1)]),
        ([100, 20, 40], 2, []),
        ([200] * 4, 12_000, [(0, 0, 100), (1, 62, 162), (2, 23, 123), (3, 86, 186)]),  # a half of each
    ],
)
def test_of_more_pictures_than_configured_some_rows_are_learned(monkeypatch, heights, most, rows):
    seen: list[np.ndarray] = []

    def primed_by(items, channels, total, report):
        seen.extend(items)
        assert channels == 3 and total == sum(each.size for each in seen) <= most
        return CountedPictures(3, b"")

    monkeypatch.setattr(CountedPictures, "primed_by", staticmethod(primed_by))
    data = pictures([(height, 10) for height in heights])
    counted_decoder(build(picture_config(most)), data, None, lambda _: None)
    wanted = [data[index][start:stop] for index, start, stop in rows]
    assert len(seen) == len(wanted) and all(map(np.array_equal, seen, wanted))


def test_pictures_are_counted_pressed_and_drawn(tmp_path: Path):
    data = pictures([(30, 20), (12, 16), (9, 40), (20, 20)])
    seen: list[Progress] = []
    result = run(RunConfig(model=picture_config(1 << 20)), data, tmp_path, device="cpu", progress=seen.append)
    assert result.finished and seen[-1].fraction == 1 and result.model.integer.holds_training is None
    card = (tmp_path / "README.md").read_text()
    assert "counted contexts" in card and "word for word" not in card
    model = load(tmp_path)
    assert model.integer.ids == result.model.integer.ids
    item = data[0]
    archive = Archive(io.BytesIO(compressed(model, {"a": item}, lossless=True)[0]))
    assert [block.part for block in archive.layout] == [Part.SAMPLES]
    nats = model.sample_nats(torch.from_numpy(item)[None], model.infer(torch.from_numpy(item)[None]))
    [(_, bits)] = model.integer.decoder.network.encode(
        [Stream(item.shape[:2], 1, symbols=item.reshape(-1, 1, 3).astype(np.int64))]
    )
    assert float(nats) == pytest.approx(float(bits.sum()) * math.log(2))


def vq_config(*, network: bool = False, labels: tuple[str, ...] = ()) -> RunConfig:
    prior = CountedPriorConfig(network=NETWORK if network else None, labels=labels, training_codes=5000)
    stage = StageConfig(batch_size=4, crop=8, steps=4)
    known = tuple(LabelConfig(name=name, values=("flat", "rough")) for name in labels)
    model = vq_vae(ITEMS["image"], "parallel", prior=prior, labels=known)
    return RunConfig(model=model, codec=stage, prior=stage)


def grey_pictures(count: int, size: tuple[int, int] = (14, 10)) -> Dataset:
    arrays = [samples_of(ITEMS["image"], size, seed) for seed in range(count)]
    return load_dataset(array_source(arrays, Image(channels=1)))


@pytest.mark.parametrize("network", [False, True])
def test_a_prior_counts_the_codes_of_the_codec(tmp_path: Path, network: bool):
    data, seen = grey_pictures(100), list[Progress]()
    result = run(vq_config(network=network), data, tmp_path, device="cpu", progress=seen.append)
    assert result.finished and result.steps == (8 if network else 4)
    assert seen[-1].stage == "prior" and seen[-1].fraction == 1
    assert 0 < result.figures["bits_per_code"] < 8 and "perplexity" in result.figures
    model = load(tmp_path)
    prior = model.integer.prior
    assert isinstance(prior, CountedGrid) and (prior.network is not None) == network
    assert model.integer.ids == result.model.integer.ids and model.integer.holds_training == "codes"
    card = (tmp_path / "README.md").read_text()
    assert "prior that counts" in card and ("beside a network" in card) == network
    item = torch.from_numpy(data[0])[None]
    codes = model.encode(item)
    streams = [Stream(tuple(codes.shape[1:-1]), 1, symbols=codes.flatten(1, -2).transpose(0, 1).numpy())]
    [(_, bits)] = prior.encode(streams)
    assert float(model.latent_nats(model.infer(item))) == pytest.approx(float(bits.sum()) * math.log(2))


def test_what_is_counted_are_the_training_items_codes_as_archives_have_them(tmp_path: Path):
    data = grey_pictures(12)
    result = run(vq_config(), data, tmp_path, device="cpu")
    tensors, model = result.model.integer.prior.tensors(), result.model
    train = data.split()[0] if data.split()[1] is None else data
    assert int(tensors["total"]) == 12 * 7 * 5 * 2 == len(train) * 70
    assert tensors["shapes"].tolist() == [[12, 1, 7, 5]]
    order = [alike(book) for book in model.latents.codebook.numpy()]
    pieces = list(pieces_of_items(model, data, 5000))
    codes = model.encode(np.stack([data[i] for i in range(12)]))
    assert np.array_equal(pieces[0].symbols, codes.flatten(1, -2).transpose(0, 1).numpy())
    assert CountedGrid.primed_by(order, pieces, None, lambda _: None).id == model.integer.prior.id


def test_of_more_codes_than_configured_some_are_counted(tmp_path: Path):
    model = run(vq_config(), grey_pictures(12), tmp_path, device="cpu").model
    data = grey_pictures(5)
    for most, lanes in [(350, 5), (140, 2), (70, 1)]:
        assert sum(len(piece.labels) for piece in pieces_of_items(model, data, most)) == lanes
    [piece] = pieces_of_items(model, data, 25)
    assert piece.grid == (2, 5), "of an item that is too large its first rows"


@pytest.mark.parametrize("network", [False, True])
def test_a_counted_prior_that_is_interrupted_ends_the_same(tmp_path: Path, network: bool):
    data, config = grey_pictures(12), vq_config(network=network)
    whole = run(config, data, tmp_path / "whole", device="cpu")

    def stop(progress: Progress) -> None:
        if progress.stage == "prior" and progress.step == whole.steps:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    stopped = run(config, data, tmp_path / "cut", device="cpu", progress=stop)
    assert not stopped.finished
    again = run(config, data, tmp_path / "cut", device="cpu")
    assert again.finished and again.model.integer.ids == whole.model.integer.ids
    assert again.figures == whole.figures


def test_a_finished_codec_is_given_a_counted_prior(tmp_path: Path):
    data, base = grey_pictures(12), vq_config()
    with_network = replace(base, model=replace(base.model, prior=PriorConfig(network=NETWORK)))
    before = run(with_network, data, tmp_path, device="cpu").model
    after = run(base, data, tmp_path, device="cpu", stages=("prior",)).model
    assert isinstance(before.integer.prior, IntegerNetwork) and isinstance(after.integer.prior, CountedGrid)
    assert after.codes_id == before.codes_id and after.prior is None
    assert load(tmp_path).integer.ids == after.integer.ids


def test_counting_takes_no_share_of_the_time():
    config = vq_config()
    limits = plan_stages(config, STAGES, None, 100.0)
    assert [(name, limit.seconds) for name, limit in limits.items()] == [("codec", 100.0), ("prior", 100.0)]
    assert plan_stages(vq_config(network=True), STAGES, None, 100.0)["codec"].seconds < 100


def test_labels_condition_what_is_counted(tmp_path: Path):
    labels = [("rough", "flat", "flat")[index % 3] for index in range(100)]
    arrays = [samples_of(ITEMS["image"], (14, 10), seed) for seed in range(100)]
    data = load_dataset(array_source(arrays, Image(channels=1), labels={"class": labels}))
    model = run(vq_config(labels=("class",)), data, tmp_path, device="cpu").model
    pieces = list(pieces_of_items(model, data, 7000))
    numbers = np.concatenate([piece.labels[:, 0, 0] for piece in pieces])
    assert numbers.tolist() == [("flat", "rough").index(label) for label in labels]
    stored = model.integer.prior.tensors()["labels"]
    assert len(stored) == 71 and stored.unique().tolist() == [0, 1], "of 98 items, so many have 5,000 codes"
    latents = model.infer(torch.from_numpy(np.stack(arrays[:20])))
    known = torch.from_numpy(numbers[:20].astype(np.int64))[:, None]
    assert not torch.equal(model.latent_nats(latents, known), model.latent_nats(latents, 1 - known))


def test_rows_of_later_bands_have_their_own_labels(tmp_path: Path):
    """Labels along the first axis, of an item whose codes are cut into two bands."""
    rows = tuple("rough" if row % 3 else "flat" for row in range(400))
    items = [samples_of(ITEMS["image"], (400, 60), seed) for seed in range(2)]
    data = load_dataset(array_source(items, Image(channels=1), labels={"class": [rows, rows]}))
    config = vq_config(labels=("class",))
    along = (LabelConfig(name="class", values=("flat", "rough"), along=True),)
    model = build(replace(config.model, labels=along)).eval()
    first, second, *_ = pieces_of_items(model, data, 1 << 20)
    assert first.grid == second.grid == (100, 30)
    wanted = np.array([int(row % 3 > 0) for row in range(0, 400, 2)])
    assert first.labels[0, :, 0].tolist() == wanted[:100].tolist()
    assert second.labels[0, :, 0].tolist() == wanted[100:].tolist() != wanted[:100].tolist()
