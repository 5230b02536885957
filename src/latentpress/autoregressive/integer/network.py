"""The exact form of a grid network: integers in, integers out, the same on every machine.

`quantise` has the arithmetic and its proof, `serial` the tensors, `carried` the layers; this module
is what the rest of the package uses. Its executions agree bit for bit:

    logits                          all positions at once, for coding and measuring
    program                         one position at a time, by the compiled step engine (`grid.engine`)
    start, member_logits, push      the same one symbol at a time, in PyTorch: slow, on any device, and
                                    the peer that the engine is checked against

The network's identity is a hash of its integers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch
from torch import Tensor

from latentpress.autoregressive import step
from latentpress.autoregressive.integer.convert import integers_of
from latentpress.autoregressive.integer.forward import EmulatedNetwork, all_at_once
from latentpress.autoregressive.integer.tensors import checked, digest
from latentpress.autoregressive.network import CausalNetwork, Conditioning
from latentpress.autoregressive.step import State
from latentpress.exact.affine import INT8_LIMIT

if TYPE_CHECKING:
    from latentpress.autoregressive.engine import Program

__all__ = ["IntegerNetwork", "undisturbed"]

_CHUNK_FLOATS = 1 << 23  # of a layer's taps that are held at once
_PROGRAMS = 4  # sizes of grid whose programs are kept

P = ParamSpec("P")
R = TypeVar("R")


def undisturbed(function: Callable[P, R]) -> Callable[P, R]:
    """Runs without gradients and without autocast, which would round to 16 bits."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
                return function(*args, **kwargs)
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return function(*args, **kwargs)

    return run


class IntegerNetwork:
    """A grid network in integers.

    Attributes:
        structure: what it is made of.
        device: where it runs.
        id: 16 bytes, a hash of all its integers.

    >>> from latentpress.config import CausalConfig
    >>> network = CausalNetwork(CausalConfig(width=8, depth=1, radius=2), sizes=(4, 4), dims=1)
    >>> symbols = torch.randint(4, (2, 6, 2))
    >>> exact = IntegerNetwork.convert(network, symbols)
    >>> state, whole = exact.start(2, (6,)), exact.logits(symbols)
    >>> for position in range(6):
    ...     for member in range(2):
    ...         assert torch.equal(exact.member_logits(state), whole[member][:, position])
    ...         exact.push(state, symbols[:, position, member])
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.structure, self._tensors = checked(tensors)
        self.device = torch.device(device)
        self.id = digest(self._tensors)
        self._carried = EmulatedNetwork(self.structure, self._tensors, self.device)
        self.program = functools.lru_cache(_PROGRAMS)(self._assemble)

    @classmethod
    def convert(
        cls, network: CausalNetwork, calibration: Tensor, context: Conditioning | None = None
    ) -> IntegerNetwork:
        """Rounds a trained network; see `integers_of`. The result is on the network's device."""
        device = next(network.parameters()).device
        return cls(integers_of(network, calibration, context), device)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> IntegerNetwork:
        """The inverse of `tensors`; raises `CheckpointError` for anything that is not an exact grid."""
        return cls(tensors, device)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU, by the names that `latentpress.autoregressive.integer.tensors` lists."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def to(self, device: torch.device | str) -> IntegerNetwork:
        """The same grid on another device."""
        return self if torch.device(device) == self.device else IntegerNetwork(self._tensors, device)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The alphabet of each member."""
        return self.structure.sizes

    @property
    def dims(self) -> int:
        """Dimensions of the grid."""
        return self.structure.dims

    def quantize_context(self, context: Conditioning) -> Conditioning:
        """Rounds a float context map to the int8 that the exact form takes, by its stored exponents."""
        if context.map is None or context.map.dtype == torch.int8:
            return context
        exponents = self._tensors["context_exponents"].double().to(context.map.device)
        steps = context.map.double() * torch.exp2(-exponents).view(-1, *[1] * self.dims)
        return Conditioning(steps.round_().clamp_(-INT8_LIMIT, INT8_LIMIT).to(torch.int8), context.labels)

    def _assemble(self, grid: tuple[int, ...]) -> Program:
        from latentpress.autoregressive.engine import assemble  # imports Numba

        return assemble(self.structure, self._tensors, grid)

    def conditions(
        self, context: Conditioning | None, batch: int, grid: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """What a context means to the integers: bias rows (1 or B,), and the map int8 (B, positions, Cm).

        Raises:
            ValueError: a label out of range, or a map that does not fit the network and the grid.
        """
        context = context or Conditioning()
        structure, map = self.structure, context.map
        labels = torch.tensor([structure.num_classes])  # the last row: unknown
        if context.labels is not None and structure.num_classes:
            if context.labels.shape != (batch,) or not bool(
                ((context.labels >= -1) & (context.labels < structure.num_classes)).all()
            ):
                raise ValueError(f"labels: {batch} numbers from -1 to {structure.num_classes - 1} needed")
            labels = context.labels % (structure.num_classes + 1)
        if structure.context_channels == 0:
            return labels, None
        expected = (batch, structure.context_channels, *grid)
        if map is None or map.dtype != torch.int8 or tuple(map.shape) != expected:
            raise ValueError(f"context map: int8 of shape {expected} needed; see quantize_context")
        return labels, map.clamp(min=-INT8_LIMIT).flatten(2).transpose(1, 2).contiguous()

    @undisturbed
    def logits(self, symbols: Tensor, context: Conditioning | None = None) -> tuple[Tensor, ...]:
        """Logits of every symbol given those before it, all positions at once.

        Args:
            symbols: (B, *G, P) int64.
            context: map int8 (B, Cm, *G), labels (B,).

        Returns:
            P tensors (B, *G, K_p) int32, binary logarithms in units of 2^-5.
        """
        batch, grid = symbols.shape[0], tuple(symbols.shape[1:-1])
        if len(grid) != self.dims or symbols.shape[-1] != len(self.sizes):
            raise ValueError(f"symbols: {self.dims} grid axes and {len(self.sizes)} members needed")
        labels, map = self._carried_conditions(context, batch, grid)
        positions = math.prod(grid)
        items = max(1, _CHUNK_FLOATS // max(1, positions * self._carried.widest))
        out = [torch.empty(batch, *grid, k, dtype=torch.int32, device=self.device) for k in self.sizes]
        for first in range(0, batch, items):
            run = slice(first, first + items)
            rows = labels if len(labels) == 1 else labels[run].repeat_interleave(positions)
            piece = None if map is None else map[run].flatten(0, 1)
            carried = self._carried.on(grid, rows)
            for member, found in zip(
                out, _parallel(carried, symbols[run].to(self.device), piece), strict=True
            ):
                member[run] = found
        return tuple(out)

    @undisturbed
    def start(self, lanes: int, grid: tuple[int, ...], context: Conditioning | None = None) -> State:
        """The state before the first symbol of `lanes` items on a grid of that size."""
        if len(grid) != self.dims or lanes < 0 or min(grid) < 1:
            raise ValueError(f"start: {self.dims} positive grid sides and a number of lanes needed")
        labels, map = self._carried_conditions(context, lanes, tuple(grid))
        return step.start(self._carried.on(grid, labels), tuple(grid), lanes, map)

    @undisturbed
    def member_logits(self, state: State) -> Tensor:
        """Logits of the next symbol in (raster position, member) order: int32 (lanes, K_p)."""
        return step.member_logits(state)

    @undisturbed
    def push(self, state: State, symbols: Tensor) -> None:
        """Takes the next symbol of every lane, (lanes,) int64, and moves on."""
        step.push(state, symbols.to(self.device))

    def _carried_conditions(
        self, context: Conditioning | None, batch: int, grid: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | None]:
        labels, map = self.conditions(context, batch, grid)
        return labels.to(self.device), None if map is None else map.to(self.device, torch.float32)


def _parallel(carried: EmulatedNetwork, symbols: Tensor, map: Tensor | None) -> list[Tensor]:
    """Logits of all positions: `symbols` (B, *G, P), `map` (B * positions, Cm)."""
    shape = symbols.shape[:-1]
    members = symbols.flatten(0, -2).unbind(1)
    trunk = carried.trunk(all_at_once(shape, carried.embed(members)), map)
    return [carried.logits(trunk, members[:p]).view(*shape, -1) for p in range(len(members))]
