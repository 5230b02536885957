"""Posteriors that are kept away from N(0, 1): their ranges, their rates, and how configurations name them."""

import math

import pytest
import torch

from latentpress.config import (
    AR1Config,
    DeltaVAEConfig,
    MeanBoundConfig,
    PlainGaussianConfig,
    VarianceBoundConfig,
    VarianceRatioConfig,
    from_json,
    override,
    to_json,
)
from latentpress.errors import ConfigError
from latentpress.latents import build_gaussian
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents
from latentpress.latents.rates import ar1_rate_nats, ratio_rate_nats, variance_roots
from small.gaussians import raw_numbers


@pytest.mark.parametrize("rate", [0.001, 0.08, 0.5, 20.0])
def test_a_mean_at_its_bound_commits_the_rate_whatever_the_variance(rate: float):
    """With the square root: without it a wanted rate of 0.08 would commit 0.0128."""
    latents = MeanBoundLatents(channels=1, rate_nats=rate)
    widths = torch.linspace(-3, 3, 13, dtype=torch.float64)
    raw = torch.stack([torch.full_like(widths, -40), widths], dim=1)[:, None]
    kl = latents.kl_nats(latents.posterior(raw))
    torch.testing.assert_close(kl, torch.full_like(kl, rate), rtol=1e-9, atol=0)


def test_variances_stay_on_their_side_of_the_roots():
    for rate in (0.01, 0.3, 3.0):
        low, high = variance_roots(rate)
        bound, mean = VarianceBoundLatents(2, rate), MeanBoundLatents(2, rate)
        raw = 8 * raw_numbers(bound, 100, 3)
        assert (bound.posterior(raw).log_variance <= math.log(low) + 1e-12).all()
        variance = mean.posterior(raw).log_variance.exp()
        assert (variance >= low * (1 - 1e-9)).all() and (variance <= high * (1 + 1e-9)).all()


def test_the_ratio_is_the_posteriors_variance():
    latents = VarianceRatioLatents(channels=3, ratio=0.25)
    raw = raw_numbers(latents, 4, 5)
    posterior = latents.posterior(raw)
    assert latents.params == 1 and torch.equal(posterior.mean, raw)
    torch.testing.assert_close(posterior.log_variance.exp(), torch.full_like(raw, 0.25))
    start = latents.kl_nats(latents.posterior(torch.zeros_like(raw)))
    torch.testing.assert_close(start, torch.full_like(start, latents.committed_rate_nats(5)))


def test_rates_are_those_of_all_steps_and_channels():
    for latents in (MeanBoundLatents(3, 0.5), VarianceBoundLatents(3, 0.5)):
        assert latents.committed_rate_nats(7) == pytest.approx(10.5)
    one, many = VarianceRatioLatents(1, 4.0), VarianceRatioLatents(3, 4.0)
    assert many.committed_rate_nats(7) == pytest.approx(21 * one.committed_rate_nats(1))


@pytest.mark.parametrize("rate", [0.0, -1.0, 21.0])
def test_rates_that_are_none_are_refused(rate: float):
    for config in (MeanBoundConfig, VarianceBoundConfig):
        with pytest.raises(ConfigError, match="rate_nats"):
            config(rate_nats=rate)


@pytest.mark.parametrize("ratio", [1.0, 0.0, -2.0])
def test_a_ratio_that_commits_nothing_is_refused(ratio: float):
    with pytest.raises(ConfigError, match="not 1"):
        VarianceRatioConfig(ratio=ratio)


RATES = [
    (AR1Config(channels=2, alpha=(0.9, -0.5)), ar1_rate_nats([0.9, -0.5], 7)),
    (AR1Config(channels=3, alpha=0.9), ar1_rate_nats([0.9] * 3, 7)),
    (PlainGaussianConfig(channels=2), 0.0),
    (VarianceRatioConfig(channels=2, ratio=0.5), 14 * ratio_rate_nats(0.5)),
    (VarianceBoundConfig(channels=2, rate_nats=0.3), 14 * 0.3),
    (MeanBoundConfig(channels=2, rate_nats=0.3), 14 * 0.3),
]


@pytest.mark.parametrize(("config", "rate"), RATES)
def test_every_kind_is_built_and_commits_its_rate(config, rate: float):
    latents = build_gaussian(config)
    assert latents.channels == config.channels == len(latents.alphas)
    assert latents.committed_rate_nats(7) == pytest.approx(rate)
    model = DeltaVAEConfig(latents=config)
    assert from_json(DeltaVAEConfig, to_json(model)) == model


@pytest.mark.parametrize("alpha", [0.0, 0, 1.0, 1, -1.0, 2.5, (0.5, 0.0)])
def test_coefficients_that_commit_nothing_are_refused(alpha):
    with pytest.raises(ConfigError, match="commits no information"):
        AR1Config(channels=2, alpha=alpha)
    with pytest.raises(ConfigError, match="commits no information"):
        override(DeltaVAEConfig(), {"latents.channels": 2, "latents.alpha": alpha})


def test_as_many_alphas_as_channels():
    with pytest.raises(ConfigError, match="one for each of 3 channels"):
        AR1Config(channels=3, alpha=(0.5, 0.6))


@pytest.mark.parametrize("kind", ["free_bits", "annealed", "beta"])
def test_other_objectives_are_for_the_plain_vae(kind: str):
    with pytest.raises(ConfigError, match="a committed rate needs none"):
        override(DeltaVAEConfig(), {"objective.kind": kind})
    plain = override(DeltaVAEConfig(), {"objective.kind": kind, "latents.kind": "plain"})
    assert plain.objective.kind == kind
