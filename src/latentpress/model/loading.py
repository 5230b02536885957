"""The model that a configuration or a folder names, of whichever kind."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from latentpress.config import AnyModelConfig, VQVAEConfig
from latentpress.model.base import Model
from latentpress.model.deltavae import DeltaVAE
from latentpress.model.files import read_model
from latentpress.model.vqvae import VQVAE

__all__ = ["build", "load"]


def build(config: AnyModelConfig) -> Model:
    """Builds an untrained model; its weights follow torch's global generator.

    >>> from latentpress.config import DeltaVAEConfig
    >>> type(build(VQVAEConfig())).__name__, type(build(DeltaVAEConfig())).__name__
    ('VQVAE', 'DeltaVAE')
    """
    return VQVAE(config) if isinstance(config, VQVAEConfig) else DeltaVAE(config)


def load(folder: str | Path, device: str | torch.device = "auto") -> Model:
    """Loads a model folder of any kind; raises `CheckpointError` where it is incomplete or damaged."""
    config = read_model(Path(folder)).config
    try:
        kind = json.loads(config).get("kind")
    except (ValueError, AttributeError, RecursionError):
        kind = None  # the reader of configurations says what is wrong
    return (DeltaVAE if kind == "delta-vae" else VQVAE).from_pretrained(folder, device)
