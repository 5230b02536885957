"""`latentpress compress`: items into an archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from latentpress.cli import options
from latentpress.cli.streams import stdout_bytes

__all__ = ["command"]

_MAX_LINES = 5


@click.command(short_help="Compress files into an archive.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=options.OLD_PATH)
@options.model_option
@click.option(
    "-o", "--output", required=True, type=options.NEW_FILE, help="The archive to write; - is stdout."
)
@click.option(
    "--lossless", is_flag=True, help="Keep every sample; the model needs an autoregressive decoder."
)
@click.option("--bits-back", is_flag=True, help="Losslessly, by bits back; the model must be a delta-VAE.")
@click.option("--no-verify", is_flag=True, help="Do not decode the archive before it gets its name.")
@click.option(
    "--skip", is_flag=True, help="Leave out what is called like an item and cannot be one, and say so."
)
@options.convert_option
@options.device_option
@options.force_option
@options.debug_option
def command(
    paths: tuple[Path, ...],
    model: Path,
    output: Path,
    lossless: bool,
    bits_back: bool,
    no_verify: bool,
    skip: bool,
    convert: bool,
    device: str,
    force: bool,
) -> None:
    """Compress images, or texts if the model is one of texts, into one archive.

    PATH is a file, a folder, a zip archive, an IDX or .npz file; - is one item on stdin. The archive is
    decoded and compared before it appears under its name. Of folders and zip archives only what the model's
    kind of items takes is compressed; what is left out is said. What is there twice is stored once. A
    link to nothing, a pipe or a name that no archive can hold (such as ../x in a zip archive) is refused if
    it is called like an item; --skip leaves it out.

    With --lossless every sample comes back as it was. Each item takes the smallest of what the model makes
    of it, what a conventional codec does (lossless WebP, LZMA), its plain samples, and its file, which then
    comes back byte for byte; the extra jxl packs JPEG files. Texts are always kept so.

    A file that is called like an item and that the model cannot take (damaged, 16 bits a channel, several
    pictures in one) is kept as the file that it is, and said.

    A delta-VAE's archive without --lossless holds its latents and a seed, with which an autoregressive
    decoder draws the rest. With --bits-back its latents cost what they say and no more: smaller for hundreds
    of items and up, while getting one item back takes decoding those in its chain, and the whole model. It
    needs an encoder of model.encoder.kind=anticausal, which the preset delta-text has not.

    \b
    Examples:
      latentpress compress photos/ -m model -o photos.lpz
      latentpress compress photos/ -m model -o exact.lpz --lossless
      latentpress compress digits.npz -m delta -o digits.lpz --bits-back
    """
    options.refuse_overwrite(output, force)
    from latentpress.cli.progress import progress_bar, say
    from latentpress.cli.summary import say_summary
    from latentpress.model import load
    from latentpress.names import shown
    from latentpress.press import compress

    loaded = load(model, device)
    with (
        options.open_items(paths, loaded.item, convert) as source,
        progress_bar(loaded.item.words.item) as progress,
    ):
        summary = compress(
            loaded,
            source,
            stdout_bytes() if output == options.STREAM else output,
            lossless=lossless or bits_back,
            bits_back=bits_back,
            verify=not no_verify,
            overwrite=force,
            skip=skip,
            model_name=shown(model.resolve().name),
            progress=progress,
        )
    for skipped in source.skipped:
        if skipped.lost:
            say(f"left out {skipped.name}: {skipped.reason}")
    _say_each("left out", {skipped.name: skipped.reason for skipped in source.skipped if not skipped.lost})
    _say_each("kept as files", summary.kept)
    if summary.besides:
        words = ", ".join(f"{name} of {count:,}" for name, count in sorted(summary.besides.items()))
        say(f"not kept, as it is no part of the {summary.words.items}' samples: {words}")
    say_summary("compressed", summary)


def _say_each(what: str, reasons: Mapping[str, str]) -> None:
    """Says what became of these and why; of many, how many they are, and the first."""
    from latentpress.cli.progress import say

    if len(reasons) > _MAX_LINES:
        name, reason = next(iter(reasons.items()))
        say(f"{what}: {len(reasons)}, such as {name}: {reason}")
        return
    for name, reason in reasons.items():
        say(f"{what}: {name}: {reason}")
