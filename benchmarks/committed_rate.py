"""Is the committed rate what it is called: the smallest KL(q || p) that a family's posterior can reach?

    python benchmarks/committed_rate.py [--settings 50] [--seed 0] [--json]

For every family and so many random settings of it (coefficients, ratios, rates, 1 to 4 channels, 2 to 32
steps) a quasi-Newton method looks for the smallest KL over the numbers that an encoder may give, from a
random start, in float64 with exact gradients. The table has the largest relative difference between that
and the rate in closed form, and the setting where it occurred. For the plain VAE, whose rate is 0, the
difference is absolute, in nats.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from latentpress.config import (
    AR1Config,
    GaussianLatentsConfig,
    MeanBoundConfig,
    PlainGaussianConfig,
    VarianceBoundConfig,
    VarianceRatioConfig,
)
from latentpress.latents import GaussianLatents, build_gaussian

__all__ = ["Figure", "main", "smallest_kl"]

_OPTIONS = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0, "gtol": 1e-12}


@dataclass(frozen=True)
class Figure:
    """The setting of one family whose rate in closed form is farthest from the smallest KL found."""

    family: str
    settings: int
    largest_difference: float
    least_difference: float
    steps: int
    channels: int
    rate_nats: float
    found_nats: float


def _alphas(rng: np.random.Generator, channels: int) -> GaussianLatentsConfig:
    alphas = rng.choice([-1, 1], channels) * (1 - np.exp(rng.uniform(np.log(1e-3), np.log(0.95), channels)))
    return AR1Config(channels=channels, alpha=tuple(alphas.tolist()))


def _rate(rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(0.01), math.log(5)))


FAMILIES: dict[str, Callable[[np.random.Generator, int], GaussianLatentsConfig]] = {
    "ar1": _alphas,
    "plain": lambda rng, channels: PlainGaussianConfig(channels=channels),
    "variance_ratio": lambda rng, channels: VarianceRatioConfig(
        channels=channels, ratio=math.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 3))
    ),
    "variance_bound": lambda rng, channels: VarianceBoundConfig(channels=channels, rate_nats=_rate(rng)),
    "mean_bound": lambda rng, channels: MeanBoundConfig(channels=channels, rate_nats=_rate(rng)),
}


def smallest_kl(latents: GaussianLatents, steps: int, rng: np.random.Generator) -> float:
    """The smallest KL found over an encoder's numbers, from a random start, in nats."""
    shape = (1, steps, latents.params * latents.channels)

    def value(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        raw = torch.from_numpy(numbers).view(shape).requires_grad_()
        kl = latents.kl_nats(latents.posterior(raw)).sum()
        (gradient,) = torch.autograd.grad(kl, raw)
        return kl.item(), gradient.numpy().ravel()

    start = rng.standard_normal(math.prod(shape))
    return float(minimize(value, start, jac=True, method="L-BFGS-B", options=_OPTIONS).fun)


def measured(family: str, settings: int, seed: int) -> Figure:
    """The worst of so many settings."""
    rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
    results: list[tuple[float, int, int, float, float]] = []
    for _ in range(settings):
        channels, steps = int(rng.integers(1, 5)), int(rng.integers(2, 33))
        latents = build_gaussian(FAMILIES[family](rng, channels))
        rate, least = latents.committed_rate_nats(steps), smallest_kl(latents, steps, rng)
        results.append(((least - rate) / (rate or 1.0), steps, channels, rate, least))
    worst = max(results, key=lambda one: abs(one[0]))
    return Figure(family, settings, abs(worst[0]), min(one[0] for one in results), *worst[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--settings", type=int, default=50, help="random settings a family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = [measured(family, options.settings, options.seed) for family in FAMILIES]
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
        return
    print(
        "| family | settings | largest difference | lowest | at steps x channels | rate, nats | found, nats |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for f in figures:
        print(
            f"| {f.family} | {f.settings} | {f.largest_difference:.1e} | {f.least_difference:.1e} "
            f"| {f.steps} x {f.channels} | {f.rate_nats:.6f} | {f.found_nats:.6f} |"
        )


if __name__ == "__main__":
    main()
