"""How much latents say: bounds, known values, padding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.latents import Posterior
from latentpress.latents.information import active_units, mutual_information_nats
from small.gaussians import lengths_mask


def random_posterior(count: int, steps: int, channels: int, seed: int = 0) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, count, steps, channels, generator=generator)
    return Posterior(mean, log_variance)


@settings(max_examples=25)
@given(st.integers(2, 30), st.integers(1, 4), st.floats(0, 30), st.integers(0, 99))
def test_no_estimate_is_above_the_log_of_the_items(count: int, steps: int, spread: float, seed: int):
    drawn = random_posterior(count, steps, 2, seed)
    posterior = Posterior(spread * drawn.mean, drawn.log_variance)
    z = posterior.sample(torch.randn(drawn.mean.shape))
    assert mutual_information_nats(posterior, z) <= math.log(count) + 1e-4


def test_posteriors_that_are_all_the_same_say_nothing():
    one = random_posterior(1, 3, 2)
    posterior = Posterior(one.mean.expand(40, -1, -1), one.log_variance.expand(40, -1, -1))
    z = posterior.sample(torch.randn(40, 3, 2))
    assert abs(mutual_information_nats(posterior, z).item()) < 1e-5


def test_posteriors_far_apart_say_which_item_it_is():
    mean = 50 * torch.arange(32.0).view(-1, 1, 1)
    posterior = Posterior(mean, torch.zeros_like(mean))
    assert mutual_information_nats(posterior, mean).item() == pytest.approx(math.log(32), abs=1e-5)


@pytest.mark.parametrize("noise", [2.0, 1.0, 0.3])
def test_a_gaussian_channel_has_its_capacity(noise: float):
    generator = torch.Generator().manual_seed(0)
    mean, drawn = torch.randn(2, 4000, 1, 1, generator=generator)
    posterior = Posterior(mean, torch.full_like(mean, 2 * math.log(noise)))
    wanted = math.log1p(1 / noise**2) / 2
    found = mutual_information_nats(posterior, posterior.sample(drawn)).item()
    assert found == pytest.approx(wanted, abs=0.04)


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    posterior, mask = random_posterior(20, 4, 2), lengths_mask([1 + i % 4 for i in range(20)], 4)
    z = posterior.sample(torch.randn(20, 4, 2))
    whole = mutual_information_nats(posterior, z, mask)
    monkeypatch.setattr("latentpress.latents.information._CHUNK_FLOATS", 500)
    torch.testing.assert_close(mutual_information_nats(posterior, z, mask), whole)


def test_padding_says_nothing():
    posterior, mask = random_posterior(20, 5, 2), lengths_mask([3] * 20, 5)
    z = posterior.sample(torch.randn(20, 5, 2))
    shorter = Posterior(posterior.mean[:, :3], posterior.log_variance[:, :3])
    found = mutual_information_nats(posterior, z, mask)
    torch.testing.assert_close(found, mutual_information_nats(shorter, z[:, :3]))
    torch.testing.assert_close(
        mutual_information_nats(posterior, z), mutual_information_nats(posterior, z, mask | True)
    )
    assert active_units(posterior.mean, mask) == 6 and active_units(posterior.mean) == 10


def test_active_units_are_those_whose_means_vary():
    means = torch.zeros(50, 3, 2)
    means[:, 1, 0] = torch.linspace(-1, 1, 50)
    means[:, 2, 1] = 7 + 0.09 * torch.linspace(-1, 1, 50).sign()  # a variance of 0.0081
    means[:, 0, 1] = 0.11 * torch.linspace(-1, 1, 50).sign()  # and of 0.0121
    assert active_units(means) == 2
    assert active_units(100 + means) == 2
