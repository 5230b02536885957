"""The integer form of a causal network at rest: which tensors it has.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` | int64 (n,) | `NetworkStructure.integers` |
| `embeddings.P` | int8 (K_P, e) | component P as the input layer sees it |
| `context_exponents` | int8 (Cm,) | the local conditioning's step per channel is 2 to this power |
| `input` | affine (width, taps * e * components + Cm) | to the residual stream |
| `layers.I.scale` | int8 (width,) | the layer's input is (h + half) >> this, clipped to int8 |
| `layers.I.gates` | affine (2 width, taps * width + Cm) | to the gates' table indices |
| `layers.I.residual` | affine (width, width) | added to the residual stream |
| `scale` | int8 (width,) | as `layers.I.scale`, for the heads' input |
| `head_embeddings.P` | int8 (K_P, embedding) | component P as the heads after it see it |
| `heads.P.hidden` | affine (head_width, width + P * embedding) | clipped to 0..127 |
| `heads.P.logits` | affine (K_P, head_width) | binary logarithms in units of 2^-5 |

An affine is `.weight` int8 (out, in), `.bias` int32 (out,) and `.shift` int8 (out,); those that are
conditioned (`input` and `gates`) have a table `.labels.L` int32 (values + 1, out) for every label, whose
last row is for "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from latentpress.autoregressive.structure import NetworkStructure
from latentpress.exact.tensors import Spec, affine_specs, table_spec

__all__ = ["blank", "network_specs", "trunk_specs"]

_MAX_EXPONENT = 32


def blank(structure: NetworkStructure) -> dict[str, Tensor]:
    """The tensors of an integer network of that structure with nothing in them but zeros."""
    tensors = {spec.name: torch.zeros(spec.shape, dtype=spec.dtype) for spec in network_specs(structure)}
    return {**tensors, "structure": torch.tensor(structure.integers())}


def trunk_specs(s: NetworkStructure) -> Iterator[Spec]:
    """The specs of every tensor up to the heads."""
    channels, labels = s.context_channels, [size + 1 for size in s.label_sizes]
    yield Spec("structure", torch.int64, (len(s.integers()),))
    yield Spec("context_exponents", torch.int8, (channels,), -_MAX_EXPONENT, _MAX_EXPONENT)
    yield Spec("scale", torch.int8, (s.width,), 0, 15)
    yield from affine_specs("input", s.width, len(s.window) * s.position_embedding + channels, labels)
    for p, size in enumerate(s.alphabets):
        yield table_spec(f"embeddings.{p}", size, s.component_embedding)
    for i, offsets in enumerate(s.layers):
        yield Spec(f"layers.{i}.scale", torch.int8, (s.width,), 0, 15)
        yield from affine_specs(f"layers.{i}.gates", 2 * s.width, len(offsets) * s.width + channels, labels)
        yield from affine_specs(f"layers.{i}.residual", s.width, s.width)


def network_specs(s: NetworkStructure) -> Iterator[Spec]:
    """The specs of every tensor."""
    yield from trunk_specs(s)
    for p, size in enumerate(s.alphabets):
        if p < len(s.alphabets) - 1:
            yield table_spec(f"head_embeddings.{p}", size, s.embedding)
        yield from affine_specs(f"heads.{p}.hidden", s.head_width, s.width + p * s.embedding)
        yield from affine_specs(f"heads.{p}.logits", size, s.head_width)
