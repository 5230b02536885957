"""An evaluation as one HTML file that needs nothing else, and as JSON with the same name."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from latentpress.data import Source, evenly_spaced
from latentpress.evaluate.figures import plot_rate_distortion, plot_training, plot_usage
from latentpress.evaluate.latents import as_tensor
from latentpress.evaluate.quality import MEASURES
from latentpress.evaluate.results import Evaluation
from latentpress.evaluate.tables import OVER, codec_name, codec_rows, figure_rows, worded
from latentpress.files import write_atomically
from latentpress.items.base import Item, Samples, Shape
from latentpress.items.image_files import write_image
from latentpress.model.base import Model

__all__ = ["Report", "Sample", "TrainingCurve", "collect_samples", "picture_of", "read_training_curve"]

_CROP = 320  # pixels a side of a large picture that the report shows
_SMALL = 128  # pictures up to this side are shown enlarged
_AMPLIFY = 4

Picture = np.ndarray  # (H, W, 1 or 3) uint8


@dataclass(frozen=True)
class Sample:
    """An item as a picture, what came back, its share of the archive and its PSNR."""

    name: str
    original: Picture
    restored: Picture
    extents: Shape
    size_bytes: float
    psnr_db: float


class TrainingCurve(NamedTuple):
    """The codec's PSNR over the steps of a training run."""

    steps: Sequence[float]
    psnr_db: Sequence[float]


def read_training_curve(metrics: Path) -> TrainingCurve | None:
    """Reads the codec's PSNR from a run's `metrics.jsonl`; None where there is no such file or figure."""
    text = metrics.read_text(encoding="utf-8") if metrics.is_file() else ""
    lines = [line for line in map(json.loads, text.splitlines()) if line["stage"] == "codec"]
    points = [(line["step"], line["psnr_db"]) for line in lines if "psnr_db" in line]
    return TrainingCurve(*zip(*points, strict=True)) if points else None


def picture_of(item: Item, samples: Samples) -> Picture:
    """A picture of an item that has some: the middle one along the other axes, in 8 bits.

    >>> from latentpress.items import Image
    >>> picture_of(Image(), np.full((2, 4, 3), 7, np.uint8)).shape
    (2, 4, 3)
    """
    assert item.picture is not None
    middle = (slice(None) if n in item.picture else side // 2 for n, side in enumerate(samples.shape[:-1]))
    scaled = (samples[tuple(middle)].astype(np.int64) - item.low) * 255 // (item.levels - 1)
    return scaled.astype(np.uint8) if scaled.shape[-1] in (1, 3) else scaled[..., :1].astype(np.uint8)


def collect_samples(
    model: Model, source: Source, evaluation: Evaluation, count: int = 12
) -> tuple[Sample, ...]:
    """Takes `count` items evenly from `source` with what comes back of them, for a report.

    There are none where items are no pictures, or come back as they were.
    """
    if evaluation.lossy is None or model.item.picture is None:
        return ()
    results = {result.name: result for result in evaluation.lossy.items}
    samples = []
    for ref in (source.items[number] for number in evenly_spaced(len(source.items), count)):
        original = ref.read()
        if ref.name not in results or not model.takes(original.shape):
            continue
        result, size = results[ref.name], original.shape[:-1]
        restored = model.decode(model.encode(as_tensor(original[None])), size)[0]
        before, after = (picture_of(model.item, each) for each in (original, restored))
        samples.append(Sample(ref.name, before, after, size, result.size_bytes, result.psnr_db))
    return tuple(samples)


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        samples: pictures with what came back (see `collect_samples`).
        generated: pictures that the prior made up.
        command: how to get this report again.
    """

    evaluation: Evaluation
    title: str = "Latentpress evaluation"
    samples: Sequence[Sample] = ()
    generated: Sequence[Picture] = ()
    training: TrainingCurve | None = None
    command: str | None = None

    def write(self, path: str | Path) -> None:
        """Writes the page to `path` and the figures to the same name with .json, each whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, self.to_html().encode(errors="backslashreplace"))
        write_atomically(path.with_suffix(".json"), f"{self.evaluation.to_json()}\n".encode())

    def to_html(self) -> str:
        """Returns the page: one text with styles and pictures inside, which loads nothing from elsewhere."""
        found, folder = self.evaluation, files("latentpress.evaluate")
        page, style = (
            folder.joinpath(name).read_text(encoding="utf-8") for name in ("report.html.jinja", "report.css")
        )
        template = jinja2.Template(
            page, autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
        )
        others = [each for each in found.comparisons if each.fits and each.quality is not None]
        best = max(others, key=lambda each: each.quality.psnr_db if each.quality else 0.0, default=None)
        originals = [sample.original for sample in self.samples]
        side, drawn = (max((max(p.shape) for p in each), default=0) for each in (originals, self.generated))
        return template.render(
            report=self,
            found=found,
            words=found.words,
            style=style,
            best=best,
            best_name="" if best is None else codec_name(best),
            gain=0.0 if best is None else found.gain_db(best),
            tiles=list(_tiles(found)),
            table=list(_table(found)),
            plots=[(_data_uri("svg+xml", svg.encode()), text) for svg, text in _plots(found, self.training)],
            samples=[_shown(sample) for sample in self.samples],
            generated=[_png(picture) for picture in self.generated],
            rates=list(figure_rows(found)),
            cropped=_CROP if side > _CROP else None,
            amplified=_AMPLIFY,
            sizes=["large" if each > _SMALL else "small" for each in (side, drawn)],
        )


def _tiles(found: Evaluation) -> Iterator[tuple[str, str]]:
    yield f"{found.bytes_per_item:,.1f}", f"bytes of archive for each {found.words.item}"
    yield f"{found.bits_per_position:.3f}", f"bits a {found.words.position}"
    if found.ratio is not None:
        yield f"{found.ratio:.2f}", "bytes of files for each of archive"
    if found.lossy is not None:
        yield f"{found.lossy.quality.psnr_db:.2f} dB", "PSNR"
        yield from ((f"{value:.4f}", MEASURES[name]) for name, value in found.lossy.quality.measures.items())
        yield from ((worded(value, unit), name) for name, value, unit in found.lossy.details.figures()[:2])


def _table(found: Evaluation) -> Iterator[tuple[str, list[str]]]:
    """The class of each row and its cells, the head first."""
    for number, (name, *cells) in enumerate(codec_rows(found)):
        kind = "over" if name.endswith(OVER) else "ours" if number == 1 else ""
        yield kind, [name.strip("*").removesuffix(OVER), *cells]


def _plots(found: Evaluation, training: TrainingCurve | None) -> Iterator[tuple[str, str]]:
    if found.lossy is not None and any(each.curve for each in found.comparisons):
        yield plot_rate_distortion(found), "Rate and distortion: up and to the left is better."
    counts = {} if found.lossy is None else found.lossy.details.values
    if "counts" in counts:
        words = "Use of the codes, in units of the uniform share. Dashed: all used alike."
        yield plot_usage(counts["counts"]), words
    if training is not None and len(training.steps) > 0:
        yield plot_training(training.steps, training.psnr_db), "Training: the codec."


def _shown(sample: Sample) -> dict[str, Any]:
    top, left = (max(0, (side - _CROP) // 2) for side in sample.original.shape[:2])
    middle = slice(top, top + _CROP), slice(left, left + _CROP)
    original, restored = sample.original[middle], sample.restored[middle]
    error = restored.astype(np.int32) - original
    difference = np.clip(128 + _AMPLIFY * error, 0, 255).astype(np.uint8)
    pictures = {"original": original, "restored": restored, "difference": difference}
    return {
        "pictures": [(_png(picture), what) for what, picture in pictures.items()],
        "words": f"{sample.size_bytes:,.1f} bytes, {sample.psnr_db:.2f} dB",
        "about": f"{sample.name}, {' x '.join(map(str, sample.extents))}",
    }


def _png(picture: Picture) -> str:
    file = io.BytesIO()
    write_image(picture, file, "png", optimize=True)
    return _data_uri("png", file.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
