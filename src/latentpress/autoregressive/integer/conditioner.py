"""The exact form of the upsampler: codes to an int8 context map, the same on every machine.

    x = clip((A taps(e) + a) >> s, 0, 127)         y = clip((B x + b) >> t, -127, 127)

with the integers and the proof of `quantise`, carried as in `carried`.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` | int64 (n,) | `ConditionerStructure.integers` |
| `embeddings.P` | int8 (K_P, embedding) | partition P's codes |
| `hidden` | affine (width, 3^dims * partitions * embedding) | clipped to 0..127 |
| `out` | affine (prod(hop) * channels, width) | the map, in the steps of the network's `context_exponents` |

The map of some rows comes from the codes above and below them, so that a band of a large item sees
what it would see of the whole item's map, and no more of it need be there at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from latentpress.autoregressive.conditioner import (
    CodeConditioner,
    ConditionerStructure,
    LatentConditioner,
    spread,
)
from latentpress.autoregressive.integer.convert import units_of_hidden
from latentpress.autoregressive.integer.forward import EmulatedAffine
from latentpress.autoregressive.integer.tensors import read_affine
from latentpress.autoregressive.offsets import gather
from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import (
    INT8_LIMIT,
    Affine,
    proven,
    rounded_affine,
)

__all__ = ["IntegerConditioner", "upsampler_integers"]

_CHUNK_FLOATS = 1 << 23  # of taps that are held at once


class IntegerConditioner:
    """An upsampler in integers.

    Raises:
        CheckpointError: `tensors` are not those of an exact upsampler, or cannot be proven exact.

    Attributes:
        structure: what it is made of.
        device: where it runs.

    >>> structure = ConditionerStructure(sizes=(8,), hop=(4, 4), embedding=3, width=16, channels=5)
    >>> upsampler, codes = CodeConditioner(structure), torch.randint(8, (2, 3, 2, 1))
    >>> exact = IntegerConditioner(upsampler_integers(upsampler, codes, torch.full((5,), 2.0**-5)))
    >>> whole = exact(codes, (10, 7))
    >>> whole.shape, whole.dtype
    (torch.Size([2, 5, 10, 7]), torch.int8)
    >>> torch.equal(exact(codes, (10, 7), rows=(3, 9)), whole[:, :, 3:9])
    True
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        self.structure, self._tensors = _checked(tensors)
        self.device = torch.device(device)
        members = range(len(self.structure.sizes))
        self._embeddings = [self._tensors[f"embeddings.{p}"].float().to(self.device) for p in members]
        self._hidden = EmulatedAffine.of(read_affine(self._tensors, "hidden"), self.device)
        self._out = EmulatedAffine.of(read_affine(self._tensors, "out"), self.device)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {name: value.clone() for name, value in self._tensors.items()}

    def coarsened(self, step: int) -> IntegerConditioner:
        """The same map of coarser codes, each standing for every `step`-th of these, from the middle on.

        >>> structure = ConditionerStructure(sizes=(255,), hop=(4,), embedding=1, width=8, channels=2, past=1)
        >>> upsampler, steps = LatentConditioner(structure, unit=1 / 24), torch.full((2,), 2.0**-5)
        >>> exact = IntegerConditioner(upsampler_integers(upsampler, torch.randint(255, (1, 3, 1)), steps))
        >>> coarse, fine = torch.tensor([[[12 + 1]]]), torch.tensor([[[127 + 10]]])
        >>> torch.equal(exact.coarsened(10)(coarse, (4,)), exact(fine, (4,)))
        True
        """
        tensors, sizes = self.tensors(), []
        for p, size in enumerate(self.structure.sizes):
            most = size // 2 // step
            tensors[f"embeddings.{p}"] = tensors[f"embeddings.{p}"][
                size // 2 + step * torch.arange(-most, most + 1)
            ]
            sizes.append(2 * most + 1)
        tensors["structure"] = torch.tensor(replace(self.structure, sizes=tuple(sizes)).integers())
        return IntegerConditioner(tensors, self.device)

    @torch.no_grad()
    def __call__(self, codes: Tensor, size: Sequence[int], rows: tuple[int, int] | None = None) -> Tensor:
        """The map of codes, on this upsampler's device.

        Args:
            codes: (B, *ceil(size / hop), P), int64.
            size: the samples' extents.
            rows: the first and the last plus one along the first axis; all by default.

        Returns:
            int8 (B, channels, rows, *size[1:]).
        """
        hop = self.structure.hop
        grid = tuple(-(-side // h) for side, h in zip(size, hop, strict=True))
        if tuple(codes.shape[1:]) != (*grid, len(self.structure.sizes)):
            raise ValueError(f"codes of shape {tuple(codes.shape)} do not fit samples of {tuple(size)}")
        start, stop = rows or (0, size[0])
        first, last = start // hop[0], -(-stop // hop[0])
        past = self.structure.past
        above = max(0, first - (past - 1 if past else 1))
        below = last if past else min(grid[0], last + 1)
        per_item = (below - above) * codes[0, 0, ..., 0].numel() * self.structure.inputs if len(codes) else 1
        out = torch.empty(
            len(codes), self.structure.channels, stop - start, *size[1:], dtype=torch.int8, device=self.device
        )
        items = max(1, _CHUNK_FLOATS // per_item)
        for i in range(0, len(codes), items):
            part = codes[i : i + items, above:below].to(self.device)
            values = self._values(part)[:, first - above : last - above]
            inner = (stop - first * hop[0], *size[1:])
            out[i : i + items] = spread(values, hop, inner)[:, :, start - first * hop[0] :]
        return out

    def _values(self, codes: Tensor) -> Tensor:
        """int8 (B, *G, prod(hop) * channels)."""
        shape = codes.shape[:-1]
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            members = zip(self._embeddings, codes.unbind(-1), strict=True)
            embedded = torch.cat([table[symbols] for table, symbols in members], dim=-1)
            taps = gather(embedded, self.structure.offsets).flatten(0, -2)
            units = self._hidden(taps).floor_().clamp_(0, INT8_LIMIT)
            values = self._out(units).floor_().clamp_(-INT8_LIMIT, INT8_LIMIT)
        return values.to(torch.int8).view(*shape, -1)


@torch.no_grad()
def upsampler_integers(
    upsampler: CodeConditioner | LatentConditioner, codes: Tensor, steps: Tensor
) -> dict[str, Tensor]:
    """The integer tensors of `upsampler`'s exact form.

    Args:
        upsampler: a trained upsampler.
        codes: (B, *G, P) int64, typical ones, to calibrate on.
        steps: (channels,), the real value of one step of every channel of the map.
    """
    structure = upsampler.structure
    tensors = {"structure": torch.tensor(structure.integers())}
    scales = []
    for p, (table, scale) in enumerate(upsampler.integer_tables()):
        tensors[f"embeddings.{p}"] = table
        scales.append(scale)
    taps = torch.cat(scales).repeat(len(structure.offsets))
    units = units_of_hidden(upsampler.units_of_codes(codes), upsampler.hidden, taps)
    repeated = steps.to(units).repeat(structure.outputs // structure.channels)
    affines = {
        "hidden": rounded_affine(upsampler.hidden.weight, upsampler.hidden.bias[None], taps, units),
        "out": rounded_affine(upsampler.out.weight, upsampler.out.bias[None], units, repeated),
    }
    for name, affine in affines.items():
        tensors |= {f"{name}.{part}": getattr(affine, part) for part in ("weight", "bias", "shift")}
    return {name: value.cpu() for name, value in tensors.items()}


def _checked(tensors: Mapping[str, Tensor]) -> tuple[ConditionerStructure, dict[str, Tensor]]:
    structure = _structure(tensors)
    expected = dict(_expected(structure))
    if wrong := sorted(expected.keys() ^ tensors.keys()):
        raise CheckpointError(f"exact upsampler: tensor {wrong[0]} is missing or unknown")
    for name, (dtype, shape) in expected.items():
        if tensors[name].dtype != dtype or tuple(tensors[name].shape) != shape:
            raise CheckpointError(f"exact upsampler: tensor {name} is not {dtype} of shape {shape}")
    integers = {name: tensors[name].detach().to("cpu").contiguous().clone() for name in sorted(expected)}
    for name, value in integers.items():
        if name.startswith("embeddings") and int(value.min()) < -INT8_LIMIT:
            raise CheckpointError(f"exact upsampler: tensor {name} has a value below {-INT8_LIMIT}")
    for name in ("hidden", "out"):
        proven(Affine(*(integers[f"{name}.{part}"] for part in ("weight", "bias", "shift"))), name)
    return structure, integers


def _structure(tensors: Mapping[str, Tensor]) -> ConditionerStructure:
    integers = tensors.get("structure")
    if integers is None or integers.dtype != torch.int64 or integers.ndim != 1 or integers.numel() > 256:
        raise CheckpointError("exact upsampler: its structure is missing or damaged")
    try:
        return ConditionerStructure.from_integers(integers.tolist())
    except ConfigError as error:
        raise CheckpointError(f"exact upsampler: {error}") from None


def _expected(s: ConditionerStructure) -> Iterator[tuple[str, tuple[torch.dtype, tuple[int, ...]]]]:
    """Name, type and shape of every tensor."""
    yield "structure", (torch.int64, (len(s.integers()),))
    for p, size in enumerate(s.sizes):
        yield f"embeddings.{p}", (torch.int8, (size, s.embedding))
    for name, out, inputs in (("hidden", s.width, s.inputs), ("out", s.outputs, s.width)):
        yield f"{name}.weight", (torch.int8, (out, inputs))
        yield f"{name}.bias", (torch.int32, (1, out))
        yield f"{name}.shift", (torch.int8, (out,))
