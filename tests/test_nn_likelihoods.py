"""Likelihoods of 2 to 65536 levels: masses sum to one, gradients are finite, units are nats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions

from latentpress.config import DiscretizedLogisticConfig, GaussianConfig, LaplaceConfig, LikelihoodConfig
from latentpress.nn.likelihoods import DiscretizedLogistic, Gaussian, Laplace, build_likelihood

LEVELS = (2, 17, 256, 65536)
CONFIGS: list[LikelihoodConfig] = [
    GaussianConfig(),
    GaussianConfig(scale=0.1),
    LaplaceConfig(),
    LaplaceConfig(scale=0.1),
    DiscretizedLogisticConfig(),
]


def scale_of(levels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Every level on the scale -1..1, (1, 1, levels)."""
    return (torch.arange(levels, dtype=torch.float64) * 2 / (levels - 1) - 1).to(dtype).view(1, 1, levels)


def logistic_params(mean: float, raw: float, levels: int) -> Tensor:
    return torch.tensor([mean, raw]).view(1, 2, 1).expand(1, 2, levels).clone()


@given(
    mean=st.floats(-3, 3, width=32), raw=st.floats(-50, 50, width=32), levels=st.sampled_from((2, 17, 256))
)
def test_the_masses_of_the_discretized_logistic_sum_to_one(mean: float, raw: float, levels: int) -> None:
    params = logistic_params(mean, raw, levels)
    nats = DiscretizedLogistic(1, levels).elementwise_nats(params, scale_of(levels))
    assert nats.neg().exp().sum().item() == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("mean", [-3.0, -0.999, 0.0, 0.123456, 1.0])
@pytest.mark.parametrize("raw", [-50.0, -2.0, 0.0, 3.0, 50.0])
def test_the_masses_of_65536_levels_sum_to_one(mean: float, raw: float) -> None:
    likelihood, x = DiscretizedLogistic(1, 65536), scale_of(65536)
    nats = likelihood.elementwise_nats(logistic_params(mean, raw, 65536), x).double()
    assert nats.neg().exp().sum().item() == pytest.approx(1, abs=5e-3)  # a level is 2^-15, x has 24 bits


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("mean", [-0.875, 0.0, 0.25])
def test_discretized_logistic_is_a_difference_of_sigmoids(mean: float, levels: int) -> None:
    likelihood, x, half = DiscretizedLogistic(1, levels), scale_of(levels, torch.float64), 1 / (levels - 1)
    params = torch.tensor([mean, 0.0]).double().view(1, 2, 1).expand(1, 2, levels)
    edges = torch.cat([torch.tensor([-math.inf]), x.flatten()[1:] - half, torch.tensor([math.inf])])
    masses = torch.sigmoid((edges - mean) / math.exp(-2.5)).diff()  # a new decoder's scale, at any levels
    torch.testing.assert_close(likelihood.elementwise_nats(params, x).flatten().neg().exp(), masses)


def test_the_scale_of_bytes_is_the_documented_one() -> None:
    x, raw = scale_of(256, torch.float64), 0.5
    scale = math.exp(9 / (1 + math.exp(-raw / 2)) - 7)
    edges = torch.cat([torch.tensor([-math.inf]), x.flatten()[1:] - 1 / 255, torch.tensor([math.inf])])
    params = torch.tensor([0.25, raw]).double().view(1, 2, 1).expand(1, 2, 256)
    nats = DiscretizedLogistic(1, 256).elementwise_nats(params, x)
    assert torch.allclose(nats.flatten(), -torch.sigmoid((edges - 0.25) / scale).diff().log(), rtol=1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_sharpest_scale_is_certain_of_its_level(levels: int) -> None:
    x = scale_of(levels)[:, :, levels // 2 : levels // 2 + 1]
    params = torch.tensor([x.item(), -1e4]).view(1, 2, 1)
    assert DiscretizedLogistic(1, levels).nats(params, x).item() < 0.1


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("mean", [-1e4, -1.0, 0.0, 1.0, 1e4])
@pytest.mark.parametrize("raw", [-1e4, -20.0, 0.0, 20.0, 1e4])
def test_gradients_of_the_discretized_logistic_are_finite(mean: float, raw: float, levels: int) -> None:
    params = logistic_params(mean, raw, levels).requires_grad_()
    nats = DiscretizedLogistic(1, levels).nats(params, scale_of(levels))
    nats.sum().backward()
    assert params.grad is not None
    assert nats.isfinite().all()
    assert params.grad.isfinite().all()


def test_a_far_mean_is_pulled_back() -> None:
    params = logistic_params(50.0, -20.0, 256).requires_grad_()
    DiscretizedLogistic(1, 256).elementwise_nats(params, scale_of(256))[0, 0, 100].backward()
    assert params.grad is not None
    assert params.grad[0, 0, 100] > 100


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    ("kind", "reference"), [(Gaussian, distributions.Normal), (Laplace, distributions.Laplace)]
)
def test_densities_match_torch(kind, reference, levels: int) -> None:
    mean, x = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    expected = -(reference(mean, 0.3).log_prob(x) + math.log(2 / (levels - 1))).flatten(1).sum(1)
    assert torch.allclose(kind(3, levels, scale=0.3).nats(mean, x), expected, rtol=1e-5)


@pytest.mark.parametrize("levels", [256, 65536])
@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_bin_masses_of_densities_sum_to_one(kind, levels: int) -> None:
    nats = kind(1, levels, scale=0.05).elementwise_nats(torch.zeros(1, 1, levels), scale_of(levels))
    assert nats.neg().exp().sum().item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(("kind", "power"), [(Gaussian, 2), (Laplace, 1)])
def test_the_best_learned_scale_is_the_mean_error(kind, power: int) -> None:
    torch.manual_seed(0)
    error = torch.randn(4, 3, 16) * torch.tensor([0.02, 0.1, 0.5]).view(1, 3, 1)
    likelihood = kind(3, 256)
    best = error.abs().pow(power).mean((0, 2)).pow(1 / power)
    for factor, sign in ((0.9, -1), (1.1, 1)):
        likelihood.zero_grad()
        likelihood.log_scale.data = (best * factor - 1 / 255).log()
        assert torch.allclose(likelihood.scale, best * factor)
        likelihood.nats(torch.zeros_like(error), error).sum().backward()
        assert (likelihood.log_scale.grad.sign() == sign).all()


@pytest.mark.parametrize("levels", [256, 65536])
def test_a_learned_scale_never_falls_under_half_a_bin(levels: int) -> None:
    likelihood = Gaussian(1, levels)
    likelihood.log_scale.data.fill_(-100)
    nats = likelihood.nats(scale_of(levels), scale_of(levels))
    assert likelihood.scale.item() == pytest.approx(1 / (levels - 1))
    assert nats.isfinite().all()


@pytest.mark.parametrize("levels", LEVELS)
def test_a_new_scale_is_a_tenth_of_the_range_s_half(levels: int) -> None:
    for kind in (Gaussian, Laplace):
        assert kind(1, levels).scale.item() == pytest.approx(0.1)


def test_scales_are_parameters_only_where_learned() -> None:
    assert [name for name, _ in Gaussian(3, 256).named_parameters()] == ["log_scale"]
    assert list(Gaussian(3, 256, scale=0.1).parameters()) == []
    assert list(Gaussian(3, 256, scale=0.1).state_dict()) == ["fixed"]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(4,), (4, 5), (2, 3, 4)])
def test_units_shapes_and_types(config: LikelihoodConfig, size: tuple[int, ...]) -> None:
    likelihood = build_likelihood(config, 3, 256)
    params = torch.randn(2, 3 * likelihood.params_per_sample, *size, dtype=torch.bfloat16)
    x = torch.rand(2, 3, *size) * 2 - 1
    nats = likelihood.nats(params, x)
    assert (nats.shape, nats.dtype) == ((2,), torch.float32)
    assert torch.allclose(nats[1:], likelihood.nats(params[1:], x[1:]))
    mean = likelihood.mean(params)
    assert (mean.shape, mean.dtype) == (x.shape, torch.float32)
    assert mean.abs().max() <= 1


@pytest.mark.parametrize("config", CONFIGS)
def test_padding_costs_nothing_and_has_no_gradient(config: LikelihoodConfig) -> None:
    likelihood, mask = build_likelihood(config, 2, 256), torch.tensor([[True, True, False], [True] * 3])
    params = torch.randn(2, 2 * likelihood.params_per_sample, 3)
    x = torch.rand(2, 2, 3) * 2 - 1
    params[0, :, 2] = x[0, :, 2] = math.inf
    params.requires_grad_()
    nats = likelihood.nats(params, x, mask)
    torch.testing.assert_close(nats[0], likelihood.nats(params[:1, :, :2], x[:1, :, :2])[0])
    torch.testing.assert_close(nats[1], likelihood.nats(params[1:], x[1:])[0])
    clean = params.detach().nan_to_num(posinf=0.5).requires_grad_()
    likelihood.nats(clean, x.nan_to_num(posinf=0.5), mask).sum().backward()
    assert clean.grad is not None and not clean.grad[0, :, 2].any() and clean.grad[0, :, :2].any()


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("config", CONFIGS)
def test_a_better_reconstruction_costs_less(config: LikelihoodConfig, levels: int) -> None:
    likelihood = build_likelihood(config, 1, levels)
    x = scale_of(levels)[..., torch.arange(64) % levels]
    costs = [
        likelihood.nats(torch.cat([x + shift, 0 * x], 1)[:, : likelihood.params_per_sample], x).item()
        for shift in (0.0, 0.1, 0.5)
    ]
    assert costs == sorted(costs)


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="6"):
        DiscretizedLogistic(3, 256).nats(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4))
