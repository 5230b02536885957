"""What a VQ-VAE is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from latentpress.config.networks import (
    MAX_COUNTED_ALPHABET,
    MAX_COUNTED_SYMBOLS,
    AutoregressiveDecoderConfig,
    CausalConfig,
    ConvConfig,
    HalfName,
    LabelConfig,
    ParallelDecoderConfig,
    check_hops,
    check_parts,
)
from latentpress.items import AnyItem, Image
from latentpress.strict import BELOW_ONE, FRACTION, POSITIVE, Strict, require, within

__all__ = [
    "AnyPriorConfig",
    "CodeVectorsConfig",
    "CodebookConfig",
    "CountedPriorConfig",
    "EMAConfig",
    "LearnedConfig",
    "PriorConfig",
    "VQVAEConfig",
]


@dataclass(frozen=True, kw_only=True)
class EMAConfig(Strict):
    """The code vectors follow debiased moving averages of the encoder's vectors that chose them."""

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, FRACTION] = 0.99


@dataclass(frozen=True, kw_only=True)
class LearnedConfig(Strict):
    """The code vectors are a parameter, moved by `weight` * ||sg[z] - e||^2 through the optimiser."""

    kind: Literal["learned"] = "learned"
    weight: Annotated[float, POSITIVE] = 1.0


CodeVectorsConfig = EMAConfig | LearnedConfig


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(Strict):
    """The VQ-VAE's latent space: `num_codebooks` codebooks of `codebook_size` vectors of `code_dim`.

    Every position has `num_codebooks` latent variables, each with a codebook of its own. A code counts as
    dead, and is revived, when its average usage falls below `dead_code_threshold` times the uniform share;
    0 turns that off. A `commitment_weight` of 0.1 to 2.0 is usual.
    """

    kind: Literal["codebook"] = "codebook"
    codebook_size: Annotated[int, within(2, 65536)] = 512
    code_dim: Annotated[int, within(1, 4096)] = 64
    num_codebooks: Annotated[int, within(1, 64)] = 1
    distance: Literal["euclidean", "cosine"] = "euclidean"
    gradient: Literal["straight_through", "rotation", "index"] = "straight_through"
    vectors: CodeVectorsConfig = field(default_factory=EMAConfig)
    commitment_weight: Annotated[float, within(0, 100)] = 0.25
    dead_code_threshold: Annotated[float, BELOW_ONE] = 0.03


@dataclass(frozen=True, kw_only=True)
class PriorConfig(Strict):
    """The autoregressive prior over the codes; `labels` are the names of those that condition it.

    `training` says whether it is fitted after the codec or jointly with it.
    """

    kind: Literal["causal"] = "causal"
    network: CausalConfig = field(default_factory=CausalConfig)
    labels: tuple[str, ...] = ()
    training: Literal["after", "joint"] = "after"


@dataclass(frozen=True, kw_only=True)
class CountedPriorConfig(Strict):
    """A prior that counts contexts of the codes of a finished codec, which takes seconds.

    See `latentpress.counted`.

    With a `network` that is fitted first, its distribution is one more input of what is counted. It learns
    from `training_codes` at most, and keeps them, coded: who has the model can restore some of the items that
    it was trained on, as well as its codec restores any. `labels` are the names of those that condition it.
    """

    kind: Literal["counted"] = "counted"
    network: CausalConfig | None = None
    labels: tuple[str, ...] = ()
    training_codes: Annotated[int, within(1, MAX_COUNTED_SYMBOLS)] = 1 << 20

    training: ClassVar[Literal["after"]] = "after"


AnyPriorConfig = PriorConfig | CountedPriorConfig


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig(Strict):
    """A VQ-VAE: encoder + codebook + one decoder or both + prior.

    `half` says that only one side of it is there: the encoder's (encoder, codebook and prior), or the
    decoder's (decoders, codebook and prior); the rest still says what the whole model is.
    """

    kind: Literal["vq-vae"] = "vq-vae"
    item: AnyItem = field(default_factory=Image)
    encoder: ConvConfig = field(default_factory=ConvConfig)
    latents: CodebookConfig = field(default_factory=CodebookConfig)
    parallel: ParallelDecoderConfig | None = field(default_factory=ParallelDecoderConfig)
    autoregressive: AutoregressiveDecoderConfig | None = None
    prior: AnyPriorConfig | None = field(default_factory=PriorConfig)
    labels: tuple[LabelConfig, ...] = ()
    half: HalfName | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = self.prior.labels if self.prior is not None else ()
        check_parts(self.labels, self.parallel, self.autoregressive, labels)
        check_hops(self.encoder.hop(len(self.item.axes)), self.parallel)
        counted = isinstance(self.prior, CountedPriorConfig)
        fits = not counted or self.latents.codebook_size <= MAX_COUNTED_ALPHABET
        require(fits, f"latents.codebook_size: a counted prior takes at most {MAX_COUNTED_ALPHABET}")
