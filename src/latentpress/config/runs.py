"""How a model is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from latentpress.config.deltavae import DeltaVAEConfig
from latentpress.config.vqvae import VQVAEConfig
from latentpress.strict import Strict, require

__all__ = ["AnyModelConfig", "RunConfig", "StageConfig"]

AnyModelConfig = VQVAEConfig | DeltaVAEConfig


@dataclass(frozen=True, kw_only=True)
class StageConfig(Strict):
    """How one stage is trained.

    `crop` is the extent of the random pieces cut from items, in samples along each axis: one number for
    all, or one an axis. `flip` mirrors half of them, if the items' kind allows that.

    `learning_rate` rises linearly over `warmup` steps and falls to a hundredth along a half cosine.
    `average_decay` is the decay of the moving average of the weights that the finished model keeps;
    0 turns it off. `accumulate` micro-batches of `batch_size` items make one optimiser step.
    """

    batch_size: int = 128
    accumulate: int = 1
    crop: int | tuple[int, ...] = 128
    flip: bool = True
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 100
    clip_norm: float = 1.0
    average_decay: float = 0.999
    steps: int = 5000

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "steps"):
            require(getattr(self, name) >= 1, f"{name}: at least 1, got {getattr(self, name)}")
        crops = self.crop if isinstance(self.crop, tuple) else (self.crop,)
        require(len(crops) > 0 and min(crops) >= 1, f"crop: at least 1, got {self.crop}")
        require(self.learning_rate > 0, f"learning_rate: positive, got {self.learning_rate}")
        require(self.weight_decay >= 0, f"weight_decay: not negative, got {self.weight_decay}")
        require(self.warmup >= 0, f"warmup: not negative, got {self.warmup}")
        require(self.clip_norm > 0, f"clip_norm: positive, got {self.clip_norm}")
        require(0 <= self.average_decay < 1, f"average_decay: 0 to 1, got {self.average_decay}")

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
    codec_share: float = 0.6
    decoder_share: float = 0.6

    def __post_init__(self) -> None:
        require(self.model.half is None, "model.half: whole models are trained, and split afterwards")
        require(0 < self.decoder_share < 1, f"decoder_share: between 0 and 1, got {self.decoder_share}")
        require(0 < self.codec_share < 1, f"codec_share: between 0 and 1, got {self.codec_share}")
