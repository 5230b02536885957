"""What a delta-VAE is made of: items, latents with a committed rate, encoder, decoder, auxiliary prior."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from latentpress.config.vqvae import CausalConfig, HalfName, ImageConfig
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
    "SequenceDecoderConfig",
    "TextConfig",
    "VarianceBoundConfig",
    "VarianceRatioConfig",
]


@dataclass(frozen=True, kw_only=True)
class TextConfig(Strict):
    """Text, or any other bytes: a sequence of symbols 0..255.

    `size` is the number of bytes that new items have unless another is asked for.
    """

    kind: Literal["text"] = "text"
    size: int | None = None

    def __post_init__(self) -> None:
        require(self.size is None or 1 <= self.size <= 1 << 28, f"size: 1 to 2^28 bytes, got {self.size}")

    @property
    def channels(self) -> Literal[1]:
        """Symbols a position: one byte."""
        return 1


def _check_channels(channels: int) -> None:
    require(1 <= channels <= 64, f"channels: 1 to 64, got {channels}")


@dataclass(frozen=True, kw_only=True)
class AR1Config(Strict):
    """Prior z_t = alpha z_(t-1) + noise against a posterior independent over t: the paper's family.

    `alpha` is one number for all `channels`, or one for each; -0.9999 to 0.9999, none of them 0.
    """

    kind: Literal["ar1"] = "ar1"
    channels: int = 1
    alpha: float | tuple[float, ...] = 0.95

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        require(
            isinstance(self.alpha, float | int) or len(self.alpha) == self.channels,
            f"alpha: one number, or one for each of {self.channels} channels",
        )
        usable = all(0 < abs(a) <= _LARGEST_ALPHA for a in self.alphas)
        require(usable, _COMMITS_NOTHING.format(f"alpha {self.alpha}"))

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (self.alpha,) * self.channels if isinstance(self.alpha, float | int) else self.alpha


_LARGEST_ALPHA = 0.9999  # nearer to 1 the KL, a small difference of large numbers, is no longer exact
_COMMITS_NOTHING = (
    "{} commits no information, or is none: alpha lies between -0.9999 and 0.9999 and is not 0; "
    "the plain VAE has a kind of its own, plain"
)


@dataclass(frozen=True, kw_only=True)
class PlainGaussianConfig(Strict):
    """The plain VAE, alpha = 0: it commits nothing and is here as the control of experiments."""

    kind: Literal["plain"] = "plain"
    channels: int = 1

    def __post_init__(self) -> None:
        _check_channels(self.channels)

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (0.0,) * self.channels


@dataclass(frozen=True, kw_only=True)
class VarianceRatioConfig(Strict):
    """Posterior variance `ratio` times the prior's, which is 1; the encoder gives means alone."""

    kind: Literal["variance_ratio"] = "variance_ratio"
    channels: int = 1
    ratio: float = 0.25

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        fits = self.ratio > 0 and self.ratio != 1
        require(fits, f"ratio: positive and not 1 (which commits nothing), got {self.ratio}")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (0.0,) * self.channels


@dataclass(frozen=True, kw_only=True)
class VarianceBoundConfig(Strict):
    """Posterior variance kept below the one whose KL at mean 0 is `rate_nats` a scalar."""

    kind: Literal["variance_bound"] = "variance_bound"
    channels: int = 1
    rate_nats: float = 0.25

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        require(0 < self.rate_nats <= 20, f"rate_nats: above 0, up to 20, got {self.rate_nats}")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (0.0,) * self.channels


@dataclass(frozen=True, kw_only=True)
class MeanBoundConfig(Strict):
    """Posterior mean kept as far from the prior's as its variance needs for `rate_nats` a scalar."""

    kind: Literal["mean_bound"] = "mean_bound"
    channels: int = 1
    rate_nats: float = 0.25

    def __post_init__(self) -> None:
        _check_channels(self.channels)
        require(0 < self.rate_nats <= 20, f"rate_nats: above 0, up to 20, got {self.rate_nats}")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The prior's coefficient of each channel."""
        return (0.0,) * self.channels


GaussianLatentsConfig = (
    AR1Config | PlainGaussianConfig | VarianceRatioConfig | VarianceBoundConfig | MeanBoundConfig
)


@dataclass(frozen=True, kw_only=True)
class AnticausalConfig(Strict):
    """An encoder of the grid network's own causal layers, run over the reversed item.

    `stride` is how far a latent reaches along the first axis: rows of an image, bytes of a text. What the
    layers say of those positions goes through `hidden` units to the latent's mean and variance.
    """

    kind: Literal["anticausal"] = "anticausal"
    stride: int = 1
    width: int = 32
    depth: int = 4
    radius: int = 2
    dilations: tuple[int, ...] = (1, 2)
    embedding: int = 16
    hidden: int = 128

    def __post_init__(self) -> None:
        require(1 <= self.stride <= 4096, f"stride: 1 to 4096, got {self.stride}")
        require(1 <= self.hidden <= 4096, f"hidden: 1 to 4096, got {self.hidden}")
        _ = self.network  # holds the other ranges

    @property
    def network(self) -> CausalConfig:
        """The causal layers' own configuration."""
        return CausalConfig(
            width=self.width,
            depth=self.depth,
            radius=self.radius,
            dilations=self.dilations,
            embedding=self.embedding,
        )


@dataclass(frozen=True, kw_only=True)
class RecurrentEncoderConfig(Strict):
    """A recurrent encoder: an LSTM of `width` units that reads the item from its end, `stride` at a time."""

    kind: Literal["recurrent"] = "recurrent"
    stride: int = 1
    width: int = 128
    embedding: int = 16

    def __post_init__(self) -> None:
        require(1 <= self.stride <= 4096, f"stride: 1 to 4096, got {self.stride}")
        for name in ("width", "embedding"):
            require(1 <= getattr(self, name) <= 4096, f"{name}: 1 to 4096, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class SequenceDecoderConfig(Strict):
    """The autoregressive decoder: a grid network that sees the latents released so far.

    `width` to `head_width` are the network's (`CausalConfig`). Its context map of `map_channels` channels a
    position is made of the last `map_past` latents through `map_width` hidden units.
    """

    kind: Literal["sequence"] = "sequence"
    width: int = 48
    depth: int = 5
    radius: int = 3
    dilations: tuple[int, ...] = (1, 2)
    embedding: int = 32
    head_width: int = 96
    map_past: int = 4
    map_width: int = 64
    map_channels: int = 16

    def __post_init__(self) -> None:
        for name in ("map_width", "map_channels"):
            require(1 <= getattr(self, name) <= 1024, f"{name}: 1 to 1024, got {getattr(self, name)}")
        require(1 <= self.map_past <= 64, f"map_past: 1 to 64, got {self.map_past}")
        _ = self.network  # holds the other ranges

    @property
    def network(self) -> CausalConfig:
        """The grid network's own configuration."""
        return CausalConfig(
            width=self.width,
            depth=self.depth,
            radius=self.radius,
            dilations=self.dilations,
            embedding=self.embedding,
            head_width=self.head_width,
        )


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
    """A delta-VAE: a sequence of Gaussian latents along the item's first axis, and an autoregressive decoder.

    Images have exactly the size `item.size`. Without `latents` the model is the decoder alone. `half` says
    that only one side of it is there, beside the priors: the encoder, or the decoder. An encoder half
    knows the exact decoder that its codes are for by its `decoder_id`, 32 hexadecimal digits.
    """

    kind: Literal["delta-vae"] = "delta-vae"
    item: ImageConfig | TextConfig = field(default_factory=TextConfig)
    encoder: AnticausalConfig | RecurrentEncoderConfig = field(default_factory=AnticausalConfig)
    latents: GaussianLatentsConfig | None = field(default_factory=AR1Config)
    decoder: SequenceDecoderConfig = field(default_factory=SequenceDecoderConfig)
    auxiliary: AuxiliaryConfig | None = field(default_factory=AuxiliaryConfig)
    objective: ObjectiveConfig = field(default_factory=ElboObjectiveConfig)
    labels: tuple[str, ...] = ()
    half: HalfName | None = None
    decoder_id: str | None = None

    def __post_init__(self) -> None:
        require(len(set(self.labels)) == len(self.labels), "labels: each may stand there once")
        require(self.half is None or self.latents is not None, "half: without latents there are no halves")
        named = self.decoder_id is None or re.fullmatch("[0-9a-f]{32}", self.decoder_id) is not None
        require(named, "decoder_id: 32 hexadecimal digits")
        require(self.decoder_id is None or self.half == "encoder", "decoder_id: an encoder half has it")
        plain = self.latents is None or self.latents.kind == "plain" or self.objective.kind == "elbo"
        require(plain, "objective: baselines change the plain VAE; a committed rate needs none of them")
