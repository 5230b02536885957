"""How a model is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from latentpress.config.deltavae import DeltaVAEConfig
from latentpress.config.vqvae import VQVAEConfig
from latentpress.strict import BELOW_ONE, FRACTION, POSITIVE, Strict, require, within

__all__ = ["AnyModelConfig", "RunConfig", "StageConfig"]

AnyModelConfig = VQVAEConfig | DeltaVAEConfig

_Count = Annotated[int, within(1)]


@dataclass(frozen=True, kw_only=True)
class StageConfig(Strict):
    """How one stage is trained.

    `crop` is the extent of the random pieces cut from items, in samples along each axis: one number for
    all, or one an axis. `flip` mirrors half of them, if the items' kind allows that. `learning_rate` rises
    linearly over `warmup` steps and falls to a hundredth along a half cosine. `average_decay` is the decay
    of the moving average of the weights that the finished model keeps; 0 turns it off. `accumulate`
    micro-batches of `batch_size` items make one optimiser step.
    """

    batch_size: _Count = 128
    accumulate: _Count = 1
    crop: Annotated[int | tuple[int, ...], within(1)] = 128
    flip: bool = True
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    weight_decay: Annotated[float, within(0)] = 0.0
    warmup: Annotated[int, within(0)] = 100
    clip_norm: Annotated[float, POSITIVE] = 1.0
    average_decay: Annotated[float, BELOW_ONE] = 0.999
    steps: _Count = 5000

    def extents(self, rank: int) -> tuple[int, ...]:
        """`crop` along each of so many axes; raises `ConfigError` where it is for another number of them."""
        crop = self.crop if isinstance(self.crop, tuple) else (self.crop,) * rank
        require(len(crop) == rank, f"crop: items have {rank} axes, got {self.crop}")
        return crop


@dataclass(frozen=True, kw_only=True)
class RunConfig(Strict):
    """A model and the training of its stages.

    `decoder` is the training of decoders that are fitted to a finished codec, `encoder` that of an
    encoder. Of a `--time` or `--steps` for several stages the decoder has `decoder_share`, and of the rest
    the codec `codec_share`.
    """

    model: AnyModelConfig = field(default_factory=VQVAEConfig)
    codec: StageConfig = field(default_factory=StageConfig)
    prior: StageConfig = field(default_factory=StageConfig)
    decoder: StageConfig = field(default_factory=StageConfig)
    encoder: StageConfig = field(default_factory=StageConfig)
    codec_share: Annotated[float, FRACTION] = 0.6
    decoder_share: Annotated[float, FRACTION] = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.model.half is None, "model.half: whole models are trained, and split afterwards")
