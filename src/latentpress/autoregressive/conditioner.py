"""From codes to a context map on the grid of samples, in floating point for training.

A decoder that makes samples one after the other sees the codes as a map with the samples' grid:

    e = embeddings of the position's codes, side by side
    x = relu(A taps(e) + a)        taps: the 3^dims codes around the position, zeros outside
    y = B x + b                    map_channels numbers for each of the hop_1 x ... x hop_dims samples

and y is laid out on the samples and cut to their number. Nothing here is causal: codes come first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.offsets import Offset, gather
from latentpress.errors import ConfigError
from latentpress.exact.affine import round_to_int8

__all__ = ["CodeConditioner", "ConditionerStructure", "LatentConditioner", "spread"]

_AROUND, _RELEASED = 1, 2  # versions of the integers: codes around a position, or those released so far


@dataclass(frozen=True, kw_only=True)
class ConditionerStructure:
    """Everything about an upsampler that is not a weight.

    Args:
        sizes: the alphabet of each of a position's codes.
        hop: samples that a code spans, one number an axis of the grid.
        embedding: channels that describe one code.
        width: hidden units.
        channels: channels of the map.
        past: 0 for the 3^dims codes around a position; else so many codes along the first axis, the
            position's own and those before it: the latents that a causal decoder may have seen.

    >>> structure = ConditionerStructure(sizes=(512,), hop=(4, 4), embedding=16, width=32, channels=8)
    >>> ConditionerStructure.from_integers(structure.integers()) == structure
    True
    """

    sizes: tuple[int, ...]
    hop: tuple[int, ...]
    embedding: int
    width: int
    channels: int
    past: int = 0

    def __post_init__(self) -> None:
        fits = 1 <= len(self.sizes) <= 64 and all(2 <= size <= 65536 for size in self.sizes)
        fits = fits and 1 <= len(self.hop) <= 3 and all(1 <= hop <= 65536 for hop in self.hop)
        fits = fits and all(1 <= number <= 4096 for number in (self.embedding, self.width, self.channels))
        fits = fits and 0 <= self.past <= 64
        if not fits or self.outputs > 1 << 20:
            raise ConfigError(f"an upsampler cannot have this structure: {self}")

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """Offsets of the codes that a position sees, in raster order."""
        if not self.past:
            return tuple(itertools.product((-1, 0, 1), repeat=len(self.hop)))
        return tuple((back, *(0,) * (len(self.hop) - 1)) for back in range(1 - self.past, 1))

    @property
    def inputs(self) -> int:
        """Channels of a position's taps."""
        return len(self.offsets) * len(self.sizes) * self.embedding

    @property
    def outputs(self) -> int:
        """Numbers that a position gives: `channels` for each of its samples."""
        return math.prod(self.hop) * self.channels

    def integers(self) -> list[int]:
        """The structure as a list of integers, for serialisation."""
        scalars = [self.embedding, self.width, self.channels]
        shape = [*scalars, len(self.hop), *self.hop, *self.sizes]
        return [_RELEASED, self.past, *shape] if self.past else [_AROUND, *shape]

    @classmethod
    def from_integers(cls, integers: Sequence[int]) -> ConditionerStructure:
        """The inverse of `integers`; raises `ConfigError` for a list that it does not return."""
        past, integers = _past(integers)
        if len(integers) < 5 or not 1 <= integers[4] <= 3:
            raise ConfigError("an upsampler's structure is damaged, or of another version")
        embedding, width, channels, dims = integers[1:5]
        hop, sizes = tuple(integers[5 : 5 + dims]), tuple(integers[5 + dims :])
        return cls(sizes=sizes, hop=hop, embedding=embedding, width=width, channels=channels, past=past)


def _past(integers: Sequence[int]) -> tuple[int, Sequence[int]]:
    """`ConditionerStructure.past`, and the integers without it."""
    if integers and integers[0] == _AROUND:
        return 0, integers
    if len(integers) > 1 and integers[0] == _RELEASED and integers[1] >= 1:
        return integers[1], integers[1:]
    raise ConfigError("an upsampler's structure is damaged, or of another version")


class CodeConditioner(nn.Module):
    """Codes to a context map, by two layers that see 3 codes along every axis.

    >>> structure = ConditionerStructure(sizes=(8, 8), hop=(4, 4), embedding=3, width=16, channels=5)
    >>> codes = torch.zeros(2, 3, 2, 2, dtype=torch.int64)
    >>> CodeConditioner(structure)(codes, (10, 7)).shape
    torch.Size([2, 5, 10, 7])
    """

    def __init__(self, structure: ConditionerStructure) -> None:
        super().__init__()
        self.structure = structure
        self.embeddings = nn.ModuleList(nn.Embedding(size, structure.embedding) for size in structure.sizes)
        self.hidden = nn.Linear(structure.inputs, structure.width)
        self.out = nn.Linear(structure.width, structure.outputs)
        for layer in (self.hidden, self.out):
            nn.init.normal_(layer.weight, std=math.sqrt(1 / layer.in_features))
            nn.init.zeros_(layer.bias)

    def forward(self, codes: Tensor, size: Sequence[int]) -> Tensor:
        """The map (B, channels, *size) of codes (B, *ceil(size / hop), P), int64."""
        return spread(self.out(self.units(codes)), self.structure.hop, size)

    def units(self, codes: Tensor) -> Tensor:
        """The hidden units (B, *G, width)."""
        members = zip(self.embeddings, codes.unbind(-1), strict=True)
        embedded = torch.cat([table(symbols) for table, symbols in members], dim=-1)
        return F.relu(self.hidden(gather(embedded, self.structure.offsets)))

    def integer_tables(self) -> list[tuple[Tensor, Tensor]]:
        """What the codes of each member stand for: int8 (K, embedding), and each column's scale."""
        return [round_to_int8(table.weight) for table in self.embeddings if isinstance(table, nn.Embedding)]

    def units_of_codes(self, codes: Tensor) -> Tensor:
        """As `units`."""
        return self.units(codes)


class LatentConditioner(nn.Module):
    """Real latents to a context map that follows the release rule: row t of the map sees z_1 .. z_(t // hop).

    Latents need no embedding: they are numbers already. In the exact form they are integers in steps of
    `unit`, as the codes 0, 1, ..., K - 1 whose middle one stands for 0.

    Args:
        structure: with `past` at least 1 and `embedding` 1; `sizes` are the alphabets of the codes.
        unit: the real value from one code to the next.

    >>> structure = ConditionerStructure(sizes=(255,) * 2, hop=(4,), embedding=1, width=16, channels=5, past=2)
    >>> upsampler = LatentConditioner(structure, unit=1 / 24)
    >>> upsampler(torch.zeros(2, 3, 2), (10,)).shape
    torch.Size([2, 5, 10])
    """

    def __init__(self, structure: ConditionerStructure, unit: float) -> None:
        super().__init__()
        assert structure.past >= 1 and structure.embedding == 1 and max(structure.sizes) <= 255
        self.structure, self.unit = structure, unit
        self.hidden = nn.Linear(structure.inputs, structure.width)
        self.out = nn.Linear(structure.width, structure.outputs)
        for layer in (self.hidden, self.out):
            nn.init.normal_(layer.weight, std=math.sqrt(1 / layer.in_features))
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, size: Sequence[int]) -> Tensor:
        """The map (B, channels, *size) of latents (B, *ceil(size / hop), d)."""
        return spread(self.out(self.units(z)), self.structure.hop, size)

    def units(self, z: Tensor) -> Tensor:
        """The hidden units (B, *G, width)."""
        return F.relu(self.hidden(gather(z, self.structure.offsets)))

    def integer_tables(self) -> list[tuple[Tensor, Tensor]]:
        """See `CodeConditioner.integer_tables`: here the integers are the codes' own."""
        device = self.out.bias.device
        scale = torch.tensor([self.unit], dtype=torch.float64, device=device)
        tables = ((torch.arange(k, device=device) - k // 2)[:, None] for k in self.structure.sizes)
        return [(table.to(torch.int8), scale) for table in tables]

    def units_of_codes(self, codes: Tensor) -> Tensor:
        """The hidden units of codes (B, *G, d), int64."""
        middle = torch.tensor([k // 2 for k in self.structure.sizes], device=codes.device)
        return self.units((codes - middle).float() * self.unit)


def spread(values: Tensor, hop: Sequence[int], size: Sequence[int]) -> Tensor:
    """Lays (B, *G, prod(hop) * C) out on the samples: (B, C, *size), what is over being cut off.

    >>> spread(torch.arange(6).view(1, 2, 3), hop=(3,), size=(5,)).tolist()
    [[[0, 1, 2, 3, 4]]]
    """
    dims, grid = len(hop), values.shape[1:-1]
    cells = values.unflatten(-1, (*hop, -1))  # (B, *G, *hop, C)
    pairs = [axis for i in range(dims) for axis in (1 + i, 1 + dims + i)]
    whole = cells.permute(0, 1 + 2 * dims, *pairs)
    whole = whole.reshape(*whole.shape[:2], *(g * h for g, h in zip(grid, hop, strict=True)))
    return whole[(slice(None), slice(None), *(slice(side) for side in size))]
