"""The report is one file that needs nothing else, and says what the evaluation says."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from latentpress.evaluate import CodeStatistics, Comparison, Evaluation, ItemResult, Quality, RatePoint
from latentpress.evaluate.report import Report, Sample, TrainingCurve, read_training_curve

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


def an_evaluation(size: int = 32) -> Evaluation:
    ours = Quality(psnr_db=27.5, mean_psnr_db=28.25, ssim=0.9123, ms_ssim=None)
    theirs = Quality(psnr_db=25.25, mean_psnr_db=26.0, ssim=0.8765, ms_ssim=None)
    curve = (RatePoint(400, 22.0), RatePoint(800, 25.25), RatePoint(1600, 29.0))
    return Evaluation(
        num_items=10,
        num_pixels=10 * size * size,
        num_dims=30 * size * size,
        archive_bytes=800,
        prior_bytes=790.0,
        model_bits_per_dim=4.5,
        quality=ours,
        codes=CodeStatistics(4, 1, usage=0.75, perplexity=2.5, counts=((5, 3, 0, 1),)),
        items=tuple(ItemResult(f"{n}.png", size, size, 80.0, 27.5, 0.9, None) for n in range(10)),
        comparisons=(
            Comparison("webp", "mosaic", 800, 800, 790, 820, theirs, curve),
            Comparison("jpeg", "files", 800, 4321, 4321, 4321, theirs),
        ),
    )


def a_sample(side: int = 32, name: str = "<b>&.png") -> Sample:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Sample(name, pixels, 255 - pixels, 81.5, 12.25)


def test_page_needs_nothing_from_elsewhere() -> None:
    curve = TrainingCurve("bits per dimension", [0, 10, 20], [8.0, 5.0, 4.5])
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
    for words in ("800 bytes", "80.0", "27.50 dB", "2.25 dB lower", "75.0%", "0.9123", "1.013"):
        assert words in text
    assert "WebP (one mosaic)" in text and "at least 4,321" in text and "+2.25" in text
    assert "latentpress evaluate m d" in text


def test_names_are_text_not_markup() -> None:
    text = Report(an_evaluation(), title="<i>", samples=[a_sample()]).to_html()
    assert "<i>" not in text and "<b>&.png" not in text
    assert "<b>&.png" in Page(text).text


def test_large_images_are_cropped_and_the_page_says_so() -> None:
    small, large = (Report(an_evaluation(), samples=[a_sample(side)]).to_html() for side in (64, 512))
    assert "320 x 320" in large and "320 x 320" not in small
    assert len(large) < 4 * 3 * 320 * 320 * 3


def test_optional_parts_are_left_out() -> None:
    bare = replace(an_evaluation(), comparisons=())
    text = Page(Report(bare).to_html()).text
    for heading in ("Beside other codecs", "Generated", "Original, restored", "How to get this again"):
        assert heading not in text


def test_a_collapsed_codebook_is_said_at_the_top() -> None:
    codes = replace(an_evaluation().codes, warning="the codebook has collapsed: do this")
    text = Page(Report(replace(an_evaluation(), codes=codes)).to_html()).text
    assert text.index("The codebook has collapsed") < text.index("Rates in full")


def test_the_same_report_is_the_same_bytes() -> None:
    assert Report(an_evaluation()).to_html() == Report(an_evaluation()).to_html()


def test_report_is_written_with_json_beside_it(tmp_path: Path) -> None:
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
    assert curve is not None and (curve.steps, curve.values) == ((20,), (21.5,))


@pytest.mark.parametrize("psnr_db", [float("inf"), 27.5])
def test_perfect_images_do_not_break_the_page(psnr_db: float) -> None:
    evaluation = an_evaluation()
    perfect = replace(evaluation, quality=replace(evaluation.quality, psnr_db=psnr_db))
    assert Page(Report(perfect).to_html()).sources
