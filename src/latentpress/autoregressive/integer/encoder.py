"""The exact form of an anti-causal encoder: samples to the posterior's means and scales, all integers.

Bits-back coding needs the posterior on both sides, so it is computed as the exact networks are: with the
integers and the proof of `quantise`, carried as in `carried`. Over the reversed item

    h, e  the trunk's output and the position's own embedding, int8
    u = clip((A [h, e] + a) >> s, 0, 127)              of all positions of a step
    r = clip((B u + b) >> t, 0, 4095)                  what the float encoder gives: 2048 stands for 0
    mean  = means[r_m] + shifts[r_w]                   in units of 2^-6 of a latent's, as `coding.gaussians`
    scale = clip((spreads[r_w] + bases[place] + 8) >> 4, 0, 191)

Tables take the place of what a family of posteriors makes of the encoder's numbers: r_m is a latent's
first, r_w its second, if it has one. `bases` are those of the first step, of one inside, of the last, and
of one that is alone.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` to `layers.I.residual` | | the trunk, as in `serial` |
| `shape` | int64 (6,) | `EncoderShape.integers` |
| `hidden` | affine (hidden, stride * across * (width + embedding)) | clipped to 0..127 |
| `out` | affine (params * channels, hidden) | indices of the tables; all means first |
| `means` | int32 (4096,) | |
| `shifts`, `spreads` | int32 (4096,) | zeros where a latent has one number |
| `bases` | int32 (4, channels) | |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latentpress.autoregressive.anticausal import AnticausalEncoder, by_step
from latentpress.autoregressive.integer.encoder_tensors import (
    ENTRIES,
    PLACES,
    SPREAD_BITS,
    EncoderShape,
    Gaussians,
    encoder_integers,
)
from latentpress.autoregressive.integer.forward import EmulatedAffine, EmulatedTrunk, all_at_once
from latentpress.autoregressive.integer.network import undisturbed
from latentpress.autoregressive.integer.tensors import (
    Spec,
    affine_specs,
    checked_against,
    digest,
    read_affine,
    read_structure,
    trunk_specs,
)
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.coding.gaussians import SCALES
from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import INT8_LIMIT

__all__ = ["IntegerEncoder", "IntegerPosterior"]

_CHUNK_FLOATS = 1 << 23  # of a layer's taps that are held at once
_TABLE_LIMIT = 1 << 24
_WHAT = "exact encoder"

Integers = NDArray[Any]


@dataclass(frozen=True)
class IntegerPosterior:
    """Integer Gaussians of every latent, (B, n, d) int64, as `latentpress.coding.gaussians` takes them."""

    mean: Integers
    scale: Integers


class IntegerEncoder:
    """An anti-causal encoder in integers.

    Raises:
        CheckpointError: `tensors` are not those of an exact encoder, or cannot be proven exact.

    Attributes:
        structure: what the trunk is made of.
        shape: what comes behind it.
        device: where it runs.
        id: 16 bytes, a hash of all its integers.

    >>> from types import SimpleNamespace
    >>> from latentpress.config import AnticausalConfig
    >>> config = AnticausalConfig(stride=2, width=8, depth=1, hidden=16)
    >>> encoder = AnticausalEncoder(config, sizes=(16,), across=5, dims=2, outputs=3, means=3)
    >>> standard = lambda raw: SimpleNamespace(mean=raw, log_variance=torch.zeros_like(raw))
    >>> symbols = torch.randint(16, (2, 7, 5, 1))
    >>> found = IntegerEncoder.convert(encoder, standard, symbols)(symbols)
    >>> found.mean.shape, int(found.scale.min())  # a standard deviation of 24 units: 64 + 16 log2(24)
    ((2, 4, 3), 137)
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.structure, self.shape = _structure(tensors), _shape(tensors)
        self._tensors = checked_against(_specs(self.structure, self.shape), tensors, _WHAT)
        for name in ("means", "shifts", "spreads", "bases"):
            if int(self._tensors[name].to(torch.int64).abs().max()) > _TABLE_LIMIT:
                raise CheckpointError(f"{_WHAT}: tensor {name} has a value out of range")
        self.device = torch.device(device)
        self.id = digest(self._tensors)
        self._trunk = EmulatedTrunk(self.structure, self._tensors, self.device)
        self._hidden = EmulatedAffine.of(read_affine(self._tensors, "hidden"), self.device)
        self._out = EmulatedAffine.of(read_affine(self._tensors, "out"), self.device)

    @classmethod
    def convert(cls, encoder: AnticausalEncoder, posterior: Gaussians, symbols: Tensor) -> IntegerEncoder:
        """Rounds a trained encoder.

        Args:
            encoder: in floating point.
            posterior: what makes a posterior of its numbers: a latent space's method.
            symbols: (B, *G, P) int64, whole items to calibrate on; a few thousand positions suffice.

        """
        device = next(encoder.parameters()).device
        return cls(encoder_integers(encoder, posterior, symbols), device)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> IntegerEncoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything that is not an exact encoder."""
        return cls(tensors, device)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def to(self, device: torch.device | str) -> IntegerEncoder:
        """The same encoder on another device."""
        return self if torch.device(device) == self.device else IntegerEncoder(self._tensors, device)

    def fits(self, encoder: nn.Module | None, channels: int) -> bool:
        """Whether this may be the exact form of `encoder`, of so many latents a step."""
        if not isinstance(encoder, AnticausalEncoder):
            return False
        return self.structure == encoder.trunk.structure and self.shape == EncoderShape.of(encoder, channels)

    @undisturbed
    def __call__(self, symbols: Tensor) -> IntegerPosterior:
        """The posterior of items (B, *G, P) int64.

        Neither the items beside an item nor how the work is cut changes anything.
        """
        shape, structure = self.shape, self.structure
        batch, grid = symbols.shape[0], tuple(symbols.shape[1:-1])
        fits = (
            len(grid) == structure.dims and math.prod(grid[1:]) == shape.across and min(grid, default=0) >= 1
        )
        if not fits or symbols.shape[-1] != len(structure.sizes):
            raise ValueError(f"the exact encoder takes no symbols of shape {tuple(symbols.shape)}")
        steps = -(-grid[0] // shape.stride)
        found = torch.empty(batch, steps, shape.params * shape.channels, dtype=torch.int64)
        most = max(1, _CHUNK_FLOATS // (shape.across * max(self._trunk.widest, structure.width)))
        rows = max(shape.stride, most // shape.stride * shape.stride)
        items = max(1, most // min(rows, grid[0]))
        for start in range(0, grid[0], rows):
            stop = min(start + rows, grid[0])
            seen = min(stop + self._reach, grid[0])  # farther on nothing changes what is wanted
            own = slice(start // shape.stride, -(-stop // shape.stride))
            for first in range(0, batch, items):
                part = symbols[first : first + items, start:seen].to(self.device)
                found[first : first + items, own] = self._indices(part, stop - start)
        return self._posterior(found.numpy())

    @property
    def _reach(self) -> int:
        """How many places ahead along the first axis may change what is said of one."""
        return self.structure.radius + sum(self.structure.dilations)

    def _indices(self, symbols: Tensor, rows: int) -> Tensor:
        """The tables' indices of the first `rows` places, int64 (B, steps, params * channels) on the CPU."""
        shape = symbols.shape[:-1]
        axes = tuple(range(1, len(shape)))
        members = symbols.flip(axes).flatten(0, -2).unbind(1)
        trunk = self._trunk.on(shape[1:], torch.zeros(1, dtype=torch.int64, device=self.device))
        embedded = trunk.embed(members)
        above = trunk.trunk(all_at_once(shape, embedded), None)
        told = torch.cat([above, embedded], dim=1).view(*shape, -1).flip(axes)[:, :rows]
        features = by_step(told, self.shape.stride)
        units = self._hidden(features.flatten(0, 1)).floor_().clamp_(0, INT8_LIMIT)
        indices = self._out(units).floor_().clamp_(0, ENTRIES - 1)
        return indices.to(torch.int64).view(*features.shape[:2], -1).cpu()

    def _posterior(self, indices: Integers) -> IntegerPosterior:
        channels, n = self.shape.channels, indices.shape[1]
        tables = {
            name: self._tensors[name].numpy().astype(np.int64) for name in ("means", "shifts", "spreads")
        }
        mean = tables["means"][indices[..., :channels]]
        spread = self._tensors["bases"].numpy().astype(np.int64)[_places(n)]
        if self.shape.params == 2:
            mean = mean + tables["shifts"][indices[..., channels:]]
            spread = spread + tables["spreads"][indices[..., channels:]]
        scale = (spread + (1 << SPREAD_BITS >> 1)) >> SPREAD_BITS
        return IntegerPosterior(mean, np.broadcast_to(scale.clip(0, SCALES - 1), mean.shape))


def _places(n: int) -> list[int]:
    """The row of `bases` for every step."""
    first, inside, last, alone = PLACES
    return [alone] if n == 1 else [first, *[inside] * (n - 2), last]


def _structure(tensors: Mapping[str, Tensor]) -> NetworkStructure:
    structure = read_structure(tensors, _WHAT)
    if structure.context_channels or structure.num_classes:
        raise CheckpointError(f"{_WHAT}: its trunk is told more than the symbols")
    return structure


def _shape(tensors: Mapping[str, Tensor]) -> EncoderShape:
    integers = tensors.get("shape")
    if integers is None or integers.dtype != torch.int64 or integers.ndim != 1 or integers.numel() > 16:
        raise CheckpointError(f"{_WHAT}: its shape is missing or damaged")
    try:
        return EncoderShape.from_integers(integers.tolist())
    except ConfigError as error:
        raise CheckpointError(f"{_WHAT}: {error}") from None


def _specs(structure: NetworkStructure, shape: EncoderShape) -> Iterator[Spec]:
    """Name, type and shape of every tensor."""
    yield from trunk_specs(structure)
    yield "shape", (torch.int64, (len(shape.integers()),))
    inputs = shape.stride * shape.across * (structure.width + structure.position_embedding)
    yield from affine_specs("hidden", shape.hidden, inputs)
    yield from affine_specs("out", shape.params * shape.channels, shape.hidden)
    for name in ("means", "shifts", "spreads"):
        yield name, (torch.int32, (ENTRIES,))
    yield "bases", (torch.int32, (len(PLACES), shape.channels))
