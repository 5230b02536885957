"""A linear classifier of labels on latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["probe_accuracy"]

_PENALTY = 1e-2  # of the weights' squares
_LEAST_ITEMS = 4


def probe_accuracy(
    features: Tensor, labels: Sequence[object] | np.ndarray | None
) -> tuple[float | None, float | None]:
    """Accuracy of multinomial logistic regression by twofold cross-validation, and the majority's share.

    Args:
        features: (N, D); items are taken in turn into the two folds.
        labels: N of them; without labels, or with one class, both results are None.

    >>> probe_accuracy(torch.tensor([[-2.0], [-1.0], [1.0], [2.0]] * 4), [0, 0, 1, 1] * 4)
    (1.0, 0.5)
    """
    if labels is None or len(labels) < _LEAST_ITEMS:
        return None, None
    _, numbers, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return None, None
    targets = torch.from_numpy(numbers.astype(np.int64))
    scaled = (features.float() - features.float().mean(0)) / (features.float().std(0) + 1e-6)
    folds = torch.arange(len(targets)) % 2
    right = sum(_right(scaled, targets, folds == fold, len(counts)) for fold in (0, 1))
    return right / len(targets), float(counts.max() / len(targets))


def _right(x: Tensor, y: Tensor, tested: Tensor, classes: int) -> int:
    """How many of the `tested` items a classifier fitted to the others gets right."""
    with torch.inference_mode(False), torch.enable_grad():
        x, y = x.clone(), y.clone()
        weight = torch.zeros(x.shape[1] + 1, classes, requires_grad=True)
        augmented = torch.cat([x, torch.ones(len(x), 1)], dim=1)
        optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(augmented[~tested] @ weight, y[~tested]) + _PENALTY * weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]
        found = (augmented[tested] @ weight).argmax(1)
    return int((found == y[tested]).sum())
