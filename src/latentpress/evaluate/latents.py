"""Latents of many items, kept until all have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from latentpress.items.base import Samples
from latentpress.model.base import Model
from latentpress.model.latents import Latents

__all__ = ["as_tensor", "light", "on_device", "pooled"]


def as_tensor(samples: Samples) -> Tensor:
    """Samples of any integers as a tensor of a type that torch computes with."""
    known = samples.dtype in map(np.dtype, (np.uint8, np.int16, np.int32))
    return torch.from_numpy(samples.astype(samples.dtype if known else np.int32))


def light(latents: Latents) -> Latents:
    """The latents on the CPU; without vectors where these follow from codes (see `on_device`)."""
    if latents.codes is not None:
        grid = latents.vectors.shape[2:]
        latents = replace(latents, vectors=latents.vectors.new_empty(len(latents), 0, *grid))
    return latents.to("cpu")


def on_device(model: Model, latents: Latents) -> Latents:
    """The inverse of `light`, on the model's device."""
    latents = latents.to(model.device)
    return latents if latents.codes is None else replace(latents, vectors=model.vectors_of(latents.codes))


def pooled(parts: Sequence[Latents]) -> Latents:
    """Latents of items of several sizes as those of one: code by code, or else of the commonest size.

    >>> parts = [light(Latents(torch.zeros(n, 4, n, 1), torch.ones(n, n, 1, 2))) for n in (3, 2, 3)]
    >>> pooled(parts).codes.shape, pooled(parts[::2]).codes.shape
    (torch.Size([22, 1, 1, 2]), torch.Size([6, 3, 1, 2]))
    """
    alike: dict[torch.Size, list[Latents]] = {}
    for part in parts:
        alike.setdefault(part.vectors.shape[2:], []).append(part)
    joined = [Latents.cat(each) for each in alike.values()]
    codes = [part.codes.flatten(0, -2) for part in joined if part.codes is not None]
    if len(joined) == 1 or not codes:
        return max(joined, key=len)
    ones = (1,) * (joined[0].vectors.ndim - 2)
    flat = torch.cat(codes)
    return Latents(torch.empty(len(flat), 0, *ones), flat.reshape(len(flat), *ones, -1))
