"""Which stages a run has, in which order, what parts of the model each fits, and where each ends.

    codec     encoder, latents, decoders with `training="joint"`, a joint prior, and an auxiliary prior
    prior     the prior over the latents of the finished codec
    decoder   decoders of the finished codec: those with `training="after"`
    encoder   another encoder for the finished codec, whose codes keep their meaning

A run without the stage codec takes the model folder's parts as they are but for those that it fits anew:
all decoders where none has `training="after"`, and a prior that was trained jointly too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from latentpress.config import (
    AnyModelConfig,
    CountedDecoderConfig,
    CountedPriorConfig,
    DecoderName,
    PartName,
    RunConfig,
    VQVAEConfig,
)
from latentpress.errors import ConfigError
from latentpress.train.loop import Limit

__all__ = [
    "DECODERS",
    "STAGES",
    "StageName",
    "codec_decoders",
    "counts",
    "counts_alone",
    "fitted_parts",
    "plan_stages",
    "sees_latents",
    "used_parts",
]

StageName = Literal["codec", "prior", "decoder", "encoder"]
STAGES: tuple[StageName, ...] = ("codec", "prior", "decoder", "encoder")
DECODERS: tuple[DecoderName, ...] = ("parallel", "autoregressive")

_MISSING: dict[StageName, str] = {
    "codec": "no decoder that sees the latents is trained with the encoder; give one training=joint",
    "prior": "the model has no prior that could be fitted to a finished codec",
    "decoder": "no decoder is trained after the codec; give one training=after",
    "encoder": "it is for a finished codec with a decoder that sees the latents, in a run of its own",
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
    names: list[StageName] = [n for n in STAGES if n in stages and fitted_parts(config.model, n, whole=whole)]
    if not names or (whole and names[0] != "codec"):
        first = "codec" if whole else stages[0]
        raise ConfigError(f"stage {first}: {_MISSING[first]}")
    if steps is None and seconds is None:
        return {name: Limit(steps=getattr(config, name).steps) for name in names}
    ends = _ends(config, names)
    if seconds is not None:
        return {name: Limit(seconds=seconds * end) for name, end in zip(names, ends, strict=True)}
    marks = [0, *(round((steps or 0) * end) for end in ends)]
    lengths = [after - before for before, after in itertools.pairwise(marks)]
    return {name: Limit(steps=length) for name, length in zip(names, lengths, strict=True)}


def fitted_parts(model: AnyModelConfig, name: StageName, *, whole: bool) -> tuple[PartName, ...]:
    """Names of the model's parts that a stage fits, if there are any; `whole` runs have a stage codec."""
    kind: PartName = "prior" if isinstance(model, VQVAEConfig) else "auxiliary"
    section = getattr(model, kind) if model.latents is not None else None
    prior = () if section is None else (kind,)
    joint_prior = prior if getattr(section, "training", "joint") == "joint" else ()
    match name:
        case "codec" if model.latents is None:
            return _decoders(model)
        case "codec":
            decoders = _decoders(model, "joint")
            seen = any(sees_latents(model, decoder) for decoder in decoders)
            return ("encoder", "latents", *decoders, *joint_prior) if seen else ()
        case "prior":
            return () if whole and joint_prior == ("prior",) else prior
        case "decoder":
            return _decoders(model, "after") or (() if whole else _decoders(model))
        case "encoder":
            return () if whole or not codec_decoders(model) else ("encoder",)


def used_parts(model: AnyModelConfig, name: StageName) -> tuple[PartName, ...]:
    """Names of the parts of a finished codec that a stage takes as they are."""
    if name == "encoder":
        return ("latents", *codec_decoders(model))
    blind = not any(sees_latents(model, part) for part in fitted_parts(model, "decoder", whole=False))
    return () if name == "codec" or (name == "decoder" and blind) else ("encoder", "latents")


def counts(config: AnyModelConfig, name: StageName) -> bool:
    """Whether a stage counts: instead of following a gradient, or after that, see `counts_alone`."""
    if name == "prior":
        return isinstance(config, VQVAEConfig) and isinstance(config.prior, CountedPriorConfig)
    return name in ("codec", "decoder") and isinstance(config.autoregressive, CountedDecoderConfig)


def counts_alone(config: AnyModelConfig, name: StageName) -> bool:
    """Whether a stage counts, and there is no network in it to fit first."""
    prior = config.prior if name == "prior" and isinstance(config, VQVAEConfig) else None
    return counts(config, name) and getattr(prior, "network", None) is None


def codec_decoders(model: AnyModelConfig) -> tuple[DecoderName, ...]:
    """Names of the decoders that see the latents; of these the jointly trained ones, if there are any."""
    seeing: list[DecoderName] = [name for name in _decoders(model) if sees_latents(model, name)]
    return tuple(name for name in seeing if name in _decoders(model, "joint")) or tuple(seeing)


def sees_latents(model: AnyModelConfig, decoder: PartName) -> bool:
    """Whether a decoder of that name looks at the latents."""
    autoregressive = model.autoregressive is not None and model.autoregressive.use_latents
    return model.latents is not None and (decoder == "parallel" or autoregressive)


def _decoders(model: AnyModelConfig, training: str | None = None) -> tuple[DecoderName, ...]:
    """Names of the decoders that there are, of this training or of any."""
    there: list[DecoderName] = [name for name in DECODERS if getattr(model, name) is not None]
    return tuple(name for name in there if training in (None, getattr(model, name).training))


def _ends(config: RunConfig, names: Sequence[StageName]) -> list[float]:
    """The share of the whole run that is over at the end of each stage."""
    fitted = [name for name in names if not counts_alone(config.model, name) or name != "prior"]
    two = len(set(fitted) - {"decoder"}) > 1  # a prior that takes its time, and a codec or encoder
    rest = 1 - config.decoder_share * ("decoder" in names)
    prior = rest * (1 - config.codec_share * two) if "prior" in fitted else 0.0
    shares = {"decoder": config.decoder_share, "prior": prior}
    ends = itertools.accumulate(shares.get(name, rest * config.codec_share**two) for name in names)
    return [*list(ends)[:-1], 1.0]
