"""`latentpress train`: a model from a folder of images or texts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentpress.cli.options import (
    NEW_FOLDER,
    OLD_FILE,
    OLD_PATH,
    STREAM,
    Duration,
    alpha_option,
    debug_option,
    device_option,
    seed_option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latentpress.config import RunConfig
    from latentpress.data.loading import Pool
    from latentpress.data.windows import TextPool
    from latentpress.train import StageName, TrainResult

__all__ = ["base_config", "command", "fit_to_data", "train_with_progress"]

_LOOKED_AT = 200  # images that say whether differences suit them
_STAGES: dict[str, tuple[StageName, ...]] = {
    "all": ("codec", "prior", "decoder"),
    "codec": ("codec",),
    "prior": ("prior",),
    "decoder": ("decoder",),
}


@click.command(short_help="Train a model on images or texts.")
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=OLD_PATH)
@click.option("-o", "--output", required=True, type=NEW_FOLDER, help="The model folder to write.")
@click.option(
    "--preset",
    metavar="NAME",
    help="images (the default), images-small, image-lossless, photos, tiny; delta-images; text, delta-text.",
)
@click.option("--config", type=OLD_FILE, help="A TOML file with the settings, instead of a preset.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated."
)
@click.option(
    "--stage", type=click.Choice(list(_STAGES)), default="all", show_default=True, help="What to train."
)
@click.option("--time", "seconds", type=Duration(), help="Train for 90s, 20m, 2h.")
@click.option("--steps", type=click.IntRange(1), help="Train for a number of optimiser steps.")
@click.option(
    "--rate",
    "rate_bits",
    type=click.FloatRange(0, min_open=True),
    metavar="BITS",
    help="The rate that a delta-VAE commits, in bits an image or window: sets model.latents.alpha.",
)
@click.option(
    "--checkpoint",
    "checkpoint_seconds",
    type=Duration(),
    default="2m",
    show_default=True,
    help="Time from one checkpoint to the next.",
)
@alpha_option
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
    seconds: float | None,
    steps: int | None,
    rate_bits: float | None,
    checkpoint_seconds: float,
    drop_alpha: bool,
    device: str,
    seed: int,
) -> None:
    """Train a codec and its prior on images, and a decoder of pixels for lossless pressing.

    Or a delta-VAE of images or texts: presets delta-images and delta-text, and text for the byte decoder
    alone. DATA is an image or a text, a folder, a zip archive, an IDX or .npz file. The same command
    again continues a run that was stopped: SIGTERM saves a checkpoint and ends with exit code 1, Ctrl-C
    with 130. Settings are those of the model folder's run/config.json, by their dotted names.

    --stage decoder fits a decoder of pixels to the codec that is in the model folder; with
    --set model.pixels.use_codes=false it models the pixels alone, and needs no codec.

    \b
    Examples:
      latentpress train photos/ -o model --preset photos --time 20m
      latentpress train cifar10.zip -o model --preset images-small --set model.latents.codebook_size=1024
      latentpress train cifar10.zip -o model --preset image-lossless --time 1h
      latentpress train notes/ -o model --preset text --time 20m
      latentpress train digits.npz -o model --preset delta-images --rate 12 --time 20m
    """
    if preset is not None and config is not None:
        raise click.UsageError("--preset and --config exclude each other")
    if seconds is not None and steps is not None:
        raise click.UsageError("--time and --steps exclude each other")
    if STREAM in (*data, output, config):
        raise click.UsageError("train reads and writes files: - is for the other verbs")
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise click.BadParameter(f"{wrong[0]!r} is no KEY=VALUE", param_hint="--set")
    changes = dict(setting.split("=", 1) for setting in settings)

    from latentpress.cli.progress import format_seconds, say
    from latentpress.config import override
    from latentpress.train.delta import committing

    base = override(
        base_config(preset, config), {k: v for k, v in changes.items() if k == "model.item.channels"}
    )
    pool = _read_pool(base, data, drop_alpha)
    for skipped in pool.skipped:
        say(f"skipped {skipped.name}: {skipped.reason}")
    run = fit_to_data(base, pool, changes)
    if rate_bits is not None:
        run = committing(run, rate_bits)
    result = train_with_progress(
        run, pool, output, steps, seconds, seed, device, _STAGES[stage], checkpoint_seconds
    )
    done = "trained" if result.finished else "stopped; the same command continues"
    say(f"{done}: {output}, {result.steps} steps, {format_seconds(result.seconds)}{_words(result.figures)}")
    if not result.finished:
        click.get_current_context().exit(1)


def base_config(preset: str | None, config: Path | None) -> RunConfig:
    """Returns a preset's configuration, or that of a TOML file."""
    from latentpress.config import RunConfig, from_toml
    from latentpress.config.presets import preset as preset_named

    return (
        from_toml(RunConfig, config.read_text(encoding="utf-8"))
        if config
        else preset_named(preset or "images")
    )


def _read_pool(config: RunConfig, data: tuple[Path, ...], drop_alpha: bool) -> Pool | TextPool:
    """The items in memory, of the kind that the model takes."""
    from latentpress.cli.progress import progress_bar, say
    from latentpress.data.loading import load_pool
    from latentpress.data.sources import open_sources
    from latentpress.data.windows import load_text_pool

    item = config.model.item
    with progress_bar() as progress:
        if item.kind == "text":
            return load_text_pool(open_sources(data, kind="text"), progress=partial(progress, "read"))
        if item.channels == 1:
            say("a grey model: images that have colour are trained on as grey")
        source = open_sources(data, channels=item.channels, drop_alpha=drop_alpha, drop_colour=True)
        return load_pool(source, progress=partial(progress, "read"))


def fit_to_data(config: RunConfig, pool: Pool | TextPool, changes: dict[str, str]) -> RunConfig:
    """Returns `config` with `changes`, and with what the data say where neither does.

    That is the labels; the size of new images: the usual one, but no larger than the crops that the
    prior is trained on, since it knows nothing of what lies further apart; and whether a decoder of
    pixels sees differences.
    """
    import numpy as np

    from latentpress.config import VQVAEConfig, override
    from latentpress.data.windows import TextPool
    from latentpress.items.differences import simpler

    if config.model.kind == "delta-vae":
        return _delta_fitted(config, pool, changes)
    assert not isinstance(pool, TextPool)
    labels = pool.label_names if len(pool.label_names) > 1 else ()  # one class is none to tell apart
    found: dict[str, object] = {"model.labels": labels}
    if isinstance(config.model, VQVAEConfig) and config.model.pixels is not None:
        some = range(0, len(pool), max(1, len(pool) // _LOOKED_AT))
        found["model.pixels.differences"] = simpler(pool[i] for i in some)
    config = override(config, {**found, **changes})
    assert isinstance(config.model, VQVAEConfig)
    prior = config.model.prior
    crop = (config.codec if prior is not None and prior.training == "joint" else config.prior).crop
    size = np.median(pool.shapes[:, 1:], axis=0).astype(int).clip(max=crop).tolist()
    return override(config, {"model.item.size": config.model.item.size or size})


def _delta_fitted(config: RunConfig, pool: Pool | TextPool, changes: dict[str, str]) -> RunConfig:
    """`fit_to_data` of a delta-VAE: its labels, and the one size that its images have."""
    from latentpress.config import override
    from latentpress.data.windows import TextPool

    labels = pool.label_names if len(pool.label_names) > 1 else ()
    config = override(config, {"model.labels": labels, **changes})
    if config.model.item.size is not None:
        return config
    text = isinstance(pool, TextPool)
    return override(config, {"model.item.size": config.codec.crop if text else pool.shapes[0, 1:].tolist()})


def train_with_progress(
    config: RunConfig,
    pool: Pool | TextPool,
    output: Path,
    steps: int | None,
    seconds: float | None,
    seed: int,
    device: str,
    stages: tuple[StageName, ...],
    checkpoint_seconds: float = 120.0,
) -> TrainResult:
    """Trains with a bar per stage that shows the live figures; a stage's warning is said once."""
    from latentpress.cli.progress import StageBar, say
    from latentpress.train import Progress, run

    warned: set[str] = set()
    with StageBar.of_shares() as bar:

        def report(progress: Progress) -> None:
            if progress.warning and progress.stage not in warned:
                warned.add(progress.stage)
                say(f"warning: {progress.warning}")
            bar.show(progress.stage, progress.fraction, 1.0, progress.figures)

        return run(
            config,
            pool,
            output,
            steps=steps,
            seconds=seconds,
            seed=seed,
            device=device,
            progress=report,
            stages=stages,
            checkpoint_seconds=checkpoint_seconds,
        )


def _words(figures: Mapping[str, float]) -> str:
    return "".join(f", {name} {value:.4g}" for name, value in figures.items())
