"""A model on disk, as text and tensors: a folder with `config.json`, `model.safetensors` and `README.md`.

    config.json         the configuration, for people and programs to read
    model.safetensors   every tensor by its name; its metadata hold the configuration and a digest
    README.md           the model card

`model.safetensors` alone is the model and is replaced in one step, so that a kill leaves either the old
model or the new one. A reader checks the digest before it believes a byte: a flipped bit is an error,
never another model. Nothing is pickled, and no tensor is read before its shape could be compared with
what the configuration says. This module knows no model class.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from latentpress.errors import CheckpointError
from latentpress.files import write_atomically

__all__ = ["INTEGER_PREFIX", "StoredModel", "read_model", "write_model"]

FORMAT = "latentpress-model 2"
INTEGER_PREFIX = "integer."
"""Of the names of the tensors of integer forms."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_HEADER = 16 << 20
_ABOUT = "latentpress"  # one entry: safetensors writes several in a random order


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model file whose tensors have not been read yet.

    Attributes:
        path: of the file, for messages.
        config: the configuration as JSON text.
        shapes: of every tensor.
    """

    path: Path
    config: str
    shapes: Mapping[str, tuple[int, ...]]
    _digest: str
    _data: bytes

    def tensors(self, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors, on the CPU: the weights of those names, shapes and types, and integer forms.

        Raises `CheckpointError` where other weights are there, or a bit of the file has changed.
        """
        shapes = {name: shape for name, shape in self.shapes.items() if not name.startswith(INTEGER_PREFIX)}
        self._check_same(shapes, {name: tuple(value.shape) for name, value in expected.items()})
        try:
            tensors = load_tensors(self._data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.path} is damaged: {error}") from None
        if _digest_of(self.config, tensors) != self._digest:
            raise CheckpointError(
                f"{self.path} is damaged: its digest does not match; fetch or train the model again"
            )
        types = {name: tensors[name].dtype for name in shapes}
        self._check_same(types, {name: value.dtype for name, value in expected.items()})
        return tensors

    def _check_same(self, given: Mapping[str, object], expected: Mapping[str, object]) -> None:
        if wrong := [n for n in sorted(expected.keys() | given.keys()) if expected.get(n) != given.get(n)]:
            raise CheckpointError(f"{self.path} does not fit its configuration: see {wrong[0]}")


def write_model(folder: Path, config: str, tensors: Mapping[str, Tensor], card: str) -> None:
    """Writes a model folder, which is made if it is not there.

    Args:
        folder: where to.
        config: the configuration as JSON text.
        tensors: by name, on any device.
        card: the model card, Markdown.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {"format": FORMAT, "config": config, "digest": _digest_of(config, plain)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.json", config.encode())
    write_atomically(folder / "README.md", card.encode())
    write_atomically(folder / "model.safetensors", dump_tensors(plain, {_ABOUT: json.dumps(about)}))


def read_model(folder: Path) -> StoredModel:
    """Reads a model folder's header; raises `CheckpointError` where it is incomplete, damaged or too new."""
    path = folder / "model.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no model folder: {error.strerror or error}: {path.name}"
        ) from None
    if data.startswith(_POINTER):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the model itself: run `git lfs pull`")
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(_MAX_HEADER, len(data) - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(data[8 : 8 + length])
        about = json.loads(header.pop("__metadata__")[_ABOUT])
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        if not all(isinstance(value, str) for value in about.values()):
            raise ValueError("its metadata are not text")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no Latentpress model, or damaged: {error}") from None
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {about.get('format')!r}; this release reads {FORMAT!r}")
    return StoredModel(path, about.get("config", ""), shapes, about.get("digest", ""), data)


def _digest_of(config: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of the configuration and of every tensor's name, type, shape and bytes."""
    digest = hashlib.blake2b(config.encode(), digest_size=16)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
