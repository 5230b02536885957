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

__all__ = ["IntegerLSTM", "State"]

_CELL_BITS = 16
_CELL_LIMIT = 2**31 - 1
_MEAN_LIMIT = 2**20
_SCALE_ROOM = 23637  # round(2^8 * 16 * LOG_STD_LIMIT / ln 2): how far a scale may be from AR(1)'s, in 2^-8

Integers = NDArray[Any]
Symbols = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class State:
    """What the LSTM remembers of some sequences before their next step.

    Args:
        output: (sequences, width) int64, the LSTM's, in units of 2^-15.
        cell: (sequences, width) int64, in units of 2^-16.
        before: (sequences, d) int64, the latest latents in units of `LATENT_UNIT`.
        first: whether no step came yet.
    """

    output: Symbols
    cell: Symbols
    before: Symbols
    first: bool

    def leading(self, count: int) -> State:
        """The state of the first `count` sequences alone."""
        return State(self.output[:count], self.cell[:count], self.before[:count], self.first)


class IntegerLSTM:
    """The auxiliary prior, or AR(1) alone, over integer latents: an `IntegerDistribution`.

    Latents lie on multiples of `step` units: symbol s of 2C + 1 is q = (s - C) * step, and stands for the
    real latent q * `LATENT_UNIT`. A stream's order is that of the positions in raster order, in each that of
    the channels, in each that of the lanes.

    Attributes:
        structure: channels, width, step.
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
        self.structure, self._tensors = checked(tensors)
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

    @property
    def channels(self) -> int:
        """Numbers a step, d."""
        return self.structure.channels

    @property
    def step(self) -> int:
        """Units between two symbols."""
        return self.structure.step

    @property
    def alphabets(self) -> tuple[int, ...]:
        """Symbols of each channel."""
        return (self._size,) * self.channels

    @property
    def _size(self) -> int:
        return symbols_of(self.step)

    def quantise(self, z: Tensor) -> Tensor:
        """The symbols nearest to real latents, int64, of the same shape."""
        half = self._size // 2
        return torch.round(z.double() / (LATENT_UNIT * self.step)).clamp(-half, half).long() + half

    def dequantise(self, codes: Tensor) -> Tensor:
        """The real latents that symbols stand for, float32, of the same shape."""
        return ((codes - self._size // 2).double() * (self.step * LATENT_UNIT)).float()

    def start(self, sequences: int) -> State:
        """The state before the first step of so many sequences."""
        nothing = np.zeros((sequences, self.structure.width), np.int64)
        latents = np.zeros((sequences, self.channels), np.int64)
        return self._read(State(nothing, nothing, latents, first=True))

    def conditionals(self, state: State) -> tuple[Symbols, Symbols]:
        """Mean and scale of the next latents, int64 (sequences, d), as `coding.gaussians` takes them."""
        corrections, d = self._corrections(state.output), self.channels
        chain = _halved(self._alphas * state.before << MEAN_BITS, ALPHA_BITS)
        mean = np.clip(chain + corrections[:, :d], -_MEAN_LIMIT, _MEAN_LIMIT)
        stretch = _halved(_tanh_of(corrections[:, d:]) * _SCALE_ROOM, OUTPUT_BITS)
        scale = _halved(self._scales[0 if state.first else 1] + stretch, SCALE_BITS)
        return mean, np.clip(scale, 0, SCALES - 1)

    def push(self, state: State, symbols: Integers) -> State:
        """The state after the next step's symbols (sequences, d); `state` stays as it is."""
        latents = (np.asarray(symbols, np.int64) - self._size // 2) * self.step
        return self._read(State(state.output, state.cell, latents, first=False))

    def _read(self, state: State) -> State:
        """One step of the LSTM on `state.before`."""
        if not self.structure.width:
            return state
        arguments = self._gates(np.concatenate([state.before << INPUT_BITS, state.output], axis=1))
        enter, keep, new, leave = np.split(logistic()(arguments), 4, axis=1)
        bits = OUTPUT_BITS
        cell = _halved(keep * state.cell + enter * (2 * new - (1 << bits)) * 2, bits)
        cell = np.clip(cell, -_CELL_LIMIT, _CELL_LIMIT)
        output = _halved(leave * _tanh_of(cell >> _CELL_BITS - ARGUMENT_BITS - 1), bits)
        return State(np.clip(output, 1 - (1 << bits), (1 << bits) - 1), cell, state.before, state.first)

    def walk(self, symbols: Symbols, lengths: Integers | None = None) -> Iterator[tuple[Symbols, Symbols]]:
        """Yields mean and scale (sequences, d) of every step's latents, of the sequences that have that step.

        Args:
            symbols: (steps, sequences, d); those of a step are read after its mean and scale were used, so
                that the caller may fill them in.
            lengths: (sequences,) how many steps each has, never rising; by default all.
        """
        state = self.start(symbols.shape[1])
        for t, step in enumerate(symbols):
            active = len(step) if lengths is None else int(np.count_nonzero(lengths > t))
            state = state.leading(active)
            yield self.conditionals(state)
            state = self.push(state, step[:active])

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """See `IntegerDistribution.encode`."""
        layout = SequenceLayout(streams, self.channels)
        symbols, means, scales = np.zeros((3, *layout.shape), np.int64)
        for stream, part in zip(streams, layout.parts, strict=True):
            symbols[: stream.grid[0], part] = self._checked_symbols(stream)
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
        """The symbols (n, sequences, d)."""
        assert stream.symbols is not None
        symbols = np.asarray(stream.symbols, np.int64)
        if symbols.size and not 0 <= int(symbols.min()) <= int(symbols.max()) < self._size:
            raise ValueError(f"symbols: a channel's alphabet is {self._size}, and one is outside")
        return symbols.reshape(stream.grid[0], -1, self.channels)

    def decode(self, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
        """See `IntegerDistribution.decode`."""
        layout = SequenceLayout(streams, self.channels)
        decoder = GaussianDecoder([stream.payload for stream in streams], layout, self.step)
        symbols = np.zeros(layout.shape, np.int64)
        for t, (mean, scale) in enumerate(self.walk(symbols, layout.lengths)):
            symbols[t, : len(mean)] = decoder.take(mean, scale)
        decoded = []
        for stream, part, damaged in zip(streams, layout.parts, decoder.damaged, strict=True):
            found = symbols[: stream.grid[0], part].reshape(-1, stream.lanes, self.channels)
            decoded.append(None if damaged else found.astype(np.int32))
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
        cells, positions, d = math.prod(grid[1:]), math.prod(grid), self.channels
        points = np.empty((count, positions, d), np.int64)
        for item in range(count):
            points[item] = random_points(how.seed, item if numbers is None else numbers[item], (positions, d))
        points = points.reshape(count, grid[0], cells, d).swapaxes(0, 1)
        known = np.zeros((count, 0, d), np.int64) if prefix is None else prefix.cpu().numpy()
        symbols, warmer = np.zeros_like(points), round(SCALES_PER_OCTAVE * math.log2(how.temperature))
        for t, (mean, scale) in enumerate(self.walk(symbols.reshape(grid[0], -1, d))):
            scale = np.clip(scale + warmer, 0, SCALES - 1)
            drawn = symbol_at(mean, scale, self.step, self._size, points[t].reshape(mean.shape))
            symbols[t] = drawn.reshape(count, cells, d)
            given = known[:, t * cells : (t + 1) * cells]
            symbols[t, :, : given.shape[1]] = given
            if progress is not None:
                progress(drawn.size)
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
