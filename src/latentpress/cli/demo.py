"""`latentpress demo`: the whole way in a few minutes, on photographs that come with the demo's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from latentpress.cli import options
from latentpress.cli.streams import show

__all__ = ["command"]

_MARKER = ".latentpress-demo"  # says that what lies in the folder is a demo's, and may be replaced


@click.command(short_help="Train, compress, restore and report, in minutes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="The folder for pictures, model, archive and report.",
)
@click.option(
    "--time", "seconds", type=options.Duration(), default="2m", show_default=True, help="How long to train."
)
@options.device_option
@options.seed_option
@options.debug_option
def command(output: Path, seconds: float, device: str, seed: int) -> None:
    """Train a small codec on photographs, compress others, restore them and write a report.

    The demo leaves a file .latentpress-demo in its folder. A folder without it that holds anything is
    left alone; in one that has it, images, model, archive and report are replaced.

    \b
    Example:
      latentpress demo && open demo/report.html
    """
    from latentpress.cli.evaluate import write_report
    from latentpress.cli.progress import format_seconds, progress_bar, say
    from latentpress.cli.summary import say_summary
    from latentpress.cli.train import train_with_progress
    from latentpress.config.presets import preset
    from latentpress.data import load_dataset, open_sources
    from latentpress.data.demo import demo_images
    from latentpress.evaluate import evaluate
    from latentpress.evaluate.tables import evaluation_table
    from latentpress.press import compress, decompress
    from latentpress.train import fitted

    _claim(output)
    for part in ("images", "model", "restored"):
        shutil.rmtree(output / part, ignore_errors=True)
    (training, held_out), config = demo_images(output / "images"), preset("tiny")
    dataset = load_dataset(open_sources([training], config.model.item))
    say(f"training for {format_seconds(seconds)} on {len(dataset)} photographs in {training}")
    how = {"seconds": seconds, "seed": seed, "device": device, "stages": ("codec", "prior")}
    model = train_with_progress(fitted(config, dataset), dataset, output / "model", **how).model
    source, archive = open_sources([held_out], model.item), output / "held-out.lpz"
    with progress_bar("image") as progress:
        say_summary("compressed", compress(model, source, archive, overwrite=True, progress=progress))
        say_summary("restored", decompress(archive, model, output / "restored", progress=progress))
        found = evaluate(model, source, against=["jpeg", "webp"], progress=progress)
    report, words = output / "report.html", {"title": "Latentpress demo", "again": "latentpress demo"}
    write_report(report, output / "model", model, source, found, **words)
    show(evaluation_table(found))
    say(f"see {report}; the pictures are in {output / 'restored'}")


def _claim(folder: Path) -> None:
    """Marks the folder as a demo's; refuses one that holds anything else."""
    from latentpress.errors import ConfigError

    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigError(f"{folder} holds other files than a demo's; give another folder with --output")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).touch()
