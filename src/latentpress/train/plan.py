"""Which stages a run has, in which order, and where each of them ends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from latentpress.config import DeltaVAEConfig, RunConfig, StageConfig
from latentpress.errors import ConfigError
from latentpress.train.loop import Limit

__all__ = ["STAGES", "StageName", "plan_stages", "stage_config"]

StageName = Literal["codec", "prior", "decoder"]
STAGES: tuple[StageName, ...] = ("codec", "prior", "decoder")


def plan_stages(
    config: RunConfig, stages: Sequence[StageName], steps: int | None, seconds: float | None
) -> dict[StageName, Limit]:
    """The stages that there is something to do in, in their order, and where each ends.

    >>> from latentpress.config import VQVAEConfig, PixelsConfig
    >>> config = RunConfig(model=VQVAEConfig(pixels=PixelsConfig()), codec_share=0.5, decoder_share=0.6)
    >>> {name: limit.steps for name, limit in plan_stages(config, STAGES, 100, None).items()}
    {'codec': 20, 'prior': 20, 'decoder': 60}
    """
    if not stages or not set(stages) <= set(STAGES):
        raise ConfigError(f"stages: some of {', '.join(STAGES)}, got {', '.join(stages) or 'none'}")
    if steps is not None and seconds is not None:
        raise ConfigError("give a limit in steps or in seconds, not both")
    if any(limit is not None and limit <= 0 for limit in (steps, seconds)):
        raise ConfigError("the limit of a training must be positive")
    names: list[StageName] = [name for name in STAGES if name in stages and name in _possible(config)]
    if not names:
        raise ConfigError(_missing(config, stages[0]))
    if steps is None and seconds is None:
        return {name: Limit(steps=stage_config(config, name).steps) for name in names}
    ends = _ends(config, names)
    if seconds is not None:
        return {name: Limit(seconds=seconds * end) for name, end in zip(names, ends, strict=True)}
    assert steps is not None
    marks = [0, *(round(steps * end) for end in ends)]
    lengths = [after - before for before, after in itertools.pairwise(marks)]
    return {name: Limit(steps=length) for name, length in zip(names, lengths, strict=True)}


def stage_config(config: RunConfig, name: StageName) -> StageConfig:
    """How a stage is trained."""
    return {"codec": config.codec, "prior": config.prior, "decoder": config.decoder}[name]


def _possible(config: RunConfig) -> set[StageName]:
    possible: set[StageName] = {"codec"}
    if isinstance(config.model, DeltaVAEConfig):
        fitted = config.model.latents is not None and config.model.auxiliary is not None
        return possible | ({"prior"} if fitted else set())
    prior = config.model.prior
    if prior is not None and prior.training == "after":
        possible.add("prior")
    if config.model.pixels is not None:
        possible.add("decoder")
    return possible


def _missing(config: RunConfig, stage: StageName) -> str:
    if isinstance(config.model, DeltaVAEConfig):
        return {
            "prior": "stage prior: the model has no auxiliary prior that could be refitted",
            "decoder": "stage decoder: a delta-VAE's decoder is trained with its encoder, in the stage codec",
        }.get(stage, f"there is no stage {stage}")
    if stage == "decoder":
        return (
            "stage decoder: this configuration has no pixels section; take the preset image-lossless, "
            "or add --set model.pixels.kind=pixels"
        )
    return f"stage {stage}: this configuration has no {stage} that is trained after the codec"


def _ends(config: RunConfig, names: Sequence[StageName]) -> list[float]:
    """The share of the whole run that is over at the end of each stage."""
    decoder = config.decoder_share if "decoder" in names and len(names) > 1 else float("decoder" in names)
    rest = 1 - decoder
    codec = rest * (config.codec_share if "prior" in names else 1.0) if "codec" in names else 0.0
    ends = {"codec": codec, "prior": rest, "decoder": 1.0}
    return [ends[name] for name in names[:-1]] + [1.0]
