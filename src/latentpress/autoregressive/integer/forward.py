"""The exact form in motion: its integers carried in float32, from past activations to logits.

Both executions, all positions at once and one after the other, run this code on (M, channels)
matrices; they differ only in where a layer's taps come from (`Taps`), so they cannot disagree.

    x  = clip((h + half) >> scale, int8)               the layer's input, from the residual stream
    i, j = clip(W taps(x) + V context + b)             indices of the two halves of the gates' table
    g  = (table[i] * table[j] + 2^15) >> 16            -127..127
    h += R g + b, clipped to 16 bits

`EmulatedTrunk` is that much, up to the heads; `EmulatedNetwork` has these too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from latentpress.autoregressive.integer.tensors import read_affine
from latentpress.autoregressive.offsets import Offset, gather, inside
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.exact.affine import GATE_ENTRIES, INT8_LIMIT, RESIDUAL_LIMIT, Affine, gate_table

__all__ = ["EmulatedAffine", "EmulatedNetwork", "EmulatedTrunk", "TapLayer", "Taps", "all_at_once"]


@dataclass(frozen=True)
class EmulatedAffine:
    """floor(bias + x weight): weight (in, out) and bias (rows, out), both times 2^-shift."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, affine: Affine, device: torch.device) -> EmulatedAffine:
        """Carries integers to `device`."""
        factor = torch.exp2(-affine.shift.float())
        weight = (affine.weight.float() * factor[:, None]).t().contiguous()
        return cls(weight.to(device), (affine.bias.float() * factor).to(device))

    def __call__(self, x: Tensor) -> Tensor:
        """Applies an affine of one bias row, before the floor."""
        return torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True)
class TapLayer:
    """An affine over taps, with its context's part apart. `bias`: (1 or M, out)."""

    offsets: tuple[Offset, ...]
    affine: EmulatedAffine
    context: Tensor | None

    def __call__(self, taps: Tensor, map: Tensor | None) -> Tensor:
        """The affine before the floor, (M, out), from taps (M, in) and the context map (M, Cm)."""
        y = self.affine(taps)
        return y if self.context is None or map is None else y.addmm_(map, self.context)

    def on(self, grid: Sequence[int], labels: Tensor) -> TapLayer:
        """This layer on a grid of that size, without the taps that are outside for every position.

        `labels`: (1 or M,) the bias rows.
        """
        live = inside(self.offsets, grid)
        weight = self.affine.weight
        if len(live) < len(self.offsets):
            weight = weight.unflatten(0, (len(self.offsets), -1))[live].flatten(0, 1)
        offsets = tuple(self.offsets[tap] for tap in live)
        return TapLayer(offsets, EmulatedAffine(weight, self.affine.bias[labels]), self.context)


@dataclass(frozen=True)
class _GatedLayer:
    scale: Tensor
    gates: TapLayer
    residual: EmulatedAffine


@dataclass(frozen=True)
class _Head:
    hidden: EmulatedAffine
    logits: EmulatedAffine


class Taps(Protocol):
    """Where activations at past offsets come from."""

    def __call__(self, number: int, offsets: tuple[Offset, ...], x: Tensor | None) -> Tensor:
        """Layer `number`'s taps, (M, len(offsets) * C), given its input at the present, (M, C).

        The input layer is number 0; its input, the symbols, is never given.
        """
        ...


def all_at_once(shape: Sequence[int], embedded: Tensor) -> Taps:
    """The taps of every position of a grid: `shape` is (B, *G), `embedded` the symbols' (M, channels)."""

    def taps(number: int, offsets: tuple[Offset, ...], x: Tensor | None) -> Tensor:
        present = embedded if x is None else x
        return gather(present.view(*shape, -1), offsets).flatten(0, -2)

    return taps


class EmulatedTrunk:
    """The arithmetic of an exact trunk on one device; every method works on M rows."""

    def __init__(self, structure: NetworkStructure, tensors: dict[str, Tensor], device: torch.device) -> None:
        def affine(name: str) -> EmulatedAffine:
            return EmulatedAffine.of(read_affine(tensors, name), device)

        def taps(name: str, offsets: tuple[Offset, ...]) -> TapLayer:
            whole = affine(name)
            split = whole.weight.shape[0] - structure.context_channels
            weight, context = whole.weight[:split], whole.weight[split:]
            return TapLayer(offsets, EmulatedAffine(weight, whole.bias), context if len(context) else None)

        def scale(name: str) -> Tensor:
            return torch.exp2(-tensors[name].float()).to(device)

        members = range(len(structure.sizes))
        self.embeddings = [tensors[f"embeddings.{p}"].float().to(device) for p in members]
        self.input = taps("input", structure.window)
        self.layers = [
            _GatedLayer(
                scale(f"layers.{i}.scale"),
                taps(f"layers.{i}.gates", offsets),
                affine(f"layers.{i}.residual"),
            )
            for i, offsets in enumerate(structure.layers)
        ]
        self.scale = scale("scale")
        table = torch.tensor(gate_table(), dtype=torch.float32, device=device)
        table[:GATE_ENTRIES] *= 2.0**-16
        self.table = table
        starts = torch.tensor([0.0, GATE_ENTRIES], device=device).repeat_interleave(structure.width)
        self.gate_range = starts, starts + (GATE_ENTRIES - 1)
        self.half = torch.tensor(0.5, device=device)

    @property
    def tap_layers(self) -> list[TapLayer]:
        """The input layer and the gates of every layer."""
        return [self.input, *(layer.gates for layer in self.layers)]

    @property
    def widest(self) -> int:
        """The largest number of inputs that a layer gathers for a position."""
        return max(layer.affine.weight.shape[0] for layer in self.tap_layers)

    def on(self, grid: Sequence[int], labels: Tensor) -> Self:
        """The same arithmetic bound to a grid's size and to bias rows (1 or M,)."""
        bound = copy.copy(self)
        bound.input = self.input.on(grid, labels)
        bound.layers = [replace(layer, gates=layer.gates.on(grid, labels)) for layer in self.layers]
        return bound

    def embed(self, members: Sequence[Tensor]) -> Tensor:
        """What the input layer sees of a position: (M, position_embedding) from P tensors (M,)."""
        return _embedded(self.embeddings, members)

    def trunk(self, taps: Taps, map: Tensor | None) -> Tensor:
        """The heads' common input, int8 in float32 (M, width); `map` is the context's (M, Cm)."""
        h = self.input(taps(0, self.input.offsets, None), map).floor_()
        h.clamp_(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        for number, layer in enumerate(self.layers, 1):
            x = self._int8(h, layer.scale)
            u = layer.gates(taps(number, layer.gates.offsets, x), map)
            h.add_(layer.residual(self._gated(u)).floor_()).clamp_(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        return self._int8(h, self.scale)

    def _int8(self, h: Tensor, scale: Tensor) -> Tensor:
        return torch.addcmul(self.half, h, scale).floor_().clamp_(-INT8_LIMIT, INT8_LIMIT)

    def _gated(self, u: Tensor) -> Tensor:
        index = u.clamp_(*self.gate_range).to(torch.int32)  # not negative, so truncation is floor
        entries = self.table.index_select(0, index.view(-1)).view(len(u), 2, -1)
        return torch.addcmul(self.half, entries.select(1, 0), entries.select(1, 1)).floor_()


class EmulatedNetwork(EmulatedTrunk):
    """The arithmetic of a whole exact grid."""

    def __init__(self, structure: NetworkStructure, tensors: dict[str, Tensor], device: torch.device) -> None:
        super().__init__(structure, tensors, device)

        def affine(name: str) -> EmulatedAffine:
            return EmulatedAffine.of(read_affine(tensors, name), device)

        members = range(len(structure.sizes))
        self.head_embeddings = [tensors[f"head_embeddings.{p}"].float().to(device) for p in members[:-1]]
        self.heads = [_Head(affine(f"heads.{p}.hidden"), affine(f"heads.{p}.logits")) for p in members]

    def logits(self, trunk: Tensor, before: Sequence[Tensor]) -> Tensor:
        """int32 (M, K_p) for member p = len(before), given the symbols (M,) of the members before it."""
        head = self.heads[len(before)]
        x = torch.cat([trunk, _embedded(self.head_embeddings, before)], dim=1) if before else trunk
        hidden = head.hidden(x).floor_().clamp_(0, INT8_LIMIT)
        return head.logits(hidden).floor_().to(torch.int32)


def _embedded(tables: Sequence[Tensor], members: Sequence[Tensor]) -> Tensor:
    pairs = zip(tables, members, strict=False)  # the heads' later members are not known yet
    return torch.cat([table.index_select(0, symbols) for table, symbols in pairs], dim=1)
