"""Items under other labels: the latents stay, and what the decoder knows of the label changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.cli import main
from latentpress.config import (
    CodebookConfig,
    ConvConfig,
    LabelConfig,
    ParallelDecoderConfig,
    RunConfig,
    StageConfig,
    VQVAEConfig,
)
from latentpress.convert import conversions, convert
from latentpress.data import ItemRef, array_source, load_dataset
from latentpress.errors import ItemError, LatentpressError, MissingPartError
from latentpress.items import Content, Image
from latentpress.model import Model, load
from latentpress.model.halves import split_model
from latentpress.train import run
from small.configs import ITEMS, delta_vae, vq_vae
from small.items import samples_of
from small.models import finished

LABELS = (LabelConfig(name="class", values=("cat", "dog")), LabelConfig(name="year", values=("1", "2", "3")))


def labelled(kind: str, decoders: str) -> Model:
    """A small model whose decoders are conditioned by both labels."""
    make = vq_vae if kind == "vq" else delta_vae
    config, names = make(ITEMS["image"], decoders, labels=LABELS), ("class", "year")
    parts = {
        name: replace(part, labels=names)
        for name in ("parallel", "autoregressive")
        if (part := getattr(config, name)) is not None
    }
    return finished(replace(config, **parts))


@pytest.fixture(scope="module", params=["vq-parallel", "vq-autoregressive", "vq-both", "delta-both"])
def model(request: pytest.FixtureRequest) -> Model:
    return labelled(*request.param.split("-"))


def refs(count: int = 3, **labels: str) -> list[ItemRef]:
    items = [samples_of(ITEMS["image"], (6, 4), seed) for seed in range(count)]
    return [ItemRef.of(f"{n}.png", item, labels, {"resolution": 7}) for n, item in enumerate(items)]


def decoded(model: Model, ref: ItemRef, number: int, labels: list[int]) -> np.ndarray:
    samples = ref.read()
    codes = model.encode(samples[None])
    return model.decode(codes, samples.shape[:-1], seed=5, numbers=[number], labels=torch.tensor([labels]))[0]


def test_a_conversion_is_what_the_decoder_makes_of_the_latents_under_the_label(model: Model):
    items, done = refs(**{"class": "cat", "year": "3"}), list[tuple[int, int]]()
    work = conversions(model, items, {"class": "dog"})
    found = list(convert(model, work, seed=5, progress=lambda *each: done.append(each)))
    for number, (content, ref) in enumerate(zip(found, items, strict=True)):
        assert np.array_equal(content.samples, decoded(model, ref, number, [1, 2]))
        assert not np.array_equal(content.samples, decoded(model, ref, number, [0, 2]))
        assert content.attributes == {"resolution": 7} and content.samples.dtype == np.uint8
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_every_value_of_a_label_has_a_folder(model: Model):
    work = conversions(model, refs(2), {"class": "dog"}, "year")
    assert [(each.folder, each.ref.name) for each in work] == [
        (year, name) for name in ("0.png", "1.png") for year in ("1", "2", "3")
    ]
    assert [dict(each.labels) for each in work[:3]] == [{"class": "dog", "year": y} for y in ("1", "2", "3")]


def test_items_of_several_shapes_come_in_their_order_and_each_as_alone(monkeypatch):
    model = labelled("vq", "both")
    sizes = [(6, 4), (6, 4), (8, 4), (6, 4), (6, 4)]
    items = [ItemRef.of(f"{n}.png", samples_of(ITEMS["image"], size, n)) for n, size in enumerate(sizes)]
    work = conversions(model, items, {"class": "cat"}, "year")
    together = [content.samples for content in convert(model, work)]
    monkeypatch.setattr("latentpress.convert._TOGETHER", 1)
    for size, found, alone in zip(
        [size for size in sizes for _ in range(3)], together, convert(model, work), strict=True
    ):
        assert found.shape == (*size, 1) and np.array_equal(found, alone.samples)


def test_what_cannot_be_converted_is_refused():
    model = labelled("vq", "both")
    for labels, each, message in [
        ({}, None, "say what to convert to"),
        ({"class": "cow"}, None, "no class 'cow'; the model has: cat, dog"),
        ({"voice": "a"}, None, "not conditioned by a label 'voice'; train with --set 'model.parallel"),
        ({}, "voice", "no label 'voice' to take all values of; the decoder has: class, year"),
        ({"year": "1"}, "year", "no label 'year' to take all values of; the decoder has: class"),
    ]:
        with pytest.raises(LatentpressError, match=message):
            conversions(model, refs(), labels, each)
    blind = finished(vq_vae(ITEMS["image"], "autoregressive", labels=LABELS))
    with pytest.raises(LatentpressError, match=r"model.autoregressive.labels=\[\"class\"\]"):
        conversions(blind, refs(), {"class": "cat"})
    wide = [ItemRef.of("wide.png", np.zeros((6, 4, 3), np.uint8))]
    with pytest.raises(ItemError, match=r"wide\.png: 6 x 4 x 3, and the model takes"):
        list(convert(model, conversions(model, wide, {"class": "cat"})))
    with pytest.raises(MissingPartError):
        list(convert(split_model(model).decoder, conversions(model, refs(), {"class": "cat"})))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose left or right half is lit, dimly or brightly; of which the label says how much."""
    conv = ConvConfig(strides=(8,), depths=(0,), width=32)
    config = VQVAEConfig(
        item=Image(channels=1),
        encoder=conv,
        latents=CodebookConfig(codebook_size=2, code_dim=4),
        parallel=ParallelDecoderConfig(network=conv, labels=("class",)),
        prior=None,
        labels=(LabelConfig(name="class", values=("bright", "dim")),),
    )
    sides = [pictured(n % 2, "bright" if n // 2 % 2 else "dim") for n in range(80)]
    labels = {"class": ["bright" if n // 2 % 2 else "dim" for n in range(80)]}
    stage = StageConfig(batch_size=16, crop=8, flip=False, learning_rate=1e-2, steps=500)
    folder = tmp_path_factory.mktemp("lit")
    data = load_dataset(array_source(sides, config.item, labels=labels))
    run(RunConfig(model=config, codec=stage), data, folder, device="cpu")
    return folder


def pictured(side: int, light: str) -> np.ndarray:
    picture = np.zeros((8, 8, 1), np.uint8)
    picture[:, 4 * side : 4 * side + 4] = 220 if light == "bright" else 90
    return picture


def test_content_stays_and_the_label_shows(trained: Path):
    model = load(trained, "cpu")
    for side in (0, 1):
        for light, other in (("dim", "bright"), ("bright", "dim")):
            ref = ItemRef.of("a.png", pictured(side, light), {"class": light})
            [content] = convert(model, conversions(model, [ref], {"class": other}))
            wanted, kept = pictured(side, other).astype(int), pictured(side, light).astype(int)
            error = np.abs(content.samples - wanted).mean()
            assert error < 20 and error < 0.5 * np.abs(content.samples - kept).mean()


def test_the_verb_writes_files_of_the_kind(trained: Path, tmp_path: Path, capsys, monkeypatch):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, side in (("a.png", 0), ("deep/b.png", 1)):
        with (tmp_path / "in" / name).open("wb") as file:
            Image(channels=1).write(Content.of(pictured(side, "dim")), file)
    monkeypatch.chdir(tmp_path)
    convert_in = ["convert", "-m", str(trained)]
    assert main([*convert_in, "in", "--to", "bright", "-o", "out"]) == 0
    assert sorted(str(each) for each in Path("out").rglob("*.png")) == ["out/a.png", "out/deep/b.png"]
    assert "converted to 2 images, in out" in capsys.readouterr().err
    assert main([*convert_in, "in", "--to", "class=bright", "-o", "out"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*convert_in, "in", "--each", "class", "-o", "all"]) == 0
    assert len(list(Path("all").rglob("*.png"))) == 4 and Path("all/dim/deep/b.png").is_file()
    assert main([*convert_in, "in/a.png", "--to", "bright", "-o", "one.png"]) == 0
    assert Path("one.png").read_bytes() == Path("out/a.png").read_bytes()
    assert main([*convert_in, "in", "--to", "bright", "-o", "two.png"]) == 1
    assert "takes one item, and there are 2" in capsys.readouterr().err
    assert main([*convert_in, "in", "--to", "grey", "-o", "none"]) == 1
    assert "no class 'grey'; the model has: bright, dim" in capsys.readouterr().err
    assert not Path("none").exists() and not Path("two.png").exists()
