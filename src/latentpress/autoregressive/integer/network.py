"""The integer form of a causal network: integers in, integers out, the same on every machine.

Its two executions agree bit for bit:

    logits      all positions at once, in PyTorch: measuring, and encoding on a GPU
    program     one position at a time, by the compiled step engine (`autoregressive.engine`): everything else

The network's identity is a hash of its integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentpress.autoregressive import coding
from latentpress.autoregressive.integer.convert import integers_of
from latentpress.autoregressive.integer.forward import EmulatedNetwork, undisturbed
from latentpress.autoregressive.integer.tensors import network_specs
from latentpress.autoregressive.network import CausalNetwork
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.exact.affine import INT8_LIMIT
from latentpress.exact.distribution import Conditioning
from latentpress.exact.tensors import checked_against, digest, read_structure

if TYPE_CHECKING:
    from latentpress.autoregressive.engine import Program

__all__ = ["IntegerNetwork"]

_CHUNK_FLOATS = 1 << 23  # of a layer's taps that are held at once
_PROGRAMS = 4  # sizes of grid whose programs are kept
_WHAT = "integer network"


class IntegerNetwork:
    """A causal network in integers; an `exact.distribution.IntegerDistribution`.

    Raises:
        CheckpointError: `tensors` are not those that `integer.tensors` lists, or cannot be proven exact.

    >>> from latentpress.config import CausalConfig
    >>> from latentpress.exact.distribution import Stream
    >>> network = CausalNetwork(CausalConfig(width=8, depth=1, radius=2), alphabets=(4, 4), rank=1)
    >>> symbols = torch.randint(4, (2, 6, 2))
    >>> integers = IntegerNetwork.convert(network, symbols)
    >>> stream = Stream((6,), 2, symbols=symbols.transpose(0, 1).numpy())
    >>> [(payload, bits)] = integers.encode([stream])
    >>> bits.tolist(), len(payload)  # untrained: 2 bits a symbol
    ([24.0, 24.0], 8)
    >>> [back] = integers.decode([Stream((6,), 2, payload=payload)])
    >>> bool((back == stream.symbols).all())
    True
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.structure = read_structure(tensors, NetworkStructure.from_integers, _WHAT)
        self._tensors = checked_against(network_specs(self.structure), tensors, _WHAT)
        self.device = torch.device(device)
        self.id = digest(self._tensors)
        self._emulated = EmulatedNetwork(self.structure, self._tensors, self.device)
        self._widest = max(len(layer.affine.weight) for layer in self._emulated.tap_layers)
        self._programs: dict[tuple[int, ...], Program] = {}

    @classmethod
    def convert(
        cls, network: CausalNetwork, symbols: Tensor, conditioning: Conditioning | None = None
    ) -> IntegerNetwork:
        """Rounds a trained network, calibrated on symbols (B, *G, P); see `integers_of`. On its device."""
        return cls(integers_of(network, symbols, conditioning), next(network.parameters()).device)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def to(self, device: torch.device | str) -> IntegerNetwork:
        """The same network on another device."""
        return self if torch.device(device) == self.device else IntegerNetwork(self._tensors, device)

    @property
    def alphabets(self) -> tuple[int, ...]:
        """How many symbols each component of a position's tuple has."""
        return self.structure.alphabets

    encode, decode, sample = coding.encode, coding.decode, coding.sample

    def program(self, grid: tuple[int, ...]) -> Program:
        """The step engine's arrays for grids of that size, or of a smaller first extent."""
        from latentpress.autoregressive.engine import assemble  # imports Numba

        if grid not in self._programs:
            if len(self._programs) == _PROGRAMS:
                del self._programs[next(iter(self._programs))]
            self._programs[grid] = assemble(self.structure, self._tensors, grid)
        return self._programs[grid]

    def conditions(
        self, conditioning: Conditioning | None, batch: int, grid: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """The conditioning of items as the integers take it.

        That is rows of the labels' tables, int64 (B, 1, L), or (B, T, L) where rows along the first axis have
        labels of their own; and the local conditioning, int8 (B, positions, Cm), or None.

        Raises:
            ValueError: a label is out of range, or a shape does not fit the network and the grid.
        """
        conditioning = conditioning or Conditioning()
        structure, local = self.structure, conditioning.local
        labels = self._labels(conditioning.labels, batch, grid)
        if structure.context_channels == 0:
            return labels, None
        expected = (batch, structure.context_channels, *grid)
        if local is None or local.dtype != torch.int8 or tuple(local.shape) != expected:
            raise ValueError(f"local conditioning: int8 of shape {expected} is needed")
        return labels, local.clamp(min=-INT8_LIMIT).flatten(2).transpose(1, 2).contiguous()

    def _labels(self, labels: Tensor | None, batch: int, grid: tuple[int, ...]) -> Tensor:
        sizes = torch.tensor(self.structure.label_sizes, dtype=torch.int64)
        if labels is None or not len(sizes):
            return sizes.expand(batch, 1, -1)  # the last row of each table: unknown
        labels = labels.cpu().to(torch.int64)
        if tuple(labels.shape) not in {(batch, len(sizes)), (batch, grid[0], len(sizes))}:
            raise ValueError(f"labels: {len(sizes)} of {batch} items, or of {grid[0]} rows each, are needed")
        if not bool(((labels >= -1) & (labels < sizes)).all()):
            raise ValueError(f"labels: numbers from -1 to below {sizes.tolist()} are needed")
        labels = torch.where(labels < 0, sizes, labels)
        return labels.unsqueeze(1) if labels.ndim == 2 else labels

    @undisturbed
    def logits(self, symbols: Tensor, conditioning: Conditioning | None = None) -> tuple[Tensor, ...]:
        """Logits of every symbol (B, *G, P) given those before it, all positions at once.

        They are P tensors (B, *G, K_p) int32, binary logarithms in units of 2^-5.
        """
        batch, grid = symbols.shape[0], tuple(symbols.shape[1:-1])
        if len(grid) != self.structure.rank or symbols.shape[-1] != len(self.alphabets):
            raise ValueError(
                f"symbols: {self.structure.rank} grid axes and {len(self.alphabets)} components needed"
            )
        labels, local = self.conditions(conditioning, batch, grid)
        positions = math.prod(grid)
        items = max(1, _CHUNK_FLOATS // max(1, positions * self._widest))
        out = [torch.empty(batch, *grid, k, dtype=torch.int32, device=self.device) for k in self.alphabets]
        for first in range(0, batch, items):
            run = slice(first, first + items)
            rows = labels[run].repeat_interleave(positions // labels.shape[1], dim=1).flatten(0, 1)
            piece = None if local is None else local[run].flatten(0, 1).to(self.device, torch.float32)
            part = symbols[run].to(self.device)
            components = part.flatten(0, -2).unbind(1)
            emulated = self._emulated.on(grid, rows.to(self.device))
            trunk, _ = emulated.all_at_once(part, piece)
            for p, component in enumerate(out):
                component[run] = emulated.logits(trunk, components[:p]).view(*part.shape[:-1], -1)
        return tuple(out)
