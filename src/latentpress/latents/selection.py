"""Ways for the gradient through the choice of a memory vector, which itself has none.

Each function returns the chosen vectors exactly as they stand in the memory, and differs in what
reaches the encoder's vectors z when the gradient g with respect to the chosen vectors q comes back.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentpress.latents.search import centred, rows_at_a_time

__all__ = ["index_backpropagation", "rotation", "straight_through"]


def straight_through(z: Tensor, chosen: Tensor) -> Tensor:
    """Copies the gradient: dz = g (van den Oord et al., arXiv 1711.00937, section 3.2).

    Args:
        z: the encoder's vectors, any shape.
        chosen: the memory's vectors q, same shape; no gradient reaches them from here.

    >>> z = torch.tensor([0.2], requires_grad=True)
    >>> (3 * straight_through(z, torch.ones(1))).backward()
    >>> z.grad
    tensor([3.])
    """
    return _with_gradient_of(z, chosen)


def rotation(z: Tensor, chosen: Tensor) -> Tensor:
    """Rotates and rescales the gradient as the choice did the vector: q = a R z, dz = a R^T g.

    With unit vectors u of z, v of q and r of u + v: R = I - 2 r r^T + 2 v u^T and a = |q| / |z|, both
    taken as constants (Fifty et al., arXiv 2410.06424, section 4.2).

    Args:
        z: the encoder's vectors, (..., D).
        chosen: the memory's vectors q, same shape; no gradient reaches them from here.

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
    return _with_gradient_of(scale * rotated, q)


def index_backpropagation(z: Tensor, memory: Tensor, codes: Tensor) -> Tensor:
    """Hard one-hot forward, softmax over negative distances backward, to z and to the whole memory.

    q = (h - sg[s] + s) E with h the one-hot code and s = softmax_k(-||z - e_k||^2), where E as a factor
    of the soft terms gets no gradient (after Shi et al., arXiv 2412.02692, distances for dot products).

    Args:
        z: the encoder's vectors, (..., P, D).
        memory: (P, K, D).
        codes: (..., P), the nearest of each.

    Returns:
        (..., P, D). The softmax is computed anew in the backward pass, some rows at a time.
    """
    return _choose(z.flatten(0, -3), memory, codes.flatten(0, -2)).view(z.shape)


def _with_gradient_of(vectors: Tensor, value: Tensor) -> Tensor:
    """Returns exactly `value`, whose gradient goes to `vectors`."""
    return (vectors - vectors.detach()).add_(value.detach())


@torch.library.custom_op("latentpress::choose", mutates_args=())
def _choose(rows: Tensor, memory: Tensor, codes: Tensor) -> Tensor:
    return torch.stack([F.embedding(code, e) for code, e in zip(codes.unbind(1), memory, strict=True)], 1)


@torch.library.custom_op("latentpress::choose_backward", mutates_args=())
def _choose_backward(gradient: Tensor, rows: Tensor, memory: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    to_rows, to_memory = torch.empty_like(rows), torch.zeros_like(memory)
    for p, vectors in enumerate(memory):
        _soft_gradients(gradient[:, p], rows[:, p], vectors, to_rows[:, p], to_memory[p])
        to_memory[p].index_add_(0, codes[:, p], gradient[:, p])
    return to_rows, to_memory


@_choose.register_fake
def _(rows: Tensor, memory: Tensor, codes: Tensor) -> Tensor:
    return rows.new_empty(rows.shape)


@_choose_backward.register_fake
def _(gradient: Tensor, rows: Tensor, memory: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(rows), torch.empty_like(memory)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_choose_backward(gradient.contiguous(), *ctx.saved_tensors), None


_choose.register_autograd(_backward, setup_context=_save)


def _soft_gradients(
    gradient: Tensor, rows: Tensor, memory: Tensor, to_rows: Tensor, to_memory: Tensor
) -> None:
    """Writes the softmax's gradient to the rows (N, D) and adds the one to the memory (K, D)."""
    mean, moved, bias = centred(memory)
    step = rows_at_a_time(len(memory), rows.device)
    for z, g, out in zip(rows.split(step), gradient.split(step), to_rows.split(step), strict=True):
        z = z - mean
        s = torch.addmm(bias, z, moved.t(), alpha=-1).mul_(-2).softmax(1)
        d = g @ moved.t()  # a constant for each row is free: the softmax's gradient sums to zero
        d = s * (d - (s * d).sum(1, keepdim=True))
        torch.mm(d, moved, out=out).mul_(2)
        to_memory += 2 * (d.t() @ z - d.sum(0)[:, None] * moved)
