"""What the compiled loop changes: where the lanes stand, and room to work in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.program import Program

__all__ = ["FEW", "Lanes", "Room", "make_lanes", "make_room"]

FEW = 4
"""From so many lanes on, one matrix product for all of them beats a row of dot products for each."""

Array = NDArray[Any]


class Lanes(NamedTuple):
    """The state of some lanes; rows are lanes.

    `rings`: int8 (S, ring bytes), past inputs of every tap layer. `turns`: int64 (S, L + 1), the slot of
    the present place in each ring. `positions`: int64 (S,), how many positions are behind the lane.
    `classes`: int64 (S,), the row of the conditioned biases. `members`: int32 (S, P), symbols here so far.
    `trunk`: int8 (S, width), the heads' input here. `map_starts`: int64 (S,), where the lane's context map
    (positions, channels) begins in the common array.
    """

    rings: Array
    turns: Array
    positions: Array
    classes: Array
    members: Array
    trunk: Array
    map_starts: Array

    def reset(self, lane: int, class_row: int, map_start: int) -> None:
        """Puts a lane before the first position of an item."""
        self.rings[lane] = 0
        self.turns[lane] = 0
        self.positions[lane] = 0
        self.classes[lane] = class_row
        self.map_starts[lane] = map_start

    def copy(self) -> Lanes:
        """The same state again, which may go its own way."""
        return Lanes(*(part.copy() for part in self))


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


def make_lanes(program: Program, count: int) -> Lanes:
    """`count` lanes, each before the first position of an item without class."""
    return Lanes(
        rings=np.zeros((count, program.ring_bytes), np.int8),
        turns=np.zeros((count, len(program.taps)), np.int64),
        positions=np.zeros(count, np.int64),
        classes=np.zeros(count, np.int64),
        members=np.zeros((count, len(program.sizes)), np.int32),
        trunk=np.zeros((count, program.scales.shape[1]), np.int8),
        map_starts=np.zeros(count, np.int64),
    )


def make_room(program: Program, count: int) -> Room:
    """Scratch for `count` lanes."""
    few, largest = min(count, FEW), int(program.sizes.max())
    return Room(
        few=np.zeros(few * program.most_inputs, np.int16),
        many=np.zeros(count * program.most_inputs, np.float32),
        products=np.zeros(count * program.most_outputs, np.float32),
        sums=np.zeros(count * program.most_outputs, np.int32),
        residual=np.zeros((count, program.scales.shape[1]), np.int32),
        weights=np.zeros(largest, np.uint32),
        counts=np.zeros(largest, np.int64),
    )
