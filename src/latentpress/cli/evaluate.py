"""`latentpress evaluate`: how good a model is, beside other codecs at equal bytes."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentpress.cli.options import (
    NEW_FILE,
    OLD_FOLDER,
    OLD_PATH,
    STREAM,
    alpha_option,
    debug_option,
    device_option,
    force_option,
    input_file,
    json_option,
    refuse_overwrite,
)

if TYPE_CHECKING:
    from latentpress.data.sources import Source
    from latentpress.evaluate import Evaluation
    from latentpress.model import LatentModel

__all__ = ["command", "evaluation_table", "write_report"]

_GENERATED = 16  # images that the report shows,
_GENERATED_SIDE = 128  # and the most pixels a side: they are drawn one position after the other


@click.command(short_help="Measure a model beside other codecs.")
@click.argument("model", metavar="MODEL", type=OLD_FOLDER)
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=OLD_PATH)
@click.option(
    "--against",
    default="jpeg,webp,avif",
    show_default=True,
    metavar="CODECS",
    help="Codecs to compare with: jpeg, webp, avif, jxl; 'none' for none.",
)
@click.option(
    "--report", type=NEW_FILE, metavar="FILE.html", help="Write a page with pictures, and JSON beside it."
)
@json_option
@alpha_option
@device_option
@force_option
@debug_option
def command(
    model: Path,
    data: tuple[Path, ...],
    against: str,
    report: Path | None,
    as_json: bool,
    drop_alpha: bool,
    device: str,
    force: bool,
) -> None:
    """Measure a model on images that it has not seen, through a real archive, beside other codecs.

    What the file takes over the prior's cross-entropy is said too: 1 is ideal. That is the float
    prior's, in the bands into which the archive cuts large images.

    \b
    Example:
      latentpress evaluate model holdout/ --against webp,jpeg --report report.html
    """
    if report == STREAM:
        raise click.UsageError("a report is a file; --json prints the figures to stdout")
    if report is not None:
        refuse_overwrite(report, force)
        refuse_overwrite(report.with_suffix(".json"), force)
    from latentpress.cli.progress import progress_bar
    from latentpress.data.sources import open_sources
    from latentpress.evaluate import evaluate
    from latentpress.model import LatentModel

    codecs = [] if against == "none" else [name.strip() for name in against.split(",")]
    with ExitStack() as stack:
        inputs = [stack.enter_context(input_file(path, name="stdin.png")) for path in data]
        loaded = LatentModel.from_pretrained(model, device)
        source = open_sources(inputs, channels=loaded.config.item.channels, drop_alpha=drop_alpha)
        evaluation = evaluate(loaded, source, against=codecs, progress=stack.enter_context(progress_bar()))
        if report is not None:
            title = f"{model.resolve().name} on {', '.join(path.name for path in data)}"
            words = ["latentpress", "evaluate", str(model), *map(str, data), "--against", against]
            again = shlex.join([*words, "--report", str(report)])
            write_report(report, model, loaded, source, evaluation, title=title, again=again)
    click.echo(evaluation.to_json() if as_json else evaluation_table(evaluation))


def evaluation_table(evaluation: Evaluation) -> str:
    """Words an evaluation as a table: the model's archive first, then the other codecs at its bytes."""
    rows = [f"{'':14}{'bytes':>12}{'bits/dim':>10}{'PSNR dB':>9}{'SSIM':>8}{'MS-SSIM':>9}"]

    def add(name: str, size: float, psnr_db: float, ssim: float | None, ms_ssim: float | None) -> None:
        bits = 8 * size / evaluation.num_dims
        rows.append(f"{name:14}{size:12,.0f}{bits:10.4f}{psnr_db:9.2f}{_ratio(ssim):>8}{_ratio(ms_ssim):>9}")

    quality = evaluation.quality
    add("latentpress", evaluation.archive_bytes, quality.psnr_db, quality.ssim, quality.ms_ssim)
    for other in evaluation.comparisons:
        name = other.codec if other.layout == "each" else f"{other.codec} {other.layout}"
        name += "" if other.fits else " *"
        add(name, other.size_bytes, other.quality.psnr_db, other.quality.ssim, other.quality.ms_ssim)
    if not all(other.fits for other in evaluation.comparisons):
        rows.append("* its fewest bytes: it cannot get down to the archive's")
    codes = evaluation.codes
    rows += [
        "",
        f"{evaluation.num_items:,} images, {evaluation.bytes_per_item:,.1f} bytes each; "
        f"file over the prior's cross-entropy {evaluation.overhead:.4f}",
        f"codes used {100 * codes.usage:.1f} %, perplexity {codes.perplexity:.1f} of {codes.codebook_size}; "
        f"lossless under the model {evaluation.model_bits_per_dim:.3f} bits/dim",
    ]
    return "\n".join(rows)


def write_report(
    path: Path,
    folder: Path,
    model: LatentModel,
    source: Source,
    evaluation: Evaluation,
    *,
    title: str,
    again: str,
) -> None:
    """Writes the page with pictures, reconstructions and, where the model has a prior, new images.

    `folder` is the model's, whose training the page shows; `again` the command that makes the page.
    """
    from latentpress.evaluate.report import Report, collect_samples, read_training_curve
    from latentpress.generate import generate

    size = model.config.item.size or (_GENERATED_SIDE, _GENERATED_SIDE)
    height, width = (min(side, _GENERATED_SIDE) for side in size)
    generated = (
        list(generate(model, _GENERATED, size=(height, width))) if model.exact_prior is not None else []
    )
    Report(
        evaluation,
        title=title,
        samples=collect_samples(model, source, evaluation),
        generated=generated,
        training=read_training_curve(folder / "run" / "metrics.jsonl"),
        command=again,
    ).write(path)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
