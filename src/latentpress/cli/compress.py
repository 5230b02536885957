"""`latentpress compress`: images, or texts, into an archive."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from latentpress.cli.options import (
    NEW_FILE,
    OLD_PATH,
    STREAM,
    alpha_option,
    debug_option,
    device_option,
    force_option,
    input_file,
    model_option,
    refuse_overwrite,
)

__all__ = ["command"]

_MAX_LINES = 5


@click.command(short_help="Press images or texts into an archive.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=OLD_PATH)
@model_option
@click.option("-o", "--output", required=True, type=NEW_FILE, help="The archive to write; - is stdout.")
@click.option(
    "--lossless",
    is_flag=True,
    help="Keep every pixel; the model needs a decoder of pixels.",
)
@click.option("--bits-back", is_flag=True, help="Losslessly, by bits back; the model must be a delta-VAE.")
@click.option("--no-verify", is_flag=True, help="Do not decode the archive before it gets its name.")
@alpha_option
@device_option
@force_option
@debug_option
def command(
    paths: tuple[Path, ...],
    model: Path,
    output: Path,
    lossless: bool,
    bits_back: bool,
    no_verify: bool,
    drop_alpha: bool,
    device: str,
    force: bool,
) -> None:
    """Press images into one archive, or any files if the model is one of texts.

    PATH is an image, a folder, a zip archive, an IDX or .npz file; - is one image on stdin. The archive
    is decoded and compared before it appears under its name. With --lossless each image is kept as it is,
    in the smallest of three forms: coded by the model, as lossless WebP, or plain.

    A delta-VAE's archive without --lossless holds its latents and a seed, with which the decoder draws the
    rest. With --bits-back its latents cost what they say and no more: smaller for hundreds of items and up,
    while getting one item back takes decoding those beside it, and the whole model. It needs an encoder of
    model.encoder.kind=anticausal, which the preset delta-text has not.

    For a model of texts PATH is any file, a folder or a .zip archive, of which hidden files and those that
    are no text are left out. Every byte is kept, coded by the model, as LZMA, or plain.

    \b
    Examples:
      latentpress compress photos/ -m model -o photos.lpz
      latentpress compress photos/ -m model -o exact.lpz --lossless
      latentpress compress digits.npz -m delta -o digits.lpz --bits-back
    """
    refuse_overwrite(output, force)
    from latentpress.cli.progress import progress_bar, say
    from latentpress.cli.summary import say_pressed
    from latentpress.data.sources import open_sources
    from latentpress.model import load
    from latentpress.press import compress

    with ExitStack() as stack:
        loaded = load(model, device)
        item = loaded.config.item
        name = "stdin.txt" if item.kind == "text" else "stdin.png"
        inputs = [stack.enter_context(input_file(path, name=name)) for path in paths]
        source = open_sources(inputs, kind=item.kind, channels=item.channels, drop_alpha=drop_alpha)
        summary = compress(
            loaded,
            source,
            sys.stdout.buffer if output == STREAM else output,
            lossless=lossless or bits_back,
            bits_back=bits_back,
            verify=not no_verify,
            overwrite=force,
            model_name=model.resolve().name,
            progress=stack.enter_context(progress_bar()),
        )
    if len(source.skipped) > _MAX_LINES:
        say(f"left out {len(source.skipped)} files that are not {item.kind}s")
    else:
        for skipped in source.skipped:
            say(f"left out {skipped.name}: {skipped.reason}")
    say_pressed("pressed", summary)
