"""Which stages a run has, in which order, what parts of the model each fits, and where each ends.

    codec     encoder, latents, the decoders with `training="joint"`; the prior too where it is trained
              jointly, and a delta-VAE's auxiliary prior beside them
    prior     the prior over the latents of the finished codec
    decoder   decoders of the finished codec: those with `training="after"`
    encoder   another encoder for the finished codec, whose codes keep their meaning

A run without the stage codec takes the model folder's parts as they are, but for those that its stages fit
anew: its stage decoder then fits all decoders where none has `training="after"`, and its stage prior a
prior that was trained jointly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from latentpress.config import AnyModelConfig, RunConfig, StageConfig, VQVAEConfig
from latentpress.errors import ConfigError
from latentpress.train.loop import Limit

__all__ = [
    "DECODERS",
    "STAGES",
    "StageName",
    "codec_decoders",
    "fitted_parts",
    "plan_stages",
    "sees_latents",
    "stage_config",
    "used_parts",
]

StageName = Literal["codec", "prior", "decoder", "encoder"]
STAGES: tuple[StageName, ...] = ("codec", "prior", "decoder", "encoder")
DECODERS = ("parallel", "autoregressive")

_MISSING: dict[StageName, str] = {
    "codec": "no decoder that sees the latents is trained with the encoder; give one training=joint",
    "prior": "the model has no prior that could be fitted to a finished codec",
    "decoder": "no decoder is trained after the codec; give one training=after",
    "encoder": "it fits an encoder to a finished codec with a decoder that sees the latents, in a run of its own",
}


def plan_stages(
    config: RunConfig, stages: Sequence[StageName], steps: int | None, seconds: float | None
) -> dict[StageName, Limit]:
    """The stages that there is something to do in, in their order, and where each ends.

    >>> from latentpress.config import AutoregressiveDecoderConfig
    >>> after = AutoregressiveDecoderConfig(training="after")
    >>> config = RunConfig(model=VQVAEConfig(autoregressive=after), codec_share=0.5, decoder_share=0.6)
    >>> {name: limit.steps for name, limit in plan_stages(config, STAGES, 100, None).items()}
    {'codec': 20, 'prior': 20, 'decoder': 60}
    """
    if not stages or not set(stages) <= set(STAGES):
        raise ConfigError(f"stages: some of {', '.join(STAGES)}, got {', '.join(stages) or 'none'}")
    if steps is not None and seconds is not None:
        raise ConfigError("give a limit in steps or in seconds, not both")
    if any(limit is not None and limit <= 0 for limit in (steps, seconds)):
        raise ConfigError("the limit of a training must be positive")
    whole = "codec" in stages
    names: list[StageName] = [
        name for name in STAGES if name in stages and fitted_parts(config.model, name, whole=whole)
    ]
    if not names or (whole and names[0] != "codec"):
        first = stages[0] if not names else "codec"
        raise ConfigError(f"stage {first}: {_MISSING[first]}")
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
    return getattr(config, name)


def fitted_parts(model: AnyModelConfig, name: StageName, *, whole: bool) -> tuple[str, ...]:
    """Names of the model's parts that a stage fits; none where there is nothing to do.

    Args:
        model: the model's configuration.
        name: of the stage.
        whole: whether the run has a stage codec.
    """
    prior = "prior" if isinstance(model, VQVAEConfig) else "auxiliary"
    alone = model.latents is None
    match name:
        case "codec" if alone:
            return ("autoregressive",)
        case "codec":
            decoders = _decoders(model, "joint")
            if not any(sees_latents(model, each) for each in decoders):
                return ()
            return ("encoder", "latents", *decoders, *((prior,) if _joint_prior(model) else ()))
        case "prior":
            there = getattr(model, prior) is not None and not alone
            later = not whole or not isinstance(model, VQVAEConfig) or not _joint_prior(model)
            return (prior,) if there and later else ()
        case "decoder":
            later = () if alone and whole else _decoders(model, "after")
            return later or (() if whole else _decoders(model))
        case "encoder":
            return () if whole or alone or not codec_decoders(model) else ("encoder",)


def used_parts(model: AnyModelConfig, name: StageName) -> tuple[str, ...]:
    """Names of the parts of a finished codec that a stage takes as they are."""
    match name:
        case "codec":
            return ()
        case "encoder":
            return ("latents", *codec_decoders(model))
        case "decoder" if not any(
            sees_latents(model, each) for each in fitted_parts(model, name, whole=False)
        ):
            return ()
        case _:
            return ("encoder", "latents")


def codec_decoders(model: AnyModelConfig) -> tuple[str, ...]:
    """Names of the decoders through which an encoder is fitted: the joint ones, or all where none is."""
    seeing = [name for name in _decoders(model) if sees_latents(model, name)]
    joint = _decoders(model, "joint")
    return tuple(name for name in seeing if name in joint) or tuple(seeing)


def sees_latents(model: AnyModelConfig, decoder: str) -> bool:
    """Whether a decoder of that name looks at the latents."""
    autoregressive = model.autoregressive is not None and model.autoregressive.use_latents
    return model.latents is not None and (decoder == "parallel" or autoregressive)


def _decoders(model: AnyModelConfig, training: str | None = None) -> tuple[str, ...]:
    """Names of the decoders that there are, of this training or of any."""
    there = {"parallel": model.parallel, "autoregressive": model.autoregressive}
    return tuple(
        name for name, part in there.items() if part is not None and training in (None, part.training)
    )


def _joint_prior(model: AnyModelConfig) -> bool:
    """Whether a prior is fitted in the stage codec."""
    if isinstance(model, VQVAEConfig):
        return model.prior is not None and model.prior.training == "joint"
    return model.auxiliary is not None


def _ends(config: RunConfig, names: Sequence[StageName]) -> list[float]:
    """The share of the whole run that is over at the end of each stage."""
    decoder = config.decoder_share if "decoder" in names and len(names) > 1 else float("decoder" in names)
    others = len(names) - ("decoder" in names)  # one alone, or a prior and a codec or encoder
    shares = {"prior": 1 - config.codec_share if others > 1 else 1.0}
    usual = config.codec_share if others > 1 else 1.0
    lengths = [decoder if name == "decoder" else (1 - decoder) * shares.get(name, usual) for name in names]
    return [*list(itertools.accumulate(lengths))[:-1], 1.0]
