"""What a delta-VAE is made of: latents with a committed rate, encoder, decoders, auxiliary prior."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from latentpress.config.networks import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    HalfName,
    LabelConfig,
    ParallelDecoderConfig,
    check_parts,
)
from latentpress.errors import ConfigError
from latentpress.items import AnyItem, Text
from latentpress.strict import Strict, require

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
_COMMITS_NOTHING = (
    "{} commits no information, or is none: alpha lies between -0.9999 and 0.9999 and is not 0; "
    "the plain VAE is another kind, plain"
)


class _Gaussian(Strict):
    """What all families share: latent sequences in so many `channels`."""

    channels: int

    def __post_init__(self) -> None:
        require(1 <= self.channels <= 64, f"channels: 1 to 64, got {self.channels}")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (0.0,) * self.channels


@dataclass(frozen=True, kw_only=True)
class AR1Config(_Gaussian):
    """Prior z_t = alpha z_(t-1) + noise against a posterior independent over t: the paper's family.

    `alpha` is one number for all `channels`, or one for each; -0.9999 to 0.9999, none of them 0.
    """

    kind: Literal["ar1"] = "ar1"
    channels: int = 1
    alpha: float | tuple[float, ...] = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = isinstance(self.alpha, float | int) or len(self.alpha) == self.channels
        require(fits, f"alpha: one number, or one for each of {self.channels} channels")
        usable = all(0 < abs(a) <= _LARGEST_ALPHA for a in self.alphas)
        require(usable, _COMMITS_NOTHING.format(f"alpha {self.alpha}"))

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (self.alpha,) * self.channels if isinstance(self.alpha, float | int) else self.alpha


@dataclass(frozen=True, kw_only=True)
class PlainGaussianConfig(_Gaussian):
    """The plain VAE, alpha = 0: it commits nothing and is here as the control of experiments."""

    kind: Literal["plain"] = "plain"
    channels: int = 1


@dataclass(frozen=True, kw_only=True)
class VarianceRatioConfig(_Gaussian):
    """Posterior variance `ratio` times the prior's, which is 1; the encoder gives means alone."""

    kind: Literal["variance_ratio"] = "variance_ratio"
    channels: int = 1
    ratio: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.ratio > 0 and self.ratio != 1
        require(fits, f"ratio: positive and not 1 (which commits nothing), got {self.ratio}")


@dataclass(frozen=True, kw_only=True)
class VarianceBoundConfig(_Gaussian):
    """Posterior variance kept below the one whose KL at mean 0 is `rate_nats` a scalar."""

    kind: Literal["variance_bound"] = "variance_bound"
    channels: int = 1
    rate_nats: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.rate_nats <= 20, f"rate_nats: above 0, up to 20, got {self.rate_nats}")


@dataclass(frozen=True, kw_only=True)
class MeanBoundConfig(_Gaussian):
    """Posterior mean kept as far from the prior's as its variance needs for `rate_nats` a scalar."""

    kind: Literal["mean_bound"] = "mean_bound"
    channels: int = 1
    rate_nats: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.rate_nats <= 20, f"rate_nats: above 0, up to 20, got {self.rate_nats}")


GaussianLatentsConfig = (
    AR1Config | PlainGaussianConfig | VarianceRatioConfig | VarianceBoundConfig | MeanBoundConfig
)


def _check_hop(hop: tuple[int, ...]) -> None:
    require(bool(hop) and all(1 <= h <= 4096 for h in hop), f"hop: 1 to 4096 an axis, got {hop}")


@dataclass(frozen=True, kw_only=True)
class AnticausalConfig(Strict):
    """An encoder of the causal network's layers, run over the reversed item.

    `hop` is how many samples a latent spans along each axis; the axes for which none is given it spans
    whole. What the layers say of those positions goes through `hidden` units to the latent's mean and
    variance.
    """

    kind: Literal["anticausal"] = "anticausal"
    hop: tuple[int, ...] = (1,)
    network: CausalConfig = field(
        default_factory=lambda: CausalConfig(width=32, depth=4, radius=2, embedding=16)
    )
    hidden: int = 128

    def __post_init__(self) -> None:
        _check_hop(self.hop)
        require(1 <= self.hidden <= 4096, f"hidden: 1 to 4096, got {self.hidden}")


@dataclass(frozen=True, kw_only=True)
class RecurrentEncoderConfig(Strict):
    """A recurrent encoder: an LSTM of `width` units that reads the item from its end, a step at a time.

    `hop` as for `AnticausalConfig`.
    """

    kind: Literal["recurrent"] = "recurrent"
    hop: tuple[int, ...] = (1,)
    width: int = 128
    embedding: int = 16

    def __post_init__(self) -> None:
        _check_hop(self.hop)
        for name in ("width", "embedding"):
            require(1 <= getattr(self, name) <= 4096, f"{name}: 1 to 4096, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class AuxiliaryConfig(Strict):
    """The auxiliary prior: an LSTM of `width` units with Gaussian conditionals, a correction to AR(1)."""

    kind: Literal["lstm"] = "lstm"
    width: int = 64

    def __post_init__(self) -> None:
        require(1 <= self.width <= 1024, f"width: 1 to 1024, got {self.width}")


@dataclass(frozen=True, kw_only=True)
class ElboObjectiveConfig(Strict):
    """-log p(x | z) + KL, as it stands: the only objective of a delta-VAE."""

    kind: Literal["elbo"] = "elbo"


@dataclass(frozen=True, kw_only=True)
class FreeBitsObjectiveConfig(Strict):
    """Baseline: -log p(x | z) + max(KL, nats), KL being a batch's mean (Kingma et al., arXiv 1606.04934)."""

    kind: Literal["free_bits"] = "free_bits"
    nats: float = 3.0

    def __post_init__(self) -> None:
        require(self.nats > 0, f"nats: positive, got {self.nats}")


@dataclass(frozen=True, kw_only=True)
class AnnealedObjectiveConfig(Strict):
    """Baseline: the KL's weight rises from 0 to 1 over the first `share` of training (arXiv 1511.06349)."""

    kind: Literal["annealed"] = "annealed"
    share: float = 0.3

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"share: above 0, up to 1, got {self.share}")


@dataclass(frozen=True, kw_only=True)
class BetaObjectiveConfig(Strict):
    """Baseline: -log p(x | z) + beta KL (Higgins et al., ICLR 2017)."""

    kind: Literal["beta"] = "beta"
    beta: float = 0.5

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta: positive, got {self.beta}")


ObjectiveConfig = (
    ElboObjectiveConfig | FreeBitsObjectiveConfig | AnnealedObjectiveConfig | BetaObjectiveConfig
)


@dataclass(frozen=True, kw_only=True)
class DeltaVAEConfig(Strict):
    """A delta-VAE: Gaussian latents in sequences along the items' first axis, and one decoder or both.

    Where the encoder's `hop` leaves axes open, items have exactly the size `item.size` along them.
    Without `latents` the model is the autoregressive decoder alone. `half` says that only one side of it
    is there, with the priors: the encoder, or the decoders. An encoder half knows the decoder that its
    codes are for by its `decoder_id`, 32 hexadecimal digits.
    """

    kind: Literal["delta-vae"] = "delta-vae"
    item: AnyItem = field(default_factory=Text)
    encoder: AnticausalConfig | RecurrentEncoderConfig = field(default_factory=AnticausalConfig)
    latents: GaussianLatentsConfig | None = field(default_factory=AR1Config)
    parallel: ParallelDecoderConfig | None = None
    autoregressive: AutoregressiveDecoderConfig | None = field(default_factory=AutoregressiveDecoderConfig)
    auxiliary: AuxiliaryConfig | None = field(default_factory=AuxiliaryConfig)
    objective: ObjectiveConfig = field(default_factory=ElboObjectiveConfig)
    labels: tuple[LabelConfig, ...] = ()
    half: HalfName | None = None
    decoder_id: str | None = None

    def __post_init__(self) -> None:
        check_parts(self.labels, self.parallel, self.autoregressive)
        hop, rank, decoder = self.encoder.hop, len(self.item.axes), self.autoregressive
        require(len(hop) <= rank, f"encoder.hop: items have {rank} axes, got {hop}")
        if self.latents is None:
            require(decoder is not None, "latents: only an autoregressive decoder does without")
            require(self.parallel is None, "parallel: a decoder that gives all at once needs latents")
            require(self.half is None, "half: without latents there are no halves")
        else:
            plain = self.latents.kind == "plain" or self.objective.kind == "elbo"
            require(plain, "objective: baselines change the plain VAE; a committed rate needs none of them")
            reads = self.parallel is not None or (decoder is not None and decoder.use_latents)
            require(reads, "autoregressive.use_latents: the only decoder needs them")
        if self.parallel is not None and (len(hop) == rank or self.item.size is not None):
            other = self.parallel.network.hop(rank)
            require(
                self.hop == other, f"the hops of encoder and parallel decoder differ: {self.hop} and {other}"
            )
        named = self.decoder_id is None or re.fullmatch("[0-9a-f]{32}", self.decoder_id) is not None
        require(named, "decoder_id: 32 hexadecimal digits")
        require(self.decoder_id is None or self.half == "encoder", "decoder_id: an encoder half has it")

    @property
    def hop(self) -> tuple[int, ...]:
        """Samples that a latent spans along each axis.

        Raises:
            ConfigError: only `item.size` can say, and there is none.
        """
        given, size = self.encoder.hop, self.item.size
        if len(given) == len(self.item.axes):
            return given
        if size is None:
            raise ConfigError(
                "item.size: latents span whole axes of items, so that these have one size; give it"
            )
        return (*given, *size[len(given) :])
