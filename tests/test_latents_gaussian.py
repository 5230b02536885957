"""The laws of Gaussian latents with a committed rate, of every family."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from latentpress.latents import Posterior
from latentpress.latents.gaussian import AR1Latents
from small.gaussians import families, lengths_mask, prior_nats, raw_numbers, smallest_kl

ALPHAS = (0.95, 0.5, -0.7)
KINDS = range(5)


def dense_covariance(alpha: float, steps: int) -> np.ndarray:
    """What the chain comes to: alpha^|i - j|."""
    return alpha ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_committed_rate_is_the_smallest_kl_that_can_be_found(kind: int, seed: int):
    latents = families(seed)[kind]
    steps = (1, 2, 6)[seed]
    rate = latents.committed_rate_nats(steps)
    assert smallest_kl(latents, steps, seed) == pytest.approx(rate, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_no_posterior_is_below_the_committed_rate(kind: int):
    latents = families(7)[kind]
    for steps in (1, 2, 9):
        kl = latents.kl_nats(latents.posterior(4 * raw_numbers(latents, 500, steps)))
        assert kl.shape == (500,) and (kl >= latents.committed_rate_nats(steps) - 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: int):
    latents, mask = families(3)[kind], lengths_mask([4, 2, 1], 4)
    raw, noise = raw_numbers(latents, 3, 4).requires_grad_(), torch.randn(3, 4, 2, dtype=torch.float64)

    def kl(raw: torch.Tensor) -> torch.Tensor:
        return latents.kl_nats(latents.posterior(raw, mask), mask)

    def draw(raw: torch.Tensor) -> torch.Tensor:
        return latents.posterior(raw, mask).sample(noise)

    assert torch.autograd.gradcheck(kl, raw) and torch.autograd.gradcheck(draw, raw)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_adds_nothing_and_has_no_gradient(kind: int):
    latents, lengths = families(5)[kind], [5, 1, 3, 2]
    raw, mask = raw_numbers(latents, 4, 5), lengths_mask(lengths, 5)
    other = torch.where(mask[..., None], raw, 9 * raw_numbers(latents, 4, 5, seed=1)).requires_grad_()
    padded, z = latents.posterior(other, mask), raw_numbers(latents, 4, 5, seed=2)[..., :2]
    kl = latents.kl_nats(padded, mask)
    assert torch.equal(kl, latents.kl_nats(latents.posterior(raw, mask), mask))
    (gradient,) = torch.autograd.grad(kl.sum(), other)
    assert not gradient[~mask].any() and gradient[mask].any(-1).all()
    for item, length in enumerate(lengths):
        own = latents.posterior(raw[item : item + 1, :length])
        assert torch.equal(own.log_variance[0], padded.log_variance[item, :length])
        torch.testing.assert_close(latents.kl_nats(own)[0], kl[item], rtol=1e-13, atol=0)
        alone, masked = own.nats(z[item : item + 1, :length])[0], padded.nats(z, mask)[item]
        torch.testing.assert_close(alone, masked, rtol=1e-12, atol=1e-12)
    assert not latents.kl_nats(padded, torch.zeros_like(mask)).any()
    assert latents.committed_rate_nats(0) == 0


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_reference_density_of_the_prior_is_a_multivariate_normal(steps: int):
    latents = AR1Latents(ALPHAS)
    z = torch.randn(5, steps, len(ALPHAS), dtype=torch.float64)
    wanted = sum(
        multivariate_normal(np.zeros(steps), dense_covariance(alpha, steps)).logpdf(z[..., k].numpy())
        for k, alpha in enumerate(ALPHAS)
    )
    np.testing.assert_allclose(-prior_nats(latents, z), wanted, rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_kl_is_that_of_dense_normals(steps: int):
    latents = AR1Latents(ALPHAS)
    posterior = latents.posterior(raw_numbers(latents, 4, steps))
    wanted = np.zeros(4)
    for k, alpha in enumerate(ALPHAS):
        precision = np.linalg.inv(dense_covariance(alpha, steps))
        mean, log_variance = posterior.mean[..., k].numpy(), posterior.log_variance[..., k].numpy()
        wanted += (np.diagonal(precision) * np.exp(log_variance)).sum(1) / 2
        wanted += (np.einsum("bi,ij,bj->b", mean, precision, mean) - steps - log_variance.sum(1)) / 2
        wanted -= np.linalg.slogdet(precision)[1] / 2
    np.testing.assert_allclose(latents.kl_nats(posterior), wanted, rtol=1e-10)


def test_the_kl_is_the_mean_over_samples_of_the_posterior():
    latents = AR1Latents((0.9,))
    one = latents.posterior(raw_numbers(latents, 1, 4))
    posterior = Posterior(one.mean.expand(20_000, -1, -1), one.log_variance.expand(20_000, -1, -1))
    z = posterior.sample(torch.randn(posterior.mean.shape, dtype=torch.float64))
    ratios = prior_nats(latents, z) - posterior.nats(z)
    error = ratios.std().item() / len(ratios) ** 0.5
    assert abs(ratios.mean().item() - latents.kl_nats(one).item()) < 5 * error


def test_the_posterior_is_a_normal_distribution():
    latents = AR1Latents(ALPHAS)
    posterior, noise = (
        latents.posterior(raw_numbers(latents, 4, 5)),
        torch.randn(4, 5, 3, dtype=torch.float64),
    )
    z = posterior.sample(noise)
    torch.testing.assert_close((z - posterior.mean) / posterior.log_variance.exp().sqrt(), noise)
    squared = (z - posterior.mean).square() / posterior.log_variance.exp()
    density = (squared + posterior.log_variance + math.log(2 * math.pi)) / 2
    torch.testing.assert_close(posterior.nats(z), density.sum((1, 2)))


def test_samples_of_the_prior_have_variance_one_and_correlation_alpha_to_the_lag():
    z = AR1Latents(ALPHAS).sample(40_000, 5, torch.Generator().manual_seed(0)).numpy()
    assert z.dtype == np.float32
    for k, alpha in enumerate(ALPHAS):
        found = z[..., k].T @ z[..., k] / len(z)
        assert np.abs(found - dense_covariance(alpha, 5)).max() < 0.03
    plain = AR1Latents([0.0]).sample(40_000, 3, torch.Generator().manual_seed(0))[..., 0]
    assert (plain.T @ plain / len(plain) - torch.eye(3)).abs().max() < 0.03


@pytest.mark.parametrize("alphas", [(0.95,), (0.3, -0.99), (0.9999,)])
@pytest.mark.parametrize("steps", [1, 2, 3, 64])
def test_training_starts_at_the_committed_rate_in_float32(alphas: tuple[float, ...], steps: int):
    latents = AR1Latents(alphas)
    kl = latents.kl_nats(latents.posterior(torch.zeros(2, steps, 2 * len(alphas))))
    assert kl.dtype == torch.float32
    np.testing.assert_allclose(kl, latents.committed_rate_nats(steps), rtol=1e-4, atol=1e-5)


def test_the_variances_have_room_around_the_best_ones():
    latents = AR1Latents((0.95,))
    for size in (-50.0, 50.0):
        raw = torch.tensor([0.0, size], dtype=torch.float64).expand(1, 6, 2)
        best = latents.posterior(torch.zeros_like(raw)).log_variance
        room = latents.posterior(raw).log_variance - best
        assert torch.allclose(room, torch.full_like(room, math.copysign(6, size)), atol=1e-5)


def test_the_plain_vae_commits_nothing_and_is_free_of_the_chain():
    latents = AR1Latents([0.0, 0.0])
    posterior = latents.posterior(raw_numbers(latents, 3, 4))
    variance = posterior.log_variance.exp()
    wanted = (posterior.mean.square() + variance - 1 - posterior.log_variance).sum((1, 2)) / 2
    torch.testing.assert_close(latents.kl_nats(posterior), wanted)
    assert latents.committed_rate_nats(100) == 0
    assert not latents.kl_nats(latents.posterior(torch.zeros(1, 4, 4))).any()


def test_channels_are_not_steps():
    """Two channels of their own alphas are two chains of one channel each."""
    both = AR1Latents((0.9, 0.2))
    raw = raw_numbers(both, 3, 5)
    parts = [AR1Latents((alpha,)) for alpha in (0.9, 0.2)]
    alone = sum(part.kl_nats(part.posterior(raw[..., [k, 2 + k]])) for k, part in enumerate(parts))
    torch.testing.assert_close(both.kl_nats(both.posterior(raw)), alone)
    rates = [part.committed_rate_nats(5) for part in parts]
    assert both.committed_rate_nats(5) == pytest.approx(sum(rates), rel=1e-14)
