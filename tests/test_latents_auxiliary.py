"""The auxiliary prior: AR(1) at the start, a causal law, blind to padding, and able to learn."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from latentpress.config import AuxiliaryConfig
from latentpress.latents import AuxiliaryPrior

ALPHAS = (0.75, -0.5, 0.0)  # exact in float32


def make(alphas=ALPHAS, width=8, *, disturbed=False):
    torch.manual_seed(3)
    prior = AuxiliaryPrior(AuxiliaryConfig(width=width), alphas)
    if disturbed:
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter += 0.3 * torch.randn(parameter.shape)
    return prior


def draws(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_it_starts_at_the_density_of_the_chain():
    prior, z = make().double(), draws(4, 9, 3, dtype=torch.float64)
    lag = np.abs(np.subtract.outer(np.arange(9), np.arange(9)))
    dense = sum(
        multivariate_normal(np.zeros(9), alpha**lag).logpdf(z[..., k].numpy())
        for k, alpha in enumerate(ALPHAS)
    )
    np.testing.assert_allclose(prior.nats(z).detach().numpy(), -dense, rtol=1e-12)


def test_conditionals_do_not_see_their_own_step_or_later_ones():
    prior = make(disturbed=True).double()
    z = draws(1, 5, 3, dtype=torch.float64)
    for part in (lambda z: prior(z).mean, lambda z: prior(z).stddev):
        jacobian = torch.autograd.functional.jacobian(part, z)[0, :, :, 0].abs().sum((1, 3))
        assert (jacobian.triu() == 0).all() and (jacobian.tril(-1).diagonal(-1) > 0).all()


def test_padding_adds_nothing_whatever_it_holds():
    prior, z = make(disturbed=True), draws(2, 7, 3)
    padded = torch.full((2, 10, 3), math.nan)
    padded[0, :7], padded[1, :5] = z[0], z[1, :5]
    mask = torch.arange(10) < torch.tensor([[7], [5]])
    loss = prior.nats(padded, mask)
    alone = torch.cat([prior.nats(z[:1]), prior.nats(z[1:, :5])])
    assert torch.allclose(loss, alone, rtol=1e-6)
    loss.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in prior.parameters())
    assert (prior.nats(padded, torch.zeros(2, 10, dtype=torch.bool)) == 0).all()


def test_making_one_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    first = AuxiliaryPrior(AuxiliaryConfig(width=5), (0.5,))
    assert torch.equal(torch.get_rng_state(), state)
    second = AuxiliaryPrior(AuxiliaryConfig(width=5), (0.5,))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_corrections_stay_bounded():
    prior = make()
    with torch.no_grad():
        prior.correction.bias += 1e6
    chain = torch.tensor([0.5 * math.log(1 - alpha**2) for alpha in ALPHAS])
    assert torch.allclose(prior(draws(1, 4, 3)).stddev.log()[0, 1:], chain + 4)


def process(count, steps, seed):
    """A chain whose noise grows with the distance from 0, and whose mean bends."""
    noise = draws(count, steps, 1, seed=seed)
    z = [noise[:, 0]]
    for t in range(1, steps):
        z.append(torch.sin(2 * z[-1]) + (0.1 + 0.3 * z[-1].abs()) * noise[:, t])
    return torch.stack(z, dim=1)


def true_nll(z):
    before = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], 1)
    mean, std = torch.sin(2 * before), 0.1 + 0.3 * before.abs()
    std[:, 0] = 1
    return -torch.distributions.Normal(mean, std).log_prob(z).sum((1, 2)).mean().item()


def test_it_learns_what_ar1_cannot():
    prior = make((0.5,), width=16)
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.01)
    test = process(500, 12, seed=0)
    with torch.no_grad():
        chain = prior.nats(test).mean().item()
    for step in range(1, 301):
        loss = prior.nats(process(64, 12, seed=step)).mean() / 12
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        learned = prior.nats(test).mean().item()
    ideal = true_nll(test)
    assert ideal < learned < ideal + 0.3 * (chain - ideal)


@pytest.mark.parametrize("alphas", [(), (1.0,), (0.5, -2.0)])
def test_alphas_out_of_range_are_refused(alphas):
    with pytest.raises(ValueError, match="alphas"):
        AuxiliaryPrior(AuxiliaryConfig(), alphas)
