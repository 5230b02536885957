"""The linear probe."""

import numpy as np
import pytest
import torch

from latentpress.evaluate.probe import probe_accuracy


def test_noise_tells_no_label():
    features = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    labels = np.random.default_rng(0).integers(0, 4, 600)
    accuracy, majority = probe_accuracy(features, labels)
    assert accuracy is not None and majority is not None
    assert abs(accuracy - 0.25) < 0.08 and 0.25 <= majority < 0.35


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_classes_apart_are_told_apart(scale: float):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (150,), generator=generator)
    features = 5 * torch.eye(3)[labels] + 0.3 * torch.randn(150, 3, generator=generator)
    names = [("ape", "bee", "cat")[label] for label in labels]
    assert probe_accuracy(scale * features + 7, names)[0] == 1.0


def test_what_is_linear_is_found_and_what_is_not_is_not():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 2, generator=generator)
    assert (probe_accuracy(x, (x[:, 0] > x[:, 1]).tolist())[0] or 0) > 0.95
    assert (probe_accuracy(x, (x[:, 0] * x[:, 1] > 0).tolist())[0] or 0) < 0.65


def test_it_works_in_inference_mode_and_draws_nothing():
    features, labels = torch.randn(40, 3), [0, 1] * 20
    with torch.inference_mode():
        assert probe_accuracy(features.clone(), labels) == probe_accuracy(features, labels)
    torch.manual_seed(0)
    before = torch.rand(2)
    torch.manual_seed(0)
    probe_accuracy(features, labels)
    assert torch.equal(torch.rand(2), before)


@pytest.mark.parametrize("labels", [None, [1, 2, 1], [5] * 9])
def test_without_two_classes_there_is_nothing_to_tell(labels):
    features = torch.randn(3 if labels is None else len(labels), 2)
    assert probe_accuracy(features, labels) == (None, None)


def test_constant_features_say_the_majority():
    accuracy, majority = probe_accuracy(torch.ones(40, 3), [0, 0, 0, 0, 0, 1, 0, 0] * 5)
    assert accuracy == majority == 0.875
