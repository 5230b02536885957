"""Chains by bits back: bands come back, cost what the model says, and damage is found out."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import Archive, BlockLayout, ItemRecord, Mode, Part, Segment, inspect_archive
from latentpress.errors import ArchiveError
from latentpress.exact.distribution import Stream
from latentpress.items import Text
from latentpress.press import decode_archive
from latentpress.press.bitsback import ChainCoder
from lpz_latents import gaussian
from small.archives import codec, compressed, expected_samples
from small.archives import noise_samples as noise

RECORDS = [ItemRecord("", ())] * 60
MODELS = {"text": ("delta", "text", "autoregressive"), "image": ("delta", "image"), "toy": ("delta", "toy")}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return codec(*MODELS[request.param])


def chain(model, rows, seed=0):
    """A chain of bands of so many rows each: its block, and the bands' samples."""
    made = [expected_samples(model, (count, *model.item.size[1:]), seed + n) for n, count in enumerate(rows)]
    return block_of(model, rows), made


def block_of(model, rows):
    lanes = tuple(Segment(n, 0, count) for n, count in enumerate(rows))
    return BlockLayout((sum(rows), *model.item.size[1:]), lanes, Part.CHAIN)


def symbols_of(model, made):
    """The symbols (T, 1, P) of a chain's bands."""
    symbols = np.concatenate([model.item.to_symbols(each, residual=model.residual) for each in made])
    return symbols.reshape(-1, 1, symbols.shape[-1])


def code(model, chains):
    """The bytes of each chain, and what each of its bands costs in bits."""
    symbols = [symbols_of(model, made) for _, made in chains]
    coded = ChainCoder(model).encode(
        [block for block, _ in chains], symbols, SimpleNamespace(records=RECORDS)
    )
    assert {mode for mode, _, _ in coded} == {Mode.BITS_BACK}
    return [(payload, bits) for _, payload, bits in coded]


def restore(model, payloads, blocks):
    """The symbols (T, 1, P) of chains."""
    archive = SimpleNamespace(layout=blocks, items=RECORDS, payload=payloads.__getitem__)
    return list(ChainCoder(model).decode(archive, range(len(blocks))))


@settings(max_examples=10)
@given(lengths=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=5))
def test_chains_come_back_whatever_is_beside_them(model, lengths):
    chains = [chain(model, rows, 7 * n) for n, rows in enumerate(lengths)]
    coded = code(model, chains)
    for each, (payload, bits) in zip(chains, coded, strict=True):
        [alone] = code(model, [each])
        assert alone[0] == payload and np.allclose(alone[1], bits)
    restored = restore(model, [payload for payload, _ in coded], [block for block, _ in chains])
    for symbols, (_, made) in zip(restored, chains, strict=True):
        assert np.array_equal(symbols, symbols_of(model, made))


def test_chains_take_what_their_bands_cost(model):
    [(payload, bits)] = code(model, [chain(model, [20] * 40)])
    start = 33 + 32 + 32  # what is under the chain, the state's slack, and what may not be popped
    assert bits.sum() - 1 <= 8 * len(payload) <= bits.sum() + start


@pytest.mark.parametrize("name", ["image", "toy"])
def test_a_bands_cost_is_its_negative_elbo(name):
    model = codec(*MODELS[name])
    block, made = chain(model, [10] * 60)
    [(_, bits)] = code(model, [(block, made)])
    spent = bits[:-1].mean()  # the last was coded first
    expected = np.mean([elbo_bits(model, band, np.random.default_rng(n)) for n, band in enumerate(made)])
    assert spent == pytest.approx(expected, rel=0.02)


def elbo_bits(model, samples, rng):
    """-ELBO of one draw of the latents, by the tables of the networks in integers."""
    forms, plain = model.integer, model.item.to_symbols(samples, residual=False)
    posterior = forms.encoder(torch.from_numpy(plain[None].astype(np.int64)))
    latents, total = np.zeros(posterior.mean.shape, np.int64), 0.0
    for place in np.ndindex(latents.shape):
        table = np.array(gaussian(int(posterior.mean[place]), int(posterior.scale[place]), 1, 255)) / 2**24
        latents[place] = rng.choice(255, p=table)
        total += np.log2(table[latents[place]])
    stream = Stream(model.grid(samples.shape[:-1]), 1, symbols=latents.reshape(-1, 1, latents.shape[-1]))
    [(_, bits)] = forms.prior.with_step(1).encode([stream])
    symbols = torch.from_numpy(model.item.to_symbols(samples, residual=model.residual)[None].astype(np.int64))
    conditioning = forms.decoder.conditioning(torch.from_numpy(latents), samples.shape[:-1])
    for p, logits in enumerate(forms.decoder.network.logits(symbols, conditioning)):
        chosen = torch.log_softmax(logits.double() * np.log(2) / 32, -1).gather(-1, symbols[..., p, None])
        total -= float(chosen.sum()) / np.log(2)
    return total + float(bits.sum())


def test_any_damage_to_a_chain_is_one_error():
    model, rows = codec(*MODELS["text"]), [30] * 4
    [(payload, _)] = code(model, [chain(model, rows)])
    for place in range(0, len(payload), 3):
        damaged = bytearray(payload)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ArchiveError):
            restore(model, [bytes(damaged)], [block_of(model, rows)])
    for wrong in (payload[4:], payload[:-4], payload[:-1], payload + payload, b"", b"\1" * 8):
        with pytest.raises(ArchiveError):
            restore(model, [wrong], [block_of(model, rows)])
    for others in ([*rows[1:], 31], rows[1:]):
        with pytest.raises(ArchiveError):
            restore(model, [payload], [block_of(model, others)])


@settings(max_examples=15)
@given(st.binary(min_size=8, max_size=80).map(lambda data: data[: len(data) // 4 * 4]))
def test_bytes_that_are_no_chain_are_one_error(data):
    model = codec(*MODELS["text"])
    with pytest.raises(ArchiveError):
        restore(model, [data], [block_of(model, [5, 9])])


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
