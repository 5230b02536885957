"""Pictures coded one after the other from one state, which stays as it is, and pictures drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.coder import Streams
from latentpress.autoregressive.engine.loop import Choice
from latentpress.counted.pictures.kernels import code_row, draw_row, end_plane, restore
from latentpress.counted.pictures.state import Learned, Picture, Scratch, Touched
from latentpress.counted.pictures.tables import LEVELS, PLANES
from latentpress.exact.distribution import Sampling

__all__ = ["ITEM_RATE", "Lane", "code_picture"]

ITEM_RATE = 10  # of the weights, within a picture

Samples = NDArray[np.uint8]
"""(height, width, channels)."""


def code_picture(
    samples: Samples,
    learned: Learned,
    touched: Touched,
    action: int,
    coder: Any,
    rate: int,
    sums: NDArray[np.float64] | None = None,
) -> float:
    """Codes a picture, or fills it in, and learns it; returns its bits. `sums` takes its planes' moments."""
    height, width, channels = samples.shape
    picture, scratch, bits = Picture.fresh(channels, height, width), Scratch.fresh(), 0.0
    for plane, channel in enumerate(PLANES[channels]):
        for row in range(height):
            values = np.ascontiguousarray(samples[row, :, channel])
            bits += code_row(
                plane, row, values, rate, action, coder, 0, learned, touched, picture, scratch
            )  # fmt: skip
            samples[row, :, channel] = values
        if sums is not None:
            sums[plane] += picture.sums
        end_plane(plane, height, picture)
    return bits


class Lane:
    """A state to code pictures from, which goes back after each to what training pictures taught."""

    def __init__(self, original: Learned) -> None:
        self._original, self._learned = original, original.copy()
        self._touched = Touched.fresh(original)

    def code(self, samples: Samples, action: int, coder: Any) -> float:
        """Codes a picture, or fills it in; returns its bits."""
        bits = code_picture(samples, self._learned, self._touched, action, coder, ITEM_RATE)
        self._go_back()
        return bits

    def draw(
        self,
        points: NDArray[np.uint32],
        known: Samples,
        how: Sampling,
        progress: Callable[[int], None] | None,
    ) -> Samples:
        """A picture that random numbers (height, width, channels) choose; its first samples may be `known`.

        These are (positions, channels), in the order of rows. Planes are drawn one after the other.
        """
        height, width, channels = points.shape
        picture, scratch, choice = Picture.fresh(channels, height, width), Scratch.fresh(), Choice.of(how)
        drawn, coder = np.zeros(points.shape, np.uint8), Streams.over(np.zeros((1, 1), np.uint32))
        drawn.reshape(-1, channels)[: len(known)] = known
        room = np.zeros(LEVELS, np.int32), np.zeros(LEVELS, np.uint32), np.zeros(LEVELS, np.int64)
        state = self._learned, self._touched, picture, scratch
        for plane, channel in enumerate(PLANES[channels]):
            for row in range(height):
                values, chance = (np.ascontiguousarray(each[row, :, channel]) for each in (drawn, points))
                there = min(max(len(known) - row * width, 0), width)
                draw_row(plane, row, values, there, chance, choice, room, ITEM_RATE, coder, *state)
                drawn[row, :, channel] = values
                if progress is not None:
                    progress(width)
            end_plane(plane, height, picture)
        self._go_back()
        return drawn

    def _go_back(self) -> None:
        learned, original, touched = self._learned, self._original, self._touched
        restore(learned.counters, original.counters, touched.counters)
        restore(learned.weights, original.weights, touched.weights)
        restore(learned.curves, original.curves, touched.curves)
        learned.last[:] = original.last
