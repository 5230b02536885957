"""The model that a configuration or a folder names, of whichever kind."""

from __future__ import annotations

from pathlib import Path
from typing import overload

import torch

from latentpress.config import CommittedModelConfig, ModelConfig
from latentpress.model.codebook import LatentModel
from latentpress.model.committed import CommittedModel
from latentpress.model.device import resolve_device

__all__ = ["AnyModel", "build", "load"]

AnyModel = LatentModel | CommittedModel


@overload
def build(config: ModelConfig) -> LatentModel: ...
@overload
def build(config: CommittedModelConfig) -> CommittedModel: ...
@overload
def build(config: ModelConfig | CommittedModelConfig) -> AnyModel: ...


def build(config: ModelConfig | CommittedModelConfig) -> AnyModel:
    """Builds an untrained model; its weights follow torch's global generator.

    >>> type(build(ModelConfig())).__name__, type(build(CommittedModelConfig())).__name__
    ('LatentModel', 'CommittedModel')
    """
    return LatentModel(config) if isinstance(config, ModelConfig) else CommittedModel(config)


def load(folder: str | Path, device: str | torch.device = "auto") -> AnyModel:
    """Loads a model folder of any kind; raises `CheckpointError` where it is incomplete or damaged."""
    from latentpress.checkpoint import load_model

    return load_model(Path(folder), resolve_device(device))
