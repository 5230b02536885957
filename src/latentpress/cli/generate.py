"""`latentpress generate`: new images or texts from a model."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentpress.cli.options import (
    NEW_FOLDER,
    OLD_FILE,
    OLD_FOLDER,
    STREAM,
    debug_option,
    device_option,
    force_option,
    input_file,
    refuse_overwrite,
    seed_option,
)

if TYPE_CHECKING:
    import numpy as np

    from latentpress.generate.delta import PriorName

__all__ = ["command"]


class _Size(click.ParamType):
    name = "SIZE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        match = re.fullmatch(r"(\d{1,7})(?:x(\d{1,5}))?", str(value))
        if match is None:
            wanted = "write height x width in pixels, such as 64x96, or a text's bytes, such as 500"
            self.fail(f"{value!r} is no size: {wanted}", param, ctx)
        return tuple(int(number) for number in match.groups() if number is not None)


@click.command(short_help="Draw new images or texts from a model.")
@click.argument("model", metavar="MODEL", type=OLD_FOLDER)
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=16, show_default=True, help="How many items."
)
@click.option("-o", "--output", required=True, type=NEW_FOLDER, help="The folder to write into; - is stdout.")
@click.option("--label", metavar="LABEL", help="The class to draw from, if the prior knows classes.")
@click.option(
    "--size", type=_Size(), help="Height x width in pixels, or bytes of a text; by default as in training."
)
@seed_option
@click.option(
    "--temperature",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Below 1 for likelier items, above 1 for more varied ones.",
)
@click.option(
    "--top-k", type=click.IntRange(1), metavar="K", help="Draw each code from the K likeliest only."
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    metavar="P",
    help="Draw each code from the fewest likeliest that have probability P together.",
)
@click.option(
    "--complete", type=OLD_FILE, metavar="IMAGE", help="Keep this image's upper part and draw the rest."
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    help="The share of --complete's rows that is kept; half of them by default.",
)
@click.option(
    "--prior",
    type=click.Choice(["auxiliary", "ar1"]),
    help="Where a delta-VAE's latents come from: auxiliary (the default) or ar1.",
)
@device_option
@force_option
@debug_option
def command(
    model: Path,
    count: int,
    output: Path,
    label: str | None,
    size: tuple[int, ...] | None,
    seed: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    complete: Path | None,
    keep: float | None,
    prior: PriorName | None,
    device: str,
    force: bool,
) -> None:
    """Draw new images from a model and write them as PNG files, or new texts as .txt files.

    The same seed draws the same codes on every machine, and from a delta-VAE the same items.

    \b
    Examples:
      latentpress generate model -n 16 -o samples --seed 1
      latentpress generate model -n 4 -o endings --complete photo.png --keep 0.6
      latentpress generate delta -n 16 -o plain --prior ar1
    """
    if output == STREAM and count != 1:
        raise click.UsageError("stdout takes one item: -n 1")
    if complete is None and keep is not None:
        raise click.UsageError("--keep says how much of --complete's image is kept; give that too")
    if complete is not None and size is not None:
        raise click.UsageError("--complete and --size exclude each other: the image has a size")
    from latentpress.checkpoint import write_atomically
    from latentpress.cli.progress import progress_bar, say
    from latentpress.generate import generate, generate_delta
    from latentpress.items.image import write_png
    from latentpress.model import DeltaVAE, load

    loaded = load(model, device)
    suffix = "txt" if loaded.config.item.kind == "text" else "png"
    targets = [STREAM if output == STREAM else output / f"{seed}-{i:05d}.{suffix}" for i in range(count)]
    for target in targets:
        refuse_overwrite(target, force)
    if isinstance(loaded, DeltaVAE):
        narrowed = None if top_p == 1.0 else top_p
        given = {"--label": label, "--top-k": top_k, "--top-p": narrowed, "--complete": complete}
        if foreign := [name for name, value in given.items() if value is not None]:
            raise click.UsageError(f"{foreign[0]} is for codebook models, and this is a delta-VAE")
        if prior is not None and loaded.latents is None:
            raise click.UsageError("--prior is for models with latents, and this is a decoder alone")
    elif prior is not None:
        raise click.UsageError("--prior is for delta-VAEs, and this is a codebook model")
    with progress_bar("code") as progress:
        if isinstance(loaded, DeltaVAE):
            items = generate_delta(
                loaded,
                count,
                prior=prior or "auxiliary",
                seed=seed,
                temperature=temperature,
                size=size,
                progress=progress,
            )
        else:
            given = None
            if complete is not None:
                given, size = _upper_part(
                    complete, 0.5 if keep is None else keep, loaded.config.item.channels
                )
            if size is not None and len(size) != 2:
                raise click.UsageError("an image's --size is height x width, such as 64x96")
            items = generate(
                loaded,
                count,
                label=label,
                seed=seed,
                temperature=temperature,
                top_k=top_k or 0,
                top_p=top_p,
                size=size,  # type: ignore[arg-type]
                given=given,
                progress=progress,
            )
    if output != STREAM:
        output.mkdir(parents=True, exist_ok=True)
    for target, item in zip(targets, items, strict=True):
        data = item.tobytes() if suffix == "txt" else write_png(item)
        if target == STREAM:
            sys.stdout.buffer.write(data)
        else:
            write_atomically(target, data)
    shape = " x ".join(map(str, items.shape[1:-1])) + (" bytes" if suffix == "txt" else "")
    word = f"{'text' if suffix == 'txt' else 'image'}{'' if count == 1 else 's'}"
    say(f"{count} {word} of {shape} {'to stdout' if output == STREAM else f'in {output}'}")


def _upper_part(path: Path, keep: float, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The upper rows of an image, and the whole image's size."""
    from latentpress.items.image import read_image

    with input_file(path) as file:
        pixels = read_image(file.read_bytes(), channels=1 if channels == 1 else 3)
    height, width = pixels.shape[:2]
    return pixels[: max(1, round(keep * height))], (height, width)
