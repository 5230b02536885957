"""Networks that models of either kind are made of, and the labels that condition them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from latentpress.strict import POSITIVE, Strict, require, within

__all__ = [
    "MAX_COUNTED_ALPHABET",
    "MAX_COUNTED_SYMBOLS",
    "MAX_TRAINING_BYTES",
    "TRAINING_PIECE",
    "AnyAutoregressiveConfig",
    "AutoregressiveDecoderConfig",
    "CausalConfig",
    "ConvConfig",
    "CountedDecoderConfig",
    "DecoderName",
    "DiscretizedLogisticConfig",
    "GaussianConfig",
    "HalfName",
    "LabelConfig",
    "LaplaceConfig",
    "LikelihoodConfig",
    "ParallelDecoderConfig",
    "PartName",
    "check_hops",
    "check_parts",
    "label_sizes",
]

HalfName = Literal["encoder", "decoder"]
"""The sides of a model that `latentpress split` parts."""

DecoderName = Literal["parallel", "autoregressive"]
"""The decoders that a model may have, as its attributes and sections are called."""

PartName = Literal["encoder", "latents", "parallel", "autoregressive", "prior", "auxiliary"]
"""The parts that a model may have, as its attributes and sections are called."""

MAX_TRAINING_BYTES = 1 << 28
"""How much a counted decoder learns from, at most."""

MAX_COUNTED_SYMBOLS = 1 << 22
"""How many codes a counted prior learns from, at most."""

MAX_COUNTED_ALPHABET = 1 << 12
"""How many code vectors a codebook has, at most, whose codes are counted."""

TRAINING_PIECE = 1 << 16
"""Bytes of a training text that a counted decoder codes as one item, at most."""

_MAX_HOP = 4096  # samples along an axis for each latent position
_Width = Annotated[int, within(1, 4096)]


@dataclass(frozen=True, kw_only=True)
class LabelConfig(Strict):
    """A label that items have, such as "class" or "speaker", and its `values`.

    With `along` every row of an item (along the first axis) has a value of its own, such as an action.
    """

    name: str = "class"
    values: tuple[str, ...] = ()
    along: bool = False

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), f"labels.name: a plain word, got {self.name!r}")
        require(len(self.values) <= 65536, f"labels.values: at most 65536, got {len(self.values)}")
        require(len(set(self.values)) == len(self.values), "labels.values: each may stand there once")


def label_sizes(labels: Sequence[LabelConfig], names: Sequence[str]) -> tuple[int, ...]:
    """How many values each of the labels called `names` has."""
    known = {label.name: len(label.values) for label in labels}
    return tuple(known[name] for name in names)


@dataclass(frozen=True, kw_only=True)
class ConvConfig(Strict):
    """A convolutional encoder or decoder.

    `strides` are the factors of the strided convolutions, outermost (finest) first: one number for all
    axes, or one an axis; their product is the hop. After the i-th one come `depths[i]` residual blocks.
    `width` is the number of channels at the coarsest level; each finer level has half of the next one's,
    at least 32. The default is the shape of the VQ-VAE paper (arXiv 1711.00937, section 4.1).

    >>> ConvConfig(strides=((1, 2), 5), depths=(0, 1)).hop(2)
    (5, 10)
    """

    kind: Literal["conv"] = "conv"
    strides: tuple[int | tuple[int, ...], ...] = (2, 2)
    depths: Annotated[tuple[int, ...], within(0, 64)] = (0, 2)
    width: Annotated[int, within(1, 8192)] = 256
    norm: Literal["none", "channel"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= len(self.strides) <= 12, f"strides: one to twelve, got {len(self.strides)}")
        factors = [f for s in self.strides for f in (s if isinstance(s, tuple) else (s,))]
        require(all(1 <= f <= 16 for f in factors), f"strides: each is 1 to 16, got {self.strides}")
        ranks = {len(s) for s in self.strides if isinstance(s, tuple)}
        require(len(ranks) <= 1 and ranks <= {1, 2, 3}, f"strides: one number an axis, got {self.strides}")
        fits = len(self.depths) == len(self.strides)
        require(fits, f"depths: one number of residual blocks a stride, got {self.depths} for {self.strides}")
        hop = max(self.hop(next(iter(ranks), 1)))
        require(hop <= _MAX_HOP, f"strides: their product is at most {_MAX_HOP}, got {hop}")

    def strides_of(self, rank: int) -> tuple[tuple[int, ...], ...]:
        """Every stride as one number an axis; raises `ConfigError` where these are not `rank` numbers."""
        strides = tuple(s if isinstance(s, tuple) else (s,) * rank for s in self.strides)
        fits = all(len(s) == rank for s in strides)
        require(fits, f"strides: items have {rank} axes, and {self.strides} are for another number")
        return strides

    def hop(self, rank: int) -> tuple[int, ...]:
        """Samples along each axis for each latent position."""
        return tuple(math.prod(axis) for axis in zip(*self.strides_of(rank), strict=True))


@dataclass(frozen=True, kw_only=True)
class CausalConfig(Strict):
    """An autoregressive network over a grid of symbol tuples (see `latentpress.autoregressive`).

    `radius` is the half width of the window of past positions that the first layer sees, `width` the
    channels of the residual stream, `depth` the gated layers, whose dilations follow one another in
    turn, `embedding` the channels that describe a position, `head_width` the hidden units of each head.
    """

    kind: Literal["causal"] = "causal"
    width: _Width = 96
    depth: Annotated[int, within(0, 64)] = 6
    radius: Annotated[int, within(1, 64)] = 4
    dilations: Annotated[tuple[int, ...], within(1, 4096)] = (1, 2)
    embedding: _Width = 32
    head_width: _Width = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= len(self.dilations) <= 64, f"dilations: one to 64, got {len(self.dilations)}")


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(Strict):
    """Independent Gaussians; `scale` on the networks' scale -1..1, `None` to learn it."""

    kind: Literal["gaussian"] = "gaussian"
    scale: Annotated[float | None, POSITIVE] = None


@dataclass(frozen=True, kw_only=True)
class LaplaceConfig(Strict):
    """Independent Laplace distributions; `scale` as for `GaussianConfig`."""

    kind: Literal["laplace"] = "laplace"
    scale: Annotated[float | None, POSITIVE] = None


@dataclass(frozen=True, kw_only=True)
class DiscretizedLogisticConfig(Strict):
    """Logistic distributions integrated over each value of a sample, the scale predicted per sample."""

    kind: Literal["discretized_logistic"] = "discretized_logistic"


LikelihoodConfig = GaussianConfig | LaplaceConfig | DiscretizedLogisticConfig


@dataclass(frozen=True, kw_only=True)
class ParallelDecoderConfig(Strict):
    """A decoder that gives all samples at once: a convolutional network and a likelihood.

    `labels` are the names of those that condition it. `training` is joint with the encoder, or after it, to
    a finished codec.
    """

    kind: Literal["parallel"] = "parallel"
    network: ConvConfig = field(default_factory=ConvConfig)
    likelihood: LikelihoodConfig = field(default_factory=GaussianConfig)
    labels: tuple[str, ...] = ()
    training: Literal["joint", "after"] = "joint"


@dataclass(frozen=True, kw_only=True)
class AutoregressiveDecoderConfig(Strict):
    """A decoder that gives one symbol after another: a causal network over the symbols, given the latents.

    The latents reach the network as a map of `map_channels` channels a position, made through `map_width`
    hidden units: of a codebook's codes in a window of 3 a side, each as its vector and an embedding of
    `code_embedding` channels for all codes of a position together; of Gaussian latents, of the `map_past`
    steps that are released by then. Without `use_latents` it models the items alone. With `residual` its
    symbols are prediction residuals: right for photographs, wrong for digits on flat ground. `labels` and
    `training` as for `ParallelDecoderConfig`.
    """

    kind: Literal["autoregressive"] = "autoregressive"
    network: CausalConfig = field(
        default_factory=lambda: CausalConfig(width=64, depth=5, radius=3, head_width=96)
    )
    use_latents: bool = True
    residual: bool = False
    code_embedding: Annotated[int, within(1, 1024)] = 32
    map_past: Annotated[int, within(1, 64)] = 4
    map_width: Annotated[int, within(1, 1024)] = 64
    map_channels: Annotated[int, within(1, 1024)] = 16
    labels: tuple[str, ...] = ()
    training: Literal["joint", "after"] = "joint"


@dataclass(frozen=True, kw_only=True)
class CountedDecoderConfig(Strict):
    """A decoder of bytes or of images' samples that learns by counting contexts; it sees no latents.

    See `latentpress.counted`.

    It learns from `training_bytes` at most: of more texts from some, evenly chosen, and of more images from
    some rows of each. Texts are kept in the model, coded: who has the model can read them. Of images it keeps
    what was counted.
    """

    kind: Literal["counted"] = "counted"
    training_bytes: Annotated[int, within(1, MAX_TRAINING_BYTES)] = 1 << 24

    use_latents: ClassVar[bool] = False
    residual: ClassVar[bool] = False
    labels: ClassVar[tuple[str, ...]] = ()
    training: ClassVar[Literal["joint"]] = "joint"


AnyAutoregressiveConfig = AutoregressiveDecoderConfig | CountedDecoderConfig


def check_parts(
    labels: Sequence[LabelConfig],
    parallel: ParallelDecoderConfig | None,
    autoregressive: AnyAutoregressiveConfig | None,
    prior: Sequence[str] = (),
    *,
    latents: bool = True,
) -> None:
    """Raises `ConfigError` unless the parts of a model fit together.

    A decoder is trained jointly, one reads the `latents` where there are any, and the labels of the
    decoders and of the prior are among `labels`.
    """
    decoders = {"parallel": parallel, "autoregressive": autoregressive}
    parts = {name: decoder for name, decoder in decoders.items() if decoder is not None}
    require(bool(parts), "a model has a decoder: parallel, autoregressive, or both")
    joint = any(decoder.training == "joint" for decoder in parts.values())
    require(joint, "training: one decoder at least is trained jointly with the encoder")
    reads = parallel is not None or (autoregressive is not None and autoregressive.use_latents)
    require(reads or not latents, "autoregressive.use_latents: the only decoder needs them")
    names = [label.name for label in labels]
    require(len(set(names)) == len(names), "labels: each name may stand there once")
    known = {label.name for label in labels if label.values}
    for part, wanted in {**{name: d.labels for name, d in parts.items()}, "prior": prior}.items():
        for name in wanted:
            hint = "give the items one, such as a folder for each value"
            require(name in known, f"{part}.labels: no label {name!r} with values; {hint}")


def check_hops(hop: tuple[int, ...], parallel: ParallelDecoderConfig | None) -> None:
    """Raises `ConfigError` unless a parallel decoder, if there is one, has the encoder's hop."""
    other = hop if parallel is None else parallel.network.hop(len(hop))
    require(hop == other, f"the hops of encoder and parallel decoder differ: {hop} and {other}")
