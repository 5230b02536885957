"""What a VQ-VAE is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from latentpress.config.networks import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    ConvConfig,
    HalfName,
    LabelConfig,
    ParallelDecoderConfig,
    check_parts,
)
from latentpress.items import AnyItem, Image
from latentpress.strict import Strict, require

__all__ = [
    "CodeVectorsConfig",
    "CodebookConfig",
    "EMAConfig",
    "LearnedConfig",
    "PriorConfig",
    "VQVAEConfig",
]


@dataclass(frozen=True, kw_only=True)
class EMAConfig(Strict):
    """The code vectors follow debiased moving averages of the encoder's vectors that chose them."""

    kind: Literal["ema"] = "ema"
    decay: float = 0.99

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, f"decay: between 0 and 1, got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class LearnedConfig(Strict):
    """The code vectors are a parameter, moved by `weight` * ||sg[z] - e||^2 through the optimiser."""

    kind: Literal["learned"] = "learned"
    weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.weight > 0, f"weight: positive, got {self.weight}")


CodeVectorsConfig = EMAConfig | LearnedConfig


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(Strict):
    """The VQ-VAE's latent space: `num_codebooks` codebooks of `codebook_size` vectors of `code_dim`.

    Every position has `num_codebooks` latent variables, each with a codebook of its own.
    A code counts as dead, and is revived, when its average usage falls below `dead_code_threshold` times
    the uniform share; 0 turns that off.
    """

    kind: Literal["codebook"] = "codebook"
    codebook_size: int = 512
    code_dim: int = 64
    num_codebooks: int = 1
    distance: Literal["euclidean", "cosine"] = "euclidean"
    gradient: Literal["straight_through", "rotation", "index"] = "straight_through"
    vectors: CodeVectorsConfig = field(default_factory=EMAConfig)
    commitment_weight: float = 0.25
    dead_code_threshold: float = 0.03

    def __post_init__(self) -> None:
        require(2 <= self.codebook_size <= 65536, f"codebook_size: 2 to 65536, got {self.codebook_size}")
        require(1 <= self.code_dim <= 4096, f"code_dim: 1 to 4096, got {self.code_dim}")
        require(1 <= self.num_codebooks <= 64, f"num_codebooks: 1 to 64, got {self.num_codebooks}")
        require(0 <= self.commitment_weight <= 100, "commitment_weight: 0 to 100 (0.1 to 2.0 is usual)")
        require(
            0 <= self.dead_code_threshold < 1, f"dead_code_threshold: 0 to 1, got {self.dead_code_threshold}"
        )


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
    prior: PriorConfig | None = field(default_factory=PriorConfig)
    labels: tuple[LabelConfig, ...] = ()
    half: HalfName | None = None

    def __post_init__(self) -> None:
        labels = self.prior.labels if self.prior is not None else ()
        check_parts(self.labels, self.parallel, self.autoregressive, labels)
        hop, decoder = self.encoder.hop(self.rank), self.autoregressive
        if self.parallel is not None:
            other = self.parallel.network.hop(self.rank)
            require(hop == other, f"the hops of encoder and parallel decoder differ: {hop} and {other}")
        reads = self.parallel is not None or (decoder is not None and decoder.use_latents)
        require(reads, "autoregressive.use_latents: the only decoder needs them")

    @property
    def rank(self) -> int:
        """Axes of the items."""
        return len(self.item.axes)
