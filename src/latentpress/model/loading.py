"""The model that a configuration or a folder names, of whichever kind."""

from __future__ import annotations

from pathlib import Path
from typing import overload

import torch

from latentpress.config import DeltaVAEConfig, VQVAEConfig
from latentpress.model.deltavae import DeltaVAE
from latentpress.model.device import resolve_device
from latentpress.model.vqvae import VQVAE

__all__ = ["AnyModel", "build", "load"]

AnyModel = VQVAE | DeltaVAE


@overload
def build(config: VQVAEConfig) -> VQVAE: ...
@overload
def build(config: DeltaVAEConfig) -> DeltaVAE: ...
@overload
def build(config: VQVAEConfig | DeltaVAEConfig) -> AnyModel: ...


def build(config: VQVAEConfig | DeltaVAEConfig) -> AnyModel:
    """Builds an untrained model; its weights follow torch's global generator.

    >>> type(build(VQVAEConfig())).__name__, type(build(DeltaVAEConfig())).__name__
    ('VQVAE', 'DeltaVAE')
    """
    return VQVAE(config) if isinstance(config, VQVAEConfig) else DeltaVAE(config)


def load(folder: str | Path, device: str | torch.device = "auto") -> AnyModel:
    """Loads a model folder of any kind; raises `CheckpointError` where it is incomplete or damaged."""
    from latentpress.checkpoint import load_model

    return load_model(Path(folder), resolve_device(device))
