"""An integer network one symbol at a time, in PyTorch: the peer of the parallel pass and of the engine.

The grid is flattened into a `Raster`, where every past offset is one shift whatever the rank. Each layer
keeps its last inputs in a ring of as many places as its farthest shift needs, (lanes, places, channels); a
layer's taps are the ring's entries at (place - shifts) mod length. Where the raster has empty places, at the
ends of rows, the rings are cleared: outside the grid is zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentpress.autoregressive import IntegerNetwork
from latentpress.autoregressive.integer.forward import EmulatedNetwork, embed
from latentpress.autoregressive.offsets import Offset, Raster
from latentpress.exact.distribution import Conditioning

__all__ = ["Stepper", "stepwise_logits"]


class Stepper:
    """The state of some items side by side, before their first symbol at first."""

    def __init__(
        self,
        integers: IntegerNetwork,
        lanes: int,
        grid: tuple[int, ...],
        conditioning: Conditioning | None = None,
    ) -> None:
        self.labels, self.local = integers.conditions(conditioning, lanes, grid)
        self.emulated = EmulatedNetwork(integers.structure, integers.tensors(), torch.device("cpu"))
        layers = self._bound(grid, 0).tap_layers
        margin = max((abs(o) for layer in layers for offset in layer.offsets for o in offset), default=0)
        self.lanes, self.raster = lanes, Raster(grid, margin)
        channels = [integers.structure.position_embedding, *[integers.structure.width] * (len(layers) - 1)]
        self.rings = []
        for layer, width in zip(layers, channels, strict=True):
            farthest = max((self.raster.shift(offset) for offset in layer.offsets), default=0)
            self.rings.append(torch.zeros(lanes, farthest + 1, width))
        self.position, self.place = 0, 0
        self.components: list[Tensor] = []

    @property
    def done(self) -> bool:
        """Whether every symbol of the grid has been pushed."""
        return self.position == math.prod(self.raster.grid)

    def logits(self) -> Tensor:
        """Logits of the next component, int32 (lanes, K_p)."""
        if not self.components:
            row = self.position // math.prod(self.raster.grid[1:])
            bound = self._bound(self.raster.grid, row)
            local = None if self.local is None else self.local[:, self.position].float()
            self.trunk = bound.trunk(self._taps, local)
        return self.emulated.logits(self.trunk, self.components)

    def push(self, symbols: Tensor) -> None:
        """Takes the next symbol of every lane, (lanes,) int64."""
        self.components.append(symbols)
        if len(self.components) == len(self.emulated.heads):
            embedded, ring = embed(self.emulated.embeddings, self.components), self.rings[0]
            ring[:, self.place % ring.shape[1]] = embedded
            self.position, self.components = self.position + 1, []
            if not self.done:
                self._advance(self.raster.place(self.position))

    def _advance(self, place: int) -> None:
        for ring in self.rings:
            for empty in range(self.place + 1, place):
                ring[:, empty % ring.shape[1]] = 0
        self.place = place

    def _bound(self, grid: tuple[int, ...], row: int) -> EmulatedNetwork:
        return self.emulated.on(grid, self.labels[:, min(row, self.labels.shape[1] - 1)])

    def _taps(self, number: int, offsets: tuple[Offset, ...], x: Tensor | None) -> Tensor:
        ring = self.rings[number]
        if x is not None:
            ring[:, self.place % ring.shape[1]] = x
        slots = [(self.place - self.raster.shift(offset)) % ring.shape[1] for offset in offsets]
        return ring[:, slots].reshape(self.lanes, -1)


def stepwise_logits(
    integers: IntegerNetwork, symbols: Tensor, conditioning: Conditioning | None = None
) -> tuple[Tensor, ...]:
    """As `IntegerNetwork.logits`, one symbol at a time."""
    grid = tuple(symbols.shape[1:-1])
    state = Stepper(integers, len(symbols), grid, conditioning)
    rows: list[list[Tensor]] = [[] for _ in integers.alphabets]
    for position in symbols.flatten(1, -2).unbind(1):
        for component, symbol in enumerate(position.unbind(1)):
            rows[component].append(state.logits())
            state.push(symbol)
    assert state.done and math.prod(grid) == state.position
    return tuple(torch.stack(row, 1).view(len(symbols), *grid, -1) for row in rows)
