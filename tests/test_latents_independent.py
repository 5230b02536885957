"""Posteriors that are kept away from N(0, 1): what each family may be, and what it commits."""

import math

import pytest
import torch

from delta_parts import raw_numbers
from latentpress.config import MeanBoundConfig, VarianceBoundConfig, VarianceRatioConfig
from latentpress.errors import ConfigError
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents
from latentpress.latents.rates import variance_roots


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
