"""The linear probe."""

import numpy as np
import pytest

from latentpress.evaluate.probe import Probe, probe


def accuracy(features: np.ndarray, labels: object) -> float:
    found = probe(features, labels)  # type: ignore[arg-type]
    assert found is not None
    return found.accuracy


def test_noise_tells_no_label():
    rng = np.random.default_rng(0)
    found = probe(rng.normal(size=(600, 5)), rng.integers(0, 4, 600).tolist())
    assert found is not None
    assert abs(found.accuracy - 0.25) < 0.08 and 0.25 <= found.majority < 0.35


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_classes_apart_are_told_apart(scale: float):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    features = 5 * np.eye(3)[labels] + 0.3 * rng.normal(size=(150, 3))
    names = [("ape", "bee", "cat")[label] for label in labels]
    assert probe(scale * features + 7, names, "animal") == Probe(
        "animal", 1.0, float(np.bincount(labels).max() / 150)
    )


def test_what_is_linear_is_found_and_what_is_not_is_not():
    x = np.random.default_rng(0).normal(size=(500, 2))
    assert accuracy(x, (x[:, 0] > x[:, 1]).tolist()) > 0.95
    assert accuracy(x, (x[:, 0] * x[:, 1] > 0).tolist()) < 0.65


def test_the_items_that_are_asked_were_not_learned_from():
    """As many features as items would tell every label that was learned."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    assert accuracy(rng.normal(size=(60, 200)), labels.tolist()) < 0.75


@pytest.mark.parametrize("labels", [[1, 2, 1], [5] * 9])
def test_without_two_classes_there_is_nothing_to_tell(labels):
    assert probe(np.zeros((len(labels), 2)), labels) is None


def test_constant_features_say_the_majority():
    found = probe(np.ones((40, 3)), [0, 0, 0, 0, 0, 1, 0, 0] * 5)
    assert found is not None and found.accuracy == found.majority == 0.875


def test_a_half_of_one_class_is_no_error():
    assert probe(np.arange(8.0)[:, None], [0] * 7 + [1]) is None


def test_both_halves_have_every_class():
    assert accuracy(np.array([[0.0], [1.0]] * 4), [0, 1] * 4) == 1
