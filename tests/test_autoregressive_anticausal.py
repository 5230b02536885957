"""Encoders that read from the end: what a latent sees, and that padding changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from latentpress.autoregressive.anticausal import AnticausalEncoder, RecurrentEncoder
from latentpress.config import AnticausalConfig, CausalConfig, RecurrentEncoderConfig
from small.gaussians import lengths_mask
from small.networks import jolted

ALPHABETS = (16, 9)
KINDS = ("anticausal", "recurrent")
WIDTH = {1: (), 2: (4,), 3: (4, 3)}
CELLS = [
    ((2,), ()),
    ((3,), ()),
    ((2, 4), (1,)),
    ((3, 2), (2,)),
    ((1, 3), (2,)),
    ((2, 4, 3), (1, 1)),
    ((3, 2, 2), (2, 2)),
]
"""Hops of the encoders, and how many cells items have along the axes after the first."""


def encoder_of(kind: str, hop: tuple[int, ...]) -> AnticausalEncoder | RecurrentEncoder:
    torch.manual_seed(0)
    if kind == "recurrent":
        return jolted(RecurrentEncoder(RecurrentEncoderConfig(width=7, embedding=4), ALPHABETS, hop, 4, 2))
    network = CausalConfig(width=6, depth=2, radius=2, dilations=(1, 3), embedding=4)
    return jolted(AnticausalEncoder(AnticausalConfig(network=network, hidden=24), ALPHABETS, hop, 4, 2))


def symbols_of(rank: int, length: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (batch, length, *WIDTH[rank])
    return torch.stack([torch.randint(k, size, generator=generator) for k in ALPHABETS], -1)


def embeddings(encoder: AnticausalEncoder | RecurrentEncoder) -> nn.ModuleList:
    return encoder.trunk.embeddings if isinstance(encoder, AnticausalEncoder) else encoder.embeddings


def jacobian(encoder: AnticausalEncoder | RecurrentEncoder, symbols: Tensor) -> Tensor:
    """The size of d(numbers of cell c) / d(embedded symbols at position p), (*cells, *positions)."""
    leaves: list[Tensor] = []

    def leaf(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    handles = [table.register_forward_hook(leaf) for table in embeddings(encoder)]
    out = encoder(symbols)[0]
    for handle in handles:
        handle.remove()
    sizes = []
    for numbers in out.flatten(1).unbind(1):
        parts = [torch.autograd.grad(number, leaves, retain_graph=True) for number in numbers]
        sizes.append(sum(gradient[0].abs().sum(-1) for part in parts for gradient in part))
    return torch.stack(sizes).view(*out.shape[1:], *symbols.shape[1:-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("hop", "cells"), CELLS)
@pytest.mark.parametrize("length", [7, 9, 2])
def test_a_latent_sees_its_cell_and_what_comes_after(kind: str, hop: tuple[int, ...], cells, length: int):
    encoder = encoder_of(kind, hop).double()
    seen = jacobian(encoder, symbols_of(len(hop), length))
    steps = -(-length // hop[0])
    assert seen.shape[: len(hop)] == (steps, *cells)
    for cell in torch.cartesian_prod(*(torch.arange(n) for n in (steps, *cells))).view(-1, len(hop)).tolist():
        positions = seen[tuple(cell)]
        place = tuple(slice(c * h, (c + 1) * h) for c, h in zip(cell, hop, strict=True))
        assert not positions[: place[0].start].any()  # exactly
        assert positions[place].all()
        assert cell[0] + 1 == steps or positions[place[0].stop :].any()


@pytest.mark.parametrize("hop", [(2, 2), (3, 2, 2)])
def test_cells_of_a_recurrent_encoder_are_sequences_by_themselves(hop):
    encoder, symbols = encoder_of("recurrent", hop), symbols_of(len(hop), 7)
    whole = encoder(symbols)
    alone = encoder(symbols[:, :, :2])
    torch.testing.assert_close(alone, whole[:, :, :, :1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_earlier_symbols_change_no_bit(kind: str, rank: int):
    encoder, symbols = encoder_of(kind, (2, 4, 3)[:rank]), symbols_of(rank, 7)
    before = encoder(symbols)
    for place in range(7):
        changed = symbols.clone()
        changed[:, place] = (changed[:, place] + 1) % torch.tensor(ALPHABETS)
        after = encoder(changed)
        first = place // 2 + 1
        assert torch.equal(after[:, :, first:], before[:, :, first:])
        assert not torch.equal(after[:, :, first - 1], before[:, :, first - 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hop", [(1,), (3,), (3, 4), (2, 2), (3, 2, 2)])
def test_padding_changes_nothing(kind: str, hop: tuple[int, ...]):
    rank, lengths = len(hop), [8, 1, 5, 3]
    encoder = encoder_of(kind, hop).double()
    symbols, mask = symbols_of(rank, 8, batch=4), lengths_mask(lengths, 8)
    other = torch.where(mask.view(4, 8, *[1] * rank), symbols, symbols_of(rank, 8, batch=4, seed=1))
    places = mask.view(4, 8, *[1] * (rank - 1)).expand(4, 8, *WIDTH[rank])
    padded = encoder(symbols, places)
    assert torch.equal(encoder(other, places), padded)
    assert torch.equal(encoder(symbols[:1], places[:1]), encoder(symbols[:1]))
    for item, length in enumerate(lengths):
        alone = encoder(symbols[item : item + 1, :length])[0]
        torch.testing.assert_close(padded[item, :, : alone.shape[1]], alone, rtol=1e-12, atol=1e-12)


def test_a_narrower_item_is_one_with_its_right_side_masked():
    encoder = encoder_of("anticausal", (2, 4))
    symbols, mask = symbols_of(2, 6, batch=2), torch.ones(2, 6, 4, dtype=torch.bool)
    mask[:, :, 3] = False
    other = torch.where(mask[..., None], symbols, symbols_of(2, 6, batch=2, seed=1))
    assert torch.equal(encoder(symbols, mask), encoder(other, mask))
    assert not torch.equal(encoder(symbols), encoder(other))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_means_differ_at_the_start(kind: str):
    torch.manual_seed(0)
    if kind == "recurrent":
        encoder = RecurrentEncoder(RecurrentEncoderConfig(width=8), ALPHABETS, (1,), 4, 2)
    else:
        encoder = AnticausalEncoder(AnticausalConfig(hidden=8), ALPHABETS, (1,), 4, 2)
    out = encoder(symbols_of(1, 6))
    assert out.shape == (1, 4, 6) and out[:, :2].any() and not out[:, 2:].any()
