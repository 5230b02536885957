"""The exact form at rest: which integer tensors it has, how they are checked, and what names them.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` | int64 (n,) | `NetworkStructure.integers` |
| `embeddings.P` | int8 (K_P, e) | member P as the input layer sees it |
| `context_exponents` | int8 (Cm,) | the context map's step per channel is 2 to this power |
| `input` | affine (width, taps * e * members + Cm) | to the residual stream |
| `layers.I.scale` | int8 (width,) | the layer's input is (h + half) >> this, clipped to int8 |
| `layers.I.gates` | affine (2 width, taps * width + Cm) | to the gates' table indices |
| `layers.I.residual` | affine (width, width) | added to the residual stream |
| `scale` | int8 (width,) | as `layers.I.scale`, for the heads' input |
| `head_embeddings.P` | int8 (K_P, embedding) | member P as the heads after it see it |
| `heads.P.hidden` | affine (head_width, width + P * embedding) | clipped to 0..127 |
| `heads.P.logits` | affine (K_P, head_width) | binary logarithms in units of 2^-5 |

An affine is `.weight` int8 (out, in), `.bias` int32 (rows, out) and `.shift` int8 (out,); the
conditioned ones (`input` and `gates`) have a bias row per class and a last one for "unknown".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from latentpress.autoregressive.structure import NetworkStructure
from latentpress.coding import identity
from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import INT8_LIMIT, Affine, proven

__all__ = [
    "affine_specs",
    "blank",
    "checked",
    "checked_against",
    "digest",
    "read_affine",
    "read_structure",
    "trunk_specs",
]

_MAX_EXPONENT = 32
Spec = tuple[str, tuple[torch.dtype, tuple[int, ...]]]


def checked(tensors: Mapping[str, Tensor]) -> tuple[NetworkStructure, dict[str, Tensor]]:
    """Returns the structure and the tensors, contiguous on the CPU, if they are an exact grid.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another type or shape, out of range, or
            its sums cannot be proven exact.
    """
    structure = read_structure(tensors)
    return structure, checked_against(_specs(structure), tensors, "exact grid")


def checked_against(specs: Iterable[Spec], tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Returns the tensors, contiguous on the CPU, if they are those, in range, and can be proven exact.

    Args:
        specs: name, type and shape of each.
        tensors: what is checked.
        what: a name for messages.

    Raises:
        CheckpointError: as `checked` does.
    """
    expected = dict(specs)
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            problem = "missing" if name in expected else "unknown"
            raise CheckpointError(f"{what}: tensor {name} is {problem}")
        dtype, shape = expected[name]
        if tensors[name].dtype != dtype or tuple(tensors[name].shape) != shape:
            raise CheckpointError(f"{what}: tensor {name} is not {dtype} of shape {shape}")
    integers = {name: tensors[name].detach().to("cpu").contiguous().clone() for name in sorted(expected)}
    for name, value in integers.items():
        _check_range(name, value, what)
        if name.endswith(".weight"):
            proven(read_affine(integers, name.removesuffix(".weight")), name.removesuffix(".weight"))
    return integers


def blank(structure: NetworkStructure) -> dict[str, Tensor]:
    """The tensors of an exact grid of that structure with nothing in them but zeros."""
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in _specs(structure)}
    return {**tensors, "structure": torch.tensor(structure.integers())}


def read_affine(tensors: Mapping[str, Tensor], name: str) -> Affine:
    """The affine map of that name."""
    return Affine(*(tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift")))


def digest(tensors: Mapping[str, Tensor]) -> bytes:
    """The name of an exact grid, 16 bytes: a hash of all its integers."""
    return identity.digest({name: tensors[name].numpy() for name in tensors}, b"latentpress grid")


def read_structure(tensors: Mapping[str, Tensor], what: str = "exact grid") -> NetworkStructure:
    """The structure among the tensors; raises `CheckpointError` where there is none."""
    integers = tensors.get("structure")
    if integers is None or integers.dtype != torch.int64 or integers.ndim != 1 or integers.numel() > 256:
        raise CheckpointError(f"{what}: its structure is missing or damaged")
    try:
        return NetworkStructure.from_integers(integers.tolist())
    except ConfigError as error:
        raise CheckpointError(f"{what}: {error}") from None


def trunk_specs(s: NetworkStructure) -> Iterator[Spec]:
    """Name, type and shape of every tensor up to the heads."""
    channels, rows = s.context_channels, s.num_classes + 1
    yield "structure", (torch.int64, (len(s.integers()),))
    yield "context_exponents", (torch.int8, (channels,))
    yield "scale", (torch.int8, (s.width,))
    yield from affine_specs("input", s.width, s.window_size * s.position_embedding + channels, rows)
    for p, size in enumerate(s.sizes):
        yield f"embeddings.{p}", (torch.int8, (size, s.member_embedding))
    for i, offsets in enumerate(s.layers):
        yield f"layers.{i}.scale", (torch.int8, (s.width,))
        yield from affine_specs(f"layers.{i}.gates", 2 * s.width, len(offsets) * s.width + channels, rows)
        yield from affine_specs(f"layers.{i}.residual", s.width, s.width)


def _specs(s: NetworkStructure) -> Iterator[Spec]:
    """Name, type and shape of every tensor."""
    yield from trunk_specs(s)
    for p, size in enumerate(s.sizes):
        if p < len(s.sizes) - 1:
            yield f"head_embeddings.{p}", (torch.int8, (size, s.embedding))
        yield from affine_specs(f"heads.{p}.hidden", s.head_width, s.width + p * s.embedding)
        yield from affine_specs(f"heads.{p}.logits", size, s.head_width)


def affine_specs(name: str, out: int, inputs: int, rows: int = 1) -> Iterator[Spec]:
    """Name, type and shape of an affine map's tensors."""
    yield f"{name}.weight", (torch.int8, (out, inputs))
    yield f"{name}.bias", (torch.int32, (rows, out))
    yield f"{name}.shift", (torch.int8, (out,))


def _check_range(name: str, value: Tensor, what: str) -> None:
    low, high = -INT8_LIMIT, INT8_LIMIT
    if name == "scale" or name.endswith(".scale"):
        low, high = 0, 15
    elif name == "context_exponents":
        low, high = -_MAX_EXPONENT, _MAX_EXPONENT
    elif "embeddings" not in name:
        return  # affines are proven as a whole
    if value.numel() and not low <= int(value.min()) <= int(value.max()) <= high:
        raise CheckpointError(f"{what}: tensor {name} has a value outside {low}..{high}")
