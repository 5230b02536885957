"""From a trained anti-causal encoder to the integers of its integer form; see `integer.encoder`.

What a family of posteriors makes of the encoder's numbers is tabulated by calling the family itself: its mean
is a function of the first number plus one of the second, its log-variance a function of the second plus a
constant for the place of the step in the sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.integer.convert import TrunkConverter, units_of_hidden
from latentpress.coding.gaussians import LATENT_UNIT, MEAN_BITS, SCALES_PER_OCTAVE, UNIT_SCALE
from latentpress.errors import ConfigError
from latentpress.exact.distribution import Conditioning

__all__ = ["ENTRIES", "PLACES", "SPREAD_BITS", "EncoderShape", "Gaussians", "encoder_integers"]

ENTRIES = 4096
PLACES = (0, 1, 2, 3)
"""Rows of the bases: the first step, one inside, the last, one that is alone."""

SPREAD_BITS = 4
"""Scales are added up in units of 2^-4 of one."""

_VERSION = 1
_MOST = (_VERSION, 4096, 64, 2)  # hidden, channels, params
_MOST_HOP = 65536
_MEAN_UNIT, _WIDTH_UNIT = 2.0**-8, 2.0**-7  # of the encoder's first and second number


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


class Gaussians(Protocol):
    """What makes a posterior of an encoder's numbers (B, n, params * d)."""

    def __call__(self, raw: Tensor, /) -> _Posterior:
        """Means and log-variances, (B, n, d)."""
        ...


@torch.no_grad()
def encoder_integers(encoder: AnticausalEncoder, posterior: Gaussians, symbols: Tensor) -> dict[str, Tensor]:
    """The tensors of `encoder`'s integer form; see `IntegerEncoder.convert`."""
    trunk = encoder.trunk
    embedded = trunk.embedded(symbols)
    residual = trunk.residual(embedded.flip(tuple(range(1, embedded.ndim - 1))), Conditioning())
    converter = TrunkConverter(trunk, residual)
    converter.run()
    scales = torch.cat([converter.trunk, converter.embedding]).repeat(math.prod(encoder.hop))
    hidden = F.relu(encoder.hidden(encoder.features(symbols)))
    units = units_of_hidden(hidden, encoder.hidden, scales)
    converter.affine("hidden", encoder.hidden, scales, units)
    outputs = encoder.out.out_features
    channels = posterior(torch.zeros(1, 1, outputs)).mean.shape[-1]
    steps = torch.full((outputs,), _WIDTH_UNIT, dtype=torch.float64)
    steps[:channels] = _MEAN_UNIT
    middle = torch.full((outputs,), float(ENTRIES // 2))
    converter.affine("out", encoder.out, units, steps.to(units), middle.to(units))
    shape = EncoderShape.of(encoder, channels)
    tables = _tables(posterior, channels, shape.params)
    tensors = {**converter.tensors, **tables, "shape": torch.tensor(shape.integers())}
    return {name: value.cpu() for name, value in tensors.items()}


def _tables(posterior: Gaussians, channels: int, params: int) -> dict[str, Tensor]:
    """What `posterior` computes, tabulated."""
    numbers = torch.arange(ENTRIES, dtype=torch.float64) - ENTRIES // 2

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
        "shifts": shifts - means[ENTRIES // 2],
        "spreads": _spread_units(spreads),
        "bases": _spread_units(bases) + (UNIT_SCALE << SPREAD_BITS),
    }


def _mean_units(x: Tensor) -> Tensor:
    return torch.round(x / LATENT_UNIT * 2**MEAN_BITS).to(torch.int32)


def _spread_units(log_variance: Tensor) -> Tensor:
    octaves = log_variance / (2 * math.log(2))
    return torch.round(octaves * (SCALES_PER_OCTAVE << SPREAD_BITS)).to(torch.int32)
