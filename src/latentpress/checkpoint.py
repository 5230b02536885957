"""A model on disk: a folder with `config.json`, `model.safetensors` and `README.md`.

    config.json         the configuration, for people and programs to read
    model.safetensors   every tensor: the networks' by their names in the model, the integers of the
                        exact forms under `exact_prior.`, `exact_pixels.` and the like; its metadata
                        hold the configuration too, and a digest of both
    README.md           the model card

`model.safetensors` alone is the model and is replaced in one step, so that a kill leaves either the
old model or the new one. A reader checks the digest before it believes a byte: a flipped bit is an
error, never another model. Nothing is pickled, and no tensor is allocated before its shape has been
compared with the configuration's.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from latentpress.config import DeltaVAEConfig, VQVAEConfig, from_json, to_json
from latentpress.errors import CheckpointError, ConfigError
from latentpress.model import AnyModel, build

__all__ = ["load_model", "read_config", "save_model", "write_atomically"]

FORMAT = "latentpress-model 1"
_MAX_HEADER = 16 << 20
_MAX_CONFIG = 1 << 20
_EXACT = "exact_"  # what the names of the exact forms' tensors begin with
_ABOUT = "latentpress"  # one entry: safetensors writes several in a random order


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name and renames it: readers see all of it or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_model(model: AnyModel, folder: Path, *, card: str = "") -> None:
    """Writes `model` into `folder`, which is made if it is not there; `card` is Markdown text."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    for part, exact in model.exact_forms().items():
        tensors |= {f"{part}.{name}": value for name, value in exact.tensors().items()}
    config = to_json(model.config)
    about = {"format": FORMAT, "config": config, "digest": _digest(config, tensors)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.json", config.encode())
    write_atomically(folder / "README.md", (card or _plain_card(model)).encode())
    write_atomically(folder / "model.safetensors", dump_tensors(tensors, {_ABOUT: json.dumps(about)}))


def load_model(folder: Path, device: torch.device) -> AnyModel:
    """Reads a model folder; raises `CheckpointError` where it is incomplete, damaged or too new."""
    path = folder / "model.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no model folder: {error.strerror or error}: {path.name}"
        ) from None
    about, shapes = _read_header(data, path)
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {about.get('format')!r}; this release reads {FORMAT!r}")
    config_text = about.get("config", "")
    try:
        config = _model_config(config_text)
        with torch.device("meta"):
            model = build(config)
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    expected = {name: list(value.shape) for name, value in model.state_dict().items()}
    found = {name: shape for name, shape in shapes.items() if not name.startswith(_EXACT)}
    if found != expected:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise CheckpointError(f"{path} does not fit its configuration: see {wrong[0]}")
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if _digest(config_text, tensors) != about.get("digest"):
        raise CheckpointError(f"{path} is damaged: its digest does not match; fetch or train the model again")
    return _assemble(model, tensors, path, device)


def _model_config(text: str | bytes) -> VQVAEConfig | DeltaVAEConfig:
    """The configuration of a model, of the kind that it names."""
    try:
        kind = json.loads(text).get("kind", "vq-vae")
    except (ValueError, AttributeError, RecursionError):
        kind = "vq-vae"  # whose reader says what is wrong
    return from_json(DeltaVAEConfig if kind == "delta-vae" else VQVAEConfig, text)


def read_config(folder: Path) -> VQVAEConfig | DeltaVAEConfig:
    """Reads a model folder's `config.json` only, for a look that needs no weights."""
    try:
        with open(folder / "config.json", "rb") as file:
            text = file.read(_MAX_CONFIG + 1)
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no model folder: {error.strerror or error}: config.json"
        ) from None
    if len(text) > _MAX_CONFIG:
        raise CheckpointError(f"{folder / 'config.json'} is too large to be a configuration")
    try:
        return _model_config(text)
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None


def _assemble(model: AnyModel, tensors: dict[str, Tensor], path: Path, device: torch.device) -> AnyModel:
    weights = {name: value for name, value in tensors.items() if not name.startswith(_EXACT)}
    for name, value in model.state_dict().items():
        if weights[name].dtype != value.dtype:
            raise CheckpointError(f"{path} does not fit its configuration: see {name}")
    model.load_state_dict(weights, assign=True)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_EXACT):
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
    try:
        model.restore_exact(parts, device)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return model.to(device).eval().requires_grad_(False)


def _read_header(data: bytes, path: Path) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Returns what safetensors bytes say of the model, and the shapes of their tensors, unread."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(_MAX_HEADER, len(data) - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(data[8 : 8 + length])
        about = json.loads(header.pop("__metadata__")[_ABOUT])
        shapes = {name: list(entry["shape"]) for name, entry in header.items()}
        if not all(isinstance(value, str) for value in about.values()):
            raise ValueError("its metadata are not text")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no Latentpress model, or damaged: {error!r}") from None
    return about, shapes


def _digest(config: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of the configuration and of every tensor's name, type, shape and bytes."""
    digest = hashlib.blake2b(config.encode(), digest_size=16)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain_card(model: AnyModel) -> str:
    kind = model.config.item.kind
    return f"# A Latentpress model for {kind}s\n\nSee `config.json` for what it is made of.\n"
