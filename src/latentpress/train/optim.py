"""Optimiser, learning rate and average of the weights, which follow from progress and a checkpoint alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam, AdamW
from torch.optim.swa_utils import get_ema_multi_avg_fn

from latentpress.config import StageConfig

__all__ = ["WeightAverage", "build_optimizer", "learning_rate"]

_FINAL = 0.01  # share of the peak learning rate that is left at the end


def learning_rate(config: StageConfig, step: int, progress: float) -> float:
    """Learning rate of a step: a linear warm-up times a half cosine that ends at a hundredth of the peak.

    `step` counts those before it in its stage, of which a share `progress` is over, 0 to 1.

    >>> config = StageConfig(learning_rate=1.0, warmup=10)
    >>> [round(learning_rate(config, step, step / 100), 3) for step in (0, 9, 50, 100)]
    [0.1, 0.98, 0.505, 0.01]
    """
    warmup = min(1.0, (step + 1) / max(1, config.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.learning_rate * warmup * (_FINAL + (1 - _FINAL) * cosine)


def build_optimizer(config: StageConfig, parameters: Sequence[Parameter]) -> Adam:
    """Adam (arXiv 1412.6980) or AdamW (arXiv 1711.05101), one fused kernel for all parameters."""
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


class WeightAverage:
    """Exponential moving average of parameters, which a finished model keeps instead of the last ones.

    After step t (from 1) the average moves by 1 - min(decay, (1 + t) / (10 + t)) of the way to the
    parameters, whose present values are the start: the ramp lets it forget the untrained weights soon. A
    decay of 0 turns it off: it then equals the parameters.

    >>> weight = Parameter(torch.zeros(1))
    >>> average = WeightAverage([weight], decay=0.999)
    >>> with torch.no_grad():
    ...     _ = weight.fill_(11)
    >>> average.update(step=1)
    >>> average.swap()
    >>> round(weight.item(), 4)
    9.0
    """

    def __init__(self, parameters: Sequence[Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters: list[Tensor] = list(parameters)
        self.tensors: list[Tensor] = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average after optimiser step number `step` (the first is 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.tensors, self.parameters, step)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the average with the parameters; a second call undoes it exactly."""
        for parameter, average in zip(self.parameters, self.tensors, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
