"""What a delta-VAE is made of: latents with a committed rate, encoder, decoders, auxiliary prior."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from latentpress.config.networks import (
    AnyAutoregressiveConfig,
    AutoregressiveDecoderConfig,
    CausalConfig,
    CountedDecoderConfig,
    HalfName,
    LabelConfig,
    ParallelDecoderConfig,
    check_hops,
    check_parts,
)
from latentpress.errors import ConfigError
from latentpress.items import AnyItem, Text
from latentpress.strict import POSITIVE, Bounds, Strict, require, within

__all__ = [
    "AR1Config",
    "AnnealedObjectiveConfig",
    "AnticausalConfig",
    "AuxiliaryConfig",
    "BetaObjectiveConfig",
    "DeltaVAEConfig",
    "ElboObjectiveConfig",
    "FreeBitsObjectiveConfig",
    "GaussianLatentsConfig",
    "MeanBoundConfig",
    "ObjectiveConfig",
    "PlainGaussianConfig",
    "RecurrentEncoderConfig",
    "VarianceBoundConfig",
    "VarianceRatioConfig",
]

_LARGEST_ALPHA = 0.9999  # nearer to 1 the KL, a small difference of large numbers, is no longer exact
_Channels = Annotated[int, within(1, 64)]
_Rate = Annotated[float, Bounds("above 0, up to 20", lambda value: 0 < value <= 20)]
_Hop = Annotated[tuple[int, ...], within(1, 4096)]
_HEX_32 = Bounds("32 hexadecimal digits", lambda value: re.fullmatch("[0-9a-f]{32}", value) is not None)
_Width = Annotated[int, within(1, 4096)]


@dataclass(frozen=True, kw_only=True)
class AR1Config(Strict):
    """Prior z_t = alpha z_(t-1) + noise against a posterior independent over t: the paper's family.

    `alpha` is one number for all `channels`, or one for each; -0.9999 to 0.9999, none of them 0.
    """

    kind: Literal["ar1"] = "ar1"
    channels: _Channels = 1
    alpha: float | tuple[float, ...] = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = len(self.alphas) == self.channels
        require(fits, f"alpha: one number, or one for each of {self.channels} channels")
        require(
            all(0 < abs(a) <= _LARGEST_ALPHA for a in self.alphas),
            f"alpha {self.alpha} commits no information, or is none: alpha lies between -0.9999 and 0.9999 "
            "and is not 0; the plain VAE is another kind, plain",
        )

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return self.alpha if isinstance(self.alpha, tuple) else (self.alpha,) * self.channels


@dataclass(frozen=True, kw_only=True)
class PlainGaussianConfig(Strict):
    """The plain VAE, alpha = 0: it commits nothing and is here as the control of experiments."""

    kind: Literal["plain"] = "plain"
    channels: _Channels = 1


@dataclass(frozen=True, kw_only=True)
class VarianceRatioConfig(Strict):
    """Posterior variance `ratio` times the prior's, which is 1; the encoder gives means alone."""

    kind: Literal["variance_ratio"] = "variance_ratio"
    channels: _Channels = 1
    ratio: Annotated[
        float, Bounds("positive and not 1 (which commits nothing)", lambda value: value > 0 and value != 1)
    ] = 0.25


@dataclass(frozen=True, kw_only=True)
class VarianceBoundConfig(Strict):
    """Posterior variance kept below the one whose KL at mean 0 is `rate_nats` a scalar."""

    kind: Literal["variance_bound"] = "variance_bound"
    channels: _Channels = 1
    rate_nats: _Rate = 0.25


@dataclass(frozen=True, kw_only=True)
class MeanBoundConfig(Strict):
    """Posterior mean kept as far from the prior's as its variance needs for `rate_nats` a scalar."""

    kind: Literal["mean_bound"] = "mean_bound"
    channels: _Channels = 1
    rate_nats: _Rate = 0.25


GaussianLatentsConfig = (
    AR1Config | PlainGaussianConfig | VarianceRatioConfig | VarianceBoundConfig | MeanBoundConfig
)


@dataclass(frozen=True, kw_only=True)
class AnticausalConfig(Strict):
    """An encoder of the causal network's layers, run over the reversed item.

    `hop` is how many samples a latent spans along each axis; the axes for which none is given it spans
    whole. What the layers say of those positions goes through `hidden` units to the latent's mean and
    variance.
    """

    kind: Literal["anticausal"] = "anticausal"
    hop: _Hop = (1,)
    network: CausalConfig = field(
        default_factory=lambda: CausalConfig(width=32, depth=4, radius=2, embedding=16)
    )
    hidden: _Width = 128


@dataclass(frozen=True, kw_only=True)
class RecurrentEncoderConfig(Strict):
    """A recurrent encoder: an LSTM of `width` units that reads the item from its end, a step at a time.

    `hop` as for `AnticausalConfig`.
    """

    kind: Literal["recurrent"] = "recurrent"
    hop: _Hop = (1,)
    width: _Width = 128
    embedding: _Width = 16


@dataclass(frozen=True, kw_only=True)
class AuxiliaryConfig(Strict):
    """The auxiliary prior: an LSTM of `width` units with Gaussian conditionals, a correction to AR(1)."""

    kind: Literal["lstm"] = "lstm"
    width: Annotated[int, within(1, 1024)] = 64


@dataclass(frozen=True, kw_only=True)
class ElboObjectiveConfig(Strict):
    """-log p(x | z) + KL, as it stands: the only objective of a delta-VAE."""

    kind: Literal["elbo"] = "elbo"


@dataclass(frozen=True, kw_only=True)
class FreeBitsObjectiveConfig(Strict):
    """Baseline: -log p(x | z) + max(KL, nats), KL being a batch's mean (Kingma et al., arXiv 1606.04934)."""

    kind: Literal["free_bits"] = "free_bits"
    nats: Annotated[float, POSITIVE] = 3.0


@dataclass(frozen=True, kw_only=True)
class AnnealedObjectiveConfig(Strict):
    """Baseline: the KL's weight rises from 0 to 1 over the first `share` of training (arXiv 1511.06349)."""

    kind: Literal["annealed"] = "annealed"
    share: Annotated[float, Bounds("above 0, up to 1", lambda value: 0 < value <= 1)] = 0.3


@dataclass(frozen=True, kw_only=True)
class BetaObjectiveConfig(Strict):
    """Baseline: -log p(x | z) + beta KL (Higgins et al., ICLR 2017)."""

    kind: Literal["beta"] = "beta"
    beta: Annotated[float, POSITIVE] = 0.5


ObjectiveConfig = (
    ElboObjectiveConfig | FreeBitsObjectiveConfig | AnnealedObjectiveConfig | BetaObjectiveConfig
)


@dataclass(frozen=True, kw_only=True)
class DeltaVAEConfig(Strict):
    """A delta-VAE: Gaussian latents in sequences along the items' first axis, and one decoder or both.

    Where the encoder's `hop` leaves axes open, items have exactly the size `item.size` along them.
    Without `latents` the model is the autoregressive decoder alone, a causal network or a counted one. `half`
    says that only one side of it is there, with the priors: the encoder, or the decoders. An encoder half
    knows the decoder that its codes are for by its `decoder_id`, 32 hexadecimal digits.
    """

    kind: Literal["delta-vae"] = "delta-vae"
    item: AnyItem = field(default_factory=Text)
    encoder: AnticausalConfig | RecurrentEncoderConfig = field(default_factory=AnticausalConfig)
    latents: GaussianLatentsConfig | None = field(default_factory=AR1Config)
    parallel: ParallelDecoderConfig | None = None
    autoregressive: AnyAutoregressiveConfig | None = field(default_factory=AutoregressiveDecoderConfig)
    auxiliary: AuxiliaryConfig | None = field(default_factory=AuxiliaryConfig)
    objective: ObjectiveConfig = field(default_factory=ElboObjectiveConfig)
    labels: tuple[LabelConfig, ...] = ()
    half: HalfName | None = None
    decoder_id: Annotated[str | None, _HEX_32] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parts(self.labels, self.parallel, self.autoregressive, latents=self.latents is not None)
        hop, rank = self.encoder.hop, len(self.item.axes)
        if isinstance(self.autoregressive, CountedDecoderConfig):
            kinds = ((1, (256,)), (2, (256,)), (2, (256,) * 3))
            counted = self.latents is None and (rank, self.item.alphabets) in kinds
            require(
                counted, "autoregressive: counts are for bytes, and 8-bit samples of images; without latents"
            )
        require(len(hop) <= rank, f"encoder.hop: items have {rank} axes, got {hop}")
        if self.latents is None:
            require(self.autoregressive is not None, "latents: only an autoregressive decoder does without")
            require(self.parallel is None, "parallel: a decoder that gives all at once needs latents")
            require(self.half is None, "half: without latents there are no halves")
        else:
            plain = self.latents.kind == "plain" or self.objective.kind == "elbo"
            require(plain, "objective: baselines change the plain VAE; a committed rate needs none of them")
        if len(hop) == rank or self.item.size is not None:
            check_hops(self.hop, self.parallel)
        require(self.decoder_id is None or self.half == "encoder", "decoder_id: an encoder half has it")

    @property
    def hop(self) -> tuple[int, ...]:
        """Samples that a latent spans along each axis; raises `ConfigError` where `item.size` is needed."""
        given, size = self.encoder.hop, self.item.size
        if len(given) == len(self.item.axes):
            return given
        if size is None:
            raise ConfigError("item.size: give it, since latents span whole axes of items, so of one size")
        return (*given, *size[len(given) :])
