"""Integer networks emulated in float32: from activations at past offsets to logits.

    x  = clip((h + half) >> scale, int8)               a layer's input, from the residual stream
    i, j = clip(W taps(x) + V local + b)               indices of the two halves of the gates' table
    g  = (table[i] * table[j] + 2^15) >> 16            -127..127
    h += R g + b, clipped to 16 bits

Everything works on M rows of channels: `all_at_once` on all positions of all items. The step engine computes
the same integers one position after the other.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.autoregressive.offsets import Offset, inside, shift_and_concat
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.exact.affine import GATE_ENTRIES, INT8_LIMIT, RESIDUAL_LIMIT, Affine, gate_table
from latentpress.exact.tensors import read_affine

__all__ = ["EmulatedAffine", "EmulatedNetwork", "embed", "undisturbed"]

P = ParamSpec("P")
R = TypeVar("R")

Taps = Callable[[int, tuple[Offset, ...], Tensor | None], Tensor]
"""Layer `number`'s taps (M, len(offsets) * C), given its offsets and its input at the present (M, C).

The input layer is number 0; its input, the symbols, is never given.
"""


def undisturbed(function: Callable[P, R]) -> Callable[P, R]:
    """Runs without gradients and without autocast, which would round to 16 bits."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return run


@dataclass(frozen=True)
class EmulatedAffine:
    """bias + x weight, with weight (in, out), bias (1 or M, out) and labels' tables times 2^-shift."""

    weight: Tensor
    bias: Tensor
    labels: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, affine: Affine, device: torch.device) -> EmulatedAffine:
        """An affine map on `device`."""
        factor = torch.exp2(-affine.shift.float())
        weight = (affine.weight.float() * factor[:, None]).t().contiguous()
        bias, *labels = ((part.float() * factor).to(device) for part in (affine.bias[None], *affine.labels))
        return cls(weight.to(device), bias, tuple(labels))

    def __call__(self, x: Tensor) -> Tensor:
        """Applies the map, without labels."""
        return torch.addmm(self.bias, x, self.weight)

    def on(self, labels: Tensor) -> EmulatedAffine:
        """The map whose bias includes the entries of labels (1 or M, L)."""
        rows = zip(self.labels, labels.unbind(1), strict=True)
        return EmulatedAffine(self.weight, sum((table[row] for table, row in rows), self.bias))


@dataclass(frozen=True)
class TapLayer:
    """An affine over taps, with the part of the local conditioning apart."""

    offsets: tuple[Offset, ...]
    affine: EmulatedAffine
    local: Tensor | None

    def __call__(self, taps: Tensor, local: Tensor | None) -> Tensor:
        """The affine before the floor, (M, out), from taps (M, in) and the local conditioning (M, Cm)."""
        y = self.affine(taps)
        return y if self.local is None or local is None else y.addmm_(local, self.local)

    def on(self, grid: Sequence[int], labels: Tensor) -> TapLayer:
        """This layer with labels (1 or M, L), without the taps that are outside the grid everywhere."""
        live, affine = inside(self.offsets, grid), self.affine.on(labels)
        if len(live) < len(self.offsets):
            taps = affine.weight.unflatten(0, (len(self.offsets), -1))
            affine = replace(affine, weight=taps[live].flatten(0, 1))
        return TapLayer(tuple(self.offsets[tap] for tap in live), affine, self.local)


@dataclass(frozen=True)
class _GatedLayer:
    scale: Tensor
    gates: TapLayer
    residual: EmulatedAffine


def embed(tables: Sequence[Tensor], components: Sequence[Tensor], *before: Tensor) -> Tensor:
    """The components' (*G) rows of their tables side by side, (*G, channels), after `before`."""
    rows = (F.embedding(symbols, table) for table, symbols in zip(tables, components, strict=True))
    return torch.cat([*before, *rows], dim=-1)


class EmulatedNetwork:
    """The arithmetic of an integer network on one device; of a trunk, where heads have no tensors."""

    def __init__(
        self, structure: NetworkStructure, tensors: Mapping[str, Tensor], device: torch.device
    ) -> None:
        self._tensors, self._device = tensors, device
        channels = structure.context_channels

        def taps(name: str, offsets: tuple[Offset, ...]) -> TapLayer:
            affine = self._affine(name)
            weight, local = affine.weight.split([len(affine.weight) - channels, channels])
            return TapLayer(offsets, replace(affine, weight=weight), local if channels else None)

        self.embeddings = self._tables("embeddings", len(structure.alphabets))
        self.input = taps("input", structure.window)
        self.layers = []
        for i, offsets in enumerate(structure.layers):
            scale, residual = self._scale(f"layers.{i}.scale"), self._affine(f"layers.{i}.residual")
            self.layers.append(_GatedLayer(scale, taps(f"layers.{i}.gates", offsets), residual))
        self.scale = self._scale("scale")
        self.table = torch.tensor(gate_table(), dtype=torch.float32, device=device)
        self.table[:GATE_ENTRIES] *= 2.0**-16
        starts = torch.tensor([0.0, GATE_ENTRIES], device=device).repeat_interleave(structure.width)
        self.gate_range = starts, starts + (GATE_ENTRIES - 1)
        self.half = torch.tensor(0.5, device=device)
        heads = sum(name.endswith(".logits.weight") for name in tensors)
        self.head_embeddings = self._tables("head_embeddings", heads - 1)
        names = [(f"heads.{p}.hidden", f"heads.{p}.logits") for p in range(heads)]
        self.heads = [tuple(map(self._affine, pair)) for pair in names]

    @property
    def tap_layers(self) -> list[TapLayer]:
        """The input layer and the gates of every layer."""
        return [self.input, *(layer.gates for layer in self.layers)]

    def on(self, grid: Sequence[int], labels: Tensor) -> Self:
        """The same arithmetic bound to a grid's size and to rows of the labels' tables, (1 or M, L)."""
        bound = copy.copy(self)
        bound.input = self.input.on(grid, labels)
        bound.layers = [replace(layer, gates=layer.gates.on(grid, labels)) for layer in self.layers]
        return bound

    def trunk(self, taps: Taps, local: Tensor | None) -> Tensor:
        """The heads' common input, int8 in float32 (M, width); `local` is the conditioning (M, Cm)."""
        h = self.input(taps(0, self.input.offsets, None), local).floor_()
        h.clamp_(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        for number, layer in enumerate(self.layers, 1):
            x = self._int8(h, layer.scale)
            u = layer.gates(taps(number, layer.gates.offsets, x), local)
            h.add_(layer.residual(self._gated(u)).floor_()).clamp_(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        return self._int8(h, self.scale)

    def all_at_once(self, symbols: Tensor, local: Tensor | None) -> tuple[Tensor, Tensor]:
        """`trunk` for every position of symbols (B, *G, P), and their embeddings, all positions' rows."""
        shape = symbols.shape[:-1]
        embedded = embed(self.embeddings, symbols.flatten(0, -2).unbind(1))

        def taps(number: int, offsets: tuple[Offset, ...], x: Tensor | None) -> Tensor:
            present = embedded if x is None else x
            return shift_and_concat(present.view(*shape, -1), offsets).flatten(0, -2)

        return self.trunk(taps, local), embedded

    def logits(self, trunk: Tensor, before: Sequence[Tensor]) -> Tensor:
        """int32 (M, K_p) of component p = len(before), given the symbols (M,) of the components before it."""
        hidden, logits = self.heads[len(before)]
        x = embed(self.head_embeddings[: len(before)], before, trunk)
        return logits(hidden(x).floor_().clamp_(0, INT8_LIMIT)).floor_().to(torch.int32)

    def _affine(self, name: str) -> EmulatedAffine:
        return EmulatedAffine.of(read_affine(self._tensors, name), self._device)

    def _scale(self, name: str) -> Tensor:
        return torch.exp2(-self._tensors[name].float()).to(self._device)

    def _tables(self, name: str, count: int) -> list[Tensor]:
        return [self._tensors[f"{name}.{p}"].float().to(self._device) for p in range(count)]

    def _int8(self, h: Tensor, scale: Tensor) -> Tensor:
        return torch.addcmul(self.half, h, scale).floor_().clamp_(-INT8_LIMIT, INT8_LIMIT)

    def _gated(self, u: Tensor) -> Tensor:
        index = u.clamp_(*self.gate_range).to(torch.int32)  # not negative, so truncation is floor
        entries = self.table.index_select(0, index.view(-1)).view(len(u), 2, -1)
        return torch.addcmul(self.half, entries.select(1, 0), entries.select(1, 1)).floor_()
