"""What a causal network is made of, apart from its weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentpress.autoregressive.offsets import Offset, layer_offsets, window_offsets
from latentpress.config import CausalConfig
from latentpress.strict import require

__all__ = ["NetworkStructure"]

_SCALARS = ("rank", "width", "radius", "embedding", "head_width", "context_channels")
_LISTS = ("alphabets", "dilations", "label_sizes")
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class NetworkStructure:
    """Everything about a causal network that is not a weight.

    Args:
        alphabets: how many symbols each component of a position's tuple has.
        rank: axes of the grid, 1, 2 or 3.
        dilations: of every gated layer, one by one.
        embedding: channels that describe a component to later components, or a whole position to the trunk.
        context_channels: channels of the local conditioning, 0 for none.
        label_sizes: how many values each label of the conditioning has.

    The others are those of `CausalConfig`.

    >>> structure = NetworkStructure.of(CausalConfig(depth=3, dilations=(1, 2)), alphabets=(512,), rank=2)
    >>> structure.dilations
    (1, 2, 1)
    """

    alphabets: tuple[int, ...]
    rank: int
    width: int
    dilations: tuple[int, ...]
    radius: int
    embedding: int
    head_width: int
    context_channels: int = 0
    label_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(self.rank in (1, 2, 3), f"a grid has 1, 2 or 3 axes, got {self.rank}")
        fits = 1 <= len(self.alphabets) <= 64 and all(2 <= size <= 65536 for size in self.alphabets)
        require(fits, f"a tuple has 1 to 64 components of 2 to 65536 symbols, got {self.alphabets}")
        fits = 0 <= self.context_channels <= 4096
        require(fits, f"local conditioning has at most 4096 channels, got {self.context_channels}")
        fits = len(self.label_sizes) <= 64 and all(1 <= size <= 65536 for size in self.label_sizes)
        require(fits, f"at most 64 labels of 1 to 65536 values condition a network: {self.label_sizes}")
        seen, widest = self.radius, 2 * self.radius + 1
        for dilation in sorted(self.dilations):
            fits = dilation <= seen and (self.rank < 3 or dilation <= widest)
            require(fits, f"dilations: {dilation} leaves holes; raise radius or add smaller ones")
            seen += dilation

    @classmethod
    def of(
        cls,
        config: CausalConfig,
        alphabets: Sequence[int],
        rank: int,
        context_channels: int = 0,
        label_sizes: Sequence[int] = (),
    ) -> NetworkStructure:
        """The structure that a configuration gives for these symbols, grid and conditioning."""
        cycle = config.dilations
        return cls(
            alphabets=tuple(alphabets),
            rank=rank,
            width=config.width,
            dilations=tuple(cycle[i % len(cycle)] for i in range(config.depth)),
            radius=config.radius,
            embedding=config.embedding,
            head_width=config.head_width,
            context_channels=context_channels,
            label_sizes=tuple(label_sizes),
        )

    @property
    def window(self) -> tuple[Offset, ...]:
        """Offsets of the input layer."""
        return window_offsets(self.rank, self.radius)

    @property
    def layers(self) -> tuple[tuple[Offset, ...], ...]:
        """Offsets of each gated layer."""
        return tuple(layer_offsets(self.rank, dilation) for dilation in self.dilations)

    @property
    def component_embedding(self) -> int:
        """Channels that describe one component to the trunk: `embedding` is divided among them."""
        return math.ceil(self.embedding / len(self.alphabets))

    @property
    def position_embedding(self) -> int:
        """Channels that describe a position to the trunk."""
        return self.component_embedding * len(self.alphabets)

    def integers(self) -> list[int]:
        """The structure as a list of integers, for serialisation."""
        lists = [(len(values), *values) for values in (getattr(self, name) for name in _LISTS)]
        return [_VERSION, *(getattr(self, name) for name in _SCALARS), *(i for part in lists for i in part)]

    @classmethod
    def from_integers(cls, integers: Sequence[int]) -> NetworkStructure:
        """The inverse of `integers`; raises `ConfigError` for a list that it does not return."""
        rest = iter(integers)
        version = next(rest, 0)
        require(
            version == _VERSION, f"an integer network of version {version}; this release reads {_VERSION}"
        )
        values = {name: next(rest, 0) for name in _SCALARS}
        alphabets, dilations, label_sizes = (
            tuple(itertools.islice(rest, max(0, next(rest, 0)))) for _ in _LISTS
        )
        config = CausalConfig(  # holds the ranges
            width=values["width"],
            depth=len(dilations),
            radius=values["radius"],
            dilations=dilations or (1,),
            embedding=values["embedding"],
            head_width=values["head_width"],
        )
        structure = cls.of(config, alphabets, values["rank"], values["context_channels"], label_sizes)
        fits = structure.integers() == list(integers) and len(dilations) <= 64
        require(fits, "an integer network's structure has the wrong length")
        return structure
