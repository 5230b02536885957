"""The auxiliary prior: AR(1) at its start, and a prior at any time."""

import math

import numpy as np
import pytest
import torch

from delta_parts import jolted, lengths_mask
from latentpress.config import AuxiliaryConfig
from latentpress.latents.auxiliary import LOG_STD_LIMIT, AuxiliaryPrior
from latentpress.latents.committed import AR1Latents

ALPHAS = (0.9, -0.5)


def prior_of(seed: int | None = 0) -> AuxiliaryPrior:
    torch.manual_seed(0)
    prior = AuxiliaryPrior(AuxiliaryConfig(width=6), ALPHAS).double()
    return prior if seed is None else jolted(prior, seed)


def test_it_starts_as_the_chain():
    z = 2 * torch.randn(4, 7, 2, dtype=torch.float64)
    prior, chain = prior_of(None), AR1Latents(ALPHAS)
    torch.testing.assert_close(prior.nll_nats(z), -chain.log_prior(z), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(prior_of().nll_nats(z), prior.nll_nats(z), rtol=1e-2)


def test_a_step_knows_only_those_before_it():
    z = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)
    found = prior_of()(z)
    for t in range(6):
        (gradient,) = torch.autograd.grad((found.mean + found.log_std)[:, t].sum(), z, retain_graph=True)
        assert not gradient[:, t:].any() and gradient[:, :t].all()


def test_padding_adds_nothing():
    prior, lengths = prior_of(), [5, 1, 3, 0]
    z, mask = torch.randn(4, 5, 2, dtype=torch.float64), lengths_mask(lengths, 5)
    z[~mask] = math.nan
    z.requires_grad_()
    nll = prior.nll_nats(z, mask)
    (gradient,) = torch.autograd.grad(nll.sum(), z)
    assert not gradient[~mask].any() and gradient[mask].all()
    for item, length in enumerate(lengths):
        alone = prior.nll_nats(z[item : item + 1, :length]) if length else torch.zeros(1).double()
        torch.testing.assert_close(alone[0], nll[item], rtol=1e-12, atol=0)


def test_gradients_are_those_of_finite_differences():
    prior, mask = prior_of(), lengths_mask([4, 2], 4)
    z = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: prior.nll_nats(z, mask), z)


def test_what_is_drawn_step_by_step_has_the_conditionals_of_all_at_once():
    prior = prior_of()
    z = prior.sample(3, 8, torch.Generator().manual_seed(1))
    noise = torch.randn((8, 3, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = prior(z)
    torch.testing.assert_close((z - found.mean) * torch.exp(-found.log_std), noise.movedim(0, 1))
    assert torch.equal(z, prior.sample(3, 8, torch.Generator().manual_seed(1)))


def test_draws_cost_their_entropy():
    prior = prior_of().float()
    z = prior.sample(20_000, 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        entropy = prior(z).log_std.sum((1, 2)) + 3 * 2 * (1 + math.log(2 * math.pi)) / 2
        difference = prior.nll_nats(z) - entropy
    assert abs(difference.mean()) < 5 * difference.std() / len(z) ** 0.5


def test_deviations_keep_within_their_limit():
    prior = jolted(prior_of(), size=100.0)
    found = prior(torch.randn(4, 5, 2, dtype=torch.float64))
    start = prior_of(None)(torch.zeros(4, 5, 2, dtype=torch.float64)).log_std
    assert ((found.log_std - start).abs() <= LOG_STD_LIMIT + 1e-9).all()


def test_making_one_draws_no_random_number():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    AuxiliaryPrior(AuxiliaryConfig(width=6), ALPHAS)
    assert torch.equal(torch.rand(3), wanted)


def test_it_learns_what_the_chain_is_not():
    """Signs that stay for a whole sequence: a chain of alpha 0.5 cannot say that."""
    generator = torch.Generator().manual_seed(0)
    prior = AuxiliaryPrior(AuxiliaryConfig(width=8), (0.5,))
    signs = torch.randint(2, (512, 1, 1), generator=generator).float() * 2 - 1
    z = signs + 0.3 * torch.randn(512, 6, 1, generator=generator)
    before, optimizer = prior.nll_nats(z).mean().item(), torch.optim.Adam(prior.parameters(), 2e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = prior.nll_nats(z).mean()
        loss.backward()
        optimizer.step()
    entropy = math.log(2) + 6 * (math.log(0.3) + (1 + math.log(2 * math.pi)) / 2)
    assert loss.item() < before - 2 and loss.item() < entropy + 1
    drawn = prior.sample(400, 6, generator)[..., 0].numpy()
    assert np.mean(np.sign(drawn[:, 0]) == np.sign(drawn[:, 5])) > 0.8


@pytest.mark.parametrize("alphas", [(), (1.0,), (0.5, -1.5)])
def test_coefficients_that_are_none_are_refused(alphas: tuple[float, ...]):
    with pytest.raises(ValueError, match="alphas"):
        AuxiliaryPrior(AuxiliaryConfig(width=4), alphas)
