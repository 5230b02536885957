"""Rates in closed form, and their inverses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ConfigError
from latentpress.latents.rates import alpha_for_rate, ar1_rate_nats, ratio_rate_nats, variance_roots


@given(st.floats(1e-3, 0.9999), st.integers(2, 500), st.integers(1, 8))
def test_alpha_for_rate_is_the_inverse_of_the_rate(alpha: float, steps: int, channels: int):
    rate = ar1_rate_nats([alpha] * channels, steps)
    found = alpha_for_rate(rate, steps, channels)
    assert found == pytest.approx(alpha, rel=1e-6)
    assert ar1_rate_nats([found] * channels, steps) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize(
    ("rate", "steps", "channels"), [(0.0, 9, 1), (-1.0, 9, 1), (math.nan, 9, 1), (1.0, 1, 1), (1.0, 9, 0)]
)
def test_what_is_no_rate_is_refused(rate: float, steps: int, channels: int):
    with pytest.raises(ConfigError, match="a rate above 0 needs two steps"):
        alpha_for_rate(rate, steps, channels)


@pytest.mark.parametrize("rate", [1000.0, math.inf])
def test_a_rate_that_no_alpha_commits_is_refused_with_advice(rate: float):
    with pytest.raises(ConfigError, match="take more channels"):
        alpha_for_rate(rate, 28)


def test_the_rate_of_the_chain():
    assert ar1_rate_nats([0.95], 1) == ar1_rate_nats([0.95], 0) == ar1_rate_nats([0.0], 50) == 0
    assert ar1_rate_nats([0.95], 2) == pytest.approx(-math.log(1 - 0.95**2) / 2)
    steps = [ar1_rate_nats([0.9], n) for n in range(2, 9)]
    np.testing.assert_allclose(np.diff(steps), math.log(1 + 0.9**2) / 2)  # at most half a bit a step
    assert ar1_rate_nats([0.9, -0.5], 6) == pytest.approx(ar1_rate_nats([0.9], 6) + ar1_rate_nats([0.5], 6))


@given(st.floats(1e-6, 20))
def test_the_roots_commit_the_rate(rate: float):
    low, high = variance_roots(rate)
    assert 0 < low < 1 < high
    assert ratio_rate_nats(low) == pytest.approx(rate, rel=1e-6)
    assert ratio_rate_nats(high) == pytest.approx(rate, rel=1e-6)


def test_the_papers_figures():
    assert variance_roots(0.1)[0] == pytest.approx(0.493, abs=1e-3)
    assert variance_roots(0.5)[0] == pytest.approx(0.159, abs=1e-3)
