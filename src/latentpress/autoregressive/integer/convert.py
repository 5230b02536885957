"""From a trained network to integers: rounding after training, calibrated on typical symbols.

Scales are chosen so that no multiplication is needed to rescale: the residual stream has one power
of two for its unit; each layer reads it at the power of two per channel whose int8 rounding errs
least on the calibration set; gates and logits have fixed units; weights fill int8 up to the factor
of two that this leaves. The rate grows by a few hundredths of a percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from latentpress.autoregressive.network import (
    CausalNetwork,
    CausalTrunk,
    Conditioned,
    GatedLayer,
    Head,
    InputLayer,
)
from latentpress.exact import affine
from latentpress.exact.affine import INT8_LIMIT, best_exponent, round_to_int8, rounded_affine
from latentpress.exact.distribution import Conditioning
from latentpress.exact.tensors import affine_tensors

__all__ = ["TrunkConverter", "integers_of", "units_of_hidden"]

_HEADROOM = 2.0  # the residual stream may grow this much beyond the calibration set's largest value


@torch.no_grad()
def integers_of(
    network: CausalNetwork, symbols: Tensor, conditioning: Conditioning | None = None
) -> dict[str, Tensor]:
    """The tensors of `network`'s integer form, as `latentpress.autoregressive.integer.tensors` lists them.

    It is calibrated on symbols (B, *G, P) typical of what will be coded; a few thousand positions suffice.
    """
    conditioning = conditioning or Conditioning()
    trace = network.trace(symbols, conditioning)
    converter = TrunkConverter(network, trace.residual, conditioning.local)
    embedding = converter.embeddings("head_embeddings", network.head_embeddings)
    for p, head in enumerate(network.heads):
        assert isinstance(head, Head)
        scales = torch.cat([converter.trunk, *embedding[:p]])
        units = units_of_hidden(trace.hidden[p], head.hidden, scales)
        converter.affine(f"heads.{p}.hidden", head.hidden, scales, units)
        converter.affine(f"heads.{p}.logits", head.logits, units, affine.LOGIT_UNIT)
    return {name: value.cpu() for name, value in converter.tensors.items()}


def units_of_hidden(hidden: Tensor, linear: nn.Linear, scales: Tensor) -> Tensor:
    """Units (out,) for rounding the rectified outputs of `linear` to 0..127, such that its weights fill int8.

    `hidden`: (..., out), typical ones. `scales`: (in,), the real value of one step of each input.
    """
    largest = (linear.weight.double() * scales).abs().amax(1).clamp(min=2.0**-30)
    finest = largest / INT8_LIMIT  # weights then fill int8 exactly
    exponents = best_exponent(hidden.flatten(0, -2), finest, range(affine.MAX_SHIFT + 1), low=0)
    return finest * torch.exp2(exponents.double())


class TrunkConverter:
    """Rounds a trunk, calibrated on its residual stream for the local conditioning `local`.

    `tensors` are at first the integers of everything up to the heads; `embedding`, `trunk` the real value of
    one step of each channel of a position's embedding, and of what the trunk gives.
    """

    def __init__(self, network: CausalTrunk, residual: Sequence[Tensor], local: Tensor | None = None) -> None:
        structure = network.structure
        self.tensors = {"structure": torch.tensor(structure.integers())}
        self.embedding = torch.cat(self.embeddings("embeddings", network.embeddings))
        first, taps = network.input, self.embedding.repeat(len(structure.window))
        one_tap = (first.weight.double() * taps).abs().max() * INT8_LIMIT  # grids of one position show none
        largest = max(float(one_tap), *(float(h.abs().max()) for h in residual))
        self.unit = 2.0 ** math.ceil(math.log2(max(largest, 2.0**-10) * _HEADROOM / affine.RESIDUAL_LIMIT))
        if local is None:
            local = residual[0].new_zeros(1, 0, 1)
        values = local.movedim(1, -1).flatten(0, -2)
        self.local_scales = self._scales("context_exponents", values, 1.0, range(-16, 17))
        self.affine("input", first, taps, self.unit, conditioned=first.conditioned)
        middles = affine.GATE_ENTRIES * torch.tensor([0.5, 1.5], device=taps.device)  # entries of u = 0
        middles = middles.repeat_interleave(structure.width)
        for i, layer in enumerate(network.layers):
            assert isinstance(layer, GatedLayer)
            scales = self._scales(f"layers.{i}.scale", residual[i], self.unit)
            taps = scales.repeat(len(layer.offsets))
            self.affine(f"layers.{i}.gates", layer.gates, taps, affine.GATE_UNIT, middles, layer.conditioned)
            gated = torch.full_like(scales, 1 / INT8_LIMIT)
            self.affine(f"layers.{i}.residual", layer.residual, gated, self.unit)
        self.trunk = self._scales("scale", residual[-1], self.unit)

    def embeddings(self, name: str, tables: Iterable[nn.Module]) -> list[Tensor]:
        """Rounds tables; returns the real value of one step of each one's channels."""
        scales = []
        for p, table in enumerate(tables):
            assert isinstance(table, nn.Embedding)
            self.tensors[f"{name}.{p}"], scale = round_to_int8(table.weight)
            scales.append(scale)
        return scales

    def _scales(self, name: str, values: Tensor, unit: float, exponents: range = range(16)) -> Tensor:
        """The real value of one step of every channel of (..., C), whose exponents become a tensor."""
        units = torch.full((values.shape[-1],), unit, dtype=torch.float64, device=values.device)
        best = best_exponent(values.flatten(0, -2), units, exponents)
        self.tensors[name] = best.to(torch.int8)
        return units * torch.exp2(best.double())

    def affine(
        self,
        name: str,
        layer: nn.Linear | InputLayer,
        scales: Tensor,
        units: Tensor | float,
        offsets: Tensor | float = 0.0,
        conditioned: Conditioned | None = None,
    ) -> None:
        """Rounds a layer, with what the conditioning adds to it; see `rounded_affine`."""
        weight, labels = layer.weight, []
        if conditioned is not None:
            labels = conditioned.tables
            if conditioned.local is not None:
                weight = torch.cat([weight, conditioned.local.weight], dim=1)
                scales = torch.cat([scales, self.local_scales])
        units = torch.as_tensor(units, dtype=torch.float64, device=weight.device).expand(len(weight))
        integers = rounded_affine(weight, layer.bias, scales, units, offsets, labels)
        self.tensors |= affine_tensors(integers, name)
