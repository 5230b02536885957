"""Samples of any integer type and range <-> the scale -1..1 that networks see.

    signal = (sample - low) / ((levels - 1) / 2) - 1

Samples keep their channels last, signals have them first.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["from_signal", "to_signal"]


def to_signal(samples: Tensor, low: int, levels: int) -> Tensor:
    """Maps samples (B, *S, C) of values low .. low + levels - 1 to float32 (B, C, *S) in -1..1.

    >>> to_signal(torch.tensor([[[0], [255]]], dtype=torch.uint8), low=0, levels=256)
    tensor([[[-1.,  1.]]])
    """
    signal = samples.movedim(-1, 1).to(torch.float32, copy=True)
    if low:
        signal = signal.sub_(low)
    return signal.div_((levels - 1) / 2).sub_(1.0)


def from_signal(signal: Tensor, low: int, levels: int) -> Tensor:
    """Rounds a signal (B, C, *S) to the nearest samples (B, *S, C): the inverse of `to_signal`.

    Returns uint8 for 256 levels from 0, int32 for all others.

    >>> from_signal(torch.tensor([[[-1.1, 0.0, 1.0]]]), low=0, levels=256).flatten()
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    values = signal.float().add(1.0).mul_((levels - 1) / 2).round_().clamp_(0, levels - 1).movedim(1, -1)
    if low == 0 and levels == 256:
        return values.to(torch.uint8)
    return values.to(torch.int32).add_(low)
