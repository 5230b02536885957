"""`latentpress verify`: proof that an archive decodes."""

from __future__ import annotations

from pathlib import Path

import click

from latentpress.cli import options

__all__ = ["command"]


@click.command(short_help="Prove that an archive decodes.")
@click.argument("archive", metavar="IN.lpz", type=options.OLD_FILE)
@options.model_option
@options.max_samples_option
@options.max_memory_option
@options.device_option
@options.debug_option
def command(archive: Path, model: Path, max_samples: int | None, max_memory: int | None, device: str) -> None:
    """Decode all of an archive and compare it with the checks that the archive carries.

    \b
    Example:
      latentpress verify photos.lpz -m model
    """
    from latentpress.cli.progress import progress_bar
    from latentpress.cli.summary import say_summary
    from latentpress.model import load
    from latentpress.press import verify_archive

    with options.input_file(archive) as source, progress_bar("block") as progress:
        loaded = load(model, device)
        options.limit_memory(max_memory)
        summary = verify_archive(source, loaded, max_samples=max_samples, progress=progress)
    say_summary("verified", summary)
