"""Latent spaces as a configuration names them."""

import pytest

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
from latentpress.latents.rates import ar1_rate_nats, ratio_rate_nats

RATES = [
    (AR1Config(channels=2, alpha=(0.9, -0.5)), ar1_rate_nats([0.9, -0.5], 7)),
    (AR1Config(channels=3, alpha=0.9), ar1_rate_nats([0.9] * 3, 7)),
    (PlainGaussianConfig(channels=2), 0.0),
    (VarianceRatioConfig(channels=2, ratio=0.5), 14 * ratio_rate_nats(0.5)),
    (VarianceBoundConfig(channels=2, rate_nats=0.3), 14 * 0.3),
    (MeanBoundConfig(channels=2, rate_nats=0.3), 14 * 0.3),
]


@pytest.mark.parametrize(("config", "rate"), RATES)
def test_every_kind_commits_its_rate(config, rate: float):
    latents = build_gaussian(config)
    assert latents.channels == config.channels == len(config.alphas)
    assert latents.committed_rate_nats(7) == pytest.approx(rate)
    model = DeltaVAEConfig(latents=config)
    assert from_json(DeltaVAEConfig, to_json(model)) == model


@pytest.mark.parametrize("alpha", [0.0, 0, 1.0, 1, -1.0, 2.5, (0.5, 0.0)])
def test_a_chain_that_commits_nothing_is_refused(alpha):
    with pytest.raises(ConfigError, match="plain VAE has a kind of its own"):
        AR1Config(channels=2, alpha=alpha)
    with pytest.raises(ConfigError, match="plain VAE has a kind of its own"):
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
