"""One position at a time: the exact form with ring buffers, for decoding and sampling.

The grid is flattened into a `Raster`, where every past offset is one shift whatever the number of
dimensions. Each layer keeps its last inputs in a ring of as many places as its farthest shift needs,
(lanes, places, channels); a layer's taps are the ring's entries at (place - shifts) mod length. Where
the raster has empty places, at the ends of rows, the rings are cleared: outside the grid is zero.

Lanes never mix: each row of every matrix belongs to one lane.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentpress.autoregressive.integer.forward import EmulatedNetwork
from latentpress.autoregressive.offsets import Offset, Raster

__all__ = ["State", "member_logits", "push", "start"]


@dataclass
class State:
    """Where the lanes stand.

    `position` and `member` name the symbol that comes next, `place` is the position's on the raster.
    `rings`: past inputs of the input layer and of every gated layer. `sources`: the place in its
    ring of every tap, all layers one after the other; `taps` are its views by layer. `members`: the
    symbols of this position so far. `trunk`: the heads' input here, once it is computed.
    """

    carried: EmulatedNetwork
    raster: Raster
    lanes: int
    map: Tensor | None
    rings: list[Tensor]
    places: Tensor
    lengths: Tensor
    sources: Tensor
    taps: tuple[Tensor, ...]
    position: int = 0
    place: int = 0
    member: int = 0
    members: list[Tensor] = field(default_factory=list)
    trunk: Tensor | None = None

    @property
    def done(self) -> bool:
        """Whether every symbol of the grid has been pushed."""
        return self.position == self.raster.positions

    def __call__(self, number: int, offsets: tuple[Offset, ...], x: Tensor | None) -> Tensor:
        """A layer's taps, (lanes, len(offsets) * C), after its input here, `x`, has joined its ring."""
        ring = self.rings[number]
        if x is not None:
            ring.select(1, self.place % ring.shape[1]).copy_(x)
        return ring.index_select(1, self.taps[number]).view(self.lanes, -1)


def start(carried: EmulatedNetwork, grid: tuple[int, ...], lanes: int, map: Tensor | None) -> State:
    """The state before the first symbol. `carried` is bound to the grid; `map`: (lanes, positions, Cm)."""
    layers = carried.tap_layers
    margin = max((abs(o) for layer in layers for offset in layer.offsets for o in offset), default=0)
    raster = Raster(grid, margin)
    shifts = [[raster.shift(offset) for offset in layer.offsets] for layer in layers]
    lengths = [max(s, default=0) + 1 for s in shifts]
    channels = [sum(table.shape[1] for table in carried.embeddings)]
    channels += [len(layer.scale) for layer in carried.layers]
    device = carried.scale.device
    places = torch.tensor([-shift for s in shifts for shift in s], device=device)
    repeated = [n for s, n in zip(shifts, lengths, strict=True) for _ in s]
    sources = places.remainder(torch.tensor(repeated, device=device))
    return State(
        carried=carried,
        raster=raster,
        lanes=lanes,
        map=map,
        rings=[torch.zeros(lanes, n, c, device=device) for n, c in zip(lengths, channels, strict=True)],
        places=places,
        lengths=torch.tensor(repeated, device=device),
        sources=sources,
        taps=sources.split([len(s) for s in shifts]),
    )


def member_logits(state: State) -> Tensor:
    """int32 (lanes, K_p) of the next symbol."""
    assert not state.done, "the grid is complete"
    if state.trunk is None:
        map = None if state.map is None else state.map.select(1, state.position)
        state.trunk = state.carried.trunk(state, map)
    return state.carried.logits(state.trunk, state.members)


def push(state: State, symbols: Tensor) -> None:
    """Takes the next symbol of every lane, (lanes,) int64."""
    if state.trunk is None:
        member_logits(state)  # the layers' rings need this position even if nobody asked
    state.members.append(symbols)
    state.member += 1
    if state.member == len(state.carried.heads):
        _advance(state)


def _advance(state: State) -> None:
    place, first = state.place, state.rings[0]
    first.select(1, place % first.shape[1]).copy_(state.carried.embed(state.members))
    state.position, state.member, state.members, state.trunk = state.position + 1, 0, [], None
    if state.done:
        return
    state.place = state.raster.place(state.position)
    if state.place > place + 1:
        _clear(state.rings, range(place + 1, state.place))
    state.places.add_(state.place - place)
    torch.remainder(state.places, state.lengths, out=state.sources)


def _clear(rings: list[Tensor], places: range) -> None:
    for ring in rings:
        length = ring.shape[1]
        slots = {place % length for place in places[-length:]}
        ring.index_fill_(1, torch.tensor(sorted(slots), device=ring.device), 0.0)
