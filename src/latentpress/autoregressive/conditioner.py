"""From latents to the local conditioning of a decoder, in floating point for training.

A decoder that makes samples one after the other sees the latents as a map with the samples' grid:

    x = relu(A taps(e) + a)     taps: e of the latent positions around, zeros outside the grid
    y = B x + b                 `channels` numbers for each of the hop_1 x ... x hop_n samples of a position

and y is laid out on the samples and cut to their number. `CodeConditioner` sees codes and their vectors,
`LatentConditioner` the real latents that are released by then.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.cells import depth_to_space
from latentpress.autoregressive.offsets import Offset, shift_and_concat
from latentpress.errors import ConfigError
from latentpress.exact.affine import round_to_int8

__all__ = ["CodeConditioner", "Conditioner", "ConditionerStructure", "LatentConditioner", "LatentInput"]

_VERSION = 1


@dataclass(frozen=True, eq=False)
class LatentInput:
    """Latents as decoders take them: `vectors` (B, V, *G), and `codes` (B, *G, P) int64 if there are any."""

    vectors: Tensor
    codes: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ConditionerStructure:
    """Everything about a conditioner that is not a weight.

    Args:
        alphabets: of each of a latent position's codes.
        hop: samples that a position spans, one number an axis of the grid.
        embedding: channels that describe one code.
        width: hidden units.
        channels: channels of the map.
        past: 0 for the positions around, 3 along every axis; else so many along the first axis, the
            position itself and those before it: the latents that a causal decoder may have seen.
        neighbours: with `past`, whether a position sees 3 along every further axis, or itself alone.

    >>> structure = ConditionerStructure(alphabets=(512,), hop=(4, 4), embedding=16, width=32, channels=8)
    >>> ConditionerStructure.from_integers(structure.integers()) == structure
    True
    """

    alphabets: tuple[int, ...]
    hop: tuple[int, ...]
    embedding: int
    width: int
    channels: int
    past: int = 0
    neighbours: bool = True

    def __post_init__(self) -> None:
        fits = 1 <= len(self.alphabets) <= 64 and all(2 <= size <= 65536 for size in self.alphabets)
        fits = fits and 1 <= len(self.hop) <= 3 and all(1 <= hop <= 65536 for hop in self.hop)
        fits = fits and all(1 <= number <= 4096 for number in (self.embedding, self.width, self.channels))
        fits = fits and 0 <= self.past <= 64 and (self.past > 0 or self.neighbours)
        if not fits or self.outputs > 1 << 20:
            raise ConfigError(f"a conditioner cannot have this structure: {self}")

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """Offsets of the latent positions that a position sees, in raster order."""
        first = range(1 - self.past, 1) if self.past else (-1, 0, 1)
        further = (-1, 0, 1) if self.neighbours else (0,)
        return tuple(itertools.product(first, *[further] * (len(self.hop) - 1)))

    @property
    def before(self) -> int:
        """How many latent positions back along the first axis a position sees."""
        return self.past - 1 if self.past else 1

    @property
    def after(self) -> int:
        """How many latent positions ahead along the first axis a position sees."""
        return 0 if self.past else 1

    @property
    def inputs(self) -> int:
        """Channels of a position's taps."""
        return len(self.offsets) * len(self.alphabets) * self.embedding

    @property
    def outputs(self) -> int:
        """Numbers that a position gives: `channels` for each of its samples."""
        return math.prod(self.hop) * self.channels

    def integers(self) -> list[int]:
        """The structure as a list of integers, for serialisation."""
        numbers = self.embedding, self.width, self.channels, self.past, int(self.neighbours)
        return [_VERSION, *numbers, len(self.hop), *self.hop, *self.alphabets]

    @classmethod
    def from_integers(cls, integers: Sequence[int]) -> ConditionerStructure:
        """The inverse of `integers`; raises `ConfigError` for a list that it does not return."""
        known = len(integers) >= 8 and integers[0] == _VERSION
        if not known or integers[5] not in (0, 1) or not 1 <= integers[6] <= 3:
            raise ConfigError("a conditioner's structure is damaged, or of another version")
        embedding, width, channels, past, neighbours, rank = integers[1:7]
        return cls(
            alphabets=tuple(integers[7 + rank :]),
            hop=tuple(integers[7 : 7 + rank]),
            embedding=embedding,
            width=width,
            channels=channels,
            past=past,
            neighbours=bool(neighbours),
        )


class Conditioner(nn.Module):
    """The two layers that conditioners of both kinds have; use one of those.

    Args:
        structure: what it is made of.
    """

    def __init__(self, structure: ConditionerStructure) -> None:
        super().__init__()
        self.structure = structure
        self.hidden = nn.Linear(structure.inputs, structure.width)
        self.out = nn.Linear(structure.width, structure.outputs)
        for layer in (self.hidden, self.out):
            nn.init.normal_(layer.weight, std=math.sqrt(1 / layer.in_features))
            nn.init.zeros_(layer.bias)

    def units(self, described: Tensor) -> Tensor:
        """The hidden units (B, *G, width) of positions that (B, *G, P * embedding) describes."""
        return F.relu(self.hidden(shift_and_concat(described, self.structure.offsets)))

    def map(self, described: Tensor, size: Sequence[int]) -> Tensor:
        """The map (B, channels, *size)."""
        return depth_to_space(self.out(self.units(described)), self.structure.hop, size)


class CodeConditioner(Conditioner):
    """Codes and their vectors to a map, by two layers that see 3 positions along every axis.

    A code p of a position is described by e_p = table_p[code] + A_p vector. The vectors are the code's, so
    that the integer form is a table again; but it is through them that gradients reach the encoder.

    Args:
        structure: what it is made of; `past` is 0.
        code_dim: channels of one code's vector.

    >>> structure = ConditionerStructure(alphabets=(8, 8), hop=(4, 4), embedding=3, width=16, channels=5)
    >>> codes, vectors = torch.zeros(2, 3, 2, 2, dtype=torch.int64), torch.zeros(2, 2 * 6, 3, 2)
    >>> CodeConditioner(structure, code_dim=6)(codes, vectors, (10, 7)).shape
    torch.Size([2, 5, 10, 7])
    """

    def __init__(self, structure: ConditionerStructure, code_dim: int) -> None:
        super().__init__(structure)
        channels = structure.embedding
        self.code_dim = code_dim
        self.embeddings = nn.ModuleList(nn.Embedding(size, channels) for size in structure.alphabets)
        self.projections = nn.ModuleList(
            nn.Linear(code_dim, channels, bias=False) for _ in structure.alphabets
        )
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            nn.init.normal_(projection.weight, std=math.sqrt(1 / code_dim))

    def forward(self, codes: Tensor, vectors: Tensor, size: Sequence[int]) -> Tensor:
        """The map (B, channels, *size).

        Args:
            codes: (B, *ceil(size / hop), P), int64.
            vectors: (B, P * code_dim, *ceil(size / hop)), those of the codes.
            size: the samples' extents.
        """
        return self.map(self._described(codes, vectors.movedim(1, -1)), size)

    def describe(self, codes: Tensor, codebook: Tensor | None) -> Tensor:
        """What describes positions with these codes: (B, *G, P * embedding).

        Args:
            codes: (B, *G, P), int64.
            codebook: the vectors of all codes, (P, K, code_dim).
        """
        assert codebook is not None
        pairs = zip(codebook, codes.unbind(-1), strict=True)
        return self._described(codes, torch.cat([vectors[code] for vectors, code in pairs], dim=-1))

    def integer_tables(self, codebook: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """What describes each code in integers: of every code int8 (K, embedding) and its columns' scales."""
        assert codebook is not None
        tables = []
        for table, project, vectors in zip(self.embeddings, self.projections, codebook, strict=True):
            assert isinstance(table, nn.Embedding)
            tables.append(round_to_int8(table.weight + project(vectors[: table.num_embeddings])))
        return tables

    def _described(self, codes: Tensor, vectors: Tensor) -> Tensor:
        by_code = vectors.unflatten(-1, (-1, self.code_dim)).unbind(-2)
        parts = zip(self.embeddings, self.projections, codes.unbind(-1), by_code, strict=True)
        return torch.cat([table(code) + project(vector) for table, project, code, vector in parts], dim=-1)


class LatentConditioner(Conditioner):
    """Real latents to a map that follows the release rule: row t of the map sees z_1 .. z_(t // hop).

    Latents need no embedding: they are numbers already. In the integer form they are integers in steps of
    `unit`, as the codes 0, 1, ..., K - 1 whose middle one stands for 0.

    Args:
        structure: with `past` at least 1 and `embedding` 1; `alphabets` are those of the codes.
        unit: the real value from one code to the next.

    >>> structure = ConditionerStructure(
    ...     alphabets=(255,) * 2, hop=(4,), embedding=1, width=16, channels=5, past=2
    ... )
    >>> conditioner = LatentConditioner(structure, unit=1 / 24)
    >>> conditioner(torch.zeros(2, 2, 3), (10,)).shape
    torch.Size([2, 5, 10])
    """

    def __init__(self, structure: ConditionerStructure, unit: float) -> None:
        super().__init__(structure)
        assert structure.past >= 1 and structure.embedding == 1 and max(structure.alphabets) <= 255
        self.unit = unit

    def forward(self, z: Tensor, size: Sequence[int]) -> Tensor:
        """The map (B, channels, *size) of latents (B, d, *ceil(size / hop))."""
        return self.map(z.movedim(1, -1), size)

    def describe(self, codes: Tensor, codebook: Tensor | None = None) -> Tensor:
        """The latents (B, *G, d) that codes (B, *G, d) stand for."""
        middle = torch.tensor([size // 2 for size in self.structure.alphabets], device=codes.device)
        return (codes - middle).float() * self.unit

    def integer_tables(self, codebook: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """See `CodeConditioner.integer_tables`: here the integers are the codes' values."""
        scale = torch.tensor([self.unit], dtype=torch.float64, device=self.out.bias.device)
        tables = ((torch.arange(k, device=scale.device) - k // 2)[:, None] for k in self.structure.alphabets)
        return [(table.to(torch.int8), scale) for table in tables]
