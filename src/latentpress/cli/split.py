"""`latentpress split`: a model into its encoder half and its decoder half."""

from __future__ import annotations

from pathlib import Path

import click

from latentpress.cli import options

__all__ = ["command"]


@click.command(short_help="Part a model into an encoder and a decoder.")
@click.argument("model", metavar="MODEL", type=options.OLD_FOLDER)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write encoder and decoder into.",
)
@options.force_option
@options.debug_option
def command(model: Path, output: Path, force: bool) -> None:
    """Part a model into two model folders, OUTPUT/encoder and OUTPUT/decoder.

    The encoder half compresses, the decoder half restores, with the same results as the whole model; each
    holds the codebook and the prior, and no tensor of the other half. Lossless compression needs the decoder
    too, and so the whole model; the decoder half restores lossless archives, but for those by bits back,
    which need the encoder again.

    \b
    Example:
      latentpress split model -o halves
      latentpress compress photos/ -m halves/encoder -o photos.lpz
      latentpress decompress photos.lpz -m halves/decoder -o restored
    """
    targets = [output / half for half in ("encoder", "decoder")]
    for target in targets:
        options.refuse_overwrite(target, force)
    from latentpress.cli.progress import format_bytes, say
    from latentpress.model import load
    from latentpress.model.halves import split_model

    card = model / "README.md"
    halves = split_model(load(model, "cpu"))
    halves.save_pretrained(output, card=card.read_text(encoding="utf-8") if card.exists() else "")
    sizes = [(folder, (folder / "model.safetensors").stat().st_size) for folder in (model, *targets)]
    whole, encoder, decoder = (f"{folder} ({format_bytes(size)})" for folder, size in sizes)
    say(f"split {whole} into {encoder} and {decoder}")
