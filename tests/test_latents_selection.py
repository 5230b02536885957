"""Each way through the selection returns the code vectors exactly, with the published gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentpress.latents import search
from latentpress.latents.index_backpropagation import index_backpropagation
from latentpress.latents.search import nearest
from latentpress.latents.selection import rotation, straight_through


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    z = torch.randn(30, 2, 5, dtype=torch.float64, requires_grad=True)
    codebooks = torch.randn(2, 11, 5, dtype=torch.float64, requires_grad=True)
    codes = nearest(z.detach(), codebooks.detach())
    chosen = torch.stack([codebooks[p][codes[:, p]] for p in range(2)], 1)
    return z, codebooks, codes, chosen, torch.randn(30, 2, 5, dtype=torch.float64)


def test_straight_through_copies(case: tuple[Tensor, ...]) -> None:
    z, codebooks, _, chosen, gradient = case
    out = straight_through(z, chosen)
    assert torch.equal(out, chosen)
    out.backward(gradient)
    assert z.grad is not None and torch.equal(z.grad, gradient)
    assert codebooks.grad is None


def test_rotation_is_the_transposed_rotation_of_each_vector(case: tuple[Tensor, ...]) -> None:
    z, codebooks, _, chosen, gradient = case
    out = rotation(z, chosen)
    assert torch.equal(out, chosen)
    out.backward(gradient)
    assert codebooks.grad is None and z.grad is not None
    columns = (values.detach().flatten(0, 1) for values in (z.grad, z, chosen, gradient))
    for got, vector, q, g in zip(*columns, strict=True):
        u, v = vector / vector.norm(), q / q.norm()
        r = (u + v) / (u + v).norm()
        matrix = torch.eye(5, dtype=torch.float64) - 2 * torch.outer(r, r) + 2 * torch.outer(v, u)
        torch.testing.assert_close(matrix @ u, v)  # it takes z's direction to q's
        torch.testing.assert_close(matrix.T @ matrix, torch.eye(5, dtype=torch.float64))
        torch.testing.assert_close(got, q.norm() / vector.norm() * matrix.T @ g)


def test_rotation_stays_finite_at_zero_and_opposite_vectors() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    rotation(z, torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()


@pytest.mark.parametrize("scores", [1 << 18, 40])  # one chunk, and many
def test_index_backpropagation_is_autograd_through_the_softmax(
    case: tuple[Tensor, ...], scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_CPU_SCORES", scores)
    z, codebooks, codes, chosen, gradient = case
    out = index_backpropagation(z, codebooks, codes)
    assert torch.equal(out, chosen)
    got = torch.autograd.grad(out, (z, codebooks), gradient)
    soft = (-(z[:, :, None] - codebooks).square().sum(-1)).softmax(-1)
    one_hot = F.one_hot(codes, 11) - soft.detach() + soft
    direct = torch.einsum("npk,pkd->npd", one_hot, codebooks)
    expected = torch.autograd.grad(direct, (z, codebooks), gradient)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_index_backpropagation_reaches_codes_that_were_not_chosen() -> None:
    codebooks = torch.tensor([[[0.0], [1.0]]], requires_grad=True)
    z = torch.tensor([[[0.1]]])
    index_backpropagation(z, codebooks, torch.tensor([[0]])).sum().backward()
    assert codebooks.grad is not None and codebooks.grad[0, 1] != 0
