"""The prior of Gaussian latents in integers, under which quantised latents are coded and sampled.

From symbols to frequency tables there are integers only, the same on every machine and however many
sequences are worked on together: the LSTM's (`lstm_tensors`), its gates' (`coding.fixed_point`) and the
tables' (`coding.gaussians`). Sums of products are computed in float64, where they are exact.

Latents of an item are a grid (n, *cells): each cell of the axes after the first is a sequence by itself,
and the sequences do not see each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding.fixed_point import logistic
from latentpress.coding.gaussians import (
    LATENT_UNIT,
    MEAN_BITS,
    SCALES,
    SCALES_PER_OCTAVE,
    symbol_at,
    symbols_of,
)
from latentpress.coding.random_points import random_points
from latentpress.errors import ConfigError
from latentpress.exact.distribution import Conditioning, Sampling, Stream
from latentpress.exact.tensors import digest
from latentpress.latents.auxiliary import AuxiliaryPrior
from latentpress.latents.gaussian_streams import GaussianDecoder, SequenceLayout, encode_gaussians
from latentpress.latents.lstm_tensors import (
    ALPHA_BITS,
    ARGUMENT_BITS,
    INPUT_BITS,
    OUTPUT_BITS,
    SCALE_BITS,
    ar1_integers,
    checked,
    integers_of,
)

__all__ = ["IntegerLSTM"]

_CELL_BITS = 16
_CELL_LIMIT = 2**31 - 1
_MEAN_LIMIT = 2**20
_SCALE_ROOM = 23637  # round(2^8 * 16 * LOG_STD_LIMIT / ln 2): how far a scale may be from AR(1)'s, in 2^-8

Integers = NDArray[Any]
Symbols = NDArray[np.int64]


class IntegerLSTM:
    """The auxiliary prior, or AR(1) alone, over integer latents: an `IntegerDistribution`.

    Latents lie on multiples of `step` units: symbol s of 2C + 1 is q = (s - C) * step, and stands for the
    real latent q * `LATENT_UNIT`. A stream's order is that of the positions in raster order, in each that of
    the channels, in each that of the lanes.

    Attributes:
        channels: numbers a step, d.
        step: units between two symbols.
        alphabets: symbols of each channel, 2C + 1.
        id: 16 bytes, a hash of all its integers.

    >>> prior = IntegerLSTM.ar1((0.5,), step=8)
    >>> codes = prior.quantise(torch.tensor([[[1.0]], [[0.9]], [[-7.0]]]))
    >>> codes.flatten().tolist(), prior.alphabets
    ([18, 18, 0], (31,))
    >>> [(payload, bits)] = prior.encode([Stream((3,), 1, symbols=codes.numpy())])
    >>> [decoded] = prior.decode([Stream((3,), 1, payload=payload)])
    >>> len(payload), decoded.flatten().tolist()
    (4, [18, 18, 0])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        (self.channels, self._width, self.step), self._tensors = checked(tensors)
        self._size = symbols_of(self.step)
        self.alphabets = (self._size,) * self.channels
        self.id = digest(self._tensors, b"latentpress aux")
        arrays = {name: value.numpy() for name, value in self._tensors.items()}
        self._alphas, self._scales = arrays["alphas"].astype(np.int64), arrays["scales"].astype(np.int64)
        self._gates, self._corrections = (_Affine.of(arrays, name) for name in ("gates", "corrections"))

    @classmethod
    def convert(cls, auxiliary: AuxiliaryPrior, step: int) -> IntegerLSTM:
        """Rounds a trained auxiliary prior, for latents on multiples of `step`, 1 to 127."""
        return cls(integers_of(auxiliary, step))

    @classmethod
    def ar1(cls, alphas: Sequence[float], step: int) -> IntegerLSTM:
        """AR(1) alone, with one coefficient a channel; 0 makes the steps independent."""
        return cls(ar1_integers(alphas, step))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> IntegerLSTM:
        """The inverse of `tensors`; raises `CheckpointError` for anything else."""
        return cls(tensors)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, by the names that `latentpress.latents.lstm_tensors` lists."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def to(self, device: torch.device | str) -> IntegerLSTM:
        """The same distribution: it works on the CPU, whatever the device."""
        return self

    def with_step(self, step: int) -> IntegerLSTM:
        """The same prior for latents on multiples of another step."""
        structure = self._tensors["structure"].clone()
        structure[2] = step
        return IntegerLSTM({**self._tensors, "structure": structure})

    def quantise(self, z: Tensor) -> Tensor:
        """The symbols nearest to real latents, int64, of the same shape."""
        half = self._size // 2
        return torch.round(z.double() / (LATENT_UNIT * self.step)).clamp(-half, half).long() + half

    def dequantise(self, codes: Tensor) -> Tensor:
        """The real latents that symbols stand for, float32, of the same shape."""
        return ((codes - self._size // 2).double() * (self.step * LATENT_UNIT)).float()

    def walk(self, symbols: Symbols, lengths: Integers | None = None) -> Iterator[tuple[Symbols, Symbols]]:
        """Yields mean and scale (sequences, d) of every step's latents, as `coding.gaussians` takes them.

        Args:
            symbols: (steps, sequences, d); those of a step are read after its mean and scale were used, so
                that the caller may fill them in.
            lengths: (sequences,) how many steps each has, never rising; by default all. Where some have ended
                there are means and scales of the others, the first ones, alone.
        """
        output = cell = np.zeros((symbols.shape[1], self._width), np.int64)
        before = np.zeros(symbols.shape[1:], np.int64)
        for t, step in enumerate(symbols):
            active = len(step) if lengths is None else int(np.count_nonzero(lengths > t))
            before = before[:active]
            output, cell = self._read(before, output[:active], cell[:active])
            yield self._conditionals(before, output, self._scales[min(t, 1)])
            before = (step[:active] - self._size // 2) * self.step

    def _read(self, before: Symbols, output: Symbols, cell: Symbols) -> tuple[Symbols, Symbols]:
        """One step of the LSTM: its output in units of 2^-15 and its cell in 2^-16, both (sequences, width).

        `before` (sequences, d) are the latents of the step before, in units of `LATENT_UNIT`.
        """
        if not self._width:
            return output, cell
        arguments = self._gates(np.concatenate([before << INPUT_BITS, output], axis=1))
        enter, keep, new, leave = np.split(logistic()(arguments), 4, axis=1)
        bits = OUTPUT_BITS
        cell = _halved(keep * cell + enter * (2 * new - (1 << bits)) * 2, bits)
        cell = np.clip(cell, -_CELL_LIMIT, _CELL_LIMIT)
        output = _halved(leave * _tanh_of(cell >> _CELL_BITS - ARGUMENT_BITS - 1), bits)
        return np.clip(output, 1 - (1 << bits), (1 << bits) - 1), cell

    def _conditionals(self, before: Symbols, output: Symbols, scale: Symbols) -> tuple[Symbols, Symbols]:
        """Mean and scale of the next latents, given AR(1)'s scale (d,)."""
        corrections, d = self._corrections(output), self.channels
        chain = _halved(self._alphas * before << MEAN_BITS, ALPHA_BITS)
        mean = np.clip(chain + corrections[:, :d], -_MEAN_LIMIT, _MEAN_LIMIT)
        stretch = _halved(_tanh_of(corrections[:, d:]) * _SCALE_ROOM, OUTPUT_BITS)
        return mean, np.clip(_halved(scale + stretch, SCALE_BITS), 0, SCALES - 1)

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """See `IntegerDistribution.encode`."""
        layout = SequenceLayout(streams, self.channels)
        symbols, means, scales = np.zeros((3, *layout.shape), np.int64)
        for stream, part in zip(streams, layout.parts, strict=True):
            place = symbols[: stream.grid[0], part]
            place[:] = self._checked_symbols(stream).reshape(place.shape)
        for t, (mean, scale) in enumerate(self.walk(symbols, layout.lengths)):
            means[t, : len(mean)], scales[t, : len(mean)] = mean, scale
        ordered, coded = [layout.ordered(part) for part in (symbols, means, scales)], []
        for number, stream in enumerate(streams):
            place = slice(stream.grid[0]), layout.rows(number)
            given, mean, scale = (part[place].reshape(-1) for part in ordered)
            payload, bits = encode_gaussians(given, mean, scale, self.step)
            coded.append((payload, bits.reshape(-1, stream.lanes).sum(0)))
        return coded

    def _checked_symbols(self, stream: Stream) -> Symbols:
        assert stream.symbols is not None
        symbols = np.asarray(stream.symbols, np.int64)
        if symbols.size and not 0 <= int(symbols.min()) <= int(symbols.max()) < self._size:
            raise ValueError(f"symbols: a channel's alphabet is {self._size}, and one is outside")
        return symbols

    def decode(self, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
        """See `IntegerDistribution.decode`."""
        layout = SequenceLayout(streams, self.channels)
        decoder = GaussianDecoder([stream.payload for stream in streams], layout, self.step)
        symbols = np.zeros(layout.shape, np.int64)
        for t, (mean, scale) in enumerate(self.walk(symbols, layout.lengths)):
            symbols[t, : len(mean)] = decoder.take(mean, scale)
        decoded = []
        for stream, part, damaged in zip(streams, layout.parts, decoder.damaged, strict=True):
            codes = symbols[: stream.grid[0], part].reshape(-1, stream.lanes, self.channels)
            decoded.append(None if damaged else codes.astype(np.int32))
        return decoded

    def sample(
        self,
        count: int,
        grid: tuple[int, ...],
        how: Sampling,
        *,
        conditioning: Conditioning | None = None,
        prefix: Tensor | None = None,
        numbers: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """See `IntegerDistribution.sample`; nothing conditions this one.

        The temperature multiplies standard deviations, in steps of 1/16 of an octave.

        Raises:
            ConfigError: `how` chooses the likeliest symbols, which is for alphabets without an order.
        """
        if how.top_k or how.top_p < 1:
            raise ConfigError(
                "top-k and top-p are for priors over codes; Gaussian latents take a temperature"
            )
        steps, cells, d = grid[0], math.prod(grid[1:]), self.channels
        items = range(count) if numbers is None else numbers
        by_item = [random_points(how.seed, item, (steps, cells, d)) for item in items]
        points = np.array(by_item, np.int64).reshape(count, steps, cells, d).swapaxes(0, 1)
        known = np.zeros((count, 0, d), np.int64) if prefix is None else prefix.cpu().numpy()
        symbols = np.zeros((steps, count, cells, d), np.int64)
        warmer = round(SCALES_PER_OCTAVE * math.log2(how.temperature))
        for t, (mean, scale) in enumerate(self.walk(symbols.reshape(steps, count * cells, d))):
            scale = np.clip(scale + warmer, 0, SCALES - 1)
            codes = symbol_at(mean, scale, self.step, self._size, points[t].reshape(mean.shape))
            symbols[t] = codes.reshape(count, cells, d)
            given = known[:, t * cells : (t + 1) * cells]
            symbols[t, :, : given.shape[1]] = given
            if progress is not None:
                progress(codes.size)
        return torch.from_numpy(symbols.swapaxes(0, 1).reshape(count, *grid, d))


@dataclass(frozen=True, eq=False)
class _Affine:
    """((W x + half) >> shift) + bias: `weight` (in, out) float64, the others int64 (out,)."""

    weight: NDArray[np.float64]
    half: Symbols
    shift: Symbols
    bias: Symbols

    @classmethod
    def of(cls, arrays: Mapping[str, Integers], name: str) -> _Affine:
        weight, bias, shift = (arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        places = shift.astype(np.int64)
        return cls(weight.T.astype(np.float64), (1 << places) >> 1, places, bias.astype(np.int64))

    def __call__(self, x: Integers) -> Symbols:
        sums = (x.astype(np.float64) @ self.weight).astype(np.int64)
        return (sums + self.half >> self.shift) + self.bias


def _halved(x: Symbols, bits: int) -> Symbols:
    """Returns x / 2^bits, rounded half up."""
    return x + (1 << bits - 1) >> bits


def _tanh_of(double: Symbols) -> Symbols:
    """tanh(x) in units of 2^-15, of 2 x in units of 2^-12."""
    return 2 * logistic()(double) - (1 << OUTPUT_BITS)
