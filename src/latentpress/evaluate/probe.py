"""A linear classifier of labels on latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["Probe", "probe"]

_LEAST_ITEMS = 4


@dataclass(frozen=True)
class Probe:
    """What a linear classifier reads from latents.

    Attributes:
        label: the name of the label.
        accuracy: share of the items whose label it tells, by twofold cross-validation,
        majority: and the share of the commonest label.
    """

    label: str
    accuracy: float
    majority: float


def probe(features: np.ndarray, labels: Sequence[object], label: str = "class") -> Probe | None:
    """Multinomial logistic regression, each half of the items by a classifier fitted to the other half.

    Args:
        features: (N, D); items are taken in turn into the two halves.
        labels: N of them; with one class, or fewer than four items, there is no result.
        label: the label's name.

    >>> probe(np.array([[-2.0], [-1.0], [1.0], [2.0]] * 4), [0, 0, 1, 1] * 4)
    Probe(label='class', accuracy=1.0, majority=0.5)
    """
    classes, targets, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if len(labels) < _LEAST_ITEMS or len(classes) < 2:
        return None
    right, half = 0, np.arange(len(targets)) % 2
    for fold in (0, 1):
        known, asked = half != fold, half == fold
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        if len(np.unique(targets[known])) > 1:
            found = classifier.fit(features[known], targets[known]).predict(features[asked])
        else:
            found = targets[known][:1]
        right += int((found == targets[asked]).sum())
    return Probe(label, right / len(targets), float(counts.max() / len(targets)))
