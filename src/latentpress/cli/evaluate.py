"""`latentpress evaluate`: how good a model is, and other codecs on the same items."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentpress.cli import options
from latentpress.cli.streams import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latentpress.data import Source
    from latentpress.evaluate import Evaluation
    from latentpress.model import Model

__all__ = ["command", "write_report"]

_GENERATED = 16  # items that the report shows,
_GENERATED_SIDE = 128  # and the most pixels a side: they are drawn one position after the other


@click.command(short_help="Measure a model, and other codecs.")
@click.argument("model", metavar="MODEL", type=options.OLD_FOLDER)
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=options.OLD_PATH)
@click.option(
    "--against",
    metavar="CODECS",
    help="Codecs to compare with, such as jpeg,webp,avif,jxl, losslessly png,webp,jxl, for texts "
    "xz,zstd,brotli,ppmd; 'none' for none. By default all that are installed.",
)
@click.option(
    "--train-data",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="TRAIN",
    help="What the model was trained on, for codecs that can learn from it too: zstd and PPMd, of texts. "
    "May be given several times. PPMd codes up to 16 MiB of it again for each text, which takes minutes.",
)
@click.option(
    "--report",
    type=options.NEW_FILE,
    metavar="FILE.html",
    help="Write a page with pictures, and JSON of that name.",
)
@click.option("--lossless", is_flag=True, help="Measure a lossless archive.")
@click.option("--bits-back", is_flag=True, help="Measure a lossless archive by bits back.")
@options.json_option
@options.convert_option
@options.device_option
@options.force_option
@options.debug_option
def command(
    model: Path,
    data: tuple[Path, ...],
    against: str | None,
    train_data: tuple[Path, ...],
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
    texts, lossless codecs get each item as a file, and all of them as one mosaic or tar if that goes; with
    --train-data they are measured once more, knowing the files that the model learned from.

    \b
    Examples:
      latentpress evaluate model holdout/ --against webp,jpeg --report report.html
      latentpress evaluate model holdout/ --lossless
      latentpress evaluate texts-model holdout/ --train-data train/
    """
    if report == options.STREAM:
        raise click.UsageError("a report is a file; --json prints the figures to stdout")
    for path in () if report is None else (report, report.with_suffix(".json")):
        options.refuse_overwrite(path, force)
    from latentpress.cli.progress import progress_bar
    from latentpress.evaluate import evaluate
    from latentpress.evaluate.tables import evaluation_table
    from latentpress.model import load

    codecs = None if against is None else [name.strip() for name in against.split(",") if name != "none"]
    loaded = load(model, device)
    with (
        options.open_items(data, loaded.item, convert) as source,
        options.open_items(train_data, loaded.item, convert) if train_data else nullcontext() as training,
        progress_bar(loaded.item.words.item) as progress,
    ):
        found = evaluate(
            loaded,
            source,
            lossless=lossless,
            bits_back=bits_back,
            against=codecs,
            training=training,
            progress=progress,
        )
        if report is not None:
            title = f"{model.resolve().name} on {', '.join(path.name for path in data)}"
            words = ["latentpress", "evaluate", *map(str, (model, *data, "--report", report))]
            words += ["--against", against] if against else []
            words += [word for path in train_data for word in ("--train-data", str(path))]
            words += ["--lossless"] * lossless + ["--bits-back"] * bits_back
            write_report(report, model, loaded, source, found, title=title, again=shlex.join(words))
    show(found.to_json() if as_json else evaluation_table(found))


def write_report(
    path: Path, folder: Path, model: Model, source: Source, found: Evaluation, *, title: str, again: str
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
    from latentpress.evaluate.report import picture_of
    from latentpress.generate import generate

    if model.item.picture is None or model.integer.prior is None or model.half_name is not None:
        return ()
    size = tuple(min(extent, _GENERATED_SIDE) for extent in model.item.size or model.item.default_size)
    if not model.takes((*size, model.item.channels)):
        return ()
    return [picture_of(model.item, samples) for samples in generate(model, _GENERATED, size=size)]
