"""Stages that count: the texts they learn from, where they end, and what the same command does again."""

import io
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from latentpress.coding import Archive, Part
from latentpress.config import CountedDecoderConfig, DeltaVAEConfig, RunConfig
from latentpress.counted import CountedDecoder
from latentpress.data import Dataset, array_source, load_dataset
from latentpress.errors import TrainingError
from latentpress.items import Text
from latentpress.model import build, load
from latentpress.train import Progress, TrainResult, run
from latentpress.train.counting import counted_decoder
from small.archives import compressed


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
