"""An evaluation as one HTML file that needs nothing else, and as JSON beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from latentpress.checkpoint import write_atomically
from latentpress.data.sources import Source
from latentpress.evaluate.comparison import Comparison
from latentpress.evaluate.figures import CODEC_NAMES, plot_rate_distortion, plot_training, plot_usage
from latentpress.evaluate.metrics import Quality
from latentpress.evaluate.results import Evaluation
from latentpress.items.image import write_png
from latentpress.model import VQVAE

__all__ = ["Report", "Sample", "TrainingCurve", "collect_samples", "read_training_curve"]

_CROP = 320  # pixels a side of a large image that the report shows
_SMALL = 128  # images up to this side are shown enlarged
_AMPLIFY = 4
_LAYOUTS = {"mosaic": "one mosaic", "files": "single files", "each": "each image"}


@dataclass(frozen=True)
class Sample:
    """An image (H, W, C) uint8, what came back, its share of the archive and its PSNR."""

    name: str
    original: np.ndarray
    restored: np.ndarray
    size_bytes: float
    psnr_db: float


@dataclass(frozen=True)
class TrainingCurve:
    """One figure of a training run over its steps, with its name and unit as `label`."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]


def read_training_curve(metrics: Path) -> TrainingCurve | None:
    """Reads the codec's PSNR from a run's `metrics.jsonl`; None where there is no such file or figure."""
    if not metrics.is_file():
        return None
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    points = [
        (line["step"], line["psnr_db"]) for line in lines if line["stage"] == "codec" and "psnr_db" in line
    ]
    if not points:
        return None
    steps, values = zip(*points, strict=True)
    return TrainingCurve("PSNR of training images, dB", steps, values)


def collect_samples(
    model: VQVAE, source: Source, evaluation: Evaluation, count: int = 12
) -> tuple[Sample, ...]:
    """Takes `count` images evenly from `source` with their reconstructions, for a report."""
    picks = np.unique(np.linspace(0, len(source.items) - 1, min(count, len(source.items))).astype(int))
    samples = []
    for pick in picks:
        original, result = source.items[pick].read(), evaluation.items[pick]
        restored = model.decode(model.encode(original[None]), size=original.shape[:2])[0]
        samples.append(Sample(result.name, original, restored, result.size_bytes, result.psnr_db))
    return tuple(samples)


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        evaluation: the figures.
        title: the page's heading.
        samples: images with what came back (see `collect_samples`).
        generated: images (H, W, C) uint8 that the prior made up.
        training: a figure over the training.
        command: how to get this report again.
    """

    evaluation: Evaluation
    title: str = "Latentpress evaluation"
    samples: Sequence[Sample] = ()
    generated: Sequence[np.ndarray] = ()
    training: TrainingCurve | None = None
    command: str | None = None

    def write(self, path: str | Path) -> None:
        """Writes the page to `path` and the figures to the same name with .json, each whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        pages = ((path, self.to_html()), (path.with_suffix(".json"), self.evaluation.to_json() + "\n"))
        for target, text in pages:
            write_atomically(target, text.encode())

    def to_html(self) -> str:
        """Returns the page: one text with styles and pictures inside, which loads nothing from elsewhere."""
        style = files("latentpress.evaluate").joinpath("report.css").read_text(encoding="utf-8")
        title = escape(self.title)
        sections = [
            f"<h1>{title}</h1>",
            _headline(self.evaluation),
            _tiles(self.evaluation),
            _table(self.evaluation) if self.evaluation.comparisons else "",
            _plots(self.evaluation, self.training),
            _samples(self.samples) if self.samples else "",
            _generated(self.generated) if self.generated else "",
            _rates(self.evaluation),
            _command(self.command) if self.command else "",
        ]
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>\n{style}</style></head>\n<body><main>\n"
            + "\n".join(section for section in sections if section)
            + "\n</main></body></html>\n"
        )


def _headline(evaluation: Evaluation) -> str:
    count = evaluation.num_items
    words = (
        f"{count:,} image{'s' * (count != 1)} in an archive of {evaluation.archive_bytes:,} bytes: "
        f"{_bytes(evaluation.bytes_per_item)} bytes each, {evaluation.bits_per_pixel:.3f} bits a pixel. "
        f"What comes back is at {evaluation.quality.psnr_db:.2f} dB PSNR."
    )
    rivals = [each for each in evaluation.comparisons if each.fits]
    if rivals:
        best = max(rivals, key=lambda each: each.quality.psnr_db)
        gain = evaluation.gain_db(best)
        words += (
            f" At the same bytes the best of the others, {_name(best)}, is at "
            f"{best.quality.psnr_db:.2f} dB: {abs(gain):.2f} dB {'lower' if gain >= 0 else 'higher'}."
        )
    warning = evaluation.codes.warning
    alarm = f'<p class="warning">{escape(warning[0].upper() + warning[1:])}.</p>' if warning else ""
    return f'<p class="lead">{words}</p>{alarm}'


def _tiles(evaluation: Evaluation) -> str:
    quality, codes = evaluation.quality, evaluation.codes
    tiles = [
        (_bytes(evaluation.bytes_per_item), "bytes an image"),
        (f"{evaluation.bits_per_pixel:.3f}", "bits a pixel"),
        (f"{quality.psnr_db:.2f} dB", "PSNR"),
        (_ratio(quality.ssim), "SSIM"),
        (_ratio(quality.ms_ssim), "MS-SSIM"),
        (f"{codes.usage:.1%}", f"of {codes.codebook_size * codes.num_codebooks} codes in use"),
        (f"{evaluation.overhead:.3f}", "times the ideal size"),
    ]
    cells = (f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what in tiles if value)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _table(evaluation: Evaluation) -> str:
    with_ms_ssim = evaluation.quality.ms_ssim is not None
    head = ["", "bytes", "PSNR, dB", "gain, dB", "mean PSNR, dB", "SSIM", *["MS-SSIM"] * with_ms_ssim]
    rows = [
        _row("ours", "Latentpress", f"{evaluation.archive_bytes:,}", evaluation.quality, "", with_ms_ssim)
    ]
    for each in evaluation.comparisons:
        size = f"{each.size_bytes:,}" if each.fits else f"at least {each.size_bytes:,}"
        gain = f"{evaluation.gain_db(each):+.2f}" if each.fits else ""
        rows.append(_row("" if each.fits else "over", _name(each), size, each.quality, gain, with_ms_ssim))
    note = (
        "PSNR is of the squared error pooled over all images, the mean is over the images' own PSNRs; "
        "the gain is Latentpress's pooled PSNR over the codec's. Figures of the others are interpolated, "
        "linearly in log(bytes), between the two quality settings around the archive's bytes."
    )
    if any(not each.fits for each in evaluation.comparisons):
        note += " In grey: cannot do with so few bytes even at the lowest setting, which is what is shown."
    header = "".join(f"<th>{cell}</th>" for cell in head)
    table = f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return (
        "<h2>Beside other codecs at equal bytes</h2>"
        f'<div class="card">{table}</div><p class="note">{note}</p>'
    )


def _row(kind: str, name: str, size: str, quality: Quality, gain: str, with_ms_ssim: bool) -> str:
    cells = [name, size, f"{quality.psnr_db:.2f}", gain, f"{quality.mean_psnr_db:.2f}", _ratio(quality.ssim)]
    cells += [_ratio(quality.ms_ssim)] * with_ms_ssim
    return f'<tr class="{kind}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _plots(evaluation: Evaluation, training: TrainingCurve | None) -> str:
    codes = evaluation.codes
    plots = []
    if any(each.curve for each in evaluation.comparisons):
        plots.append((plot_rate_distortion(evaluation), "Rate and distortion: up and to the left is better."))
    plots.append(
        (
            plot_usage(codes),
            f"Use of the codes: {codes.usage:.1%} occur, perplexity {codes.perplexity:.1f} of "
            f"{codes.codebook_size}. Dashed: all used alike.",
        )
    )
    if training is not None and len(training.steps) > 0:
        plots.append((plot_training(training.steps, training.values, training.label), "Training: the codec."))
    cards = (
        f'<figure class="card"><img alt="{escape(caption)}" src="{_data_uri("svg+xml", svg.encode())}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for svg, caption in plots
    )
    return f'<h2>Curves</h2><div class="plots">{"".join(cards)}</div>'


def _samples(samples: Sequence[Sample]) -> str:
    side = max(max(sample.original.shape[:2]) for sample in samples)
    cropped = f" Of larger images the middle {_CROP} x {_CROP} pixels are shown." if side > _CROP else ""
    cards = []
    for sample in samples:
        original, restored = _middle(sample.original), _middle(sample.restored)
        images = (
            (original, "original"),
            (restored, "restored"),
            (_difference(original, restored), "difference"),
        )
        pictures = "".join(
            f'<img alt="{what}" title="{what}" src="{_png(pixels)}">' for pixels, what in images
        )
        height, width = sample.original.shape[:2]
        cards.append(
            f'<figure class="sample card"><div class="images">{pictures}</div>'
            f"<figcaption><b>{_bytes(sample.size_bytes)} bytes, {sample.psnr_db:.2f} dB</b> "
            f"{escape(sample.name)}, {width} x {height}</figcaption></figure>"
        )
    row = "320px" if side <= _SMALL else "100%"
    return (
        "<h2>Original, restored, difference</h2>"
        f'<p class="note">The difference is amplified {_AMPLIFY} times around grey. '
        f"Bytes are the image's share of the archive.{cropped}</p>"
        f'<div class="samples {_size_class(side)}" style="--row: {row}">{"".join(cards)}</div>'
    )


def _generated(images: Sequence[np.ndarray]) -> str:
    side = max(max(image.shape[:2]) for image in images)
    pictures = "".join(f'<img alt="generated" src="{_png(image)}">' for image in images)
    cell = "96px" if side <= _SMALL else "220px"
    return (
        "<h2>Generated</h2>"
        '<p class="note">Drawn from the prior and decoded: no image was given.</p>'
        f'<div class="generated card {_size_class(side)}" style="--cell: {cell}">{pictures}</div>'
    )


def _rates(evaluation: Evaluation) -> str:
    rows = [
        ("archive", f"{evaluation.archive_bytes:,} bytes"),
        ("float prior's cross-entropy", f"{evaluation.prior_bytes:,.1f} bytes"),
        ("archive, bits a sample", f"{evaluation.bits_per_dim:.4f}"),
        ("lossless under the model, bits a sample", f"{evaluation.model_bits_per_dim:.4f}"),
        ("perplexity of the codes", f"{evaluation.codes.perplexity:.1f} of {evaluation.codes.codebook_size}"),
    ]
    body = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows)
    return f'<h2>Rates in full</h2><div class="card"><table><tbody>{body}</tbody></table></div>'


def _command(command: str) -> str:
    return f'<h2>How to get this again</h2><pre class="card">{escape(command)}</pre>'


def _name(comparison: Comparison) -> str:
    return f"{CODEC_NAMES[comparison.codec]} ({_LAYOUTS[comparison.layout]})"


def _bytes(size: float) -> str:
    return f"{size:,.1f}" if size < 1000 else f"{size:,.0f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _size_class(side: int) -> str:
    return "small" if side <= _SMALL else "large"


def _middle(pixels: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - _CROP) // 2) for side in pixels.shape[:2])
    return pixels[top : top + _CROP, left : left + _CROP]


def _difference(original: np.ndarray, restored: np.ndarray) -> np.ndarray:
    error = restored.astype(np.int32) - original
    return np.clip(128 + _AMPLIFY * error, 0, 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    return _data_uri("png", write_png(np.ascontiguousarray(pixels)))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
