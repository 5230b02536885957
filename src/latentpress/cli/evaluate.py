"""`latentpress evaluate`: how good a model is, and other codecs on the same items."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentpress.cli.options import (
    NEW_FILE,
    OLD_FOLDER,
    OLD_PATH,
    STREAM,
    convert_option,
    debug_option,
    device_option,
    force_option,
    json_option,
    open_items,
    refuse_overwrite,
)
from latentpress.cli.summary import counted
from latentpress.cli.tables import markdown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from latentpress.data import Source
    from latentpress.evaluate import Evaluation, Quality
    from latentpress.model import Model

__all__ = ["command", "evaluation_table", "write_report"]

_GENERATED = 16  # items that the report shows,
_GENERATED_SIDE = 128  # and the most pixels a side: they are drawn one position after the other


@click.command(short_help="Measure a model, and other codecs.")
@click.argument("model", metavar="MODEL", type=OLD_FOLDER)
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=OLD_PATH)
@click.option(
    "--against",
    metavar="CODECS",
    help="Codecs to compare with, such as jpeg,webp,avif,jxl, losslessly png,webp,jxl, for texts "
    "xz,zstd,brotli; 'none' for none. By default all that are installed.",
)
@click.option(
    "--report", type=NEW_FILE, metavar="FILE.html", help="Write a page with pictures, and JSON of that name."
)
@click.option("--lossless", is_flag=True, help="Measure a lossless archive.")
@click.option("--bits-back", is_flag=True, help="Measure a lossless archive by bits back.")
@json_option
@convert_option
@device_option
@force_option
@debug_option
def command(
    model: Path,
    data: tuple[Path, ...],
    against: str | None,
    report: Path | None,
    lossless: bool,
    bits_back: bool,
    as_json: bool,
    convert: bool,
    device: str,
    force: bool,
) -> None:
    """Measure a model on items that it has not seen, through a real archive, and other codecs on them.

    Where something is lost, lossy codecs get the same bytes: small items of one size as one mosaic and as
    files of their own, others each at the bytes that it takes in the archive. With --lossless, and always for
    texts, lossless codecs get each item as a file, and all of them as one mosaic or tar if that goes.

    \b
    Examples:
      latentpress evaluate model holdout/ --against webp,jpeg --report report.html
      latentpress evaluate model holdout/ --lossless
    """
    if report == STREAM:
        raise click.UsageError("a report is a file; --json prints the figures to stdout")
    if report is not None:
        refuse_overwrite(report, force)
        refuse_overwrite(report.with_suffix(".json"), force)
    from latentpress.cli.progress import progress_bar
    from latentpress.evaluate import evaluate
    from latentpress.model import load

    codecs = None if against is None else [name.strip() for name in against.split(",") if name != "none"]
    loaded = load(model, device)
    with open_items(data, loaded.item, convert) as source, progress_bar(loaded.item.words.item) as progress:
        found = evaluate(
            loaded, source, lossless=lossless, bits_back=bits_back, against=codecs, progress=progress
        )
        if report is not None:
            title = f"{model.resolve().name} on {', '.join(path.name for path in data)}"
            options = [*(["--against", against] if against else []), *["--lossless"] * lossless]
            options += ["--bits-back"] * bits_back
            words = [
                "latentpress",
                "evaluate",
                str(model),
                *map(str, data),
                *options,
                "--report",
                str(report),
            ]
            write_report(report, model, loaded, source, found, title=title, again=shlex.join(words))
    click.echo(found.to_json() if as_json else evaluation_table(found))


def evaluation_table(found: Evaluation) -> str:
    """Words an evaluation in Markdown: the model's archive first, then files and other codecs."""
    lossy, words = found.lossy, found.words
    per_dim = lossy is None and found.dims != found.positions
    parts, unit = (found.dims, "dim") if per_dim else (found.positions, words.position)
    names = [] if lossy is None else list(lossy.quality.measures)

    def row(name: str, size: int, quality: Quality | None) -> list[str]:
        cells = [name, f"{size:,}", f"{size / found.num_items:,.1f}", f"{8 * size / parts:.4f}"]
        if lossy is not None:
            cells += (
                ["", ""] if quality is None else [f"{quality.psnr_db:.2f}", f"{quality.mean_psnr_db:.2f}"]
            )
            measures = {} if quality is None else quality.measures
            cells += [f"{measures[name]:.4f}" if name in measures else "" for name in names]
        return cells

    head = ["codec", "bytes", f"bytes/{words.item}", f"bits/{unit}"]
    if lossy is not None:
        from latentpress.evaluate.quality import MEASURES

        head += ["PSNR dB", "mean PSNR", *(MEASURES[name] for name in names)]
    rows = [head, row("**Latentpress**", found.archive_bytes, None if lossy is None else lossy.quality)]
    if found.file_bytes is not None:
        rows.append(row("the files that came in", found.file_bytes, None))
    for other in found.comparisons:
        name = f"{other.codec}, {other.layout}{'' if other.fits else ' *'}"
        rows.append(row(name, other.size_bytes, other.quality))
    return markdown(rows, list(_notes(found)))


def _notes(found: Evaluation) -> Iterator[str]:
    words, lossy = found.words, found.lossy
    yield f"{counted(found.num_items, words)}, {found.bits_per_dim:.4f} bits/dim in the file" + (
        f"; every {words.position} restored" if lossy is None else ""
    )
    if found.ratio is not None and found.ratio < 1:
        yield f"a loss: the archive is {1 / found.ratio:.2f} times as large as the files that came in"
    if found.model_bits:
        ideal = found.model_bits / 8
        yield f"archive bytes / ideal length under the model: {found.archive_bytes:,} / {ideal:,.0f} = " + (
            f"{found.archive_bytes / ideal:.4f}"
        )
    if lossy is not None:
        yield f"the latents under the float model: {lossy.latent_bytes:,.0f} bytes; with the samples " + (
            f"{found.model_bits_per_dim:.3f} bits/dim"
        )
        if lossy.stochastic:
            yield "the decoder draws what the latents do not say, so distortion is that of draws"
        for name, value, unit in lossy.details.figures():
            yield f"{name}: {value:.1%}" if unit == "share" else f"{name}: {value:,.5g}"
    parts = ", ".join(f"{part} {size:,}" for part, size in found.part_bytes.items())
    yield f"bytes of {parts}; {found.fallbacks:,} stored by the fallback codec, {found.duplicates:,} duplicates"
    yield f"compressed at {_speed(found, found.encode_seconds)}, restored at {_speed(found, found.decode_seconds)}"
    gains = [(found.gain_db(other), other) for other in found.comparisons if other.fits]
    if told := [
        f"{gain:+.2f} over {other.codec}, {other.layout}" for gain, other in gains if gain is not None
    ]:
        yield f"PSNR at equal bytes, dB: {'; '.join(told)}"
    if not all(other.fits for other in found.comparisons):
        yield "* its fewest bytes: it cannot get down to the archive's"


def _speed(found: Evaluation, seconds: float) -> str:
    seconds = max(seconds, 1e-9)
    return f"{found.num_items / seconds:.1f} {found.words.items}/s ({found.dims / seconds / 1000:,.1f} kilosamples/s)"


def write_report(
    path: Path,
    folder: Path,
    model: Model,
    source: Source,
    found: Evaluation,
    *,
    title: str,
    again: str,
) -> None:
    """Writes the page with pictures, reconstructions and, where the model has a prior, new items.

    `folder` is the model's, whose training the page shows; `again` the command that makes the page.
    """
    from latentpress.evaluate.report import Report, collect_samples, read_training_curve

    Report(
        found,
        title=title,
        samples=collect_samples(model, source, found),
        generated=_generated(model),
        training=read_training_curve(folder / "run" / "metrics.jsonl"),
        command=again,
    ).write(path)


def _generated(model: Model) -> Sequence:
    """Pictures of new items, where items are pictures."""
    from latentpress.evaluate.quality import is_spatial
    from latentpress.evaluate.report import picture_of
    from latentpress.generate import generate

    if not is_spatial(model.item) or model.integer.prior is None or model.half_name is not None:
        return ()
    size = tuple(min(extent, _GENERATED_SIDE) for extent in model.item.size or model.item.default_size)
    if not model.takes((*size, model.item.channels)):
        return ()
    return [picture_of(model.item, samples) for samples in generate(model, _GENERATED, size=size)]
