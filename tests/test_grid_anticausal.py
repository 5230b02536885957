"""Encoders that read from the end: what a latent sees, and that padding changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from delta_parts import jolted, lengths_mask
from latentpress.autoregressive.anticausal import AnticausalEncoder, RecurrentEncoder, by_step
from latentpress.config import AnticausalConfig, RecurrentEncoderConfig

SIZES = {1: (256,), 2: (16, 9)}
KINDS = ("anticausal", "recurrent")


def encoder_of(kind: str, stride: int, dims: int, across: int = 3) -> AnticausalEncoder | RecurrentEncoder:
    torch.manual_seed(0)
    where = (SIZES[dims], across if dims == 2 else 1, dims, 4, 2)
    if kind == "recurrent":
        return jolted(RecurrentEncoder(RecurrentEncoderConfig(stride=stride, width=7, embedding=4), *where))
    config = AnticausalConfig(
        stride=stride, width=6, depth=2, radius=2, dilations=(1, 3), embedding=4, hidden=24
    )
    return jolted(AnticausalEncoder(config, *where))


def symbols_of(dims: int, length: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (batch, length, 3) if dims == 2 else (batch, length)
    return torch.stack([torch.randint(k, size, generator=generator) for k in SIZES[dims]], -1)


def embeddings(encoder: AnticausalEncoder | RecurrentEncoder) -> nn.ModuleList:
    return encoder.trunk.embeddings if isinstance(encoder, AnticausalEncoder) else encoder.embeddings


def reached(encoder: AnticausalEncoder | RecurrentEncoder, symbols: Tensor) -> Tensor:
    """The size of d(numbers of step k) / d(embedded symbols at place t), (n, T)."""
    leaves: list[Tensor] = []

    def leaf(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    handles = [table.register_forward_hook(leaf) for table in embeddings(encoder)]
    out = encoder(symbols)
    for handle in handles:
        handle.remove()
    rows = []
    for numbers in out.unbind(1):
        parts = [
            gradient.abs().flatten(2).sum((0, 2))
            for number in numbers.flatten()
            for gradient in torch.autograd.grad(number, leaves, retain_graph=True)
        ]
        rows.append(torch.stack(parts).sum(0))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(("stride", "length"), [(1, 5), (2, 7), (3, 8), (4, 9), (4, 8), (4, 3)])
def test_a_latent_sees_its_own_step_and_what_comes_after(kind: str, dims: int, stride: int, length: int):
    encoder = encoder_of(kind, stride, dims).double()
    found = reached(encoder, symbols_of(dims, length))
    assert found.shape == (-(-length // stride), length)
    for k, row in enumerate(found):
        assert not row[: k * stride].any()  # exactly
        assert row[k * stride : (k + 1) * stride].all()
        assert k + 1 == len(found) or row[(k + 1) * stride :].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [1, 2])
def test_earlier_symbols_change_no_bit(kind: str, dims: int):
    encoder, symbols = encoder_of(kind, 2, dims), symbols_of(dims, 7)
    before = encoder(symbols)
    for place in range(7):
        changed = symbols.clone()
        changed[:, place] = (changed[:, place] + 1) % torch.tensor(SIZES[dims])
        after = encoder(changed)
        first = place // 2 + 1
        assert torch.equal(after[:, first:], before[:, first:])
        assert not torch.equal(after[:, first - 1], before[:, first - 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("stride", [1, 3])
def test_padding_changes_nothing(kind: str, dims: int, stride: int):
    encoder, lengths = encoder_of(kind, stride, dims).double(), [8, 1, 5, 3]
    symbols, mask = symbols_of(dims, 8, batch=4), lengths_mask(lengths, 8)
    other = torch.where(mask.view(4, 8, *[1] * dims), symbols, symbols_of(dims, 8, batch=4, seed=1))
    places = mask[..., None].expand(4, 8, 3) if dims == 2 else mask
    padded = encoder(symbols, places)
    assert torch.equal(encoder(other, places), padded)
    assert torch.equal(encoder(symbols[:1], places[:1]), encoder(symbols[:1]))
    for item, length in enumerate(lengths):
        alone = encoder(symbols[item : item + 1, :length])[0]
        torch.testing.assert_close(padded[item, : len(alone)], alone, rtol=1e-12, atol=1e-12)


def test_a_narrower_image_is_one_with_its_right_side_masked():
    encoder = encoder_of("anticausal", 2, 2)
    symbols, mask = symbols_of(2, 6, batch=2), torch.ones(2, 6, 3, dtype=torch.bool)
    mask[:, :, 2] = False
    other = torch.where(mask[..., None], symbols, symbols_of(2, 6, batch=2, seed=1))
    assert torch.equal(encoder(symbols, mask), encoder(other, mask))
    assert not torch.equal(encoder(symbols), encoder(other))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_means_differ_at_the_start(kind: str):
    torch.manual_seed(0)
    if kind == "recurrent":
        encoder = RecurrentEncoder(RecurrentEncoderConfig(width=8), (256,), 1, 1, 4, 2)
    else:
        encoder = AnticausalEncoder(AnticausalConfig(width=8, depth=1, hidden=8), (256,), 1, 1, 4, 2)
    out = encoder(symbols_of(1, 6))
    assert out[..., :2].any() and not out[..., 2:].any()


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_steps_hold_every_number_once(stride: int):
    x = torch.arange(2 * 5 * 3 * 2).view(2, 5, 3, 2) + 1
    steps = by_step(x, stride)
    flat = steps.reshape(2, -1)
    assert steps.shape[:2] == (2, -(-5 // stride))
    assert torch.equal(flat[:, :30], x.reshape(2, 30)) and not flat[:, 30:].any()
