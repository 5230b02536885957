"""A linear classifier of labels on latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["Probe", "probe"]


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
        features: (N, D); the items of each class are taken in turn into the two halves.
        labels: N of them; where a half has fewer than two classes there is no result.
        label: the label's name.

    >>> probe(np.array([[-2.0], [-1.0], [1.0], [2.0]] * 4), [0, 0, 1, 1] * 4)
    Probe(label='class', accuracy=1.0, majority=0.5)
    """
    _, targets, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    halves = np.argsort(np.argsort(targets, kind="stable")) % 2
    if any(len(np.unique(targets[halves == half])) < 2 for half in (0, 1)):
        return None
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    found = cross_val_predict(classifier, features, targets, cv=PredefinedSplit(halves))
    return Probe(label, float(np.mean(found == targets)), float(counts.max() / len(targets)))
