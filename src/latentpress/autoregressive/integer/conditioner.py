"""The integer form of a conditioner: codes to an int8 map, the same on every machine.

    x = clip((A taps(e) + a) >> s, 0, 127)         y = clip((B x + b) >> t, -127, 127)

with the integers and the proof of `exact.affine`, emulated as in `integer.forward`.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` | int64 (n,) | `ConditionerStructure.integers` |
| `embeddings.P` | int8 (K_P, embedding) | what describes code P: of a codebook with the code's vector in it |
| `hidden` | affine (width, taps * codes * embedding) | clipped to 0..127 |
| `out` | affine (prod(hop) * channels, width) | the map, in the steps of the network's `context_exponents` |

The map of some rows comes from the codes before and after them, so that a band of a large item sees
what it would see of the whole item's map, and no more of it need be there at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from latentpress.autoregressive.conditioner import AnyConditioner, ConditionerStructure
from latentpress.autoregressive.integer.convert import units_of_hidden
from latentpress.autoregressive.integer.forward import EmulatedAffine, embed, undisturbed
from latentpress.autoregressive.offsets import depth_to_space, shift_and_concat
from latentpress.exact.affine import INT8_LIMIT, rounded_affine
from latentpress.exact.tensors import (
    Spec,
    affine_specs,
    affine_tensors,
    checked_against,
    read_affine,
    read_structure,
    table_spec,
)

__all__ = ["IntegerConditioner", "conditioner_integers"]

_CHUNK_FLOATS = 1 << 23  # of taps that are held at once
_WHAT = "integer conditioner"


class IntegerConditioner:
    """A conditioner in integers.

    Raises:
        CheckpointError: `tensors` are not those of an integer conditioner, or cannot be proven exact.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.structure = read_structure(tensors, ConditionerStructure.from_integers, _WHAT)
        self._tensors = checked_against(_specs(self.structure), tensors, _WHAT)
        self.device = torch.device(device)
        codes = range(len(self.structure.alphabets))
        self._embeddings = [self._tensors[f"embeddings.{p}"].float().to(self.device) for p in codes]
        self._hidden = EmulatedAffine.of(read_affine(self._tensors, "hidden"), self.device)
        self._out = EmulatedAffine.of(read_affine(self._tensors, "out"), self.device)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def coarsened(self, step: int) -> IntegerConditioner:
        """The same map of coarser codes, each standing for every `step`-th of these, from the middle on."""
        tensors, alphabets = self.tensors(), []
        for p, size in enumerate(self.structure.alphabets):
            most = size // 2 // step
            kept = size // 2 + step * torch.arange(-most, most + 1)
            tensors[f"embeddings.{p}"] = tensors[f"embeddings.{p}"][kept]
            alphabets.append(len(kept))
        tensors["structure"] = torch.tensor(replace(self.structure, alphabets=tuple(alphabets)).integers())
        return IntegerConditioner(tensors, self.device)

    @undisturbed
    def __call__(self, codes: Tensor, size: Sequence[int], rows: tuple[int, int] | None = None) -> Tensor:
        """The map of codes (B, *ceil(size / hop), P), int8 (B, channels, *size), on the conditioner's device.

        `rows` are the first and the last plus one along the first axis; all by default.
        """
        structure, hop = self.structure, self.structure.hop
        grid = tuple(-(-side // h) for side, h in zip(size, hop, strict=True))
        if tuple(codes.shape[1:]) != (*grid, len(structure.alphabets)):
            raise ValueError(f"codes of shape {tuple(codes.shape)} do not fit samples of {tuple(size)}")
        start, stop = rows or (0, size[0])
        first, last = start // hop[0], -(-stop // hop[0])
        back, ahead = structure.reach
        begin, end = max(0, first - back), min(grid[0], last + ahead)
        shape = len(codes), structure.channels, stop - start, *size[1:]
        out = torch.empty(shape, dtype=torch.int8, device=self.device)
        per_item = (end - begin) * codes[:1, 0, ..., 0].numel() * structure.inputs
        items = max(1, _CHUNK_FLOATS // max(1, per_item))
        for i in range(0, len(codes), items):
            part = codes[i : i + items, begin:end].to(self.device)
            described = embed(self._embeddings, part.unbind(-1))
            taps = shift_and_concat(described, structure.offsets).flatten(0, -2)
            units = self._hidden(taps).floor_().clamp_(0, INT8_LIMIT)
            values = self._out(units).floor_().clamp_(-INT8_LIMIT, INT8_LIMIT).to(torch.int8)
            values = values.view(*part.shape[:-1], -1)[:, first - begin : last - begin]
            inner = (stop - first * hop[0], *size[1:])
            out[i : i + items] = depth_to_space(values, hop, inner)[:, :, start - first * hop[0] :]
        return out


@torch.no_grad()
def conditioner_integers(
    conditioner: AnyConditioner, codes: Tensor, steps: Tensor, codebook: Tensor | None = None
) -> dict[str, Tensor]:
    """The tensors of a trained conditioner's integer form.

    It is calibrated on typical codes (B, *G, P); `steps` (channels,) are the real values of one step of every
    channel of the map, and `codebook` is that of `CodeConditioner.latents`.
    """
    structure = conditioner.structure
    tensors = {"structure": torch.tensor(structure.integers())}
    tables = conditioner.integer_tables(codebook)
    for p, (table, _) in enumerate(tables):
        tensors[f"embeddings.{p}"] = table
    taps = torch.cat([scale for _, scale in tables]).repeat(len(structure.offsets))
    hidden = conditioner.units(conditioner.latents(codes, codebook))
    units = units_of_hidden(hidden, conditioner.hidden, taps)
    repeated = steps.to(units).repeat(structure.outputs // structure.channels)
    layers = ("hidden", conditioner.hidden, taps, units), ("out", conditioner.out, units, repeated)
    for name, linear, scales, outputs in layers:
        tensors |= affine_tensors(rounded_affine(linear.weight, linear.bias, scales, outputs), name)
    return {name: value.cpu() for name, value in tensors.items()}


def _specs(s: ConditionerStructure) -> Iterator[Spec]:
    yield Spec("structure", torch.int64, (len(s.integers()),))
    for p, size in enumerate(s.alphabets):
        yield table_spec(f"embeddings.{p}", size, s.embedding)
    yield from affine_specs("hidden", s.width, s.inputs)
    yield from affine_specs("out", s.outputs, s.width)
