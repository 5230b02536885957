"""Lossless archives: every pixel comes back, each item in its smallest form, and hostile bytes do no harm."""

import hashlib
import io
import runpy
import zlib
from dataclasses import replace
from pathlib import Path

import cbor2
import numpy as np
import pytest
import torch

from latentpress.autoregressive import CausalNetwork, Conditioning, IntegerNetwork
from latentpress.autoregressive.streams import Stream
from latentpress.coding import Archive, Mode, Part
from latentpress.coding.metadata import pack
from latentpress.coding.records import MAX_SIDE
from latentpress.config import CausalConfig
from latentpress.errors import ArchiveError, LatentpressError, WrongModelError
from latentpress.items.differences import to_residuals
from latentpress.items.webp import pack_webp
from latentpress.press import compress, decode_archive, decompress, inspect_archive, pixels, verify_archive
from latentpress.press.blocks import _encode_parallel, decode_lanes, encode_lanes
from lossless_parts import dim, drawn, flat, integers, items, lossless_codec, noise, pixel_decoder, source

HERE = Path(__file__).parent
READER = runpy.run_path(str(HERE / "lpz_reader.py"))["Reader"]


def press(model, images, **options):
    out = io.BytesIO()
    summary = compress(model, source(images), out, lossless=True, **options)
    return out.getvalue(), summary


def assert_restored(data, model, images):
    restored = dict(decode_archive(data, model))
    assert restored.keys() == images.keys()
    for name, image in images.items():
        assert restored[name].dtype == np.uint8 and np.array_equal(restored[name], image), name


def parts_of(archive):
    """The modes in use for each item's pixels."""
    return {
        archive.items[lane.item].name: mode
        for block, mode in zip(archive.layout, archive.modes, strict=True)
        for lane in block.lanes
        if block.part is not Part.CODES
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("partitions", "use_codes"), [(1, True), (3, True), (1, False)])
def test_every_pixel_is_restored_and_every_item_takes_its_smallest_form(channels, partitions, use_codes):
    model, images = lossless_codec(channels, partitions, use_codes), items(channels)
    data, summary = press(model, images)
    assert_restored(data, model, images)
    archive = Archive(io.BytesIO(data))
    for name, mode in parts_of(archive).items():
        assert mode is {"model": Mode.PIXELS, "webp": Mode.WEBP, "raw": Mode.RAW}[name.split("/")[0]]
    assert any(block.part is Part.CODES for block in archive.layout) == use_codes
    assert summary.lossless and summary.whole == 3 and summary.archive_bytes == len(data)
    assert summary.dims == sum(image.size for image in images.values())
    framing = inspect_archive(data).framing_bytes
    streams = len(archive.layout)  # a stream of the range coder ends in up to two words of slack
    ideal = summary.model_bits - 2 * summary.symbols  # a prior at random wants up to two bits more than raw
    assert ideal <= 8 * (len(data) - framing) <= summary.model_bits + 8 * 8 * streams
    checked = verify_archive(data, model)
    assert checked.lossless and checked.symbols == summary.symbols and checked.items == summary.items


@pytest.fixture
def small_blocks(monkeypatch):
    """Bands of at most 64 pixels, so that small images have several."""
    monkeypatch.setattr("latentpress.coding.records.PIXEL_SEGMENT", 64)
    monkeypatch.setattr("latentpress.coding.records.PIXEL_BLOCK", 200)


def test_bands_see_the_whole_items_codes(small_blocks):
    model = lossless_codec()
    images = {f"{i}.png": dim(i, 19, 11) for i in range(3)} | {"x.png": dim(5, 40, 11), "y.png": dim(6, 5, 5)}
    data, _ = press(model, images)
    assert_restored(data, model, images)
    archive = Archive(io.BytesIO(data))
    bands = [block for block in archive.layout if block.part is Part.PIXELS]
    assert len({lane.start for block in bands for lane in block.lanes}) > 4
    assert any(lane.start % 4 for block in bands for lane in block.lanes)


def test_an_item_of_several_bands_may_be_stored_whole(small_blocks):
    model = lossless_codec()
    images = {"a.png": dim(0, 5, 5), "b.png": flat(1, 40, 11), "c.png": dim(2, 5, 5)}
    data, summary = press(model, images)
    assert summary.whole == 1
    assert_restored(data, model, images)
    assert [next(decode_archive(data, model, only=name))[0] for name in images] == list(images)


def test_pixels_may_be_coded_as_they_are():
    model = replace(lossless_codec(), differences=False)
    images = {f"{i}.png": to_residuals(dim(i, 12, 12)) for i in range(6)}  # small values suit it
    data, summary = press(model, images)
    assert_restored(data, model, images)
    archive = Archive(io.BytesIO(data))
    assert archive.header.differences == 0 and Mode.PIXELS in archive.modes
    assert READER(data).head["differences"] == 0 and summary.whole < 6


def test_what_the_model_is_bad_at_costs_no_more_than_its_framing():
    images = {f"{i}.png": noise(i, 12, 12) for i in range(20)}
    data, summary = press(lossless_codec(), images)
    assert summary.whole == 20
    assert len(data) <= sum(image.size for image in images.values()) + 20 * 13 + 400


def test_a_single_item_and_a_single_pixel():
    model = lossless_codec()
    for image in (dim(0, 1, 1), noise(0, 1, 1), dim(0, 1, 7), dim(1, 30, 1)):
        assert_restored(press(model, {"x.png": image})[0], model, {"x.png": image})


def test_an_item_too_large_for_webp_is_stored_as_it_is():
    images = {"long.png": np.zeros((1, 16384, 3), np.uint8)}
    images["long.png"][0, ::3] = 255
    block = pixels.pack_whole(images["long.png"])
    assert block.mode is Mode.RAW and len(block.payload) == images["long.png"].size < MAX_SIDE


def test_only_what_was_asked_for_is_decoded(tmp_path, monkeypatch):
    model, images = lossless_codec(), items()
    data, _ = press(model, images)
    decoded = []
    decode = pixels.decode_lanes

    def noted(exact, coded):
        decoded.extend(stream.grid for stream in coded)
        return decode(exact, coded)

    monkeypatch.setattr(pixels, "decode_lanes", noted)
    assert decompress(data, model, tmp_path, only="model/odd.png").items == 1
    assert decoded == [(7, 10)] and [path.name for path in tmp_path.rglob("*.png")] == ["odd.png"]
    with pytest.raises(ArchiveError, match="no item 'sea"):
        decompress(data, model, tmp_path, only="sea.png")


def test_items_stored_whole_need_no_decoder_of_pixels():
    images = items()
    data, _ = press(lossless_codec(), images)
    other = replace(lossless_codec(), exact_pixels=None, exact_prior=None, codebook_id=b"another-codebook")
    restored = dict(decode_archive(data, other, only=["webp", "raw"]))
    assert len(restored) == 3 and all(np.array_equal(restored[name], images[name]) for name in restored)
    with pytest.raises(WrongModelError, match=r"with decoder of pixels [0-9a-f]{32}; the one given has none"):
        list(decode_archive(data, other))


def test_the_wrong_decoder_of_pixels_is_told_which_is_needed():
    model = lossless_codec()
    data, _ = press(model, items(), model_name="faces")
    other = replace(model, exact_pixels=pixel_decoder(3, 1, True, seed=9))
    with pytest.raises(WrongModelError, match=f"'faces' with decoder of pixels {model.pixels_id.hex()}"):
        verify_archive(data, other)


def test_a_model_without_a_decoder_of_pixels_cannot():
    with pytest.raises(LatentpressError, match="--stage decoder"):
        press(replace(lossless_codec(), exact_pixels=None), items())


def test_what_does_not_decode_again_is_stored_whole(monkeypatch):
    model, images = lossless_codec(), items()
    decode = pixels.decode_lanes

    def broken(exact, coded):
        found = decode(exact, coded)
        for stream, symbols in zip(coded, found, strict=True):
            if stream.grid == (7, 10):
                symbols[3, 0, 0] ^= 1
        return found

    monkeypatch.setattr(pixels, "decode_lanes", broken)
    data, summary = press(model, images)
    assert summary.whole == 4
    assert_restored(data, model, images)
    unproven, _ = press(model, images, verify=False)
    with pytest.raises(ArchiveError, match="other symbols"):
        list(decode_archive(unproven, model))


def test_progress_counts_up_to_the_end():
    calls = []
    press(lossless_codec(), items(), progress=lambda *call: calls.append(call))
    last = {stage: (done, total) for stage, done, total in calls}
    assert set(last) == {"encode", "code", "compare", "verify"}
    assert all(done == total for done, total in last.values())


def test_inspection_tells_the_forms():
    model = lossless_codec()
    data, _ = press(model, items())
    info = inspect_archive(data)
    assert info.header.lossless and info.header.pixels_id == model.pixels_id and info.whole == 3
    uses = [(use.part, use.mode) for use in info.modes]
    assert uses == [*uses[:-3], ("pixels", "pixels"), ("whole", "raw"), ("whole", "webp")]
    assert uses[:-3] and {part for part, _ in uses[:-3]} == {"codes"}


def test_lanes_of_unequal_members_are_inverted():
    """Both directions go position by position, member by member, lane by lane."""
    config = CausalConfig(width=8, depth=1, radius=1, dilations=(1,), embedding=4, head_width=8)
    network = CausalNetwork(config, (5, 9), 2)
    exact = IntegerNetwork(
        drawn(IntegerNetwork.convert(network, torch.zeros(1, 2, 2, 2).long()).tensors(), 3)
    )
    symbols = [np.abs(integers((6, lanes, 2), lanes, 4).numpy()) for lanes in (1, 3)]
    plain = [Stream((2, 3), block.shape[1], symbols=block) for block in symbols]
    coded = encode_lanes(exact, plain)
    for stream, (payload, bits) in zip(plain, coded, strict=True):  # what a GPU does
        again, ideal = _encode_parallel(exact, stream)
        assert again == payload and np.allclose(ideal, bits)
    pressed = zip(plain, coded, strict=True)
    found = decode_lanes(exact, [Stream((2, 3), s.lanes, payload=payload) for s, (payload, _) in pressed])
    for block, again, (payload, bits) in zip(symbols, found, coded, strict=True):
        assert np.array_equal(block, again) and bits.shape == (block.shape[1],)
        assert bits.sum() <= 8 * len(payload) <= bits.sum() + 64


# The format page's reader


class Lanes:
    """An exact grid as the reader asks for it."""

    def __init__(self, exact, shape, lanes, context):
        self.exact, self.state = exact, exact.start(lanes, shape, context)

    def logits(self):
        return self.exact.member_logits(self.state).tolist()

    def push(self, symbols):
        self.exact.push(self.state, torch.tensor(symbols))


@pytest.mark.parametrize("use_codes", [True, False])
def test_a_reader_made_from_the_format_page_reads_the_same_pixels(use_codes):
    model = lossless_codec(3, 1, use_codes)
    images = items()

    def prior(shape, lanes):
        return Lanes(model.exact_prior, shape, lanes, Conditioning())

    def network(shape, bands):
        exact = model.exact_pixels
        if exact.upsampler is None:
            return Lanes(exact.network, shape, len(bands), Conditioning())
        maps = []
        for codes, extents, first in bands:
            grid = [-(-extent // 4) for extent in extents]
            whole = exact.context(torch.tensor(codes).view(1, *grid, -1), extents).map
            maps.append(whole[0, :, first : first + shape[0]])
        return Lanes(exact.network, shape, len(bands), Conditioning(torch.stack(maps)))

    found = READER(press(model, images)[0]).pixels(prior, network)
    for name, image in images.items():
        assert found[name] == [tuple(row) for row in image.reshape(-1, 3).tolist()]


# Damage and hostile archives

MODEL = lossless_codec()
SMALL = {"model.png": dim(0, 6, 7), "webp.png": flat(0, 20, 20), "raw.png": noise(0, 3, 3)}
DATA = press(MODEL, SMALL)[0]


def test_any_flipped_bit_is_noticed():
    assert set(parts_of(Archive(io.BytesIO(DATA))).values()) == {Mode.PIXELS, Mode.WEBP, Mode.RAW}
    for position in range(len(DATA)):
        damaged = bytearray(DATA)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LatentpressError):
            list(decode_archive(bytes(damaged), MODEL))


def sections():
    position, found = 9, {}
    while position < len(DATA) - 20:
        length = int.from_bytes(DATA[position + 4 : position + 12], "little")
        found[DATA[position : position + 4]] = DATA[position + 12 : position + 12 + length]
        position += 12 + length
    return found


def forged(head=None, index=None, block=None):
    """An archive with changed fields, or with other bytes in its WebP block, whose checks are right."""
    parts = sections()
    tree = cbor2.loads(zlib.decompress(parts[b"INDX"]))
    if block is not None:
        archive = Archive(io.BytesIO(DATA))
        number = archive.modes.index(Mode.WEBP)
        start = int(archive.lengths[:number].sum())
        data = parts[b"DATA"]
        parts[b"DATA"] = data[:start] + block + data[start + int(archive.lengths[number]) :]
        lengths = archive.lengths.tolist()
        lengths[number] = len(block)
        crcs = archive._payload_crcs.tolist()
        crcs[number] = zlib.crc32(block)
        tree |= {"lengths": pack(lengths), "payload_crcs": pack(crcs)}
    for changes, name in ((head, b"HEAD"), (index, b"INDX")):
        fields = cbor2.loads(parts[b"HEAD"]) if name == b"HEAD" else tree
        for key, value in (changes or {}).items():
            fields = {k: v for k, v in fields.items() if k != key} | ({} if value is None else {key: value})
        packed = cbor2.dumps(fields)
        parts[name] = packed if name == b"HEAD" else zlib.compress(packed)
    data, digest = DATA[:9], hashlib.blake2b(DATA[:9], digest_size=16)
    for tag in (b"HEAD", b"DATA", b"INDX"):
        start = tag + len(parts[tag]).to_bytes(8, "little")
        digest.update(start + (b"" if tag == b"DATA" else parts[tag]))
        data += start + parts[tag]
    return data + digest.digest() + DATA[-4:]


HOSTILE = {
    "not lossless": forged(head={"pixels_id": None}),
    "short id": forged(head={"pixels_id": b"1"}),
    "text id": forged(head={"pixels_id": "1" * 16}),
    "no flags": forged(index={"whole": None}),
    "few flags": forged(index={"whole": b"\0"}),
    "odd flags": forged(index={"whole": b"\0\2\1"}),
    "more whole": forged(index={"whole": b"\1\1\1"}),
    "less whole": forged(index={"whole": b"\0\0\1"}),
    "pixels as prior": forged(index={"modes": bytes([0, 3, 5, 0])}),
    "codes as pixels": forged(index={"modes": bytes([4, 4, 5, 0])}),
    "webp of codes": forged(index={"modes": bytes([5, 4, 5, 0])}),
    "whole as pixels": forged(index={"modes": bytes([0, 4, 4, 0])}),
    "adaptive whole": forged(index={"modes": bytes([0, 4, 5, 2])}),
    "no codes": forged(head={"sizes": []}),
    "other codes": forged(head={"sizes": [7]}),
    "another picture": forged(block=pack_webp(flat(3, 20, 20))),
    "another size": forged(block=pack_webp(flat(3, 21, 20))),
    "a huge picture": forged(block=b"\x2f" + (16382 << 14 | 16382).to_bytes(4, "little") + bytes(40)),
    "cut off": forged(block=pack_webp(SMALL["webp.png"])[:-9]),
    "no bitstream": forged(block=b"hello"),
    "two bytes": forged(block=b"\x2f\0"),
    "alpha": forged(block=b"\x2f" + (1 << 28 | 19 << 14 | 19).to_bytes(4, "little") + bytes(40)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_fields_give_one_error(what):
    with pytest.raises(ArchiveError):
        list(decode_archive(HOSTILE[what], MODEL))


def test_forgery_itself_is_sound():
    assert forged() != DATA  # zlib level
    assert_restored(forged(), MODEL, SMALL)


# A golden archive


def golden():
    return press(lossless_codec(3, 2), items(), model_name="golden", verify=False)[0]


def test_the_golden_archive_is_read_and_written_as_ever():
    data = (HERE / "golden" / "lossless.lpz").read_bytes()
    model = lossless_codec(3, 2)
    assert_restored(data, model, items())
    old, new = Archive(io.BytesIO(data)), Archive(io.BytesIO(golden()))
    assert (old.header, old.items, old.whole, old.modes) == (new.header, new.items, new.whole, new.modes)
    for number, mode in enumerate(old.modes):
        if mode is not Mode.WEBP:  # libwebp's affair
            assert old.payload(number) == new.payload(number)
