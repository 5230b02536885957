"""What the compiled loop changes: where the lanes stand, and room to work in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.program import Program

__all__ = ["FEW", "Lanes", "Room"]

FEW = 4
"""From so many lanes on, one matrix product for all of them beats a row of dot products for each."""

Array = NDArray[Any]


class Lanes(NamedTuple):
    """The state of some lanes; rows are lanes.

    `rings`: int8 (S, ring bytes), past inputs of every tap layer. `turns`: int64 (S, T), the slot of the
    present place in each ring. `positions`: int64 (S,), how many positions are behind the lane.
    `components`: int32 (S, P), symbols here so far. `trunk`: int8 (S, width), the heads' input here.
    `local_starts`: int64 (S,), where the lane's local conditioning (positions, channels) begins in the common
    array. `label_starts` and `label_steps`: int64 (S,), where its labels begin in theirs, and how far on the
    next row's are (0 for labels of the whole item). `due`: int64 (S,), the position where its biases are
    made of its labels anew, or -1. `biases`: int32, those that lanes share and then every lane's, see
    `Program`, and `scaled_biases`: float32, the same times 2^-shift.
    """

    rings: Array
    turns: Array
    positions: Array
    components: Array
    trunk: Array
    local_starts: Array
    label_starts: Array
    label_steps: Array
    due: Array
    biases: Array
    scaled_biases: Array

    @classmethod
    def of(cls, program: Program, count: int) -> Lanes:
        """`count` lanes, each before the first position of an item."""
        positions, local_starts, label_starts, label_steps, due = np.zeros((5, count), np.int64)
        conditioned = count * program.label_tables.shape[1]
        *_, start, length, channels = program.taps[-1].tolist()
        scaled = (program.biases * program.factors).astype(np.float32)
        return cls(
            rings=np.zeros((count, start + length * channels), np.int8),
            turns=np.zeros((count, len(program.taps)), np.int64),
            positions=positions,
            components=np.zeros((count, len(program.alphabets)), np.int32),
            trunk=np.zeros((count, program.scales.shape[1]), np.int8),
            local_starts=local_starts,
            label_starts=label_starts,
            label_steps=label_steps,
            due=due,
            biases=np.pad(program.biases, (0, conditioned)),
            scaled_biases=np.pad(scaled, (0, conditioned)),
        )

    def reset(self, lane: int, local_start: int, label_start: int, label_step: int) -> None:
        """Puts a lane before the first position of an item."""
        self.rings[lane] = 0
        self.turns[lane] = 0
        self.positions[lane] = self.due[lane] = 0
        self.local_starts[lane] = local_start
        self.label_starts[lane], self.label_steps[lane] = label_start, label_step


class Room(NamedTuple):
    """Scratch for one position of up to S lanes; nothing in it outlives a position.

    `few`: int16 and `many`: float32, inputs of an affine map. `products`: float32 and `sums`: int32, its
    outputs. `residual`: int32 (S, width). `weights`: uint32 and `counts`: int64, for the largest alphabet.
    """

    few: Array
    many: Array
    products: Array
    sums: Array
    residual: Array
    weights: Array
    counts: Array

    @classmethod
    def of(cls, program: Program, count: int) -> Room:
        """Scratch for `count` lanes."""
        few, largest = min(count, FEW), int(program.alphabets.max())
        inputs, outputs = program.maps.table[:, 1:3].max(axis=0).tolist()  # of the widest maps
        return cls(
            few=np.zeros(few * inputs, np.int16),
            many=np.zeros(count * inputs, np.float32),
            products=np.zeros(count * outputs, np.float32),
            sums=np.zeros(count * outputs, np.int32),
            residual=np.zeros((count, program.scales.shape[1]), np.int32),
            weights=np.zeros(largest, np.uint32),
            counts=np.zeros(largest, np.int64),
        )
