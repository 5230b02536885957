"""The integer form of an anti-causal encoder: symbols to the posterior's means and scales, all integers.

Bits-back coding needs the posterior on both sides, so it is computed as the networks' integer forms are: with
the integers and the proof of `exact.affine`, emulated as in `integer.forward`. Over the reversed item

    h, e  the trunk's output and the position's embedding, int8
    u = clip((A [h, e] + a) >> s, 0, 127)              of all positions of a cell
    r = clip((B u + b) >> t, 0, 4095)                  what the float encoder gives: 2048 stands for 0
    mean  = means[r_m] + shifts[r_w]                   in units of 2^-6 of a latent's, as `coding.gaussians`
    scale = clip((spreads[r_w] + bases[place] + 8) >> 4, 0, 191)

Tables take the place of what a family of posteriors makes of the encoder's numbers: r_m is a latent's
first, r_w its second, if it has one. `bases` are those of the first step, of one inside, of the last, and
of one that is alone.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` to `layers.I.residual` | | the trunk, as in `integer.tensors` |
| `shape` | int64 (n,) | `EncoderShape.integers` |
| `hidden` | affine (hidden, prod(hop) * (width + embedding)) | clipped to 0..127 |
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

from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.cells import space_to_depth
from latentpress.autoregressive.integer.encoder_convert import (
    ENTRIES,
    PLACES,
    SPREAD_BITS,
    EncoderShape,
    Gaussians,
    encoder_integers,
)
from latentpress.autoregressive.integer.forward import EmulatedAffine, EmulatedTrunk, all_at_once, undisturbed
from latentpress.autoregressive.integer.tensors import trunk_specs
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.coding.gaussians import SCALES
from latentpress.errors import CheckpointError
from latentpress.exact.affine import INT8_LIMIT
from latentpress.exact.tensors import Spec, affine_specs, checked_against, digest, read_affine, read_structure

__all__ = ["IntegerEncoder", "IntegerPosterior"]

_CHUNK_FLOATS = 1 << 23  # of a layer's taps that are held at once
_TABLE_LIMIT = 1 << 24
_WHAT = "integer encoder"

Integers = NDArray[Any]


@dataclass(frozen=True)
class IntegerPosterior:
    """Integer Gaussians of every latent, (B, *G, d) int64, as `latentpress.coding.gaussians` takes them."""

    mean: Integers
    scale: Integers


class IntegerEncoder:
    """An anti-causal encoder in integers.

    Raises:
        CheckpointError: `tensors` are not those of an integer encoder, or cannot be proven exact.

    Attributes:
        structure: what the trunk is made of.
        shape: what comes behind it.
        device: where it runs.
        id: 16 bytes, a hash of all its integers.

    >>> from types import SimpleNamespace
    >>> from latentpress.config import AnticausalConfig
    >>> encoder = AnticausalEncoder(AnticausalConfig(), alphabets=(16,), hop=(2, 5), outputs=3, means=3)
    >>> standard = lambda raw: SimpleNamespace(mean=raw, log_variance=torch.zeros_like(raw))
    >>> symbols = torch.randint(16, (2, 7, 5, 1))
    >>> posterior = IntegerEncoder.convert(encoder, standard, symbols)(symbols)
    >>> posterior.mean.shape, int(posterior.scale.min())  # a deviation of 24 units: 64 + 16 log2(24)
    ((2, 4, 1, 3), 137)
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.structure = read_structure(tensors, NetworkStructure.from_integers, _WHAT)
        self.shape = read_structure(tensors, EncoderShape.from_integers, _WHAT, "shape")
        conditioned = self.structure.context_channels or self.structure.label_sizes
        if conditioned or self.structure.rank != len(self.shape.hop):
            raise CheckpointError(f"{_WHAT}: its trunk is conditioned, or of another rank")
        self._tensors = checked_against(_specs(self.structure, self.shape), tensors, _WHAT)
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
            symbols: (B, *size, P) int64, whole items to calibrate on; a few thousand positions suffice.
        """
        device = next(encoder.parameters()).device
        return cls(encoder_integers(encoder, posterior, symbols), device)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> IntegerEncoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything that is not an integer encoder."""
        return cls(tensors, device)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def to(self, device: torch.device | str) -> IntegerEncoder:
        """The same encoder on another device."""
        return self if torch.device(device) == self.device else IntegerEncoder(self._tensors, device)

    def fits(self, encoder: nn.Module | None, channels: int) -> bool:
        """Whether this may be the integer form of `encoder`, of so many latents a cell."""
        if not isinstance(encoder, AnticausalEncoder):
            return False
        return self.structure == encoder.trunk.structure and self.shape == EncoderShape.of(encoder, channels)

    @undisturbed
    def __call__(self, symbols: Tensor) -> IntegerPosterior:
        """The posterior of items (B, *size, P) int64.

        Neither the items beside an item nor how the work is cut changes anything.
        """
        shape, structure = self.shape, self.structure
        batch, size = symbols.shape[0], tuple(symbols.shape[1:-1])
        fits = len(size) == structure.rank and symbols.shape[-1] == len(structure.alphabets)
        if not fits or min(size) < 1:
            raise ValueError(f"the integer encoder takes no symbols of shape {tuple(symbols.shape)}")
        grid = tuple(-(-side // h) for side, h in zip(size, shape.hop, strict=True))
        indices = torch.empty(batch, *grid, shape.params * shape.channels, dtype=torch.int64)
        stride = shape.hop[0]
        most = max(1, _CHUNK_FLOATS // (math.prod(size[1:]) * max(self._trunk.widest, structure.width)))
        rows = max(stride, most // stride * stride)
        items = max(1, most // min(rows, size[0]))
        for start in range(0, size[0], rows):
            stop = min(start + rows, size[0])
            seen = min(stop + self._reach, size[0])  # farther on nothing changes what is wanted
            steps = slice(start // stride, -(-stop // stride))
            for first in range(0, batch, items):
                part = symbols[first : first + items, start:seen].to(self.device)
                indices[first : first + items, steps] = self._indices(part, stop - start)
        return self._posterior(indices.numpy())

    @property
    def _reach(self) -> int:
        """How many places ahead along the first axis may change what is given at one."""
        return self.structure.radius + sum(self.structure.dilations)

    def _indices(self, symbols: Tensor, rows: int) -> Tensor:
        """The tables' indices of the first `rows` places, int64 (B, *G, params * channels) on the CPU."""
        shape = symbols.shape[:-1]
        axes = tuple(range(1, len(shape)))
        components = symbols.flip(axes).flatten(0, -2).unbind(1)
        trunk = self._trunk.on(shape[1:], torch.zeros(1, 0, dtype=torch.int64, device=self.device))
        embedded = trunk.embed(components)
        above = trunk.trunk(all_at_once(shape, embedded), None)
        features = torch.cat([above, embedded], dim=1).view(*shape, -1).flip(axes)[:, :rows]
        cells = space_to_depth(features, self.shape.hop)
        units = self._hidden(cells.flatten(0, -2)).floor_().clamp_(0, INT8_LIMIT)
        indices = self._out(units).floor_().clamp_(0, ENTRIES - 1)
        return indices.to(torch.int64).view(*cells.shape[:-1], -1).cpu()

    def _posterior(self, indices: Integers) -> IntegerPosterior:
        tables = {
            name: self._tensors[name].numpy().astype(np.int64)
            for name in ("means", "shifts", "spreads", "bases")
        }
        channels, further = self.shape.channels, [1] * (len(self.shape.hop) - 1)
        mean = tables["means"][indices[..., :channels]]
        spread = tables["bases"][_places(indices.shape[1])].reshape(-1, *further, channels)
        if self.shape.params == 2:
            mean = mean + tables["shifts"][indices[..., channels:]]
            spread = spread + tables["spreads"][indices[..., channels:]]
        scale = (spread + (1 << SPREAD_BITS >> 1)) >> SPREAD_BITS
        return IntegerPosterior(mean, np.broadcast_to(scale.clip(0, SCALES - 1), mean.shape))


def _places(n: int) -> list[int]:
    """The row of `bases` for every step."""
    first, inside, last, alone = PLACES
    return [alone] if n == 1 else [first, *[inside] * (n - 2), last]


def _specs(structure: NetworkStructure, shape: EncoderShape) -> Iterator[Spec]:
    yield from trunk_specs(structure)
    yield Spec("shape", torch.int64, (len(shape.integers()),))
    inputs = math.prod(shape.hop) * (structure.width + structure.position_embedding)
    yield from affine_specs("hidden", shape.hidden, inputs)
    yield from affine_specs("out", shape.params * shape.channels, shape.hidden)
    for name in ("means", "shifts", "spreads"):
        yield Spec(name, torch.int32, (ENTRIES,), -_TABLE_LIMIT, _TABLE_LIMIT)
    yield Spec("bases", torch.int32, (len(PLACES), shape.channels), -_TABLE_LIMIT, _TABLE_LIMIT)
