"""The prior of Gaussian latents in integers, under which quantised latents are coded and sampled.

From symbols to frequency tables there are integers only, the same on every machine and however many
sequences are worked on together. Sums of products are computed in float64, where they are exact.

Latents of an item are a grid (n, *cells): each cell of the axes after the first is a sequence by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding import gaussians
from latentpress.coding.fixed_point import logistic
from latentpress.coding.tables import random_points
from latentpress.errors import ConfigError
from latentpress.exact.distribution import Conditioning, Sampling, Stream
from latentpress.exact.tensors import digest
from latentpress.latents.auxiliary import AuxiliaryPrior
from latentpress.latents.gaussian_streams import decode_streams, encode_streams
from latentpress.latents.lstm_tensors import (
    ALPHA_BITS,
    ARGUMENT_BITS,
    INPUT_BITS,
    OUTPUT_BITS,
    PARTS,
    SCALE_BITS,
    ar1_integers,
    checked,
    integers_of,
)

__all__ = ["IntegerLSTM"]

_CELL_BITS = 16
_CELL_LIMIT = 2**31 - 1
_MEAN_LIMIT = 2**20
_SCALE_ROOM = 23637  # round(2^8 * 16 * 4 / ln 2): how far a scale may be from AR(1)'s, in 2^-8

Integers = NDArray[Any]
Symbols = NDArray[np.int64]


class IntegerLSTM:
    """The auxiliary prior, or AR(1) alone, over integer latents: an `IntegerDistribution`.

    Symbol s of 2C + 1 is q = (s - C) * `step` units, and stands for the real latent q * `LATENT_UNIT`; each
    position has one of each of the d `channels`. For the order of a stream see `gaussian_streams`.

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
        self._size = gaussians.symbols_of(self.step)
        self.alphabets = (self._size,) * self.channels
        self.id = digest(self._tensors, b"latentpress aux")
        types = {name: np.float64 if name.endswith("weight") else np.int64 for name in self._tensors}
        self._arrays: dict[str, Integers] = {
            name: value.numpy().astype(types[name]) for name, value in self._tensors.items()
        }

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
        """All integers, by the names that `lstm_tensors` lists."""
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
        return torch.round(z.double() / (gaussians.LATENT_UNIT * self.step)).clamp(-half, half).long() + half

    def dequantise(self, codes: Tensor) -> Tensor:
        """The real latents that symbols stand for, float32, of the same shape."""
        return ((codes - self._size // 2).double() * (self.step * gaussians.LATENT_UNIT)).float()

    def walk(self, symbols: Symbols, lengths: Integers | None = None) -> Iterator[tuple[Symbols, Symbols]]:
        """Yields mean and scale (sequences, d) of every step's latents, as `coding.gaussians` takes them.

        Args:
            symbols: (steps, sequences, d); the caller may fill in a step once it has its mean and scale.
            lengths: (sequences,) how many steps each has, never rising; by default all. Where some have ended
                there are means and scales of the others, the first ones, alone.
        """
        output = cell = np.zeros((symbols.shape[1], self._width), np.int64)
        before, scales = np.zeros(symbols.shape[1:], np.int64), self._arrays["scales"]
        for t, step in enumerate(symbols):
            active = len(step) if lengths is None else int(np.count_nonzero(lengths > t))
            before = before[:active]
            output, cell = self._read(before, output[:active], cell[:active])
            yield self._conditionals(before, output, scales[min(t, 1)])
            before = (step[:active] - self._size // 2) * self.step

    def _read(self, before: Symbols, output: Symbols, cell: Symbols) -> tuple[Symbols, Symbols]:
        """One step of the LSTM: its output in units of 2^-15 and its cell in 2^-16, both (sequences, width).

        `before` (sequences, d) are the latents of the step before, in units of `LATENT_UNIT`.
        """
        if not self._width:
            return output, cell
        arguments = self._affine("gates", np.concatenate([before << INPUT_BITS, output], axis=1))
        enter, keep, new, leave = np.split(logistic()(arguments), 4, axis=1)
        cell = _halved(keep * cell + enter * (2 * new - (1 << OUTPUT_BITS)) * 2, OUTPUT_BITS)
        cell = np.clip(cell, -_CELL_LIMIT, _CELL_LIMIT)
        output = _halved(leave * _tanh_of(cell >> _CELL_BITS - ARGUMENT_BITS - 1), OUTPUT_BITS)
        return np.clip(output, 1 - (1 << OUTPUT_BITS), (1 << OUTPUT_BITS) - 1), cell

    def _conditionals(self, before: Symbols, output: Symbols, scale: Symbols) -> tuple[Symbols, Symbols]:
        """Mean and scale of the next latents, given AR(1)'s scale (d,)."""
        corrections, d = self._affine("corrections", output), self.channels
        chain = _halved(self._arrays["alphas"] * before << gaussians.MEAN_BITS, ALPHA_BITS)
        mean = np.clip(chain + corrections[:, :d], -_MEAN_LIMIT, _MEAN_LIMIT)
        stretch = _halved(_tanh_of(corrections[:, d:]) * _SCALE_ROOM, OUTPUT_BITS)
        return mean, np.clip(_halved(scale + stretch, SCALE_BITS), 0, gaussians.SCALES - 1)

    def _affine(self, name: str, x: Integers) -> Symbols:
        weight, bias, shift = (self._arrays[f"{name}.{part}"] for part in PARTS)
        sums = (x.astype(np.float64) @ weight.T).astype(np.int64)
        return (sums + (1 << shift >> 1) >> shift) + bias

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """See `IntegerDistribution.encode`."""
        return encode_streams(self.walk, streams, self.channels, self.step)

    def decode(self, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
        """See `IntegerDistribution.decode`."""
        return decode_streams(self.walk, streams, self.channels, self.step)

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
            raise ConfigError("top-k and top-p are for codes; Gaussian latents take a temperature")
        steps, cells, d = grid[0], math.prod(grid[1:]), self.channels
        items = range(count) if numbers is None else numbers
        by_item = [random_points(how.seed, item, (steps, cells, d)) for item in items]
        points = np.array(by_item, np.int64).reshape(count, steps, cells, d).swapaxes(0, 1)
        known = np.zeros((count, 0, d), np.int64) if prefix is None else prefix.cpu().numpy()
        symbols = np.zeros((steps, count, cells, d), np.int64)
        warmer = round(gaussians.SCALES_PER_OCTAVE * math.log2(how.temperature))
        for t, (mean, scale) in enumerate(self.walk(symbols.reshape(steps, count * cells, d))):
            scale = np.clip(scale + warmer, 0, gaussians.SCALES - 1)
            codes = gaussians.symbol_at(mean, scale, self.step, self._size, points[t].reshape(mean.shape))
            symbols[t] = codes.reshape(count, cells, d)
            given = known[:, t * cells : (t + 1) * cells]
            symbols[t, :, : given.shape[1]] = given
            if progress is not None:
                progress(codes.size)
        return torch.from_numpy(symbols.swapaxes(0, 1).reshape(count, *grid, d))


def _halved(x: Symbols, bits: int) -> Symbols:
    """Returns x / 2^bits, rounded half up."""
    return x + (1 << bits - 1) >> bits


def _tanh_of(double: Symbols) -> Symbols:
    """tanh(x) in units of 2^-15, of 2 x in units of 2^-12."""
    return 2 * logistic()(double) - (1 << OUTPUT_BITS)
