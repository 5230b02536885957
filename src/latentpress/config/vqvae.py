"""What a model is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from latentpress.strict import Strict, require

__all__ = [
    "CausalConfig",
    "CodeVectorsConfig",
    "CodebookConfig",
    "ConvConfig",
    "DiscretizedLogisticConfig",
    "EMAConfig",
    "GaussianConfig",
    "HalfName",
    "ImageConfig",
    "LaplaceConfig",
    "LearnedConfig",
    "LikelihoodConfig",
    "PixelsConfig",
    "VQVAEConfig",
]


HalfName = Literal["encoder", "decoder"]
"""The sides of a model that `latentpress split` parts."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Strict):
    """Images of 8 bits a channel: `channels` is 1 (grey) or 3 (RGB).

    `size` is the (height, width) in pixels in which new images are made unless one is asked for.
    """

    kind: Literal["image"] = "image"
    channels: Literal[1, 3] = 3
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        require(all(1 <= side <= 65536 for side in self.size or ()), f"size: 1 to 65536, got {self.size}")


@dataclass(frozen=True, kw_only=True)
class ConvConfig(Strict):
    """A convolutional encoder or decoder.

    `strides` are the factors of the strided convolutions, outermost (finest) first; their product is
    the hop length. After the i-th one come `depths[i]` residual blocks. `width` is the number of
    channels at the coarsest level; each finer level has half of the next one's, at least 32.
    The default is the shape of the VQ-VAE paper (arXiv 1711.00937, section 4.1).
    """

    kind: Literal["conv"] = "conv"
    strides: tuple[int, ...] = (2, 2)
    depths: tuple[int, ...] = (0, 2)
    width: int = 256
    norm: Literal["none", "channel"] = "none"

    def __post_init__(self) -> None:
        require(1 <= len(self.strides) <= 8, f"strides: one to eight, got {len(self.strides)}")
        require(
            all(1 <= s <= 8 and (s == 1 or s % 2 == 0) for s in self.strides),
            f"strides: each is 1, 2, 4, 6 or 8, got {self.strides}",
        )
        require(
            len(self.depths) == len(self.strides) and all(0 <= d <= 64 for d in self.depths),
            f"depths: one number of residual blocks (0 to 64) a stride, got {self.depths} for {self.strides}",
        )
        require(self.hop_length <= 256, f"strides: their product is at most 256, got {self.hop_length}")
        require(1 <= self.width <= 8192, f"width: 1 to 8192, got {self.width}")

    @property
    def hop_length(self) -> int:
        """Items' samples (pixels a side) per latent position."""
        return math.prod(self.strides)


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(Strict):
    """Independent Gaussians; `scale` in units of the 0..255 range divided by 127.5, `None` to learn it."""

    kind: Literal["gaussian"] = "gaussian"
    scale: float | None = None

    def __post_init__(self) -> None:
        require(self.scale is None or self.scale > 0, f"scale: positive or null, got {self.scale}")


@dataclass(frozen=True, kw_only=True)
class LaplaceConfig(Strict):
    """Independent Laplace distributions; `scale` as for `GaussianConfig`."""

    kind: Literal["laplace"] = "laplace"
    scale: float | None = None

    def __post_init__(self) -> None:
        require(self.scale is None or self.scale > 0, f"scale: positive or null, got {self.scale}")


@dataclass(frozen=True, kw_only=True)
class DiscretizedLogisticConfig(Strict):
    """Logistic distributions integrated over each of the 256 values, the scale predicted per sample."""

    kind: Literal["discretized_logistic"] = "discretized_logistic"


LikelihoodConfig = GaussianConfig | LaplaceConfig | DiscretizedLogisticConfig


@dataclass(frozen=True, kw_only=True)
class EMAConfig(Strict):
    """The memory follows debiased moving averages of the sums and counts of the vectors that chose it."""

    kind: Literal["moving_average"] = "moving_average"
    decay: float = 0.99

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, f"decay: between 0 and 1, got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class LearnedConfig(Strict):
    """The memory is a parameter, moved by `weight` * ||sg[z] - e||^2 through the optimiser."""

    kind: Literal["gradient"] = "gradient"
    weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.weight > 0, f"weight: positive, got {self.weight}")


CodeVectorsConfig = EMAConfig | LearnedConfig


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(Strict):
    """The VQ-VAE's latent space: a memory of `num_codebooks` x `codebook_size` vectors of `code_dim`.

    Every position has `num_codebooks` latent variables, each with its own partition of the memory.
    A code counts as dead, and is revived, when its average usage falls below `dead_code_threshold` times
    the uniform share; 0 turns that off.
    """

    kind: Literal["codebook"] = "codebook"
    codebook_size: int = 512
    code_dim: int = 64
    num_codebooks: int = 1
    distance: Literal["euclidean", "cosine"] = "euclidean"
    gradient: Literal["straight_through", "rotation", "index"] = "straight_through"
    memory: CodeVectorsConfig = field(default_factory=EMAConfig)
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
class CausalConfig(Strict):
    """An autoregressive network over a grid of symbol tuples (see `latentpress.autoregressive`).

    `radius` is the half width of the window of past positions that the first layer sees, `width` the
    channels of the residual stream, `depth` the gated layers, `head_width` the hidden units of the
    head of each tuple member. `training` says whether it is fitted after the codec or jointly with it.
    """

    kind: Literal["grid"] = "grid"
    width: int = 96
    depth: int = 6
    radius: int = 4
    dilations: tuple[int, ...] = (1, 2)
    embedding: int = 32
    head_width: int = 128
    class_conditional: bool = False
    training: Literal["after", "joint"] = "after"

    def __post_init__(self) -> None:
        for name in ("width", "embedding", "head_width"):
            require(1 <= getattr(self, name) <= 4096, f"{name}: 1 to 4096, got {getattr(self, name)}")
        require(0 <= self.depth <= 64, f"depth: 0 to 64, got {self.depth}")
        require(1 <= self.radius <= 64, f"radius: 1 to 64, got {self.radius}")
        fits = 1 <= len(self.dilations) <= 64 and all(1 <= d <= 4096 for d in self.dilations)
        require(fits, f"dilations: one to 64 of them, each 1 to 4096, got {self.dilations}")


@dataclass(frozen=True, kw_only=True)
class PixelsConfig(Strict):
    """An autoregressive decoder, which makes pressing lossless: p(pixels | codes) over 256 values a sample.

    `width`, `depth`, `radius`, `dilations`, `embedding` and `head_width` are those of its grid network
    (`CausalConfig`). The network sees the codes as a map of `map_channels` channels a pixel, which an
    upsampler makes of 3 x 3 codes: each code is embedded in `code_embedding` channels divided among the
    partitions, and between the two layers lie `map_width` hidden units. Without `use_codes` it models
    the pixels alone, and no code is coded beside them. With `differences` it models each pixel's
    difference from the plane through its neighbours (`latentpress.items.differences`): right for
    photographs, wrong for digits on flat ground. `latentpress train` looks at the data to choose.
    """

    kind: Literal["pixels"] = "pixels"
    width: int = 64
    depth: int = 5
    radius: int = 3
    dilations: tuple[int, ...] = (1, 2)
    embedding: int = 48
    head_width: int = 96
    use_codes: bool = True
    differences: bool = True
    code_embedding: int = 32
    map_width: int = 128
    map_channels: int = 24

    def __post_init__(self) -> None:
        for name in ("code_embedding", "map_width", "map_channels"):
            require(1 <= getattr(self, name) <= 1024, f"{name}: 1 to 1024, got {getattr(self, name)}")
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
class VQVAEConfig(Strict):
    """One model: encoder + latent space + decoder + prior, and `pixels` where it can press losslessly.

    `half` says that only one side of it is there: the encoder's (encoder, latent space and prior), or the
    decoder's (decoder, `pixels`, latent space and prior); the rest still says what the whole model is.
    """

    kind: Literal["vq-vae"] = "vq-vae"
    item: ImageConfig = field(default_factory=ImageConfig)
    encoder: ConvConfig = field(default_factory=ConvConfig)
    latents: CodebookConfig = field(default_factory=CodebookConfig)
    decoder: ConvConfig = field(default_factory=ConvConfig)
    likelihood: LikelihoodConfig = field(default_factory=GaussianConfig)
    prior: CausalConfig | None = field(default_factory=CausalConfig)
    pixels: PixelsConfig | None = None
    labels: tuple[str, ...] = ()
    half: HalfName | None = None

    def __post_init__(self) -> None:
        hops = (self.encoder.hop_length, self.decoder.hop_length)
        require(hops[0] == hops[1], f"encoder and decoder hop lengths differ: {hops[0]} and {hops[1]}")
        require(len(set(self.labels)) == len(self.labels), "labels: each may stand there once")
        require(
            self.prior is None or not self.prior.class_conditional or len(self.labels) > 0,
            "prior.class_conditional: no classes to tell apart; put the items into one folder a class",
        )
