"""`latentpress demo`: the whole way in a few minutes, on photographs that come with the demo's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from latentpress.cli.options import Duration, debug_option, device_option, seed_option

__all__ = ["command"]

_MARKER = ".latentpress-demo"  # says that what lies in the folder is a demo's, and may be replaced


@click.command(short_help="Train, press, restore and report, in minutes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="The folder for pictures, model, archive and report.",
)
@click.option(
    "--time", "seconds", type=Duration(), default="2m", show_default=True, help="How long to train."
)
@device_option
@seed_option
@debug_option
def command(output: Path, seconds: float, device: str, seed: int) -> None:
    """Train a small codec on photographs, press others into an archive, restore them and write a report.

    The demo leaves a file .latentpress-demo in its folder. A folder without it that holds anything is
    left alone; in one that has it, images, model, archive and report are replaced.

    \b
    Example:
      latentpress demo && open demo/report.html
    """
    from latentpress.cli.evaluate import evaluation_table, write_report
    from latentpress.cli.progress import format_seconds, progress_bar, say
    from latentpress.cli.summary import say_pressed
    from latentpress.cli.train import fit_to_data, train_with_progress
    from latentpress.config.presets import tiny
    from latentpress.data.demo import demo_images
    from latentpress.data.loading import load_pool
    from latentpress.data.sources import open_sources
    from latentpress.evaluate import evaluate
    from latentpress.press import compress, decompress

    _claim(output)
    for part in ("images", "model", "restored"):
        shutil.rmtree(output / part, ignore_errors=True)
    images = demo_images(output / "images")
    pool = load_pool(open_sources([images.training], channels=3))
    say(f"training for {format_seconds(seconds)} on {len(pool)} photographs in {images.training}")
    config = fit_to_data(tiny(), pool, {})
    model = train_with_progress(
        config, pool, output / "model", None, seconds, seed, device, ("codec", "prior")
    ).model

    source, archive = open_sources([images.held_out], channels=3), output / "held-out.lpz"
    with progress_bar() as progress:
        say_pressed("pressed", compress(model, source, archive, overwrite=True, progress=progress))
        say_pressed("restored", decompress(archive, model, output / "restored", progress=progress))
        evaluation = evaluate(model, source, against=["jpeg", "webp"], progress=progress)
    write_report(
        output / "report.html",
        output / "model",
        model,
        source,
        evaluation,
        title="Latentpress demo",
        again="latentpress demo",
    )
    click.echo(evaluation_table(evaluation))
    say(f"see {output / 'report.html'}; the pictures are in {output / 'restored'}")


def _claim(folder: Path) -> None:
    """Marks the folder as a demo's; refuses one that holds anything else."""
    from latentpress.errors import ConfigError

    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigError(f"{folder} holds other files than a demo's; give another folder with --output")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).touch()
