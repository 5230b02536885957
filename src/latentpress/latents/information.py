"""How much latents say about the items: mutual information and active units.

    I(x; z) = E [ln q(z | x) - ln q(z)],   q(z) = the mean of q(z | x_j) over the N items at hand

With N items no estimate can pass ln N: it is a lower bound in expectation (Hoffman and Johnson, 2016;
Poole et al., arXiv 1905.06922), and wants that cap in view.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentpress.latents.gaussian import Posterior

__all__ = ["active_units", "mutual_information_nats"]

_ACTIVE_VARIANCE = 0.01  # of a unit's means over the items (Burda et al., arXiv 1509.00519)
_CHUNK_FLOATS = 1 << 24


@torch.no_grad()
def mutual_information_nats(posterior: Posterior, z: Tensor, mask: Tensor | None = None) -> Tensor:
    """I(x; z) in nats, a scalar between about 0 and ln N.

    Args:
        posterior: q(z | x) of N items, (N, n, d).
        z: one sample of each, (N, n, d).
        mask: (N, n) bool; with it, items are compared over the steps of the one that was sampled.

    >>> far = Posterior(torch.tensor([[[-9.0]], [[9.0]]]), torch.zeros(2, 1, 1))
    >>> round(mutual_information_nats(far, far.mean).item(), 3)  # two items that do not overlap: ln 2
    0.693
    """
    gains = []
    for rows in torch.arange(len(z), device=z.device).split(max(1, _CHUNK_FLOATS // max(1, z.numel()))):
        squared = (z[rows, None] - posterior.mean).square() * torch.exp(-posterior.log_variance)
        terms = -(squared + posterior.log_variance) / 2
        if mask is not None:
            terms = terms * mask[rows, None, :, None]
        densities = terms.flatten(2).sum(2)  # (rows, N): ln q(z_i | x_j) + constant
        diagonal = densities.gather(1, rows[:, None])[:, 0]
        gains.append(diagonal - torch.logsumexp(densities, dim=1) + math.log(len(z)))
    return torch.cat(gains).mean()


@torch.no_grad()
def active_units(means: Tensor, mask: Tensor | None = None) -> int:
    """How many of the n * d units have means that vary over the items by more than 0.01, from (N, n, d).

    >>> active_units(torch.tensor([[[0.0, 1.0]], [[0.0, -1.0]]]))
    1
    """
    present = torch.ones_like(means[..., :1]) if mask is None else mask[..., None].to(means.dtype)
    counts = present.sum(0).clamp(min=1)
    centred = (means - (means * present).sum(0) / counts) * present
    return int((centred.square().sum(0) / counts > _ACTIVE_VARIANCE).sum())
