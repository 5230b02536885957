"""The release rule of Gaussian latents: a latent reaches its own step and later ones, and no others."""

from dataclasses import replace

import pytest
import torch

from latentpress.autoregressive.conditioner import LatentInput
from latentpress.autoregressive.decoder import LATENT_SYMBOLS, AutoregressiveDecoder
from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.config import AutoregressiveDecoderConfig, CausalConfig
from small.networks import jolted

UNIT, LATENTS = 1 / 24, 2
CONFIG = AutoregressiveDecoderConfig(
    network=CausalConfig(width=8, depth=1, radius=2, dilations=(1,), embedding=6, head_width=12),
    map_past=2,
    map_width=8,
    map_channels=4,
)
CASES = {
    "text": ((8,), (3,), False),
    "rows": ((5, 4), (2, 4), False),
    "cells": ((5, 5), (2, 2), True),
    "film": ((5, 3, 4), (2, 3, 2), True),
}
"""Sizes that are no multiples of the hop, hops, and whether the further axes have several cells."""


def decoder_of(case, **changes):
    _, hop, cells = CASES[case]
    torch.manual_seed(0)
    config = replace(CONFIG, **changes)
    decoder = AutoregressiveDecoder(config, (256,), hop, latents=LATENTS, unit=UNIT, grid_cells=cells)
    return jolted(decoder, size=0.1)


def symbols_of(case):
    return torch.randint(256, (2, *CASES[case][0], 1), generator=torch.Generator().manual_seed(0))


def codes_of(case, most=LATENT_SYMBOLS):
    size, hop, _ = CASES[case]
    grid = [-(-side // h) for side, h in zip(size, hop, strict=True)]
    return torch.randint(most, (2, *grid, LATENTS), generator=torch.Generator().manual_seed(0))


def integers_of(case, **changes):
    return IntegerDecoder.convert(decoder_of(case, **changes), symbols_of(case), codes_of(case))


def local_of(integers, codes, size, rows=None):
    local = integers.conditioning(codes, size, rows).local
    assert local is not None
    return local


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("past", [1, 2, 9])
def test_logits_do_not_move_when_a_later_latent_does(case, past):
    decoder, symbols, (size, hop, _) = decoder_of(case, map_past=past), symbols_of(case), CASES[case]
    z = torch.randn(codes_of(case).movedim(-1, 1).shape, requires_grad=True)
    conditioning = decoder.conditioning(LatentInput(z), size)
    (logits,) = decoder.network(symbols, conditioning)
    for row in range(size[0]):
        step = row // hop[0]
        (gradient,) = torch.autograd.grad(logits[:, row].square().sum(), z, retain_graph=True)
        assert not gradient[:, :, step + 1 :].any()  # exactly
        assert gradient[:, :, step].any()
        (direct,) = torch.autograd.grad(conditioning.local[:, :, row].square().sum(), z, retain_graph=True)
        seen = direct.transpose(1, 2).flatten(2).abs().sum((0, 2)).nonzero().flatten().tolist()
        assert seen == list(range(max(0, step - past + 1), step + 1))


@pytest.mark.parametrize("case", ["cells", "film"])
def test_a_cell_sees_its_neighbours_and_no_farther(case):
    decoder, (size, hop, _) = decoder_of(case), CASES[case]
    codes = codes_of(case)
    z = torch.randn(codes.movedim(-1, 1).shape, requires_grad=True)
    local = decoder.conditioning(LatentInput(z), size).local
    for place in range(size[-1]):
        (gradient,) = torch.autograd.grad(local[..., place].square().sum(), z, retain_graph=True)
        seen = gradient.flatten(0, -2).abs().sum(0).nonzero().flatten().tolist()
        cell = place // hop[-1]
        assert seen == [c for c in (cell - 1, cell, cell + 1) if 0 <= c < codes.shape[-2]]


@pytest.mark.parametrize("case", CASES)
def test_integer_logits_do_not_move_when_a_later_latent_does(case):
    integers, symbols, codes, (size, hop, _) = (
        integers_of(case),
        symbols_of(case),
        codes_of(case),
        CASES[case],
    )
    (before,) = integers.network.logits(symbols, integers.conditioning(codes, size))
    for step in range(codes.shape[1]):
        changed = codes.clone()
        changed[:, step] = (changed[:, step] + LATENT_SYMBOLS // 2) % LATENT_SYMBOLS
        (after,) = integers.network.logits(symbols, integers.conditioning(changed, size))
        first = step * hop[0]
        assert torch.equal(after[:, :first], before[:, :first])
        assert not torch.equal(after[:, first], before[:, first])


@pytest.mark.parametrize("case", CASES)
def test_a_longer_item_begins_with_the_map_of_a_shorter_one(case):
    integers, codes, (size, hop, _) = integers_of(case), codes_of(case), CASES[case]
    more = torch.cat([codes, codes, codes], 1)[:, :7]
    longer = local_of(integers, more, (7 * hop[0], *size[1:]))
    assert torch.equal(longer[:, :, : size[0]], local_of(integers, codes, size))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [1, 10, 63])
def test_coarser_codes_stand_for_every_so_many_finer_ones(case, step):
    integers, size, most = integers_of(case), CASES[case][0], 127 // step
    coarse, codes = integers.coarsened(step), codes_of(case, 2 * most + 1)
    fine = (codes - most) * step + LATENT_SYMBOLS // 2
    assert torch.equal(local_of(coarse, codes, size), local_of(integers, fine, size))
    assert coarse.network is integers.network and (coarse.id == integers.id) == (step == 1)
    assert IntegerDecoder.from_tensors(coarse.tensors()).id == coarse.id


def test_a_decoder_alone_has_nothing_to_coarsen():
    decoder = AutoregressiveDecoder(CONFIG, (256,), (3,))
    integers = IntegerDecoder.convert(decoder, symbols_of("text"))
    assert integers.coarsened(9) is integers and integers.conditioning(None, (8,)).local is None


@pytest.mark.parametrize("case", CASES)
def test_the_integer_map_is_near_the_float_one(case):
    decoder, size = decoder_of(case), CASES[case][0]
    codes = codes_of(case)
    integers = IntegerDecoder.convert(decoder, symbols_of(case), codes)
    z = (codes - LATENT_SYMBOLS // 2).movedim(-1, 1) * UNIT
    with torch.no_grad():
        wanted = decoder.conditioning(LatentInput(z), size).local
    steps = torch.exp2(integers.network.tensors()["context_exponents"].float())
    found = local_of(integers, codes, size) * steps.view(-1, *[1] * len(size))
    error = (found - wanted).abs()
    assert error.max() < 0.05 * wanted.abs().max() and error.mean() < 0.01 * wanted.abs().max()
