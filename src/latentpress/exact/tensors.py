"""The tensors of an integer form: how they are checked before anything is computed, and what names them.

A form lists its tensors as `Spec`s. `checked_against` is the only way in: what passes has the right names,
types, shapes and ranges, and the sums of its affine maps are proven exact (`latentpress.exact.affine`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import INT8_LIMIT, Affine, proven

__all__ = [
    "Spec",
    "affine_specs",
    "affine_tensors",
    "checked_against",
    "digest",
    "read_affine",
    "read_structure",
    "table_spec",
]

_PARTS = ("weight", "bias", "shift")
_MOST_INTEGERS = 256

S = TypeVar("S")


@dataclass(frozen=True)
class Spec:
    """What one tensor has to be.

    Args:
        low: the least value, and `high` the largest; by default any of its type.
        affine: whether it is the weight of an `Affine` whose sums have to be proven.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    low: int | None = None
    high: int | None = None
    affine: bool = False

    def check(self, value: Tensor, what: str) -> None:
        """Raises `CheckpointError` where a tensor is another one."""
        if value.dtype != self.dtype or tuple(value.shape) != self.shape:
            raise CheckpointError(f"{what}: tensor {self.name} is not {self.dtype} of shape {self.shape}")
        low = torch.iinfo(self.dtype).min if self.low is None else self.low
        high = torch.iinfo(self.dtype).max if self.high is None else self.high
        if value.numel() and not low <= int(value.min()) <= int(value.max()) <= high:
            raise CheckpointError(f"{what}: tensor {self.name} has a value outside {low}..{high}")


def table_spec(name: str, rows: int, channels: int) -> Spec:
    """The spec of an embedding."""
    return Spec(name, torch.int8, (rows, channels), -INT8_LIMIT, INT8_LIMIT)


def affine_specs(name: str, outputs: int, inputs: int, labels: Sequence[int] = ()) -> Iterator[Spec]:
    """The specs of an affine map's tensors; `labels` are the rows of each label's table. See `Affine`."""
    yield Spec(f"{name}.weight", torch.int8, (outputs, inputs), affine=True)
    yield Spec(f"{name}.bias", torch.int32, (outputs,))
    yield Spec(f"{name}.shift", torch.int8, (outputs,))
    for number, rows in enumerate(labels):
        yield Spec(f"{name}.labels.{number}", torch.int32, (rows, outputs))


def read_affine(tensors: Mapping[str, Tensor], name: str) -> Affine:
    """The affine map of that name."""
    keys = (f"{name}.labels.{number}" for number in itertools.count())
    labels = tuple(tensors[key] for key in itertools.takewhile(tensors.__contains__, keys))
    return Affine(**{part: tensors[f"{name}.{part}"] for part in _PARTS}, labels=labels)


def affine_tensors(affine: Affine, name: str) -> dict[str, Tensor]:
    """The inverse of `read_affine`."""
    tensors = {f"{name}.{part}": getattr(affine, part) for part in _PARTS}
    return tensors | {f"{name}.labels.{number}": table for number, table in enumerate(affine.labels)}


def checked_against(specs: Iterable[Spec], tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Returns copies of the tensors, contiguous on the CPU, if they are just what `specs` say.

    They may come from a hostile file; `what` is the form's name in messages.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another type or shape, out of range, or an
            affine's sums cannot be proven exact.
    """
    expected = {spec.name: spec for spec in specs}
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise CheckpointError(f"{what}: tensor {name} is {'missing' if name in expected else 'unknown'}")
    for name, spec in sorted(expected.items()):
        spec.check(tensors[name], what)
    integers = {name: tensors[name].detach().to("cpu").contiguous().clone() for name in sorted(expected)}
    for name in (name.removesuffix(".weight") for name, spec in expected.items() if spec.affine):
        proven(read_affine(integers, name), f"{what}: {name}")
    return integers


def read_structure(
    tensors: Mapping[str, Tensor], parse: Callable[[Sequence[int]], S], what: str, name: str = "structure"
) -> S:
    """Returns what `parse` makes of a tensor of a few integers, int64 (n,).

    Raises:
        CheckpointError: there is none, or `parse` refuses it with a `ConfigError`.
    """
    integers = tensors.get(name)
    if integers is None or integers.dtype != torch.int64 or integers.ndim != 1:
        raise CheckpointError(f"{what}: its {name} is missing or damaged")
    if integers.numel() > _MOST_INTEGERS:
        raise CheckpointError(f"{what}: its {name} is too long")
    try:
        return parse(integers.tolist())
    except ConfigError as error:
        raise CheckpointError(f"{what}: {error}") from None


def digest(tensors: Mapping[str, Tensor], person: bytes = b"latentpress grid") -> bytes:
    """The identity of an integer form: 16 bytes of BLAKE2b over each tensor's name, type, shape and integers.

    `person`, of at most 16 bytes, keeps different kinds of forms apart.

    >>> digest({"a": torch.tensor([1, 2], dtype=torch.int8)}, b"example").hex()
    '9b5f172f30434de342ce495f23fbb519'
    """
    result = hashlib.blake2b(digest_size=16, person=person)
    for name in sorted(tensors):
        array = tensors[name].numpy()
        result.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        result.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return result.digest()
