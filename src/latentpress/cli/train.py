"""`latentpress train`: a model from a folder of images or texts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentpress.cli.options import (
    NEW_FOLDER,
    OLD_FILE,
    OLD_PATH,
    STREAM,
    Duration,
    convert_option,
    debug_option,
    device_option,
    seed_option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latentpress.config import RunConfig
    from latentpress.data import Dataset, Source
    from latentpress.train import TrainResult

__all__ = ["command", "train_with_progress"]

_STAGES = ("codec", "prior", "decoder", "encoder")


@click.command(short_help="Train a model on images or texts.")
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=OLD_PATH)
@click.option("-o", "--output", required=True, type=NEW_FOLDER, help="The model folder to write.")
@click.option(
    "--preset",
    metavar="NAME",
    help="images, images-small, image-lossless, photos, photos-lossless, tiny, vq-autoregressive; "
    "delta-images, delta-parallel; text, text-network, delta-text. By default what suits the data.",
)
@click.option("--config", type=OLD_FILE, help="A TOML file with the settings, instead of a preset.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated."
)
@click.option(
    "--stage",
    type=click.Choice(["all", *_STAGES]),
    default="all",
    show_default=True,
    help="What to train; each but codec works on the codec that is in the model folder.",
)
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    help="Train for 90s, 20m, 2h; given more than before, a finished run goes on.",
)
@click.option("--steps", type=click.IntRange(1), help="Train for a number of optimiser steps; as --time.")
@click.option(
    "--rate",
    "rate_bits",
    type=click.FloatRange(0, min_open=True),
    metavar="BITS",
    help="The rate that a delta-VAE commits, in bits an item or window: sets model.latents.alpha.",
)
@click.option(
    "--checkpoint",
    "checkpoint_seconds",
    type=Duration(),
    default="2m",
    show_default=True,
    help="Time from one checkpoint to the next.",
)
@convert_option
@device_option
@seed_option
@debug_option
def command(
    data: tuple[Path, ...],
    output: Path,
    preset: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    stage: str,
    rate_bits: float | None,
    convert: bool,
    **options: Any,
) -> None:
    """Train a codec and its prior on images or texts.

    DATA is a file, a folder, a zip archive, an IDX or .npz file. Without --preset or --config the files
    say what they are, and a preset that suits them is taken: images get a VQ-VAE, texts a decoder of
    bytes; where all images are grey the model is, of any preset. For lossless compression there are
    photos-lossless, and for small images image-lossless; delta-images and delta-text are delta-VAEs.
    The same command again continues a run that was stopped: SIGTERM saves a checkpoint and ends with exit
    code 1, Ctrl-C with 130. Settings are those of the model folder's run/config.json, by their dotted names.

    Folders are values of the label "class"; --set 'model.prior.labels=["class"]' conditions the prior by it.

    --stage prior, decoder or encoder fits that part anew to the codec in the model folder, whose codes keep
    their meaning; its settings are the folder's but for those that --set changes.

    \b
    Examples:
      latentpress train photos/ -o model --time 20m
      latentpress train cifar10.zip -o model --preset images-small --set model.latents.codebook_size=1024
      latentpress train photos/ -o model --preset photos-lossless
      latentpress train cifar10.zip -o model --preset image-lossless --time 1h
      latentpress train notes/ -o model --preset text --time 20m
      latentpress train digits.npz -o model --preset delta-images --rate 12 --time 20m
      latentpress train photos/ -o model --stage encoder --set model.encoder.width=192 --time 20m
    """
    if preset is not None and config is not None:
        raise click.UsageError("--preset and --config exclude each other")
    if options["seconds"] is not None and options["steps"] is not None:
        raise click.UsageError("--time and --steps exclude each other")
    if STREAM in (*data, output, config):
        raise click.UsageError("train reads and writes files: - is for the other verbs")
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise click.BadParameter(f"{wrong[0]!r} is no KEY=VALUE", param_hint="--set")
    changes = dict(setting.split("=", 1) for setting in settings)

    from latentpress.cli.progress import format_seconds, progress_bar, say
    from latentpress.config import override
    from latentpress.data import load_dataset
    from latentpress.train import committing, fitted, idle_labels
    from latentpress.train.card import HOLDS_TRAINING

    later = stage in ("prior", "decoder", "encoder") and preset is None and config is None
    model = output if later and (output / "model.safetensors").is_file() else None
    base, source = _base(preset, config, model, data, convert, changes)
    with progress_bar(base.model.item.words.item) as progress:
        dataset = load_dataset(source, progress=partial(progress, "read"))
    for skipped in dataset.skipped:
        say(f"skipped {skipped.name}: {skipped.reason}")
    run = fitted(base, dataset, changes) if model is None else override(base, changes)
    if rate_bits is not None:
        run = committing(run, rate_bits)
    if model is None:
        for sentence in idle_labels(run.model):
            say(f"note: {sentence}")
    stages = _STAGES if stage == "all" else (stage,)
    result = train_with_progress(run, dataset, output, stages=stages, **options)
    done = "trained" if result.finished else "stopped; the same command continues"
    say(f"{done}: {output}, {result.steps} steps, {format_seconds(result.seconds)}{_words(result.figures)}")
    if held := result.model.integer.holds_training:
        say(f"note: {HOLDS_TRAINING[held][0].lower()}{HOLDS_TRAINING[held][1:]}")
    if not result.finished:
        click.get_current_context().exit(1)


def _base(
    preset: str | None,
    config: Path | None,
    model: Path | None,
    data: tuple[Path, ...],
    convert: bool,
    changes: Mapping[str, str],
) -> tuple[RunConfig, Source]:
    """The configuration before it is fitted to the data, and the items.

    For a stage after the codec that is the configuration of the folder `model`.
    """
    from latentpress.cli.progress import say
    from latentpress.config import RunConfig, from_toml, override
    from latentpress.config.presets import preset as preset_named
    from latentpress.data import open_sources, survey
    from latentpress.model import load
    from latentpress.train import suggest

    known = {key: value for key, value in changes.items() if key.startswith("model.item.")}
    if config is not None:
        base = from_toml(RunConfig, config.read_text(encoding="utf-8"))
    elif preset is not None:
        base = preset_named(preset)
        if not known:
            item = survey(data, convert=convert, kinds=[base.model.item]).item
            base = replace(base, model=replace(base.model, item=item))
    else:
        found = suggest(survey(data, convert=convert))
        base = preset_named(found.preset)
        base = replace(base, model=replace(base.model, item=found.item))
        if model is None:
            say(f"preset {found.preset}: {found.reason}")
        else:
            base = replace(base, model=load(model, "cpu").config)
            say(f"the model is that of {model}; preset {found.preset} says how to train: {found.reason}")
    base = override(base, known)
    return base, open_sources(data, base.model.item, convert=convert)


def train_with_progress(config: RunConfig, dataset: Dataset, output: Path, **options: Any) -> TrainResult:
    """Trains with a bar per stage that shows the live figures; a stage's warning is said once.

    `options` are those of `latentpress.train.run`.
    """
    from latentpress.cli.progress import StageBar, say
    from latentpress.train import Progress, run

    warned: set[str] = set()
    with StageBar.of_shares() as bar:

        def report(progress: Progress) -> None:
            if progress.warning and progress.stage not in warned:
                warned.add(progress.stage)
                say(f"warning: {progress.warning}")
            bar.show(progress.stage, progress.fraction, 1.0, progress.figures)

        return run(config, dataset, output, progress=report, **options)


def _words(figures: Mapping[str, float]) -> str:
    return "".join(f", {name} {value:.4g}" for name, value in figures.items())
