import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from latentpress.config import StageConfig
from latentpress.train.optim import WeightAverage, build_optimizer, learning_rate


@given(warmup=st.integers(0, 50), steps=st.integers(51, 500))
def test_learning_rate_rises_to_its_peak_and_falls_to_a_hundredth(warmup: int, steps: int):
    config = StageConfig(learning_rate=2.0, warmup=warmup)
    rates = [learning_rate(config, step, step / steps) for step in range(steps + 1)]
    top = rates.index(max(rates))
    assert top <= warmup and rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0 and max(rates) <= 2.0
    assert rates[-1] == pytest.approx(0.02)


def test_average_is_the_recursion_of_its_definition():
    weight = Parameter(torch.tensor([3.0]))
    average = WeightAverage([weight], decay=0.5)
    expected = 3.0
    for step in range(1, 30):
        with torch.no_grad():
            weight.fill_(step**0.5)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step**0.5
    assert average.tensors[0].item() == pytest.approx(expected)


def test_without_decay_the_average_is_the_weights():
    weight = Parameter(torch.zeros(3))
    average = WeightAverage([weight], decay=0.0)
    with torch.no_grad():
        weight.copy_(torch.tensor([0.1, -7.0, 1e9]))
    average.update(1)
    assert torch.equal(average.tensors[0], weight)


def test_swapping_twice_changes_no_bit():
    weight = Parameter(torch.randn(100))
    average = WeightAverage([weight], decay=0.9)
    average.tensors[0].normal_()
    before = weight.detach().clone(), average.tensors[0].clone()
    average.swap()
    assert torch.equal(weight, before[1]) and torch.equal(average.tensors[0], before[0])
    average.swap()
    assert torch.equal(weight, before[0]) and torch.equal(average.tensors[0], before[1])


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_weight_decay_is_decoupled_in_adamw_only(kind):
    weight = Parameter(torch.ones(1))
    weight.grad = torch.zeros(1)
    build_optimizer(StageConfig(optimizer=kind, learning_rate=0.1, weight_decay=0.5), [weight]).step()
    assert weight.item() == pytest.approx(0.95 if kind == "adamw" else 0.9, abs=1e-4)
