"""What a grid network is made of, apart from its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentpress.autoregressive.offsets import Offset, layer_offsets, window_offsets
from latentpress.config import CausalConfig
from latentpress.errors import ConfigError

__all__ = ["NetworkStructure"]

_SCALARS = ("dims", "width", "radius", "embedding", "head_width", "context_channels", "num_classes")
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class NetworkStructure:
    """Everything about a grid network that is not a weight.

    Args:
        sizes: the alphabet of each member of a position's tuple.
        dims: 1, 2 or 3.
        width: channels of the residual stream.
        dilations: of every gated layer, one by one.
        radius: half width of the input layer's window.
        embedding: channels that describe a member to later members, or a whole position to the trunk.
        head_width: hidden units of each head.
        context_channels: channels of the context map, 0 for none.
        num_classes: number of classes, 0 for none.

    >>> structure = NetworkStructure.of(CausalConfig(depth=3, dilations=(1, 2)), sizes=(512,), dims=2)
    >>> structure.dilations
    (1, 2, 1)
    >>> NetworkStructure.from_integers(structure.integers()) == structure
    True
    """

    sizes: tuple[int, ...]
    dims: int
    width: int
    dilations: tuple[int, ...]
    radius: int
    embedding: int
    head_width: int
    context_channels: int = 0
    num_classes: int = 0

    def __post_init__(self) -> None:
        if self.dims not in (1, 2, 3):
            raise ConfigError(f"a grid has 1, 2 or 3 dimensions, got {self.dims}")
        if not 1 <= len(self.sizes) <= 64 or not all(2 <= size <= 65536 for size in self.sizes):
            raise ConfigError(f"a tuple has 1 to 64 members of 2 to 65536 symbols, got {self.sizes}")
        if not 0 <= self.context_channels <= 4096 or not 0 <= self.num_classes <= 65536:
            raise ConfigError("a grid network takes at most 4096 context channels and 65536 classes")
        seen, widest = self.radius, 2 * self.radius + 1
        for dilation in sorted(self.dilations):
            if dilation > seen or (self.dims == 3 and dilation > widest):
                raise ConfigError(f"dilations: {dilation} leaves holes; raise radius or add smaller ones")
            seen += dilation

    @classmethod
    def of(
        cls,
        config: CausalConfig,
        sizes: Sequence[int],
        dims: int,
        context_channels: int = 0,
        num_classes: int = 0,
    ) -> NetworkStructure:
        """The structure that a configuration gives for these symbols, grid and context."""
        cycle = config.dilations
        return cls(
            sizes=tuple(sizes),
            dims=dims,
            width=config.width,
            dilations=tuple(cycle[i % len(cycle)] for i in range(config.depth)),
            radius=config.radius,
            embedding=config.embedding,
            head_width=config.head_width,
            context_channels=context_channels,
            num_classes=num_classes,
        )

    @property
    def window(self) -> tuple[Offset, ...]:
        """Offsets of the input layer."""
        return window_offsets(self.dims, self.radius)

    @property
    def window_size(self) -> int:
        """How many offsets the input layer has."""
        return ((2 * self.radius + 1) ** self.dims - 1) // 2

    @property
    def layers(self) -> tuple[tuple[Offset, ...], ...]:
        """Offsets of each gated layer."""
        return tuple(layer_offsets(self.dims, dilation) for dilation in self.dilations)

    @property
    def member_embedding(self) -> int:
        """Channels that describe one member to the trunk: `embedding` divided among the members."""
        return math.ceil(self.embedding / len(self.sizes))

    @property
    def position_embedding(self) -> int:
        """Channels that describe a position to the trunk."""
        return self.member_embedding * len(self.sizes)

    def integers(self) -> list[int]:
        """The structure as a list of integers, for serialisation."""
        scalars = [getattr(self, name) for name in _SCALARS]
        return [_VERSION, *scalars, len(self.sizes), *self.sizes, len(self.dilations), *self.dilations]

    @classmethod
    def from_integers(cls, integers: Sequence[int]) -> NetworkStructure:
        """The inverse of `integers`; raises `ConfigError` for a list that it does not return."""
        version, *rest = integers or [0]
        if version != _VERSION:
            raise ConfigError(f"an exact grid of version {version}; this release reads version {_VERSION}")
        scalars, rest = rest[: len(_SCALARS)], rest[len(_SCALARS) :]
        sizes, rest = _counted(rest)
        dilations, rest = _counted(rest)
        if len(scalars) != len(_SCALARS) or rest or len(dilations) > 64:
            raise ConfigError("an exact grid's structure has the wrong length")
        values = dict(zip(_SCALARS, scalars, strict=True))
        config = CausalConfig(  # holds the ranges
            width=values["width"],
            depth=len(dilations),
            radius=values["radius"],
            dilations=dilations or (1,),
            embedding=values["embedding"],
            head_width=values["head_width"],
        )
        return cls.of(config, sizes, values["dims"], values["context_channels"], values["num_classes"])


def _counted(integers: Sequence[int]) -> tuple[tuple[int, ...], Sequence[int]]:
    count = integers[0] if integers else -1
    if not 0 <= count < len(integers):
        raise ConfigError("an exact grid's structure has the wrong length")
    return tuple(integers[1 : 1 + count]), integers[1 + count :]
