"""The decoder of a sequence of latents: the release rule, in floating point and in integers."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from delta_parts import DECODER, jolted
from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.autoregressive.sequence import CODES, SequenceDecoder
from latentpress.errors import CheckpointError

UNIT = 1 / 24
HOPS = {1: (3,), 2: (2, 4)}
SAMPLES = {1: (8,), 2: (5, 4)}  # no multiple of the hop
LATENTS = 2


def decoder_of(dims: int, latents: int = LATENTS, **changes: int) -> SequenceDecoder:
    torch.manual_seed(0)
    config = replace(DECODER, **changes)
    return jolted(SequenceDecoder(config, (256,), latents, HOPS[dims], UNIT), size=0.1)


def samples_of(dims: int, batch: int = 2) -> Tensor:
    return torch.randint(256, (batch, *SAMPLES[dims], 1), generator=torch.Generator().manual_seed(0))


def codes_of(dims: int, batch: int = 2, most: int = CODES) -> Tensor:
    steps = -(-SAMPLES[dims][0] // HOPS[dims][0])
    drawn = torch.randint(most, (batch, steps, LATENTS), generator=torch.Generator().manual_seed(0))
    return drawn[:, :, None] if dims == 2 else drawn


def exact_of(dims: int, **changes: int) -> IntegerDecoder:
    return IntegerDecoder.convert(decoder_of(dims, **changes), samples_of(dims), codes_of(dims))


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("past", [1, 2, 9])
def test_logits_do_not_move_when_a_later_latent_does(dims: int, past: int):
    decoder, samples = decoder_of(dims, map_past=past), samples_of(dims)
    z = torch.randn(2, codes_of(dims).shape[1], LATENTS, requires_grad=True)
    (logits,) = decoder.network(samples, decoder.context(z, SAMPLES[dims]))
    direct = decoder.context(z, SAMPLES[dims]).map
    assert direct is not None
    for row in range(SAMPLES[dims][0]):
        step = row // HOPS[dims][0]
        (gradient,) = torch.autograd.grad(logits[:, row].square().sum(), z, retain_graph=True)
        assert not gradient[:, step + 1 :].any()  # exactly
        assert gradient[:, step].any()
        (told,) = torch.autograd.grad(direct[:, :, row].square().sum(), z, retain_graph=True)
        seen = told.abs().sum((0, 2)).nonzero().flatten().tolist()
        assert seen == list(range(max(0, step - past + 1), step + 1))


@pytest.mark.parametrize("dims", [1, 2])
def test_exact_logits_do_not_move_when_a_later_latent_does(dims: int):
    exact, samples, codes = exact_of(dims), samples_of(dims), codes_of(dims)
    (before,) = exact.network.logits(samples, exact.context(codes, SAMPLES[dims]))
    for step in range(codes.shape[1]):
        changed = codes.clone()
        changed[:, step] = (changed[:, step] + CODES // 2) % CODES
        (after,) = exact.network.logits(samples, exact.context(changed, SAMPLES[dims]))
        first = step * HOPS[dims][0]
        assert torch.equal(after[:, :first], before[:, :first])
        assert not torch.equal(after[:, first], before[:, first])


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("past", [1, 2, 9])
def test_a_band_has_the_rows_of_the_whole_map(dims: int, past: int):
    exact, codes = exact_of(dims, map_past=past), codes_of(dims)
    whole = exact.context(codes, SAMPLES[dims]).map
    assert whole is not None
    for start in range(SAMPLES[dims][0]):
        for stop in range(start + 1, SAMPLES[dims][0] + 1):
            band = exact.context(codes, SAMPLES[dims], rows=(start, stop)).map
            assert band is not None and torch.equal(band, whole[:, :, start:stop])


@pytest.mark.parametrize("dims", [1, 2])
def test_a_longer_item_begins_with_the_map_of_a_shorter_one(dims: int):
    exact, codes = exact_of(dims), codes_of(dims)
    short, long = SAMPLES[dims], (7 * HOPS[dims][0], *SAMPLES[dims][1:])
    more = torch.cat([codes, codes, codes], 1)[:, :7]
    told, all_told = exact.context(codes, short).map, exact.context(more, long).map
    assert told is not None and all_told is not None
    assert torch.equal(all_told[:, :, : short[0]], told)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("step", [1, 10, 63])
def test_coarser_codes_stand_for_every_so_many_finer_ones(dims: int, step: int):
    exact, most = exact_of(dims), 127 // step
    coarse = exact.coarsened(step)
    codes = codes_of(dims, most=2 * most + 1)
    found = coarse.context(codes, SAMPLES[dims]).map
    wanted = exact.context((codes - most) * step + CODES // 2, SAMPLES[dims]).map
    assert found is not None and wanted is not None and torch.equal(found, wanted)
    assert coarse.network is exact.network and (coarse.id == exact.id) == (step == 1)
    assert IntegerDecoder.from_tensors(coarse.tensors()).id == coarse.id


def test_a_decoder_alone_has_nothing_to_coarsen():
    exact = IntegerDecoder.convert(decoder_of(1, latents=0), samples_of(1))
    assert exact.coarsened(9) is exact and exact.context(None, (8,)).map is None


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_the_exact_map_is_near_the_float_one(hop: int, past: int, seed: int):
    torch.manual_seed(seed)
    config = replace(DECODER, map_past=past)
    decoder = jolted(SequenceDecoder(config, (256,), LATENTS, (hop,), UNIT), seed, size=0.1)
    samples = torch.randint(256, (4, 4 * hop + 1, 1))
    z = torch.randn(4, 5, LATENTS)
    codes = torch.round(z / UNIT).clamp(-127, 127).long() + CODES // 2
    exact = IntegerDecoder.convert(decoder, samples, codes)
    found, wanted = exact.context(codes, samples.shape[1:2]).map, decoder.context(z, samples.shape[1:2]).map
    assert found is not None and wanted is not None
    steps = torch.exp2(exact.network.tensors()["context_exponents"].float()).view(1, -1, 1)
    error = (found * steps - wanted).abs()
    assert error.max() < 0.05 * wanted.abs().max() and error.mean() < 0.01 * wanted.abs().max()


@pytest.mark.parametrize("dims", [1, 2])
def test_the_exact_decoder_costs_what_the_float_one_does(dims: int):
    decoder, samples, codes = decoder_of(dims), samples_of(dims, 8), codes_of(dims, 8)
    exact = IntegerDecoder.convert(decoder, samples, codes)
    z = (codes - CODES // 2).float().view(8, -1, LATENTS) * UNIT
    with torch.no_grad():
        nats = decoder.nll_nats(samples, z)
    (logits,) = exact.network.logits(samples, exact.context(codes, SAMPLES[dims]))
    scaled = logits.double() * torch.log(torch.tensor(2.0)) / 32  # in 32nds of a bit
    coded = -scaled.log_softmax(-1).gather(-1, samples).flatten(1).sum(1)
    assert (coded.sum() / nats.sum() - 1).abs() < 0.01


def test_an_exact_form_fits_its_own_decoder_alone():
    exact = exact_of(1)
    assert exact.fits(decoder_of(1))
    assert not exact.fits(decoder_of(1, map_past=3)) and not exact.fits(decoder_of(1, latents=3))
    assert not exact.fits(decoder_of(1, latents=0)) and not exact.fits(decoder_of(2))
    assert not exact.fits(decoder_of(1, width=9))


def test_tensors_restore_the_decoder_and_hostile_ones_are_refused():
    exact, codes = exact_of(2), codes_of(2)
    again = IntegerDecoder.from_tensors(exact.tensors())
    found, wanted = again.context(codes, SAMPLES[2]).map, exact.context(codes, SAMPLES[2]).map
    assert again.id == exact.id and found is not None and wanted is not None and torch.equal(found, wanted)
    for number, value in [(1, 0), (1, 65), (1, -3), (0, 3), (2, 2), (5, 3), (6, 2**40)]:
        tensors = exact.tensors()
        tensors["upsampler.structure"][number] = value
        with pytest.raises(CheckpointError):
            IntegerDecoder.from_tensors(tensors)


def test_masked_samples_cost_nothing():
    decoder, samples = decoder_of(1), samples_of(1)
    z, mask = torch.randn(2, 3, LATENTS), torch.ones(2, 8, dtype=torch.bool)
    mask[1, 5:] = False
    nats = decoder.nll_nats(samples, z, mask)
    torch.testing.assert_close(nats[:1], decoder.nll_nats(samples[:1], z[:1]))
    torch.testing.assert_close(nats[1:], decoder.nll_nats(samples[1:, :5], z[1:, :2]))


def test_ordered_symbols_start_alike():
    plain = SequenceDecoder(DECODER, (256,), 1, (2, 4), UNIT)
    ordered = SequenceDecoder(DECODER, (256,), 1, (2, 4), UNIT, ordered=True)

    def nearness(decoder: SequenceDecoder) -> float:
        table = decoder.network.get_parameter("embeddings.0.weight").detach()
        near, far = (table[1:] - table[:-1]).norm(dim=1), (table[128:] - table[:128]).norm(dim=1)
        return float(near.mean() / far.mean())

    assert nearness(ordered) < 0.1 < 0.5 < nearness(plain)
