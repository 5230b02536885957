import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions

from latentpress.config import DiscretizedLogisticConfig, GaussianConfig, LaplaceConfig, LikelihoodConfig
from latentpress.nn import DiscretizedLogistic, Gaussian, Laplace, bits_per_dim, build_likelihood

BYTES = (torch.arange(256) / 127.5 - 1).view(1, 1, 256)
KINDS: list[LikelihoodConfig] = [
    GaussianConfig(),
    GaussianConfig(scale=0.1),
    LaplaceConfig(),
    LaplaceConfig(scale=0.1),
    DiscretizedLogisticConfig(),
]


def logistic_params(mean: float, raw: float) -> torch.Tensor:
    return torch.tensor([mean, raw]).view(1, 2, 1).expand(1, 2, 256).clone()


@given(mean=st.floats(-3, 3, width=32), raw=st.floats(-50, 50, width=32))
def test_the_masses_of_the_discretized_logistic_sum_to_one(mean: float, raw: float) -> None:
    nats = DiscretizedLogistic(1).sample_nats(logistic_params(mean, raw), BYTES)
    assert nats.neg().exp().sum().item() == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("mean", [-0.875, 0.0, 0.25])
def test_discretized_logistic_is_a_difference_of_sigmoids(mean: float) -> None:
    x = (torch.arange(256).double() / 127.5 - 1).view(1, 1, 256)
    scale = math.exp(9 / (1 + math.exp(-0.25)) - 7)
    edges = torch.cat([torch.tensor([-math.inf]), (x.flatten()[1:] - 1 / 255), torch.tensor([math.inf])])
    masses = torch.sigmoid((edges - mean) / scale).diff()
    nats = DiscretizedLogistic(1).sample_nats(
        torch.tensor([mean, 0.5]).double().view(1, 2, 1).expand(1, 2, 256), x
    )
    assert torch.allclose(nats.flatten(), -masses.log(), rtol=1e-6)


@pytest.mark.parametrize("mean", [-1e4, -1.0, 0.0, 1.0, 1e4])
@pytest.mark.parametrize("raw", [-1e4, -20.0, 0.0, 20.0, 1e4])
def test_gradients_of_the_discretized_logistic_are_finite(mean: float, raw: float) -> None:
    params = logistic_params(mean, raw).requires_grad_()
    nats = DiscretizedLogistic(1).nll_nats(params, BYTES)
    nats.sum().backward()
    assert params.grad is not None
    assert nats.isfinite().all()
    assert params.grad.isfinite().all()


def test_a_far_mean_is_pulled_back() -> None:
    params = logistic_params(50.0, -20.0).requires_grad_()
    DiscretizedLogistic(1).sample_nats(params, BYTES)[0, 0, 100].backward()
    assert params.grad is not None
    assert params.grad[0, 0, 100] > 100


@pytest.mark.parametrize(
    ("kind", "reference"), [(Gaussian, distributions.Normal), (Laplace, distributions.Laplace)]
)
def test_densities_match_torch(kind, reference) -> None:
    mean, x = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    expected = -(reference(mean, 0.3).log_prob(x) + math.log(2 / 255)).flatten(1).sum(1)
    assert torch.allclose(kind(3, scale=0.3)(mean, x), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_bin_masses_of_densities_sum_to_one(kind) -> None:
    nats = kind(1, scale=0.05).sample_nats(torch.zeros(1, 1, 256), BYTES)
    assert nats.neg().exp().sum().item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(("kind", "power"), [(Gaussian, 2), (Laplace, 1)])
def test_the_best_learned_scale_is_the_mean_error(kind, power: int) -> None:
    torch.manual_seed(0)
    error = torch.randn(4, 3, 16) * torch.tensor([0.02, 0.1, 0.5]).view(1, 3, 1)
    likelihood = kind(3)
    best = error.abs().pow(power).mean((0, 2)).pow(1 / power)
    for factor, sign in ((0.9, -1), (1.1, 1)):
        likelihood.zero_grad()
        likelihood.log_scale.data = (best * factor - 1 / 255).log()
        assert torch.allclose(likelihood.scale, best * factor)
        likelihood(torch.zeros_like(error), error).sum().backward()
        assert (likelihood.log_scale.grad.sign() == sign).all()


def test_a_learned_scale_never_falls_under_half_a_bin() -> None:
    likelihood = Gaussian(1)
    likelihood.log_scale.data.fill_(-100)
    nats = likelihood(BYTES, BYTES)
    assert likelihood.scale.item() == pytest.approx(1 / 255)
    assert nats.isfinite().all()


def test_scales_are_parameters_only_where_learned() -> None:
    assert [name for name, _ in Gaussian(3).named_parameters()] == ["log_scale"]
    assert list(Gaussian(3, scale=0.1).parameters()) == []
    assert list(Gaussian(3, scale=0.1).state_dict()) == ["fixed"]


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("sides", [(4,), (4, 5), (2, 3, 4)])
def test_units_shapes_and_types(config: LikelihoodConfig, sides: tuple[int, ...]) -> None:
    likelihood = build_likelihood(config, 3)
    params = torch.randn(2, 3 * likelihood.params_per_sample, *sides, dtype=torch.bfloat16)
    x = torch.rand(2, 3, *sides) * 2 - 1
    nats = likelihood(params, x)
    assert (nats.shape, nats.dtype) == ((2,), torch.float32)
    assert torch.allclose(nats[1:], likelihood(params[1:], x[1:]))
    mean = likelihood.mean(params)
    assert (mean.shape, mean.dtype) == (x.shape, torch.float32)
    assert mean.abs().max() <= 1


@pytest.mark.parametrize("config", KINDS)
def test_a_better_reconstruction_costs_less(config: LikelihoodConfig) -> None:
    likelihood = build_likelihood(config, 1)
    x = torch.rand(1, 1, 64) * 2 - 1
    costs = [
        likelihood(torch.cat([x + shift, 0 * x], 1)[:, : likelihood.params_per_sample], x).item()
        for shift in (0.0, 0.1, 0.5)
    ]
    assert costs == sorted(costs)


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="6"):
        DiscretizedLogistic(3)(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4))


def test_eight_bits_for_a_uniform_byte() -> None:
    assert bits_per_dim(torch.tensor(10 * math.log(256)), 10).item() == pytest.approx(8)
