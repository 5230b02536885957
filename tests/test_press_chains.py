"""Chains by bits back: bands come back, cost what the model says, and damage is found out."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import Archive, Mode, Part, inspect_archive
from latentpress.errors import ArchiveError
from latentpress.items import Text
from latentpress.press import bitsback, decode_archive
from latentpress.press.bitsback import Band, ChainCoder
from lpz_latents import gaussian
from small.archives import codec, compressed, expected_samples
from small.archives import noise_samples as noise

MODELS = {"text": ("delta", "text", "autoregressive"), "image": ("delta", "image"), "toy": ("delta", "toy")}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return codec(*MODELS[request.param])


def bands(model, rows, seed=0):
    """A chain of bands of so many rows each."""
    further = model.item.size[1:]
    made = (expected_samples(model, (count, *further), seed + n) for n, count in enumerate(rows))
    return [Band(samples.shape[:-1], None, samples) for samples in made]


def symbols_of(model, band):
    return model.item.to_symbols(band.samples, residual=model.residual)


@settings(max_examples=10)
@given(lengths=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=5))
def test_chains_come_back_whatever_is_beside_them(model, lengths):
    coder = ChainCoder(model)
    chains = [bands(model, rows, 7 * n) for n, rows in enumerate(lengths)]
    coded = coder.code(chains)
    for chain, (payload, bits) in zip(chains, coded, strict=True):
        [alone] = coder.code([chain])
        assert alone[0] == payload and np.allclose(alone[1], bits)
    restored = coder.restore(
        [payload for payload, _ in coded], [[Band(band.shape) for band in chain] for chain in chains]
    )
    for found, chain in zip(restored, chains, strict=True):
        assert all(
            np.array_equal(one, symbols_of(model, band)) for one, band in zip(found, chain, strict=True)
        )


def test_chains_take_what_their_bands_cost(model):
    [(payload, bits)] = ChainCoder(model).code([bands(model, [20] * 40)])
    start = 33 + 32 + 32  # what is under the chain, the state's slack, and what may not be popped
    assert bits.sum() - 1 <= 8 * len(payload) <= bits.sum() + start


@pytest.mark.parametrize("name", ["image", "toy"])
def test_a_bands_cost_is_its_negative_elbo(name):
    model = codec(*MODELS[name])
    chain = bands(model, [10] * 60)
    [(_, bits)] = ChainCoder(model).code([chain])
    spent = bits[:-1].mean()  # the last was coded first
    expected = np.mean([elbo_bits(model, band, np.random.default_rng(n)) for n, band in enumerate(chain)])
    assert spent == pytest.approx(expected, rel=0.02)


def elbo_bits(model, band, rng):
    """-ELBO of one draw of the latents, by the tables of the networks in integers."""
    forms, plain = model.integer, model.item.to_symbols(band.samples, residual=False)
    posterior = forms.encoder(torch.from_numpy(plain[None].astype(np.int64)))
    latents, total = np.zeros(posterior.mean.shape, np.int64), 0.0
    for place in np.ndindex(latents.shape):
        table = np.array(gaussian(int(posterior.mean[place]), int(posterior.scale[place]), 1, 255)) / 2**24
        latents[place] = rng.choice(255, p=table)
        total += np.log2(table[latents[place]])
    stream = bitsback.Stream(model.grid(band.shape), 1, symbols=latents.reshape(-1, 1, latents.shape[-1]))
    [(_, bits)] = forms.prior.with_step(1).encode([stream])
    symbols = torch.from_numpy(symbols_of(model, band)[None].astype(np.int64))
    conditioning = forms.decoder.conditioning(torch.from_numpy(latents), band.shape)
    for p, logits in enumerate(forms.decoder.network.logits(symbols, conditioning)):
        chosen = torch.log_softmax(logits.double() * np.log(2) / 32, -1).gather(-1, symbols[..., p, None])
        total -= float(chosen.sum()) / np.log(2)
    return total + float(bits.sum())


def test_any_damage_to_a_chain_is_one_error():
    model = codec(*MODELS["text"])
    coder, chain = ChainCoder(model), bands(model, [30] * 4)
    [(payload, _)] = coder.code([chain])
    shapes = [Band(band.shape) for band in chain]
    for place in range(0, len(payload), 3):
        damaged = bytearray(payload)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ArchiveError):
            coder.restore([bytes(damaged)], [shapes])
    for wrong in (payload[4:], payload[:-4], payload[:-1], payload + payload, b"", b"\1" * 8):
        with pytest.raises(ArchiveError):
            coder.restore([wrong], [shapes])
    for others in ([*shapes[1:], Band((31,))], shapes[1:]):
        with pytest.raises(ArchiveError):
            coder.restore([payload], [others])


@settings(max_examples=15)
@given(st.binary(min_size=8, max_size=80).map(lambda data: data[: len(data) // 4 * 4]))
def test_bytes_that_are_no_chain_are_one_error(data):
    with pytest.raises(ArchiveError):
        ChainCoder(codec(*MODELS["text"])).restore([data], [[Band((5,)), Band((9,))]])


def test_items_are_cut_into_bands_of_several_chains(monkeypatch):
    monkeypatch.setattr(Text, "segment", 64)
    monkeypatch.setattr("latentpress.coding.records.CHAIN", 300)
    monkeypatch.setattr("latentpress.press.blocks._CHAINS", (2, 1 << 20))
    model = codec(*MODELS["text"])
    items = {f"{n}": expected_samples(model, (rows,), n) for n, rows in enumerate([200, 90, 1, 64, 500, 129])}
    data, summary = compressed(model, items, lossless=True, bits_back=True)
    archive = Archive(io.BytesIO(data))
    assert summary.fallback < 3 and sum(block.part is Part.CHAIN for block in archive.layout) >= 3
    for name, samples in decode_archive(data, model):
        assert np.array_equal(samples, items[name])
    [(_, alone)] = decode_archive(data, model, only="4")
    assert np.array_equal(alone, items["4"])


def test_a_single_item_takes_no_draw(model):
    items = {"a": expected_samples(model, (60, *model.item.size[1:]), 3)}
    data, summary = compressed(model, items, lossless=True, bits_back=True)
    assert summary.fallback == 0 and Archive(io.BytesIO(data)).modes == [Mode.BITS_BACK]
    assert np.array_equal(dict(decode_archive(data, model))["a"], items["a"])


def test_an_archive_takes_what_its_chains_cost(model):
    rows, *further = model.item.size
    items = {f"{n}": expected_samples(model, (rows * 4, *further), n) for n in range(30)}
    items["noise"] = noise(model.item, (3, *further))
    data, summary = compressed(model, items, lossless=True, bits_back=True)
    coded = 8 * (len(data) - inspect_archive(data).framing_bytes)
    assert summary.fallback == 1 and 0 <= coded - summary.model_bits <= 128
