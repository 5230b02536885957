"""`latentpress diagnose`: whether a model's latents say anything, and whether its decoder listens."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentpress.cli import options
from latentpress.cli.streams import show

if TYPE_CHECKING:
    from latentpress.evaluate import Diagnosis
    from latentpress.evaluate.inputs import Inputs

__all__ = ["command", "diagnosis_table"]

_HEAD = ("figure, mean over the items", "nats an item", "bits an item", "bits/dim")


@click.command(short_help="Find out whether a model's latents are in use.")
@click.argument("model", metavar="MODEL", type=options.OLD_FOLDER)
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=options.OLD_PATH)
@click.option(
    "--alone",
    type=options.OLD_FOLDER,
    metavar="MODEL",
    help="A decoder without latents, to compare the model with.",
)
@click.option(
    "--items",
    type=click.IntRange(2),
    default=1000,
    show_default=True,
    help="Items at most, evenly spread over the data.",
)
@click.option(
    "--window", type=click.IntRange(1), default=512, show_default=True, help="Bytes of an item of text."
)
@options.seed_option
@options.json_option
@options.convert_option
@options.device_option
@options.debug_option
def command(
    model: Path,
    data: tuple[Path, ...],
    alone: Path | None,
    items: int,
    window: int,
    seed: int,
    as_json: bool,
    convert: bool,
    device: str,
) -> None:
    """Measure on items that a model has not seen what its latents say, and what they cost.

    How much worse the decoder does with another item's latents, and with latents of the prior. Of a VQ-VAE
    usage and perplexity of the codes; of a delta-VAE the committed rate, KL and information. Texts are cut
    into windows that do not overlap. Where items have labels, a linear classifier is tried on the latents.
    Of counted contexts it says how much dearer symbols are without what each of them learned in training.
    A verdict ends it.

    \b
    Examples:
      latentpress diagnose model holdout/
      latentpress diagnose delta holdout/ --alone decoder --json
    """
    from latentpress.cli.progress import progress_bar, say
    from latentpress.data import load_dataset
    from latentpress.evaluate import diagnose
    from latentpress.model import load

    loaded, other = load(model, device), None if alone is None else load(alone, device)
    with options.open_items(data, loaded.item, convert) as source, progress_bar() as progress:
        in_windows = loaded.item.epoch == "sample"
        dataset = load_dataset(
            source if in_windows else source.evenly(items), progress=partial(progress, "read")
        )
        if in_windows:
            dataset = dataset.windows(window, items)
        found = diagnose(loaded, dataset, alone=other, seed=seed, progress=progress)
    if dataset.skipped:
        say(f"left out {len(dataset.skipped)} files, such as {dataset.skipped[0].name}")
    show(found.to_json() if as_json else diagnosis_table(found))


def diagnosis_table(found: Diagnosis) -> str:
    """Words a diagnosis in Markdown."""
    from latentpress.evaluate.tables import markdown, worded

    figures: list[tuple[str, float | None]] = [
        ("-log p(x given latents)", found.sample_nats),
        ("latents", found.latent_nats),
        ("-ELBO, the sum", found.sample_nats + found.latent_nats),
        ("decoder alone", found.alone_nats),
        ("loss with another item's latents", found.shuffled_gap_nats),
        ("loss with latents of the prior", found.prior_gap_nats),
    ]
    details = found.details.figures()
    figures += [(name, value) for name, value, unit in details if unit == "nats"]
    rows = [_HEAD, *(_row(name, nats, found.dims) for name, nats in figures if nats is not None)]
    notes = [f"{found.items:,} items of {found.dims:,.0f} dimensions"]
    notes += [f"{name}: {worded(value, unit)}" for name, value, unit in details if unit != "nats"]
    if (codes := found.details.values.get("num_codes")) is not None:
        notes.append(f"bits a code: {found.latent_nats * found.items / math.log(2) / codes:.3f}")
    if (probe := found.probe) is not None:
        shares = f"{probe.accuracy:.1%}, the commonest {probe.majority:.1%}"
        notes.append(f"{probe.label} by a linear classifier of the latents: {shares}")
    counted = "".join(f"\n\n{_inputs(part, inputs)}" for part, inputs in found.inputs.items())
    return f"{markdown(rows, notes)}{counted}\n\n{found.verdict}"


def _inputs(part: str, inputs: Inputs) -> str:
    """What the inputs of a part that counts earn, the dearest first."""
    from latentpress.evaluate.tables import markdown

    dearest = sorted(inputs.without.items(), key=lambda each: -each[1])
    share = 100 / max(inputs.bits, 1e-9)
    rows = [(f"the {part} without what it learned of", "bits a symbol more", "%")]
    rows += [(name, f"{bits:+.4f}", f"{bits * share:+.2f}") for name, bits in dearest]
    return markdown(rows, [f"the {part} with all inputs: {inputs.bits:.4f} bits a symbol"])


def _row(name: str, nats: float, dims: float) -> tuple[str, ...]:
    bits = nats / math.log(2)
    return name, f"{nats:,.3f}", f"{bits:,.3f}", f"{bits / dims:.4f}"
