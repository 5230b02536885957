"""How much information Gaussian families commit, in closed form, and which setting commits a wanted rate.

All rates are the smallest KL(q || p) in nats that a family's posterior can reach against its prior
(Razavi et al., arXiv 1901.03416, section 2 and appendices A to C).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from latentpress.errors import ConfigError

__all__ = ["alpha_for_rate", "ar1_rate_nats", "ratio_rate_nats", "variance_roots"]

_LARGEST_ALPHA = 0.9999  # that configurations take


def ar1_rate_nats(alphas: Sequence[float], steps: int) -> float:
    """The rate of an AR(1) prior over `steps` steps against an independent posterior, all channels.

        delta = 1/2 sum_k [(n - 2) ln(1 + alpha_k^2) - ln(1 - alpha_k^2)],   n >= 2

    and 0 for one step, where the prior has nothing to depend on.

    >>> round(ar1_rate_nats([0.95], 32), 3)
    10.811
    >>> ar1_rate_nats([0.95], 1)
    0.0
    """
    if steps < 2:
        return 0.0
    inner = (steps - 2) * sum(math.log1p(alpha**2) for alpha in alphas)
    return (inner - sum(math.log1p(-(alpha**2)) for alpha in alphas)) / 2


def alpha_for_rate(rate_nats: float, steps: int, channels: int = 1) -> float:
    """The alpha above 0 that commits `rate_nats` in all channels together; `ConfigError` where none does.

    >>> round(alpha_for_rate(ar1_rate_nats([0.9, 0.9], 28), 28, channels=2), 6)
    0.9
    """
    from scipy.optimize import brentq  # slow to import, so not above

    bits, sequence = rate_nats / math.log(2), f"{steps} latent step{'' if steps == 1 else 's'}"
    if steps < 2 or channels < 1 or not rate_nats > 0:
        raise ConfigError(
            f"a rate above 0 needs two steps or more; got {bits:.1f} bits over {sequence}; take a smaller "
            "encoder.hop or longer items"
        )
    most = ar1_rate_nats([_LARGEST_ALPHA] * channels, steps)
    if rate_nats > most:
        raise ConfigError(
            f"{sequence} of {channels} channel{'' if channels == 1 else 's'} commit at most "
            f"{most / math.log(2):.1f} bits ({most:.1f} nats), and {bits:.1f} are wanted; "
            "take more channels, or a smaller encoder.hop"
        )
    missing = lambda alpha: ar1_rate_nats([alpha] * channels, steps) - rate_nats  # noqa: E731
    return float(brentq(missing, 0, _LARGEST_ALPHA, xtol=1e-14))  # pyright: ignore[reportArgumentType]


def ratio_rate_nats(ratio: float) -> float:
    """The rate a scalar of a posterior whose variance is `ratio` times the prior's: (a - 1 - ln a) / 2.

    >>> round(ratio_rate_nats(0.25), 4)
    0.3181
    """
    return (ratio - 1 - math.log(ratio)) / 2


@functools.cache
def variance_roots(rate_nats: float) -> tuple[float, float]:
    """The two variances whose KL from N(0, 1) at mean 0 is `rate_nats`: ln v - v + 2 delta + 1 = 0.

    They are v = -W(-exp(-1 - 2 delta)) on the two real branches of Lambert's W.

    >>> [round(root, 3) for root in variance_roots(0.5)]
    [0.159, 3.146]
    """
    from scipy.special import lambertw

    low, high = (-lambertw(-math.exp(-1 - 2 * rate_nats), branch).real for branch in (0, -1))
    return float(low), float(high)
