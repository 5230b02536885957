"""`latentpress convert`: items under other labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from latentpress.cli import options
from latentpress.cli.streams import stdout_bytes

__all__ = ["command"]


@click.command(short_help="Restore items under another label, such as another speaker's voice.")
@click.argument("items", nargs=-1, required=True, metavar="ITEM...", type=options.OLD_PATH)
@options.model_option
@click.option(
    "--to",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    help="The label to convert to; may be repeated. A VALUE alone is one of the model's first label.",
)
@click.option("--each", metavar="NAME", help="Convert to every value of this label, a folder for each.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(allow_dash=True, path_type=Path),
    help="The folder to write into; for one item a file, or - for stdout.",
)
@options.seed_option
@options.temperature_option
@options.convert_option
@options.device_option
@options.force_option
@options.debug_option
def command(
    items: tuple[Path, ...],
    model: Path,
    labels: tuple[str, ...],
    each: str | None,
    output: Path,
    seed: int,
    temperature: float,
    convert: bool,
    device: str,
    force: bool,
) -> None:
    """Encode items and decode them under another label.

    What the latents say stays, and only what they leave open follows the label: a model with many codes for
    few samples restores an item as it is, whatever the label.

    The model's decoder has to be conditioned by the label, of digits the class for one: train it with
    --set 'model.parallel.labels=["class"]', or autoregressive in the place of parallel.

    \b
    Examples:
      latentpress convert seven.png -m model --to 3 -o three.png
      latentpress convert digits/ -m model --each class -o all
    """
    from latentpress.cli.progress import progress_bar, say
    from latentpress.cli.summary import counted
    from latentpress.convert import conversions
    from latentpress.convert import convert as converted
    from latentpress.errors import LatentpressError
    from latentpress.files import open_atomic, safe_path
    from latentpress.model import load
    from latentpress.names import output_names

    loaded = load(model, device)
    item = loaded.item
    with options.open_items(items, item, convert) as source, progress_bar(item.words.item) as progress:
        chosen = options.labels_of(loaded.config, labels)
        work = conversions(loaded, source.items, chosen, each)
        single = output == options.STREAM or (item.takes(output.name, lambda _: b"") and not output.is_dir())
        if single and len(work) != 1:
            raise LatentpressError(f"{output} takes one item, and there are {len(work)}: give a folder")
        names = [f"{each.folder}/{each.ref.name}" if each.folder else each.ref.name for each in work]
        outputs = output_names(names, item.suffix)
        targets = [output] if single else [safe_path(output, name) for name in outputs]
        for target in targets:
            options.refuse_overwrite(target, force)
        report = partial(progress, "convert")
        contents = converted(loaded, work, seed=seed, temperature=temperature, progress=report)
        for target, content in zip(targets, contents, strict=True):
            if target != options.STREAM:
                target.parent.mkdir(parents=True, exist_ok=True)
            with open_atomic(stdout_bytes() if target == options.STREAM else target, overwrite=force) as file:
                item.write(content, file)
    where = "to stdout" if output == options.STREAM else f"in {output}"
    say(f"converted to {counted(len(work), item.words)}, {where}")
