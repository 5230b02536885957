"""Index back-propagation: a hard choice forward, a soft one backward, to the encoder and all code vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentpress.latents.search import centred, rows_at_a_time

__all__ = ["index_backpropagation"]


def index_backpropagation(z: Tensor, codebooks: Tensor, codes: Tensor) -> Tensor:
    """Hard one-hot forward, softmax over negative distances backward, to z and to all code vectors.

    q = (h - sg[s] + s) E with h the one-hot code and s = softmax_k(-||z - e_k||^2), where E as a factor
    of the soft terms gets no gradient (after Shi et al., arXiv 2412.02692, distances for dot products).
    Shapes: z (..., P, D), codebooks (P, K, D), codes (..., P) -> (..., P, D). The softmax is computed anew
    in the backward pass, some rows at a time.
    """
    return _choose(z.flatten(0, -3), codebooks, codes.flatten(0, -2)).view(z.shape)


# Operators of their own, for `torch.compile` would unroll the loop over the rows.
@torch.library.custom_op("latentpress::choose", mutates_args=())
def _choose(rows: Tensor, codebooks: Tensor, codes: Tensor) -> Tensor:
    return torch.stack([F.embedding(code, e) for code, e in zip(codes.unbind(1), codebooks, strict=True)], 1)


@torch.library.custom_op("latentpress::choose_backward", mutates_args=())
def _gradients(gradient: Tensor, rows: Tensor, codebooks: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    to_rows, to_codebooks = torch.empty_like(rows), torch.zeros_like(codebooks)
    step = rows_at_a_time(codebooks.shape[1], rows.device)
    for p, vectors in enumerate(codebooks):
        mean, moved, bias = centred(vectors)
        chunks = (each[:, p].split(step) for each in (rows, gradient, to_rows))
        for z, g, out in zip(*chunks, strict=True):
            z = z - mean
            s = torch.addmm(bias, z, moved.t(), alpha=-1).mul_(-2).softmax(1)
            d = g @ moved.t()  # a constant for each row is free: the softmax's gradient sums to zero
            d = s * (d - (s * d).sum(1, keepdim=True))
            torch.mm(d, moved, out=out).mul_(2)
            to_codebooks[p].add_(2 * (d.t() @ z - d.sum(0)[:, None] * moved))
        to_codebooks[p].index_add_(0, codes[:, p], gradient[:, p])
    return to_rows, to_codebooks


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_gradients(gradient.contiguous(), *ctx.saved_tensors), None


_choose.register_fake(lambda rows, codebooks, codes: rows.new_empty(rows.shape))
_gradients.register_fake(
    lambda gradient, rows, codebooks, codes: (torch.empty_like(rows), torch.empty_like(codebooks))
)
_choose.register_autograd(_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
