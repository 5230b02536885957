"""The auxiliary prior in integers: what quantised latents of a delta-VAE are coded and drawn under.

From symbols to frequency tables there are integers only, the same on every machine and however many
sequences are worked on together: the LSTM's (`auxiliary_integers`), its gates' (`coding.curves`) and the
tables' (`coding.gaussians`). Sums of products are carried in float64, where they are exact.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding import identity
from latentpress.coding.coder import RangeDecoder, RangeEncoder
from latentpress.coding.fixed_point import logistic
from latentpress.coding.gaussians import (
    LATENT_UNIT,
    MEAN_BITS,
    SCALES,
    bounds,
    interval,
    symbol_at,
    symbols_of,
)
from latentpress.coding.random_points import draws
from latentpress.coding.tables import TOTAL_BITS
from latentpress.latents.auxiliary import AuxiliaryPrior
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
_REACH = (
    23637  # round(2^8 * 16 * LOG_STD_LIMIT / ln 2): how far a scale may be from AR(1)'s, in units of 2^-8
)
_CHUNK = 1 << 21  # entries of tables that are held at once

Integers = NDArray[Any]
Symbols = NDArray[np.int64]


@dataclass(frozen=True)
class State:
    """Where sequences stand before their next step.

    Args:
        output: (lanes, width) int64, the LSTM's, in units of 2^-15.
        cell: (lanes, width) int64, in units of 2^-16.
        before: (lanes, d) int64, the latest latents in units of `LATENT_UNIT`.
        first: whether no step came yet.
    """

    output: Symbols
    cell: Symbols
    before: Symbols
    first: bool

    def of(self, lanes: int) -> State:
        """The state of the first `lanes` sequences alone."""
        return State(self.output[:lanes], self.cell[:lanes], self.before[:lanes], self.first)


class IntegerLSTM:
    """The auxiliary prior, or AR(1) alone, over sequences of integer latents.

    Latents lie on multiples of `step` units: symbol s of 2C + 1 is q = (s - C) * step.

    Attributes:
        structure: channels, width, step.
        id: 16 bytes, a hash of all its integers.
        device: the CPU.

    >>> prior = IntegerLSTM.ar1((0.5,), step=8)
    >>> codes = prior.quantise(torch.tensor([[[1.0]], [[0.9]], [[-7.0]]]))
    >>> codes.flatten().tolist(), prior.sizes
    ([18, 18, 0], (31,))
    >>> payload, bits = prior.encode(codes.numpy())
    >>> len(payload), prior.decode(payload, 3, 1).flatten().tolist()
    (4, [18, 18, 0])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.structure, self._tensors = checked(tensors)
        self.device = torch.device("cpu")
        arrays = {name: value.numpy() for name, value in self._tensors.items()}
        self.id = identity.digest(arrays, b"latentpress aux")
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
    def size(self) -> int:
        """The alphabet of every channel, 2C + 1."""
        return symbols_of(self.step)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The alphabet of each channel."""
        return (self.size,) * self.channels

    def quantise(self, z: Tensor) -> Tensor:
        """The symbols nearest to real latents, int64, of the same shape."""
        half = self.size // 2
        return torch.round(z.double() / (LATENT_UNIT * self.step)).clamp(-half, half).long() + half

    def dequantise(self, codes: Tensor) -> Tensor:
        """The real latents that symbols stand for, float32."""
        return (self.integers(codes).double() * LATENT_UNIT).float()

    def integers(self, codes: Tensor) -> Tensor:
        """The integer latents that symbols stand for, in units of `LATENT_UNIT`."""
        return (codes - self.size // 2) * self.step

    def start(self, lanes: int) -> State:
        """The state before the first step of `lanes` sequences."""
        nothing = np.zeros((lanes, self.structure.width), np.int64)
        latents = np.zeros((lanes, self.channels), np.int64)
        return self._read(State(nothing, nothing, latents, first=True))

    def conditionals(self, state: State) -> tuple[Symbols, Symbols]:
        """Mean and scale of the next latents, int64 (lanes, d), as `coding.gaussians` takes them."""
        found, d = self._corrections(state.output), self.channels
        chain = _halved(self._alphas * state.before << MEAN_BITS, ALPHA_BITS)
        mean = np.clip(chain + found[:, :d], -_MEAN_LIMIT, _MEAN_LIMIT)
        stretch = _halved(_tanh_of(found[:, d:]) * _REACH, OUTPUT_BITS)
        scale = _halved(self._scales[0 if state.first else 1] + stretch, SCALE_BITS)
        return mean, np.clip(scale, 0, SCALES - 1)

    def push(self, state: State, symbols: Integers) -> State:
        """The state after the next step's symbols (lanes, d); `state` stays as it is."""
        latents = (np.asarray(symbols, np.int64) - self.size // 2) * self.step
        return self._read(State(state.output, state.cell, latents, first=False))

    def _read(self, state: State) -> State:
        """One step of the LSTM on `state.before`."""
        if not self.structure.width:
            return state
        found = self._gates(np.concatenate([state.before << INPUT_BITS, state.output], axis=1))
        enter, keep, new, leave = np.split(logistic()(found), 4, axis=1)
        bits = OUTPUT_BITS
        cell = _halved(keep * state.cell + enter * (2 * new - (1 << bits)) * 2, bits)
        cell = np.clip(cell, -_CELL_LIMIT, _CELL_LIMIT)
        output = _halved(leave * _tanh_of(cell >> _CELL_BITS - ARGUMENT_BITS - 1), bits)
        return State(np.clip(output, 1 - (1 << bits), (1 << bits) - 1), cell, state.before, state.first)

    def code_length_bits(self, symbols: Integers) -> NDArray[np.float64]:
        """The ideal length in bits of each of the sequences (n, lanes, d), (lanes,)."""
        return self._lengths(symbols, *self._told([symbols])[0])

    def encode(self, symbols: Integers) -> tuple[bytes, NDArray[np.float64]]:
        """Codes sequences (n, lanes, d): their bytes, and the ideal length of each in bits, (lanes,).

        The order is that of the steps, in each that of the channels, in each that of the lanes.
        """
        return self.encode_lanes([symbols])[0]

    def decode(self, payload: bytes, steps: int, lanes: int) -> Symbols:
        """Inverse of `encode`: symbols (n, lanes, d).

        Raises:
            ArchiveError: the bytes are damaged; most often they decode to other symbols instead.
        """
        return self.decode_lanes([payload], [(steps, lanes)])[0]

    def encode_lanes(self, symbols: Sequence[Integers]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """As `encode`, for several streams at once; each has its own number of steps."""
        told = self._told(symbols)
        return [
            (self._stream(own, *of_own), self._lengths(own, *of_own))
            for own, of_own in zip(symbols, told, strict=True)
        ]

    def decode_lanes(self, payloads: Sequence[bytes], shapes: Sequence[tuple[int, int]]) -> list[Symbols]:
        """Inverse of `encode_lanes`: every stream's (steps, lanes) given, its symbols. Raises as `decode`."""
        side = _SideBySide.of(shapes)
        decoders = [RangeDecoder(payloads[number]) for number in side.order]
        out = np.zeros((side.steps, side.lanes, self.channels), np.int64)
        state = self.start(side.lanes)
        for t, step in enumerate(out):
            streams, lanes = side.going_on(t)
            state = state.of(lanes)
            mean, scale = self.conditionals(state)
            for p in range(self.channels):
                tables = np.diff(bounds(mean[:, p], scale[:, p], self.step, self.size))
                for decoder, part in zip(decoders[:streams], side.parts[:streams], strict=True):
                    step[part, p] = decoder.decode(tables[part])
            state = self.push(state, step[:lanes])
        return side.apart(out)

    def _told(self, symbols: Sequence[Integers]) -> list[tuple[Symbols, Symbols]]:
        """Means and scales of all steps of several streams, each (n, lanes, d)."""
        side = _SideBySide.of([own.shape[:2] for own in symbols])
        together = np.zeros((side.steps, side.lanes, self.channels), np.int64)
        for number, part in zip(side.order, side.parts, strict=True):
            together[: len(symbols[number]), part] = symbols[number]
        means, scales = np.zeros_like(together), np.zeros_like(together)
        state = self.start(side.lanes)
        for t, step in enumerate(together):
            _, lanes = side.going_on(t)
            state = state.of(lanes)
            means[t, :lanes], scales[t, :lanes] = self.conditionals(state)
            state = self.push(state, step[:lanes])
        return list(zip(side.apart(means), side.apart(scales), strict=True))

    def _lengths(self, symbols: Integers, mean: Symbols, scale: Symbols) -> NDArray[np.float64]:
        _, counts = interval(mean, scale, self.step, self.size, np.asarray(symbols, np.int64))
        return (TOTAL_BITS - np.log2(counts)).sum((0, 2))

    def _stream(self, symbols: Integers, mean: Symbols, scale: Symbols) -> bytes:
        encoder = RangeEncoder()
        rows = [np.moveaxis(part, 2, 1).reshape(-1) for part in (symbols, mean, scale)]
        together = max(1, _CHUNK // self.size)
        for start in range(0, len(rows[0]), together):
            chosen, means, scales = (part[start : start + together] for part in rows)
            encoder.encode(chosen, np.diff(bounds(means, scales, self.step, self.size)))
        return encoder.to_bytes()

    def sample(self, count: int, steps: int, seed: int) -> Tensor:
        """Draws `count` sequences of symbols, (count, steps, d) int64.

        Item i of a seed, 0 to 2^64 - 1, is the same on every machine and however many are drawn with it.
        """
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"sample: a seed from 0 to 2^64 - 1 is needed, got {seed}")
        shape = (steps, self.channels)
        out, state = np.zeros((count, *shape), np.int64), self.start(count)
        for item in range(count):
            out[item] = draws(seed, item, shape)
        for t in range(steps):
            mean, scale = self.conditionals(state)
            out[:, t] = symbol_at(mean, scale, self.step, self.size, out[:, t])
            state = self.push(state, out[:, t])
        return torch.from_numpy(out)


@dataclass(frozen=True)
class _SideBySide:
    """Streams of lanes in one array (steps, lanes, ...), the longest first, so that those which go on lead.

    `order`: the streams' numbers in that order, `lengths` their steps and `parts` their lanes there.
    """

    order: list[int]
    lengths: list[int]
    parts: list[slice]

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, ...]]) -> _SideBySide:
        """Lays out streams of those (steps, lanes)."""
        order = sorted(range(len(shapes)), key=lambda number: -shapes[number][0])
        counts = [shapes[number][1] for number in order]
        stops = np.cumsum(counts).tolist()
        parts = [slice(stop - count, stop) for stop, count in zip(stops, counts, strict=True)]
        return cls(order, [shapes[number][0] for number in order], parts)

    @property
    def steps(self) -> int:
        """Of the longest."""
        return max(self.lengths, default=0)

    @property
    def lanes(self) -> int:
        """Of all."""
        return self.parts[-1].stop if self.parts else 0

    def going_on(self, step: int) -> tuple[int, int]:
        """How many streams have that step, and how many lanes these have."""
        streams = bisect.bisect_left(self.lengths, -step, key=lambda length: -length)
        return streams, self.parts[streams - 1].stop if streams else 0

    def apart(self, together: Symbols) -> list[Symbols]:
        """The parts (n, lanes, ...) of an array, in the streams' own order."""
        found = sorted(zip(self.order, self.lengths, self.parts, strict=True), key=lambda stream: stream[0])
        return [together[:steps, part] for _, steps, part in found]


@dataclass(frozen=True)
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
