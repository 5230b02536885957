"""The report is one file that needs nothing else, and says what the evaluation says."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.data import array_source
from latentpress.evaluate import Comparison, Quality, evaluate
from latentpress.evaluate.report import (
    Report,
    Sample,
    TrainingCurve,
    collect_samples,
    picture_of,
    read_training_curve,
)
from latentpress.items import Text
from latentpress.model.details import codebook_details
from small.evaluations import an_evaluation, with_lossy
from small.items import samples_of
from small.models import small_model
from small.toy import Toy

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects a page's text and sources, and checks that its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]
        self.links += [value or "" for name, value in attrs if name in ("href", "srcset", "data", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def a_sample(side: int = 32, name: str = "<b>&.png") -> Sample:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Sample(name, pixels, 255 - pixels, (side, side), 81.5, 12.25)


def test_page_needs_nothing_from_elsewhere() -> None:
    curve = TrainingCurve([0, 10, 20], [18.0, 25.0, 26.5])
    report = Report(
        an_evaluation(),
        samples=[a_sample()],
        generated=[a_sample().restored] * 2,
        training=curve,
        command="x",
    )
    text = report.to_html()
    page = Page(text)
    assert len(page.sources) == 3 + 3 + 2  # plots, one sample, two generated images
    assert all(
        source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for source in page.sources
    )
    assert not page.links and "@import" not in text and "url(" not in text and "<script" not in text


def test_page_says_the_figures() -> None:
    text = Page(Report(an_evaluation(), command="latentpress evaluate m d").to_html()).text
    for words in (
        "800 bytes",
        "80.0",
        "27.50 dB",
        "2.25 dB lower",
        "75.0%",
        "0.9123",
        "4,000 bytes",
        "5.00 times",
    ):
        assert words in text, words
    assert "WebP, mosaic" in text and "4,321" in text and "+2.25" in text
    assert "bits a pixel" in text and "latentpress evaluate m d" in text and "In grey" in text


def test_a_lossless_evaluation_has_sizes_alone() -> None:
    others = (Comparison(codec="xz -9e", layout="tar", size_bytes=1234),)
    exact = replace(an_evaluation(), lossy=None, comparisons=others, words=Text.words)
    text = Page(Report(exact).to_html()).text
    assert "Every byte comes back as it was" in text and "xz -9e, tar" in text and "1,234" in text
    assert "PSNR" not in text and "texts" in text


def test_draws_are_said_to_be_draws() -> None:
    said = "draws what the latents do not say"
    assert said in Page(Report(with_lossy(an_evaluation(), stochastic=True)).to_html()).text
    assert said not in Page(Report(an_evaluation()).to_html()).text


def test_names_are_text_not_markup() -> None:
    text = Report(an_evaluation(), title="<i>", samples=[a_sample()], command="a <u> b").to_html()
    assert "<i>" not in text and "<b>&.png" not in text and "<u>" not in text
    assert "<b>&.png" in Page(text).text and "a <u> b" in Page(text).text


def test_large_images_are_cropped_and_the_page_says_so() -> None:
    small, large = (Report(an_evaluation(), samples=[a_sample(side)]).to_html() for side in (64, 512))
    assert "320 x 320" in large and "320 x 320" not in small
    assert len(large) < 4 * 3 * 320 * 320 * 3


def test_optional_parts_are_left_out() -> None:
    bare = replace(an_evaluation(), comparisons=(), file_bytes=None)
    text = Page(Report(bare).to_html()).text
    for heading in ("Other codecs", "Generated", "Original, restored", "How to get this again", "files"):
        assert heading not in text


def test_a_collapsed_codebook_is_said_at_the_top() -> None:
    collapsed = codebook_details(torch.zeros(6400, 1, dtype=torch.int64), 64)
    text = Page(Report(with_lossy(an_evaluation(), details=collapsed)).to_html()).text
    assert text.index("The codebook has collapsed") < text.index("Rates in full")


def test_the_same_report_is_the_same_bytes() -> None:
    assert Report(an_evaluation()).to_html() == Report(an_evaluation()).to_html()


def test_report_is_written_with_json_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "report.html"
    Report(an_evaluation()).write(path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(path.with_suffix(".json").read_text())["archive_bytes"] == 800
    assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.json"]


def test_training_curve_is_that_of_the_codec(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert read_training_curve(metrics) is None
    lines = [
        {"stage": "codec", "step": 20, "psnr_db": 21.5},
        {"stage": "codec", "step": 40, "held_out_psnr_db": 22.0},
        {"stage": "prior", "step": 60, "psnr_db": 1.0},
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    curve = read_training_curve(metrics)
    assert curve is not None and curve == ((20,), (21.5,))


@pytest.mark.parametrize("psnr_db", [float("inf"), 27.5])
def test_perfect_images_do_not_break_the_page(psnr_db: float) -> None:
    perfect = with_lossy(an_evaluation(), quality=Quality(psnr_db, psnr_db, {}))
    assert Page(Report(perfect).to_html()).sources


def test_films_are_shown_by_their_middle_picture() -> None:
    film = samples_of(Toy(), (5, 4, 6))
    picture = picture_of(Toy(), film)
    assert picture.shape == (4, 6, 1) and picture.dtype == np.uint8
    np.testing.assert_allclose(picture[..., 0], film[2, ..., 0] / 257, atol=1)


@pytest.mark.parametrize("kind", ["colour", "toy"])
def test_samples_are_what_comes_back(kind: str) -> None:
    model = small_model("vq-both", kind)
    arrays = [samples_of(model.item, seed=seed) for seed in range(5)]
    source = array_source(arrays, model.item)
    found = evaluate(model, source, against=[])
    samples = collect_samples(model, source, found, count=3)
    assert [sample.name for sample in samples] == [source.items[n].name for n in (0, 1, 3)]
    assert samples[1].extents == model.item.size
    np.testing.assert_array_equal(samples[1].original, picture_of(model.item, arrays[1]))
    restored = model.decode(model.encode(arrays[1][None]), model.item.size or ())[0]
    np.testing.assert_array_equal(samples[1].restored, picture_of(model.item, restored))
    assert Page(Report(found, samples=samples).to_html()).sources
    assert not collect_samples(model, source, evaluate(model, source, lossless=True, against=[]))


def test_the_page_is_packaged() -> None:
    folder = files("latentpress.evaluate")
    assert all(folder.joinpath(name).is_file() for name in ("report.html.jinja", "report.css"))
