"""A start for networks whose symbols are numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latentpress.autoregressive.network import CausalNetwork

__all__ = ["ordinal_embedding_"]


@torch.no_grad()
def ordinal_embedding_(network: CausalNetwork, *, signed: bool) -> None:
    """Lets training start from knowing that symbols are ordered: near values look alike.

    Embeddings start as smooth steps and bumps, of widths from 1 to a quarter of the alphabet, about 0 for
    differences, whose upper half of the alphabet is negative, and about the middle for samples.
    """
    for tables in (network.embeddings, network.head_embeddings):
        for table in tables:
            assert isinstance(table, nn.Embedding)
            table.weight.copy_(_features(*table.weight.shape, signed=signed))


def _features(size: int, channels: int, *, signed: bool) -> Tensor:
    """(size, channels), each column of mean 0 and variance 1: tanh(v / w) and exp(-|v| / w) by turns."""
    values = (torch.arange(size) + signed * (size // 2)) % size
    centre = (values - size // 2).float()[:, None]
    widths = torch.logspace(0, math.log2(max(2.0, size / 4)), channels, base=2.0)
    bumps = torch.arange(channels) % 2 == 1
    features = torch.where(bumps, torch.exp(-centre.abs() / widths), torch.tanh(centre / widths))
    centred = features - features.mean(0)
    return centred / centred.square().mean(0).sqrt().clamp(min=1e-3)
