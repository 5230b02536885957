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
from latentpress.autoregressive.cells import space_to_depth
from latentpress.autoregressive.integer.convert import TrunkConverter, units_of_hidden
from latentpress.autoregressive.integer.forward import EmulatedAffine, EmulatedTrunk, all_at_once, undisturbed
from latentpress.autoregressive.integer.tensors import trunk_specs
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.coding.gaussians import LATENT_UNIT, MEAN_BITS, SCALES, SCALES_PER_OCTAVE, UNIT_SCALE
from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import INT8_LIMIT
from latentpress.exact.distribution import Conditioning
from latentpress.exact.tensors import Spec, affine_specs, checked_against, digest, read_affine, read_structure

__all__ = ["EncoderShape", "IntegerEncoder", "IntegerPosterior", "encoder_integers"]

_CHUNK_FLOATS = 1 << 23  # of a layer's taps that are held at once
_TABLE_LIMIT = 1 << 24
_WHAT = "integer encoder"
_ENTRIES = 4096  # of the tables
_PLACES = (0, 1, 2, 3)  # rows of the bases: the first step, one inside, the last, one that is alone
_SPREAD_BITS = 4  # scales are added up in units of 2^-4 of one
_VERSION = 1
_MOST = (_VERSION, 4096, 64, 2)  # hidden, channels, params
_MOST_HOP = 65536
_MEAN_UNIT, _WIDTH_UNIT = 2.0**-8, 2.0**-7  # of the encoder's first and second number

Integers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """What an encoder is made of behind its trunk.

    Args:
        hop: samples of a cell along each axis.
        hidden: units.
        channels: latents a cell.
        params: numbers a latent, 1 or 2.
    """

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
        numbers, hop = tuple(integers[: len(_MOST)]), tuple(integers[len(_MOST) :])
        fits = len(numbers) == len(_MOST) and 1 <= len(hop) <= 3
        ranges = zip((*numbers, *hop), (*_MOST, *[_MOST_HOP] * len(hop)), strict=False)
        if not fits or not all(1 <= value <= most for value, most in ranges):
            raise ConfigError("an encoder's shape is out of range, or of another version")
        _, hidden, channels, params = numbers
        return cls(hop=hop, hidden=hidden, channels=channels, params=params)

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
        indices = self._out(units).floor_().clamp_(0, _ENTRIES - 1)
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
        scale = (spread + (1 << _SPREAD_BITS >> 1)) >> _SPREAD_BITS
        return IntegerPosterior(mean, np.broadcast_to(scale.clip(0, SCALES - 1), mean.shape))


def _places(n: int) -> list[int]:
    """The row of `bases` for every step."""
    first, inside, last, alone = _PLACES
    return [alone] if n == 1 else [first, *[inside] * (n - 2), last]


def _specs(structure: NetworkStructure, shape: EncoderShape) -> Iterator[Spec]:
    yield from trunk_specs(structure)
    yield Spec("shape", torch.int64, (len(shape.integers()),))
    inputs = math.prod(shape.hop) * (structure.width + structure.position_embedding)
    yield from affine_specs("hidden", shape.hidden, inputs)
    yield from affine_specs("out", shape.params * shape.channels, shape.hidden)
    for name in ("means", "shifts", "spreads"):
        yield Spec(name, torch.int32, (_ENTRIES,), -_TABLE_LIMIT, _TABLE_LIMIT)
    yield Spec("bases", torch.int32, (len(_PLACES), shape.channels), -_TABLE_LIMIT, _TABLE_LIMIT)


@torch.no_grad()
def encoder_integers(encoder: AnticausalEncoder, posterior: Gaussians, symbols: Tensor) -> dict[str, Tensor]:
    """The tensors of `encoder`'s integer form; see `IntegerEncoder.convert`."""
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
    return {name: value.cpu() for name, value in tensors.items()}


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
