"""`latentpress generate`: new items from a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentpress.cli import options
from latentpress.cli.streams import stdout_bytes

if TYPE_CHECKING:
    from latentpress.model.base import PriorName

__all__ = ["command"]


class _Size(click.ParamType):
    name = "SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if re.fullmatch(r"\d{1,8}(x\d{1,5}){0,2}", str(value)) is None:
            wanted = "write one number an axis, such as 64x96 for height x width, or 500 for a text's bytes"
            self.fail(f"{value!r} is no size: {wanted}", param, ctx)
        return tuple(map(int, str(value).split("x")))


@click.command(short_help="Draw new images or texts from a model.")
@click.argument("model", metavar="MODEL", type=options.OLD_FOLDER)
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=16, show_default=True, help="How many items."
)
@click.option(
    "-o", "--output", required=True, type=options.NEW_FOLDER, help="The folder to write into; - is stdout."
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    help="A label to draw under, for a model that is conditioned by it; may be repeated. A VALUE alone is "
    "one of the model's first label.",
)
@click.option(
    "--size", type=_Size(), help="Extents, such as 64x96 pixels or 500 bytes; by default as in training."
)
@options.seed_option
@options.temperature_option
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
    "--complete", type=options.OLD_FILE, metavar="FILE", help="Keep this item's beginning and draw the rest."
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    help="The share of --complete's rows (or bytes) that is kept; half of them by default.",
)
@click.option(
    "--prior",
    type=click.Choice(["auxiliary", "ar1"]),
    help="Where a delta-VAE's latents come from: auxiliary (the default) or ar1.",
)
@options.convert_option
@options.device_option
@options.force_option
@options.debug_option
def command(
    model: Path,
    count: int,
    output: Path,
    labels: tuple[str, ...],
    size: tuple[int, ...] | None,
    complete: Path | None,
    keep: float | None,
    prior: PriorName | None,
    convert: bool,
    device: str,
    force: bool,
    seed: int,
    **sampling: Any,
) -> None:
    """Draw new images from a model and write them as PNG files, or new texts as .txt files.

    The same seed draws the same codes on every machine, and the same items where the decoder is
    autoregressive.

    \b
    Examples:
      latentpress generate model -n 16 -o samples --seed 1
      latentpress generate model -n 4 -o endings --complete photo.png --keep 0.6
      latentpress generate delta -n 16 -o plain --prior ar1
    """
    if output == options.STREAM and count != 1:
        raise click.UsageError("stdout takes one item: -n 1")
    if complete is None and keep is not None:
        raise click.UsageError("--keep says how much of --complete's file is kept; give that too")
    if complete is not None and size is not None:
        raise click.UsageError("--complete and --size exclude each other: the file has a size")
    from latentpress.cli.progress import progress_bar, say
    from latentpress.cli.summary import counted
    from latentpress.exact.distribution import Sampling
    from latentpress.files import open_atomic
    from latentpress.generate import generate
    from latentpress.items import Content
    from latentpress.model import load

    loaded = load(model, device)
    item, given = loaded.item, None
    names = [f"{seed}-{number:05d}{item.new_suffix}" for number in range(count)]
    targets = [options.STREAM if output == options.STREAM else output / name for name in names]
    for target in targets:
        options.refuse_overwrite(target, force)
    if complete is not None:
        with options.open_items([complete], item, convert) as source:
            whole = source.items[0].read()
        given, size = whole[: max(1, round((keep or 0.5) * len(whole)))], whole.shape[:-1]
    how = Sampling(seed=seed, **{name: value or 0 for name, value in sampling.items()})
    chosen = options.labels_of(loaded.config, labels)
    with progress_bar("symbol") as progress:
        items = generate(
            loaded, count, how=how, size=size, labels=chosen, given=given, prior=prior, progress=progress
        )
    if output != options.STREAM:
        output.mkdir(parents=True, exist_ok=True)
    for target, samples in zip(targets, items, strict=True):
        with open_atomic(stdout_bytes() if target == options.STREAM else target, overwrite=force) as file:
            item.write(Content.of(samples), file)
    shape = " x ".join(map(str, items.shape[1:-1]))
    where = "to stdout" if output == options.STREAM else f"in {output}"
    say(f"{counted(count, item.words)} of {shape} {item.words.position}s {where}")
