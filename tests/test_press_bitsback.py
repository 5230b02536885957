"""Chains by bits back: what was pressed comes back, costs what the model says, and damage is found out."""

import hashlib
import io
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cbor2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback_parts import HEIGHT, WIDTH, dim, images, noise, pictures, prose, source, texts, words
from latentpress.autoregressive.network import Conditioning
from latentpress.coding import Archive, Mode, Part, inspect_archive
from latentpress.coding.metadata import pack
from latentpress.config import RecurrentEncoderConfig
from latentpress.errors import ArchiveError, ItemError, LatentpressError, MissingPartError, WrongModelError
from latentpress.model import DeltaVAE, split_model
from latentpress.press import bitsback, compress, decode_archive, decompress, verify_archive
from latentpress.press.bitsback import ChainCoder
from lossless_parts import lossless_codec
from lpz_latents import LatentPrior, gaussian
from lpz_reader import Reader

HERE = Path(__file__).parent


def press(model, items, **options):
    out = io.BytesIO()
    summary = compress(model, source(items), out, **{"lossless": True, "bits_back": True} | options)
    return out.getvalue(), summary


def restored(data, model, **options):
    return dict(decode_archive(data, model, **options))


def assert_same(found, items):
    assert list(found) == list(items)
    assert all(np.array_equal(found[name], item) for name, item in items.items())


# Chains


@settings(deadline=None, max_examples=12)
@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=4), min_size=1, max_size=5))
def test_chains_of_texts_come_back_whoever_is_beside_them(lengths):
    coder = ChainCoder(prose())
    chains = [[words(7 * i + j, n) for j, n in enumerate(own)] for i, own in enumerate(lengths)]
    coded = coder.encode(chains)
    for chain, (payload, bits) in zip(chains, coded, strict=True):
        [alone] = coder.encode([chain])
        assert alone[0] == payload and np.allclose(alone[1], bits)
    found = coder.decode([c[0] for c in coded], [[item.shape[:-1] for item in chain] for chain in chains])
    for own, chain in zip(found, chains, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(own, chain, strict=True))


def test_chains_take_what_their_items_cost():
    coder, chain = ChainCoder(pictures()), dim(5, 60)
    [(payload, bits)] = coder.encode([chain])
    start = 33 + 32 + 32  # what lies under the chain, the state's slack, and what may not be popped
    assert bits.sum() - 1 <= 8 * len(payload) <= bits.sum() + start


def test_an_items_cost_is_its_negative_elbo():
    model = pictures()
    coder, chain = ChainCoder(model), dim(6, 80)
    [(_, bits)] = coder.encode([chain])
    spent = bits[:-1].mean()  # the last was coded first
    expected = np.mean([elbo_bits(model, item, np.random.default_rng(i)) for i, item in enumerate(chain)])
    assert spent == pytest.approx(expected, rel=0.02)


def elbo_bits(model, item, rng):
    """-ELBO of one draw of the latents, by the exact networks' tables."""
    told, prior = model.exact_encoder(torch.from_numpy(item[None].astype(np.int64))), model.exact_prior
    steps, total = told.mean.shape[1], 0.0
    latents = np.zeros((steps, 2), np.int64)
    for t in range(steps):
        for c in range(2):
            table = np.array(gaussian(int(told.mean[0, t, c]), int(told.scale[0, t, c]), 1, 255))
            latents[t, c] = rng.choice(255, p=table / 2**24)
            total += np.log2(table[latents[t, c]] / 2**24)
    total += prior.with_step(1).code_length_bits(latents[:, None])[0]
    codes = model.on_grid(torch.from_numpy(latents[None]))
    context = model.exact_decoder.context(codes, item.shape[:-1])
    [logits] = model.exact_decoder.network.logits(torch.from_numpy(item[None].astype(np.int64)), context)
    own = torch.log_softmax(logits.double() * np.log(2) / 32, -1)
    own = own.gather(-1, torch.from_numpy(item[None].astype(np.int64)))
    return total - float(own.sum()) / np.log(2)


def test_any_damage_to_a_chain_is_one_error():
    coder, chain = ChainCoder(prose()), [words(i, 30) for i in range(4)]
    [(payload, _)] = coder.encode([chain])
    shapes = [[item.shape[:-1] for item in chain]]
    for place in range(0, len(payload), 3):
        damaged = bytearray(payload)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ArchiveError):
            coder.decode([bytes(damaged)], shapes)
    for wrong in (payload[4:], payload[:-4], payload[:-1], payload + payload, b"", b"\1" * 8):
        with pytest.raises(ArchiveError):
            coder.decode([wrong], shapes)
    with pytest.raises(ArchiveError):
        coder.decode([payload], [[*shapes[0][1:], (31,)]])
    with pytest.raises(ArchiveError):
        coder.decode([payload], [shapes[0][1:]])


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=8, max_size=80).map(lambda data: data[: len(data) // 4 * 4]))
def test_bytes_that_are_no_chain_are_one_error(data):
    with pytest.raises(ArchiveError):
        ChainCoder(prose()).decode([data], [[(5,), (9,)]])


# Archives


@pytest.mark.parametrize(("model", "items"), [(pictures, images), (prose, texts)])
def test_every_item_is_restored(model, items, tmp_path):
    model, items = model(), items()
    data, summary = press(model, items)
    assert_same(restored(data, model), items)
    archive = Archive(io.BytesIO(data))
    assert {"model"} == {archive.items[n].name.split("/")[0] for n in linked(archive)}
    assert archive.header.encoder_id == model.encoder_id and not archive.header.sizes
    assert set(archive.modes) == {Mode.BITS_BACK, *(archive.modes[n] for n in stored(archive))}
    assert summary.lossless and summary.whole == len(archive.whole) == len(stored(archive))
    framing = inspect_archive(data).framing_bytes
    assert 0 <= 8 * (len(data) - framing) - summary.model_bits <= 128
    assert verify_archive(data, model).items == len(items)
    for name in list(items)[::3]:
        assert_same(restored(data, model, only=name), {name: items[name]})
    decompress(data, model, tmp_path / "out")
    assert len([file for file in (tmp_path / "out").rglob("*") if file.is_file()]) == len(items)


def linked(archive):
    return {lane.item for block in archive.layout if block.part is Part.CHAIN for lane in block.lanes}


def stored(archive):
    return [n for n, block in enumerate(archive.layout) if block.part is Part.WHOLE]


def test_items_may_be_cut_into_bands_of_several_chains(monkeypatch):
    monkeypatch.setattr("latentpress.coding.records.TEXT_SEGMENT", 64)
    monkeypatch.setattr("latentpress.coding.chains.CHAIN", 300)
    monkeypatch.setattr(bitsback, "_WAVE_CHAINS", 2)
    model, items = prose(), {f"{i}.txt": words(i, n) for i, n in enumerate([200, 90, 1, 64, 500, 129])}
    data, summary = press(model, items)
    archive = Archive(io.BytesIO(data))
    assert summary.whole < 3 and sum(block.part is Part.CHAIN for block in archive.layout) >= 3
    assert_same(restored(data, model), items)
    assert_same(restored(data, model, only="4.txt"), {"4.txt": items["4.txt"]})


def test_pictures_of_another_width_are_stored_whole():
    model = pictures()
    items = {"a.png": dim(0, 1)[0], "b.png": noise(0, HEIGHT, WIDTH + 1), "c.png": dim(1, 1)[0][:7]}
    data, summary = press(model, items)
    assert_same(restored(data, model), items)
    assert Archive(io.BytesIO(data)).whole >= {1} and summary.whole < 3


def test_a_single_item_takes_no_draw():
    model, items = pictures(), {"a.png": dim(3, 1)[0]}
    data, summary = press(model, items)
    assert summary.whole == 0
    assert_same(restored(data, model), items)


def test_chains_that_do_not_decode_again_are_stored_whole(monkeypatch):
    decode = ChainCoder.decode

    def fail(self, payloads, shapes):
        if any(shape[0] == 7 for chain in shapes for shape in chain):
            raise ArchiveError("made to fail")
        return decode(self, payloads, shapes)

    monkeypatch.setattr("latentpress.coding.chains.CHAIN", 3 * HEIGHT * WIDTH)
    monkeypatch.setattr(ChainCoder, "decode", fail)
    model = pictures()
    items = {f"{i}.png": picture for i, picture in enumerate(dim(2, 6))}
    items |= {"7.png": dim(9, 1)[0][:7], "8.png": dim(8, 1)[0]}
    data, summary = press(model, items)
    archive = Archive(io.BytesIO(data))
    assert archive.whole == {6, 7} and summary.whole == 2
    assert_same(restored(data, model), items)


def test_progress_counts_up_to_the_end():
    seen = {}
    data, _ = press(pictures(), images(), progress=lambda stage, done, of: seen.update({stage: (done, of)}))
    assert all(done == of for done, of in seen.values()) and {"code", "compare", "verify"} <= seen.keys()
    seen.clear()
    verify_archive(data, pictures(), progress=lambda stage, done, of: seen.update({stage: (done, of)}))
    assert seen["verify"] == (13, 13)


# Models


def test_bits_back_is_lossless_and_needs_all_of_a_delta_vae():
    with pytest.raises(LatentpressError, match="ask for that too"):
        press(pictures(), images(), lossless=False)
    with pytest.raises(LatentpressError, match="delta-VAE"):
        press(lossless_codec(1), images())
    without = DeltaVAE(pictures().config).eval()
    without.exact_decoder, without.exact_prior = pictures().exact_decoder, pictures().exact_prior
    with pytest.raises(LatentpressError, match="all exact forms"):
        press(without, images())
    alone = DeltaVAE(replace(pictures().config, latents=None, auxiliary=None)).eval()
    with pytest.raises(LatentpressError, match="the latents of a delta-VAE"):
        press(alone, images())
    recurrent = DeltaVAE(replace(pictures().config, encoder=RecurrentEncoderConfig())).eval()
    with pytest.raises(LatentpressError, match="kind=anticausal"):
        press(recurrent, images())


def test_images_of_other_sizes_are_stored_whole_or_refused():
    known = dict(images())
    others = {"model/tall.png": noise(3, HEIGHT + 3, WIDTH), "raw/wide.png": noise(4, HEIGHT, WIDTH + 1)}
    for options in ({"bits_back": False}, {"bits_back": True}):
        data, summary = press(pictures(), known | others, **options)
        assert_same(restored(data, pictures()), known | others)
        assert summary.whole == 3
    refused = r"model/tall.png: 13 x 8 pixels, and the model takes images of 10 x 8"
    with pytest.raises(ItemError, match=refused):
        press(pictures(), known | others, lossless=False, bits_back=False)


def test_half_a_model_says_what_it_lacks():
    data, halves = press(pictures(), images())[0], split_model(pictures())
    for half in (halves.encoder, halves.decoder):
        with pytest.raises(MissingPartError, match="the whole model"):
            restored(data, half)
        assert_same(restored(data, half, only="raw"), {"raw/noise.png": images()["raw/noise.png"]})
        with pytest.raises(MissingPartError, match="the whole model"):
            press(half, images())


@pytest.mark.parametrize("part", ["encoder", "prior", "pixels"])
def test_the_wrong_model_is_told_which_is_needed(part):
    data = press(pictures(), images(), model_name="digits")[0]
    other = DeltaVAE(pictures().config).eval()
    for name in ("exact_encoder", "exact_prior", "exact_decoder"):
        setattr(other, name, getattr(pictures(), name))
    if part == "encoder":
        other.exact_encoder = None
    elif part == "prior":
        other.exact_prior = other.exact_prior.with_step(9)
    else:
        other.exact_decoder = None
    with pytest.raises(WrongModelError, match="needs the model 'digits' with"):
        restored(data, other)


def test_a_model_folder_keeps_the_exact_encoder(tmp_path):
    data = press(pictures(), images())[0]
    pictures().save_pretrained(tmp_path)
    again = DeltaVAE.from_pretrained(tmp_path, device="cpu")
    assert again.encoder_id == pictures().encoder_id
    assert_same(restored(data, again), images())


# The format page's reader


class Told:
    """The exact prior as the reader wants it."""

    def __init__(self, exact):
        tensors = {name: value.tolist() for name, value in exact.with_step(1).tensors().items()}
        self.own, self.step = LatentPrior(tensors), exact.step

    def tables(self, step):
        self.own.step, self.own.size = step, 2 * (127 // step) + 1
        return self.own.tables()

    def push(self, integers):
        self.own.step, self.own.size = 1, 255
        self.own.push([q + 127 for q in integers])


class Rows:
    """The exact decoder as the reader wants it."""

    def __init__(self, model, shape, integers):
        exact = model.exact_decoder
        codes = model.on_grid(torch.tensor(integers)[None] + 127)
        self.network = exact.network
        self.state = exact.network.start(1, shape, Conditioning(exact.context(codes, shape).map))

    def logits(self):
        return self.network.member_logits(self.state)[0].tolist()

    def push(self, symbols):
        self.network.push(self.state, torch.tensor(symbols))


@pytest.mark.parametrize(("model", "items"), [(pictures, images), (prose, texts)])
def test_a_reader_made_from_the_format_page_reads_the_same(model, items):
    model, items = model(), {name: item for name, item in items().items() if len(item) < 300}

    def posterior(samples, shape):
        told = model.exact_encoder(torch.tensor(samples).view(1, *shape, 1))
        return [
            [gaussian(int(m), int(s), 1, 255) for m, s in zip(*step, strict=True)]
            for step in zip(told.mean[0], told.scale[0], strict=True)
        ]

    found = Reader(press(model, items)[0]).chains(
        lambda: Told(model.exact_prior), lambda *given: Rows(model, *given), posterior
    )
    wanted = {name: item.ravel().tolist() for name, item in items.items() if name.startswith("model")}
    assert {name: [s for (s,) in own] for name, own in found.items() if own} == wanted


# Damage and hostile archives

MODEL = pictures()
SMALL = {
    "a.png": dim(0, 1)[0],
    "b.png": dim(1, 1)[0],
    "c.png": noise(0, HEIGHT, WIDTH),
    "d.png": dim(2, 1)[0],
}
DATA = press(MODEL, SMALL)[0]


def test_any_flipped_bit_is_noticed():
    for position in range(0, len(DATA), 3):
        damaged = bytearray(DATA)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LatentpressError):
            restored(bytes(damaged), MODEL)


@settings(deadline=None)
@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.binary(max_size=20))
def test_splices_give_the_same_items_or_one_error(start, stop, middle):
    with suppress(LatentpressError):
        assert_same(restored(DATA[:start] + middle + DATA[stop:], MODEL), SMALL)


def forged(head=None, index=None, chain=None):
    """An archive with changed fields, or another chain, whose checks are right."""
    position, parts = 9, {}
    while position < len(DATA) - 20:
        length = int.from_bytes(DATA[position + 4 : position + 12], "little")
        parts[DATA[position : position + 4]] = DATA[position + 12 : position + 12 + length]
        position += 12 + length
    trees = {b"HEAD": cbor2.loads(parts[b"HEAD"]), b"INDX": cbor2.loads(zlib.decompress(parts[b"INDX"]))}
    if chain is not None:
        archive = Archive(io.BytesIO(DATA))
        lengths, crcs = archive.lengths.tolist(), archive._payload_crcs.tolist()
        parts[b"DATA"] = chain + parts[b"DATA"][lengths[0] :]
        lengths[0], crcs[0] = len(chain), zlib.crc32(chain)
        trees[b"INDX"] |= {"lengths": pack(lengths), "payload_crcs": pack(crcs)}
    for tag, changes in ((b"HEAD", head), (b"INDX", index)):
        fields = trees[tag] | (changes or {})
        packed = cbor2.dumps({key: value for key, value in fields.items() if value is not None})
        parts[tag] = packed if tag == b"HEAD" else zlib.compress(packed)
    data, digest = DATA[:9], hashlib.blake2b(DATA[:9], digest_size=16)
    for tag in (b"HEAD", b"DATA", b"INDX"):
        start = tag + len(parts[tag]).to_bytes(8, "little")
        digest.update(start + (b"" if tag == b"DATA" else parts[tag]))
        data += start + parts[tag]
    return data + digest.digest() + DATA[-4:]


CHAIN = Archive(io.BytesIO(DATA)).payload(0)
ROWS, COLUMNS = [HEIGHT] * 4, [WIDTH] * 4
HOSTILE = {
    "no chains": forged(head={"encoder_id": None}),
    "a short id": forged(head={"encoder_id": bytes(15)}),
    "an id that is none": forged(head={"encoder_id": 5}),
    "codes": forged(head={"sizes": [255, 255]}),
    "differences": forged(head={"differences": 1}),
    "lossy": forged(
        head={"pixels_id": None, "differences": None, "sizes": [255, 255]}, index={"whole": None}
    ),
    "another encoder": forged(head={"encoder_id": bytes(16)}),
    "another hop": forged(head={"hop": [1, WIDTH]}),
    "pixels": forged(index={"modes": b"\4\0"}),
    "a chain that is whole": forged(index={"modes": b"\0\0"}),
    "whole by bits back": forged(index={"modes": b"\7\7"}),
    "no such mode": forged(index={"modes": b"\x08\0"}),
    "another width": forged(index={"shape": [pack(ROWS), pack([WIDTH + 1, WIDTH + 1, WIDTH, WIDTH + 1])]}),
    "two widths": forged(index={"shape": [pack(ROWS), pack([WIDTH + 1, WIDTH, WIDTH, WIDTH])]}),
    "more rows": forged(index={"shape": [pack([HEIGHT + 1, HEIGHT, HEIGHT, HEIGHT]), pack(COLUMNS)]}),
    "huge": forged(index={"shape": [pack([1 << 16] * 4), pack([1 << 12] * 4)]}),
    "all whole": forged(index={"whole": b"\1\1\1\1"}),
    "none whole": forged(index={"whole": b"\0\0\0\0"}),
    "another symbols' sum": forged(index={"symbols_crcs": pack([1, 1])}),
    "an empty chain": forged(chain=b""),
    "half a word": forged(chain=CHAIN[:-2]),
    "cut off": forged(chain=CHAIN[:-4]),
    "no state": forged(chain=CHAIN + bytes(8)),
    "more below": forged(chain=b"\1\2\3\4" + CHAIN),
    "the last word": forged(chain=CHAIN[-8:]),
    "ones": forged(chain=b"\xff" * len(CHAIN)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_fields_give_one_error(what):
    with pytest.raises(ArchiveError):
        restored(HOSTILE[what], MODEL)


def test_forgery_itself_is_sound():
    assert_same(restored(forged(), MODEL), SMALL)


# A golden archive


def golden():
    return press(pictures(), images(), model_name="golden", verify=False)[0]


def test_the_golden_archive_is_read_and_written_as_ever():
    data = (HERE / "golden" / "bitsback.lpz").read_bytes()
    assert_same(restored(data, pictures()), images())
    old, new = Archive(io.BytesIO(data)), Archive(io.BytesIO(golden()))
    assert (old.header, old.items, old.whole, old.modes) == (new.header, new.items, new.whole, new.modes)
    for number in range(len(old.modes)):
        assert old.payload(number) == new.payload(number)
    assert replace(old.header, encoder_id=None).lossless
