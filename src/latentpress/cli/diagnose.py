"""`latentpress diagnose`: whether a model's latents say anything, and whether its decoder listens."""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentpress.cli.options import (
    OLD_FOLDER,
    OLD_PATH,
    alpha_option,
    debug_option,
    device_option,
    input_file,
    json_option,
    seed_option,
)
from latentpress.cli.tables import aligned

if TYPE_CHECKING:
    from latentpress.evaluate.codebook_diagnosis import CodebookDiagnosis
    from latentpress.evaluate.diagnosis import Diagnosis

__all__ = ["codebook_table", "command", "delta_table"]

_HEAD = ("figure, mean over the items", "nats an item", "bits an item", "bits/dim")


@click.command(short_help="Tell whether a model's latents are in use.")
@click.argument("model", metavar="MODEL", type=OLD_FOLDER)
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=OLD_PATH)
@click.option(
    "--alone",
    type=OLD_FOLDER,
    metavar="MODEL",
    help="A decoder without latents, to compare a delta-VAE with.",
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
@seed_option
@json_option
@alpha_option
@device_option
@debug_option
def command(
    model: Path,
    data: tuple[Path, ...],
    alone: Path | None,
    items: int,
    window: int,
    seed: int,
    as_json: bool,
    drop_alpha: bool,
    device: str,
) -> None:
    """Measure on items that a model has not seen what its latents say, and what they cost.

    Of a delta-VAE: the committed rate, KL, information, and what is lost with another item's latents; its
    images have the model's size, and its texts are cut into windows that do not overlap. Of a codebook
    model: usage and perplexity of the codes, their bits under the prior, and what is lost with another
    image's. Where items have labels, a linear classifier is tried on the latents. A verdict ends it.

    \b
    Examples:
      latentpress diagnose model holdout/
      latentpress diagnose delta holdout/ --alone decoder --json
    """
    from latentpress.cli.progress import progress_bar, say
    from latentpress.data.sources import open_sources
    from latentpress.evaluate.codebook_diagnosis import diagnose_codebook
    from latentpress.evaluate.diagnosis import diagnose
    from latentpress.evaluate.gathering import gather_images, gather_symbols
    from latentpress.model import VQVAE, DeltaVAE, load

    with ExitStack() as stack:
        loaded, beside = load(model, device), None if alone is None else load(alone, device)
        if beside is not None and not (isinstance(loaded, DeltaVAE) and isinstance(beside, DeltaVAE)):
            raise click.UsageError("--alone compares delta-VAEs, and one of these is a codebook model")
        item = loaded.config.item
        name = "stdin.txt" if item.kind == "text" else "stdin.png"
        inputs = [stack.enter_context(input_file(path, name=name)) for path in data]
        source = open_sources(inputs, kind=item.kind, channels=item.channels, drop_alpha=drop_alpha)
        progress = stack.enter_context(progress_bar("item"))
        read = partial(progress, "read")
        if isinstance(loaded, VQVAE):
            gathered = gather_images(source, items, progress=read)
            found = diagnose_codebook(loaded, gathered, seed=seed, progress=progress)
            table = codebook_table(found)
        else:
            gathered = gather_symbols(loaded, source, items, window=window, progress=read)
            found = diagnose(
                loaded, gathered.symbols, gathered.labels, alone=beside, seed=seed, progress=progress
            )
            table = delta_table(found)
    if gathered.skipped:
        say(f"left out {len(gathered.skipped)} files, such as {gathered.skipped[0].name}")
    click.echo(found.to_json() if as_json else table)


def delta_table(found: Diagnosis) -> str:
    """Words the diagnosis of a delta-VAE in Markdown."""
    figures = {
        "-ELBO": found.negative_elbo_nats,
        "-ELBO, auxiliary prior": found.negative_elbo_auxiliary_nats,
        "decoder alone": found.alone_nats,
        "committed rate": found.committed_nats,
        "KL": found.kl_nats,
        "KL, the smallest of an item": found.min_kl_nats,
        "KL, auxiliary prior": found.auxiliary_kl_nats,
        "information of item and latents": found.information_nats,
        "information, most for so few items": found.information_cap_nats,
        "loss with another item's latents": found.shuffled_gap_nats,
        "loss with latents of the prior": found.prior_gap_nats,
    }
    units = found.steps * found.channels
    notes = [f"{found.num_items:,} items of {found.dims_per_item:,} dimensions"]
    if found.active_units is not None:
        notes.append(
            f"active units: {found.active_units:,} of {found.steps:,} x {found.channels} = {units:,}"
        )
    if found.price is not None:
        notes.append(f"nats of KL for a nat of information: {found.price:.2f}")
    notes += _probe("latents as drawn", found.probe_accuracy, found.majority_share)
    rows = [row for name, nats in figures.items() for row in _row(name, nats, found.dims_per_item)]
    return _worded(rows, notes, found.verdict)


def codebook_table(found: CodebookDiagnosis) -> str:
    """Words the diagnosis of a codebook model in Markdown."""
    dims, others = found.dims_per_item, found.shuffled_dims_per_item
    rows = [
        *_row("-log p(x given codes)", found.reconstruction_nats, dims),
        *_row("codes under the prior", found.prior_nats, dims),
        *_row("both", found.reconstruction_nats + found.prior_nats, dims),
        *_row("loss with another image's codes", found.shuffled_gap_nats, others),
    ]
    codes = f"{found.used:,} of {found.num_codebooks} x {found.codebook_size:,}"
    notes = [
        f"{found.num_items:,} images of {found.dims_per_item:,.0f} dimensions and "
        f"{found.codes_per_item:,.0f} codes",
        f"codes used: {codes} = {found.usage:.1%}, perplexity {found.perplexity:.1f}",
        f"bits a code under the prior: {found.bits_per_code:.3f}",
        *_probe("embedded codes", found.probe_accuracy, found.majority_share),
    ]
    return _worded(rows, notes, found.verdict)


def _probe(of: str, accuracy: float | None, majority: float | None) -> list[str]:
    if accuracy is None or majority is None:
        return []
    return [f"labels by a linear classifier of {of}: {accuracy:.1%}, the commonest label {majority:.1%}"]


def _row(name: str, nats: float | None, dims: float | None) -> list[tuple[str, ...]]:
    """The table's row of a figure; none where it is not known."""
    if nats is None or dims is None:
        return []
    bits = nats / math.log(2)
    return [(name, f"{nats:,.3f}", f"{bits:,.3f}", f"{bits / dims:.4f}")]


def _worded(rows: list[tuple[str, ...]], notes: list[str], verdict: str) -> str:
    return "\n".join([*aligned([_HEAD, *rows]), "", *(f"- {note}" for note in notes), "", verdict])
