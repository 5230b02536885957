"""`latentpress decompress`: an archive back into files."""

from __future__ import annotations

from pathlib import Path

import click

from latentpress.cli import options
from latentpress.cli.streams import stdout_bytes

__all__ = ["command"]


@click.command(short_help="Restore the files of an archive.")
@click.argument("archive", metavar="IN.lpz", type=options.OLD_FILE)
@options.model_option
@click.option(
    "-o", "--output", required=True, type=options.NEW_FOLDER, help="The folder to write into; - is stdout."
)
@click.option("--only", metavar="NAME", multiple=True, help="An item, or a folder of items; may be repeated.")
@options.max_samples_option
@options.max_memory_option
@options.device_option
@options.force_option
@options.debug_option
def command(
    archive: Path,
    model: Path,
    output: Path,
    only: tuple[str, ...],
    max_samples: int | None,
    max_memory: int | None,
    device: str,
    force: bool,
) -> None:
    """Restore images as PNG files, texts and what was kept as a file as they were; `inspect` lists the names.

    No restored file is half there, even if the command is killed; that they are on the disk a moment later is
    for the operating system, as with other archivers.

    A name that this system cannot write has %XX for some of its characters, and of two names that it may take
    for one, such as a.txt and A.txt, the second gets a number; how many there were is said.

    What a lossless archive holds comes back with every sample as it was. Of a delta-VAE's other archives an
    autoregressive decoder draws what the latents do not say, the same every time.

    \b
    Examples:
      latentpress decompress photos.lpz -m model -o restored
      latentpress decompress photos.lpz -m model -o - --only lake.png > lake.png
    """
    from latentpress.cli.progress import progress_bar
    from latentpress.cli.summary import say_summary
    from latentpress.model import load
    from latentpress.press import decompress

    with options.input_file(archive) as source, progress_bar() as progress:
        loaded = load(model, device)
        options.limit_memory(max_memory)
        target = stdout_bytes() if output == options.STREAM else output
        summary = decompress(
            source,
            loaded,
            target,
            only=only or None,
            overwrite=force,
            max_samples=max_samples,
            progress=progress,
        )
    say_summary("restored", summary, everything=not only)
