"""`latentpress evaluate`: how good a model is, beside other codecs at equal bytes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

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
from latentpress.cli.tables import aligned

if TYPE_CHECKING:
    from latentpress.data.sources import Source
    from latentpress.evaluate import Evaluation, LosslessEvaluation, Quality
    from latentpress.model import VQVAE

__all__ = ["command", "evaluation_table", "lossless_table", "write_report"]

_HEAD = ("codec", "bytes", "bytes/image", "bits/pixel", "PSNR dB", "mean PSNR", "SSIM", "MS-SSIM")
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
@click.option("--lossless", is_flag=True, help="Measure lossless pressing, beside PNG, WebP and JPEG XL.")
@json_option
@alpha_option
@device_option
@force_option
@debug_option
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    data: tuple[Path, ...],
    against: str,
    report: Path | None,
    lossless: bool,
    as_json: bool,
    drop_alpha: bool,
    device: str,
    force: bool,
) -> None:
    """Measure a model on items that it has not seen, through a real archive, beside other codecs.

    What the file takes over the prior's cross-entropy is said too: 1 is ideal. That is the float
    prior's, in the bands into which the archive cuts large images.

    With --lossless the images are pressed without losing a pixel; the other codecs get each as a file of
    its own and, where all have one size, all of them as one mosaic. Texts are always pressed so; the
    other codecs get each file, and a tar of all.

    \b
    Examples:
      latentpress evaluate model holdout/ --against webp,jpeg --report report.html
      latentpress evaluate model holdout/ --lossless
    """
    lossy_only = report is not None or ctx.get_parameter_source("against") != ParameterSource.DEFAULT
    if lossless and lossy_only:
        raise click.UsageError(
            "--lossless has its own codecs and no report: leave out --against and --report"
        )
    if report == STREAM:
        raise click.UsageError("a report is a file; --json prints the figures to stdout")
    if report is not None:
        refuse_overwrite(report, force)
        refuse_overwrite(report.with_suffix(".json"), force)
    from latentpress.cli.progress import progress_bar
    from latentpress.data.sources import open_sources
    from latentpress.evaluate import evaluate, evaluate_lossless
    from latentpress.model import VQVAE, load

    codecs = [] if against == "none" else [name.strip() for name in against.split(",")]
    with ExitStack() as stack:
        loaded = load(model, device)
        item = loaded.config.item
        stdin = "stdin.txt" if item.kind == "text" else "stdin.png"
        inputs = [stack.enter_context(input_file(path, name=stdin)) for path in data]
        source = open_sources(inputs, kind=item.kind, channels=item.channels, drop_alpha=drop_alpha)
        progress = stack.enter_context(progress_bar())
        if item.kind == "text" and lossy_only:
            raise click.UsageError("texts have codecs of their own: leave out --against and --report")
        if not isinstance(loaded, VQVAE) and not lossless and item.kind == "image":
            raise click.UsageError(
                "a delta-VAE draws what its latents do not say, so there is no distortion to compare: "
                "use --lossless, or latentpress diagnose"
            )
        if lossless or not isinstance(loaded, VQVAE):
            exact = evaluate_lossless(loaded, source, progress=progress)
            click.echo(exact.to_json() if as_json else lossless_table(exact))
            return
        evaluation = evaluate(loaded, source, against=codecs, progress=progress)
        if report is not None:
            title = f"{model.resolve().name} on {', '.join(path.name for path in data)}"
            words = ["latentpress", "evaluate", str(model), *map(str, data), "--against", against]
            again = shlex.join([*words, "--report", str(report)])
            write_report(report, model, loaded, source, evaluation, title=title, again=again)
    click.echo(evaluation.to_json() if as_json else evaluation_table(evaluation))


def evaluation_table(evaluation: Evaluation) -> str:
    """Words an evaluation in Markdown: the model's archive first, then the other codecs at its bytes."""
    rows = [_HEAD, _row(evaluation, "**Latentpress**", evaluation.archive_bytes, evaluation.quality)]
    for other in evaluation.comparisons:
        name = f"{other.codec}, {other.layout}{'' if other.fits else ' *'}"
        rows.append(_row(evaluation, name, other.size_bytes, other.quality))
    codes = evaluation.codes
    lines = [
        *aligned(rows),
        "",
        f"- {evaluation.num_items:,} images, {evaluation.bits_per_dim:.4f} bits/dim in the file, "
        f"{evaluation.model_bits_per_dim:.3f} lossless under the model",
        f"- archive bytes / float prior's cross-entropy: {evaluation.archive_bytes:,} / "
        f"{evaluation.prior_bytes:,.0f} = {evaluation.overhead:.4f}",
        f"- codes used: {codes.usage:.1%} of {codes.num_codebooks} x {codes.codebook_size}, "
        f"perplexity {codes.perplexity:.1f}",
    ]
    fitting = [other for other in evaluation.comparisons if other.fits]
    if fitting:
        gains = (f"{evaluation.gain_db(other):+.2f} over {other.codec}, {other.layout}" for other in fitting)
        lines.append(f"- PSNR at equal bytes, dB: {'; '.join(gains)}")
    if len(fitting) < len(evaluation.comparisons):
        lines.append("- * its fewest bytes: it cannot get down to the archive's")
    return "\n".join(lines)


def lossless_table(evaluation: LosslessEvaluation) -> str:
    """Words a lossless evaluation in Markdown: the model's archive first, then the other codecs."""
    images = all(other.layout != "tar" for other in evaluation.others)
    word, sample = ("images", "pixel") if images else ("texts", "byte")
    sizes = [(f"**Latentpress**{'' if evaluation.uses_codes else ', no codes'}", evaluation.archive_bytes)]
    sizes += [(f"{other.codec}, {other.layout}", other.size_bytes) for other in evaluation.others]
    rows = [("codec", "bytes", f"bytes/{word[:-1]}", "bits/dim" if images else "bits/byte")]
    for name, size in sizes:
        bits = 8 * size / evaluation.num_dims
        rows.append((name, f"{size:,}", f"{size / evaluation.num_items:,.1f}", f"{bits:.4f}"))
    lines = [
        *aligned(rows),
        "",
        f"- {evaluation.num_items:,} {word}, every {sample} restored",
        f"- bytes of codes {evaluation.codes_bytes:,}, of {sample}s given them {evaluation.pixels_bytes:,}, "
        f"of {evaluation.num_whole:,} {word} stored whole {evaluation.whole_bytes:,}",
        f"- pressed at {_speed(evaluation, evaluation.encode_seconds, images)}, "
        f"restored at {_speed(evaluation, evaluation.decode_seconds, images)}",
    ]
    return "\n".join(lines)


def _speed(evaluation: LosslessEvaluation, seconds: float, images: bool) -> str:
    if images:
        return f"{evaluation.num_items / max(seconds, 1e-9):.1f} images/s"
    return f"{evaluation.num_dims / max(seconds, 1e-9) / 1000:.1f} kB/s"


def _row(evaluation: Evaluation, name: str, size: int, quality: Quality) -> Sequence[str]:
    return (
        name,
        f"{size:,}",
        f"{size / evaluation.num_items:,.1f}",
        f"{8 * size / evaluation.num_pixels:.4f}",
        f"{quality.psnr_db:.2f}",
        f"{quality.mean_psnr_db:.2f}",
        *("-" if value is None else f"{value:.4f}" for value in (quality.ssim, quality.ms_ssim)),
    )


def write_report(
    path: Path,
    folder: Path,
    model: VQVAE,
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
