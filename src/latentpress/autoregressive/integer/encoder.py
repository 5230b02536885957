"""The integer form of an anti-causal encoder: symbols to the posterior's means and scales, all integers.

Bits-back coding needs the posterior on both sides, so it is computed as the networks' integer forms are: with
the integers and the proof of `exact.affine`, emulated as in `integer.forward`. Over the reversed item

    h, e  the trunk's output and the position's embedding, int8
    u = clip((A [h, e] + a) >> s, 0, 127)              of all positions of a cell
    r = clip((B u + b) >> t, 0, 4095)                  what the float encoder gives: 2048 stands for 0
    mean  = means[r_m] + shifts[r_w]                   in units of 2^-6 of a latent's, as `coding.gaussians`
    scale = clip((spreads[r_w] + bases[place] + 8) >> 4, 0, 191)

Tables take the place of what a family of posteriors makes of the encoder's numbers, and are made by calling
the family itself: its mean is a function of a latent's first number, r_m, plus one of the second, r_w, if it
has one; its log-variance a function of the second plus a constant for the place of the step in the sequence.
`bases` are those of the first step, of one inside, of the last, and of one that is alone.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.integer.convert import TrunkConverter, units_of_hidden
from latentpress.autoregressive.integer.forward import EmulatedAffine, EmulatedNetwork, undisturbed
from latentpress.autoregressive.integer.tensors import trunk_specs
from latentpress.autoregressive.offsets import space_to_depth
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.coding.gaussians import LATENT_UNIT, MEAN_BITS, SCALES, SCALES_PER_OCTAVE, UNIT_SCALE
from latentpress.errors import CheckpointError
from latentpress.exact.affine import INT8_LIMIT
from latentpress.exact.distribution import Conditioning
from latentpress.exact.tensors import Spec, affine_specs, checked_against, digest, read_affine, read_structure
from latentpress.strict import require

__all__ = ["EncoderShape", "IntegerEncoder", "IntegerPosterior"]

_CHUNK_FLOATS = 1 << 23  # of a layer's taps that are held at once
_TABLE_LIMIT = 1 << 24
_WHAT = "integer encoder"
_ENTRIES = 4096  # of the tables
_SPREAD_BITS = 4  # scales are added up in units of 2^-4 of one
_VERSION = 1
_MEAN_UNIT, _WIDTH_UNIT = 2.0**-8, 2.0**-7  # of the encoder's first and second number

Integers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """What is behind an encoder's trunk: hop, hidden units, latents a cell, and 1 or 2 numbers a latent."""

    hop: tuple[int, ...]
    hidden: int
    channels: int
    params: int

    def integers(self) -> list[int]:
        """The shape as a list of integers, for serialisation."""
        return [_VERSION, self.hidden, self.channels, self.params, *self.hop]

    @classmethod
    def from_integers(cls, integers: Sequence[int]) -> EncoderShape:
        """The inverse of `integers`; raises `ConfigError` for a list that it does not return."""
        most = _VERSION, 4096, 64, 2, *[65536] * (len(integers) - 4)
        fits = 5 <= len(integers) <= 7 and all(1 <= i <= m for i, m in zip(integers, most, strict=True))
        require(fits, "an encoder's shape is out of range, or of another version")
        _, hidden, channels, params, *hop = integers
        return cls(hop=tuple(hop), hidden=hidden, channels=channels, params=params)

    @classmethod
    def of(cls, encoder: AnticausalEncoder, channels: int) -> EncoderShape:
        """That of an encoder of so many latents a cell."""
        params = encoder.out.out_features // channels
        return cls(hop=encoder.hop, hidden=encoder.hidden.out_features, channels=channels, params=params)


class _Posterior(Protocol):
    @property
    def mean(self) -> Tensor: ...
    @property
    def log_variance(self) -> Tensor: ...


Gaussians = Callable[[Tensor], _Posterior]
"""What makes a posterior, means and log-variances (B, n, d), of an encoder's numbers (B, n, params * d)."""


@dataclass(frozen=True)
class IntegerPosterior:
    """Integer Gaussians of every latent, (B, *G, d) int64, as `latentpress.coding.gaussians` takes them."""

    mean: Integers
    scale: Integers


class IntegerEncoder:
    """An anti-causal encoder in integers; `id` is 16 bytes, a hash of all of them.

    Raises:
        CheckpointError: `tensors` are not those of an integer encoder, or cannot be proven exact.
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
        self._trunk = EmulatedNetwork(self.structure, self._tensors, self.device)
        widths = (len(layer.affine.weight) for layer in self._trunk.tap_layers)
        self._widest = max(self.structure.width, *widths)
        self._hidden = EmulatedAffine.of(read_affine(self._tensors, "hidden"), self.device)
        self._out = EmulatedAffine.of(read_affine(self._tensors, "out"), self.device)

    @classmethod
    @torch.no_grad()
    def convert(cls, encoder: AnticausalEncoder, posterior: Gaussians, symbols: Tensor) -> IntegerEncoder:
        """Rounds a trained encoder, given what makes a posterior of its numbers: a latent space's method.

        It is calibrated on symbols (B, *size, P) of whole items; a few thousand positions suffice.
        """
        trunk = encoder.trunk
        embedded = trunk.embedded(symbols)
        residual = trunk.residual(embedded.flip(tuple(range(1, embedded.ndim - 1))), Conditioning())
        converter = TrunkConverter(trunk, residual)
        scales = torch.cat([converter.trunk, converter.embedding]).repeat(math.prod(encoder.hop))
        hidden = F.relu(encoder.hidden(encoder.features(symbols)))
        units = units_of_hidden(hidden, encoder.hidden, scales)
        converter.affine("hidden", encoder.hidden, scales, units)
        outputs = encoder.out.out_features
        channels = posterior(torch.zeros(1, 1, outputs)).mean.shape[-1]
        steps = torch.full((outputs,), _WIDTH_UNIT, dtype=torch.float64)
        steps[:channels] = _MEAN_UNIT
        middle = torch.full((outputs,), float(_ENTRIES // 2))
        converter.affine("out", encoder.out, units, steps.to(units), middle.to(units))
        shape = EncoderShape.of(encoder, channels)
        tables = _tables(posterior, channels, shape.params)
        tensors = {**converter.tensors, **tables, "shape": torch.tensor(shape.integers())}
        return cls({name: value.cpu() for name, value in tensors.items()}, next(encoder.parameters()).device)

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
        """The posterior of items (B, *size, P) int64, whatever the items beside an item."""
        shape, structure = self.shape, self.structure
        batch, size = symbols.shape[0], tuple(symbols.shape[1:-1])
        fits = len(size) == structure.rank and symbols.shape[-1] == len(structure.alphabets)
        if not fits or min(size) < 1:
            raise ValueError(f"the integer encoder takes no symbols of shape {tuple(symbols.shape)}")
        grid = tuple(-(-side // h) for side, h in zip(size, shape.hop, strict=True))
        indices = torch.empty(batch, *grid, shape.params * shape.channels, dtype=torch.int64)
        stride = shape.hop[0]
        most = max(1, _CHUNK_FLOATS // (math.prod(size[1:]) * self._widest))
        reach = structure.radius + sum(structure.dilations)  # along the first axis
        rows = max(stride, most // stride * stride)
        items = max(1, most // min(rows, size[0]))
        for start in range(0, size[0], rows):
            stop = min(start + rows, size[0])
            seen = min(stop + reach, size[0])  # farther on nothing changes what is wanted
            steps = slice(start // stride, -(-stop // stride))
            for first in range(0, batch, items):
                part = symbols[first : first + items, start:seen].to(self.device)
                indices[first : first + items, steps] = self._indices(part, stop - start)
        return self._posterior(indices.numpy())

    def _indices(self, symbols: Tensor, rows: int) -> Tensor:
        """The tables' indices of the first `rows` places, int64 (B, *G, params * channels) on the CPU."""
        shape = symbols.shape[:-1]
        axes = tuple(range(1, len(shape)))
        trunk = self._trunk.on(shape[1:], torch.zeros(1, 0, dtype=torch.int64, device=self.device))
        features = torch.cat(trunk.all_at_once(symbols.flip(axes), None), dim=1)
        features = features.view(*shape, -1).flip(axes)[:, :rows]
        cells = space_to_depth(features, self.shape.hop)
        units = self._hidden(cells.flatten(0, -2)).floor_().clamp_(0, INT8_LIMIT)
        indices = self._out(units).floor_().clamp_(0, _ENTRIES - 1)
        return indices.to(torch.int64).view(*cells.shape[:-1], -1).cpu()

    def _posterior(self, indices: Integers) -> IntegerPosterior:
        means, shifts, spreads, bases = (
            self._tensors[name].numpy().astype(np.int64) for name in ("means", "shifts", "spreads", "bases")
        )
        n, channels, further = indices.shape[1], self.shape.channels, [1] * (len(self.shape.hop) - 1)
        places = [3] if n == 1 else [0, *[1] * (n - 2), 2]
        mean = means[indices[..., :channels]]
        spread = bases[places].reshape(-1, *further, channels)
        if self.shape.params == 2:
            mean = mean + shifts[indices[..., channels:]]
            spread = spread + spreads[indices[..., channels:]]
        scale = (spread + (1 << _SPREAD_BITS >> 1)) >> _SPREAD_BITS
        return IntegerPosterior(mean, np.broadcast_to(scale.clip(0, SCALES - 1), mean.shape))


def _specs(structure: NetworkStructure, shape: EncoderShape) -> Iterator[Spec]:
    yield from trunk_specs(structure)
    yield Spec("shape", torch.int64, (len(shape.integers()),))
    inputs = math.prod(shape.hop) * (structure.width + structure.position_embedding)
    yield from affine_specs("hidden", shape.hidden, inputs)
    yield from affine_specs("out", shape.params * shape.channels, shape.hidden)
    for name in ("means", "shifts", "spreads"):
        yield Spec(name, torch.int32, (_ENTRIES,), -_TABLE_LIMIT, _TABLE_LIMIT)
    yield Spec("bases", torch.int32, (4, shape.channels), -_TABLE_LIMIT, _TABLE_LIMIT)


def _tables(posterior: Gaussians, channels: int, params: int) -> dict[str, Tensor]:
    """What `posterior` computes, tabulated."""
    numbers = torch.arange(_ENTRIES, dtype=torch.float64) - _ENTRIES // 2

    def tabulated(first: Tensor, second: Tensor, steps: int = 3) -> _Posterior:
        raw = torch.zeros(len(first), steps, params * channels, dtype=torch.float64)
        raw[..., :channels] = first[:, None, None]
        if params == 2:
            raw[..., channels:] = second[:, None, None]
        return posterior(raw)

    zero = torch.zeros_like(numbers)
    by_first, by_second = tabulated(numbers * _MEAN_UNIT, zero), tabulated(zero, numbers * _WIDTH_UNIT)
    three, one = (tabulated(zero[:1], zero[:1], steps).log_variance[0] for steps in (3, 1))
    means, shifts = _mean_units(by_first.mean[:, 1, 0]), _mean_units(by_second.mean[:, 1, 0])
    spreads = by_second.log_variance[:, 1, 0] - three[1, 0]
    unit = 2 * (math.log2(LATENT_UNIT) * math.log(2))  # the log-variance of one unit
    bases = torch.cat([three, one]) - unit
    return {
        "means": means,
        "shifts": shifts - means[_ENTRIES // 2],
        "spreads": _spread_units(spreads),
        "bases": _spread_units(bases) + (UNIT_SCALE << _SPREAD_BITS),
    }


def _mean_units(x: Tensor) -> Tensor:
    return torch.round(x / LATENT_UNIT * 2**MEAN_BITS).to(torch.int32)


def _spread_units(log_variance: Tensor) -> Tensor:
    octaves = log_variance / (2 * math.log(2))
    return torch.round(octaves * (SCALES_PER_OCTAVE << _SPREAD_BITS)).to(torch.int32)
