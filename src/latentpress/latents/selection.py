"""Ways for the gradient through the choice of a code vector, which itself has none.

Each function returns the code vectors q that the encoder's vectors z (..., D) chose, exactly, and differs in
what reaches z when the gradient g with respect to q comes back. Through q itself nothing goes back.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["rotation", "straight_through"]


def straight_through(z: Tensor, chosen: Tensor) -> Tensor:
    """Copies the gradient: dz = g (van den Oord et al., arXiv 1711.00937, section 3.2).

    >>> import torch
    >>> z = torch.tensor([0.2], requires_grad=True)
    >>> (3 * straight_through(z, torch.ones(1))).backward()
    >>> z.grad
    tensor([3.])
    """
    return (z - z.detach()).add_(chosen.detach())


def rotation(z: Tensor, chosen: Tensor) -> Tensor:
    """Rotates and rescales the gradient as the choice did the vector: q = a R z, dz = a R^T g.

    With unit vectors u of z, v of q and r of u + v: R = I - 2 r r^T + 2 v u^T and a = |q| / |z|, both
    taken as constants (Fifty et al., arXiv 2410.06424, section 4.2).

    >>> import torch
    >>> z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    >>> rotation(z, torch.tensor([[0.0, 2.0]])).backward(torch.tensor([[0.0, 1.0]]))
    >>> z.grad.round(decimals=4)  # g was along q, so dz is along z, and twice as long as q is
    tensor([[2., 0.]])
    """
    q, start = chosen.detach(), z.detach()
    u, v = F.normalize(start, dim=-1), F.normalize(q, dim=-1)
    r = F.normalize(u + v, dim=-1)
    scale = q.norm(dim=-1, keepdim=True) / start.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    rotated = z - 2 * r * (r * z).sum(-1, keepdim=True) + 2 * v * (u * z).sum(-1, keepdim=True)
    return straight_through(scale * rotated, q)
