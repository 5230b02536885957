"""From latents to the local conditioning of a decoder, in floating point for training.

A decoder that makes samples one after the other sees the latents as a map with the samples' grid:

    x = relu(A taps(e) + a)     taps: e of the latent positions around, zeros outside the grid
    y = B x + b                 `channels` numbers for each of the hop_1 x ... x hop_n samples of a position

and y is laid out on the samples and cut to their number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.offsets import Offset, depth_to_space, shift_and_concat
from latentpress.exact.affine import round_to_int8
from latentpress.strict import require

__all__ = ["AnyConditioner", "CodeConditioner", "ConditionerStructure", "LatentConditioner", "LatentInput"]

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
        channels: those of the map.
        past: 0 for the positions around, 3 along every axis; else so many along the first axis, the
            position itself and those before it: the latents that a causal decoder may have seen.
        neighbours: with `past`, whether a position sees 3 along every further axis, or itself alone.
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
        require(fits and self.outputs <= 1 << 20, f"a conditioner cannot have this structure: {self}")

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """Offsets of the latent positions that a position sees, in raster order."""
        first = range(1 - self.past, 1) if self.past else (-1, 0, 1)
        further = (-1, 0, 1) if self.neighbours else (0,)
        return tuple(itertools.product(first, *[further] * (len(self.hop) - 1)))

    @property
    def reach(self) -> tuple[int, int]:
        """How many latent positions back and ahead along the first axis a position sees."""
        return (self.past - 1, 0) if self.past else (1, 1)

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
        known = known and integers[5] in (0, 1) and 1 <= integers[6] <= 3
        require(known, "a conditioner's structure is damaged, or of another version")
        names = "embedding", "width", "channels", "past"
        hop, alphabets = integers[7 : 7 + integers[6]], integers[7 + integers[6] :]
        numbers: dict[str, int] = dict(zip(names, integers[1:5], strict=True))
        return cls(alphabets=tuple(alphabets), hop=tuple(hop), neighbours=bool(integers[5]), **numbers)


class _Conditioner(nn.Module):
    """The two layers that conditioners of both kinds have."""

    def __init__(self, structure: ConditionerStructure) -> None:
        super().__init__()
        self.structure = structure
        self.hidden = nn.Linear(structure.inputs, structure.width)
        self.out = nn.Linear(structure.width, structure.outputs)
        for layer in (self.hidden, self.out):
            nn.init.normal_(layer.weight, std=math.sqrt(1 / layer.in_features))
            nn.init.zeros_(layer.bias)

    def forward(self, latents: LatentInput, size: Sequence[int]) -> Tensor:
        """The map (B, channels, *size) of latents on a grid G = ceil(size / hop)."""
        return depth_to_space(self.out(self.units(latents)), self.structure.hop, size)

    def units(self, latents: LatentInput) -> Tensor:
        """The hidden units (B, *G, width)."""
        return F.relu(self.hidden(shift_and_concat(self.described(latents), self.structure.offsets)))

    def described(self, latents: LatentInput) -> Tensor:
        """What the layers see of each position, (B, *G, P * embedding): numbers as they are."""
        return latents.vectors.movedim(1, -1)


class CodeConditioner(_Conditioner):
    """Codes and their vectors to a map, by two layers that see 3 positions along every axis.

    A code p of a position is described by e_p = table_p[code] + A_p vector. The vectors are the code's, so
    that the integer form is a table again; but it is through them that gradients reach the encoder.

    Args:
        structure: what it is made of; `past` is 0.
        code_dim: channels of one code's vector.
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

    def described(self, latents: LatentInput) -> Tensor:
        """What the layers see of each position, (B, *G, P * embedding)."""
        assert latents.codes is not None
        codes = latents.codes.unbind(-1)
        vectors = latents.vectors.movedim(1, -1).unflatten(-1, (-1, self.code_dim)).unbind(-2)
        parts = zip(self.embeddings, self.projections, codes, vectors, strict=True)
        return torch.cat([table(code) + project(vector) for table, project, code, vector in parts], dim=-1)

    def latents(self, codes: Tensor, codebook: Tensor | None = None) -> LatentInput:
        """The latents of codes (B, *G, P), given the vectors of all codes (P, K, code_dim)."""
        assert codebook is not None
        pairs = zip(codebook, codes.unbind(-1), strict=True)
        return LatentInput(torch.cat([table[code] for table, code in pairs], dim=-1).movedim(-1, 1), codes)

    def integer_tables(self, codebook: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """What describes each code in integers: of every code int8 (K, embedding) and its columns' scales."""
        assert codebook is not None
        tables = []
        for table, project, vectors in zip(self.embeddings, self.projections, codebook, strict=True):
            assert isinstance(table, nn.Embedding)
            tables.append(round_to_int8(table.weight + project(vectors[: table.num_embeddings])))
        return tables


class LatentConditioner(_Conditioner):
    """Real latents to a map that follows the release rule: row t of the map sees z_1 .. z_(t // hop).

    Latents need no embedding: they are numbers already. In the integer form they are integers in steps of
    `unit`, as the codes 0, 1, ..., K - 1 whose middle one stands for 0.

    Args:
        structure: with `past` at least 1 and `embedding` 1; `alphabets` are those of the codes.
        unit: the real value from one code to the next.
    """

    def __init__(self, structure: ConditionerStructure, unit: float) -> None:
        super().__init__(structure)
        assert structure.past >= 1 and structure.embedding == 1 and max(structure.alphabets) <= 255
        self.unit = unit

    def latents(self, codes: Tensor, codebook: Tensor | None = None) -> LatentInput:
        """The numbers that codes stand for."""
        middle = torch.tensor([size // 2 for size in self.structure.alphabets], device=codes.device)
        return LatentInput(((codes - middle).float() * self.unit).movedim(-1, 1))

    def integer_tables(self, codebook: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """The codes' values."""
        scale = torch.tensor([self.unit], dtype=torch.float64, device=self.out.bias.device)
        tables = ((torch.arange(k, device=scale.device) - k // 2)[:, None] for k in self.structure.alphabets)
        return [(table.to(torch.int8), scale) for table in tables]


AnyConditioner = CodeConditioner | LatentConditioner
