"""Archives of texts: every byte comes back, each text in its smallest form, and hostile bytes do no harm."""

import hashlib
import io
import runpy
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cbor2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.autoregressive import Conditioning
from latentpress.cli import main
from latentpress.coding import Archive, Mode, Part
from latentpress.coding.layout import TEXT_SEGMENT
from latentpress.coding.metadata import pack
from latentpress.data.sources import Skipped
from latentpress.errors import ArchiveError, ItemError, LatentpressError, UnsafePathError, WrongModelError
from latentpress.items.text import pack_text
from latentpress.press import (
    compress,
    decode_archive,
    decompress,
    inspect_archive,
    pixels,
    verify_archive,
)
from lossless_parts import lossless_codec
from test_press_lossless import Lanes
from text_parts import after_a, byte_decoder, noise, source, text_codec, texts

HERE = Path(__file__).parent
READER = runpy.run_path(str(HERE / "lpz_reader.py"))["Reader"]
FORMS = {"model": Mode.PIXELS, "lzma": Mode.LZMA, "raw": Mode.RAW}


def press(model, files, **options):
    out = io.BytesIO()
    summary = compress(model, source(files), out, **options)
    return out.getvalue(), summary


def restored(data, model, **options):
    return {name: symbols.tobytes() for name, symbols in decode_archive(data, model, **options)}


@pytest.mark.parametrize("use_codes", [True, False])
def test_every_byte_is_restored_and_every_text_takes_its_smallest_form(use_codes):
    model, files = text_codec(use_codes), texts()
    data, summary = press(model, files)
    assert restored(data, model) == files
    archive = Archive(io.BytesIO(data))
    for block, mode in zip(archive.layout, archive.modes, strict=True):
        for lane in block.lanes:
            if block.part is not Part.CODES:
                assert mode is FORMS[archive.items[lane.item].name.split("/")[0]]
    assert any(block.part is Part.CODES for block in archive.layout) == use_codes
    assert archive.header.kind == "text" and archive.header.lossless and archive.header.hop == (16,)
    assert summary.kind == "text" and summary.lossless and summary.whole == 4
    assert summary.dims == sum(map(len, files.values())) and summary.archive_bytes == len(data)
    checked = verify_archive(data, model)
    assert checked.lossless and checked.symbols == summary.symbols and checked.items == summary.items


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.integers(0, 400).map(lambda n: after_a(n, n))), min_size=1)
)
def test_any_texts_come_back(contents):
    files = {f"{i}": content for i, content in enumerate(contents)}
    for model in (text_codec(True), text_codec(False)):
        assert restored(press(model, files)[0], model) == files


def test_only_empty_texts(tmp_path):
    files = {"a.txt": b"", "b/c": b""}
    model = text_codec()
    data, summary = press(model, files)
    assert restored(data, model) == files
    assert not Archive(io.BytesIO(data)).layout and inspect_archive(data).bits_per_dim == 0
    assert summary.dims == summary.symbols == summary.bits_per_dim == 0
    assert verify_archive(data, model).items == 2
    assert decompress(data, model, tmp_path).items == 2
    assert (tmp_path / "b" / "c").read_bytes() == b""


def test_texts_of_own_lengths_are_decoded_side_by_side(monkeypatch):
    model = text_codec()
    files = {f"{i}.txt": after_a(i, 300 + i) for i in range(40)} | {"long.txt": after_a(50, 50_000)}
    data, _ = press(model, files, verify=False)
    calls, decode = [], pixels.decode_lanes

    def noted(exact, coded):
        calls.append(len(coded))
        return decode(exact, coded)

    monkeypatch.setattr(pixels, "decode_lanes", noted)
    assert restored(data, model) == files
    assert calls == [sum(block.part is Part.PIXELS for block in Archive(io.BytesIO(data)).layout)]
    calls.clear()
    assert restored(data, model, only="3.txt") == {"3.txt": files["3.txt"]} and calls == [1]


def test_waves_are_bounded(monkeypatch):
    monkeypatch.setattr(pixels, "TEXT_WAVE_POSITIONS", 1000)
    monkeypatch.setattr("latentpress.press.lossless._VERIFIED_POSITIONS", 1500)
    model, files = text_codec(), texts()
    assert restored(press(model, files)[0], model) == files


def test_long_texts_are_cut_into_even_segments():
    model, files = text_codec(False), {"a": after_a(0, 100_000), "b": after_a(1, 2 * TEXT_SEGMENT)}
    data, _ = press(model, files)
    lanes = [(lane.item, b.shape[0]) for b in Archive(io.BytesIO(data)).layout for lane in b.lanes]
    assert sorted(lanes) == [*[(0, 14284)] + [(0, 14286)] * 6, (1, TEXT_SEGMENT), (1, TEXT_SEGMENT)]
    assert restored(data, model) == files


def test_lossless_is_the_only_way():
    files = texts()
    assert press(text_codec(), files, lossless=True)[0] == press(text_codec(), files)[0]
    with pytest.raises(LatentpressError, match="has no decoder"):
        press(replace(text_codec(), exact_pixels=None), files)


def test_what_the_model_is_bad_at_costs_no_more_than_its_framing():
    files = {f"{i}.bin": noise(i, 500) for i in range(20)}
    data, summary = press(text_codec(), files)
    assert summary.whole == 20 and len(data) <= 20 * 500 + 20 * 14 + 400


def test_what_does_not_decode_again_is_stored_whole(monkeypatch):
    model, files, decode = text_codec(), texts(), pixels.decode_lanes

    def broken(exact, coded):
        found = decode(exact, coded)
        for stream, symbols in zip(coded, found, strict=True):
            if stream.grid == (252,):
                symbols[3, 0, 0] ^= 1
        return found

    monkeypatch.setattr(pixels, "decode_lanes", broken)
    data, summary = press(model, files)
    assert summary.whole == 5 and restored(data, model) == files


def test_wrong_models_are_told_which_is_needed():
    data, _ = press(text_codec(), texts(), model_name="prose")
    other = replace(text_codec(), exact_pixels=byte_decoder(True, seed=9))
    with pytest.raises(WrongModelError, match="'prose' with decoder of pixels"):
        verify_archive(data, other)
    with pytest.raises(WrongModelError):
        verify_archive(data, lossless_codec())
    stored = ["lzma", "raw", "none"]
    assert restored(data, lossless_codec(), only=stored) == {
        name: content for name, content in texts().items() if name.split("/")[0] in stored
    }


# Files and names


def test_files_come_back_under_their_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latentpress.model.load", lambda *_: text_codec())
    kept = {name: content for name, content in texts().items() if not name.endswith((".bin", "one"))}
    for name, content in (kept | {"blob": b"\0\1", ".git/config": b"x"}).items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    archive, model = str(tmp_path / "x.lpz"), ["-m", str(tmp_path)]
    assert main(["compress", str(tmp_path / "in"), *model, "-o", archive]) == 0
    told = capsys.readouterr().err
    assert "left out blob: neither the suffix of a text nor UTF-8" in told
    assert "left out .git: hidden" in told and "pressed 11 texts" in told and "every byte kept" in told
    assert main(["verify", archive, *model]) == 0
    assert main(["decompress", archive, *model, "-o", str(tmp_path / "out")]) == 0
    assert "every byte restored" in capsys.readouterr().err
    out = tmp_path / "out"
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == kept
    assert main(["inspect", archive]) == 0
    assert "text of 1 channel" in capsys.readouterr().out


def test_one_text_goes_to_a_stream():
    out = io.BytesIO()
    decompress(press(text_codec(), texts())[0], text_codec(), out, only="lzma/latin.py")
    assert out.getvalue() == texts()["lzma/latin.py"]


def test_names_that_differ_in_case_alone_get_a_number(tmp_path):
    files = {"readme.md": b"1", "README.md": b"2", "Makefile": b"3", "makefile": b"4", "a.c": b"5"}
    decompress(press(text_codec(), files)[0], text_codec(), tmp_path)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {
        "readme.md": b"1",
        "README-2.md": b"2",
        "Makefile": b"3",
        "makefile-2": b"4",
        "a.c": b"5",
    }


@pytest.mark.parametrize("name", ["../x.txt", "/x.txt", "NUL.txt", "a\\b.txt"])
def test_hostile_names_are_neither_pressed_nor_restored(name, tmp_path, monkeypatch):
    with pytest.raises(UnsafePathError):
        press(text_codec(), {name: b"x"})
    monkeypatch.setattr("latentpress.press.compressing.check_name", lambda name: None)
    data, _ = press(text_codec(), {"good.txt": b"y", name: b"x"})
    with pytest.raises(UnsafePathError):
        decompress(data, text_codec(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_text_is_never_left_out_silently():
    lost = replace(source(texts()), skipped=(Skipped("'../LICENSE'", "unsafe name"),))
    with pytest.raises(ItemError, match=r"LICENSE' would be left out .unsafe name.; rename"):
        compress(text_codec(), lost, io.BytesIO())


def test_only_texts_are_taken():
    images = replace(source({"x": b""}).items[0], read=lambda: np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ItemError, match=r"a text is an array \(T, 1\)"):
        compress(text_codec(), replace(source(texts()), items=(images,)), io.BytesIO())


# The format page's reader


@pytest.mark.parametrize("use_codes", [True, False])
def test_a_reader_made_from_the_format_page_reads_the_same_bytes(use_codes):
    model, files = text_codec(use_codes), {**texts(), "model/long": after_a(8, 17_000)}

    def prior(shape, lanes):
        return Lanes(model.exact_prior, shape, lanes, Conditioning())

    def network(shape, bands):
        exact = model.exact_pixels
        if exact.upsampler is None:
            return Lanes(exact.network, shape, len(bands), Conditioning())
        maps = []
        for codes, extents, first in bands:
            whole = exact.context(torch.tensor(codes).view(1, -1, 1), extents).map
            maps.append(whole[0, :, first : first + shape[0]])
        return Lanes(exact.network, shape, len(bands), Conditioning(torch.stack(maps)))

    found = READER(press(model, files)[0]).pixels(prior, network)
    assert {name: bytes(byte for (byte,) in symbols) for name, symbols in found.items()} == files


# Damage and hostile archives

MODEL = text_codec()
SMALL = {"model.txt": after_a(0, 90), "lzma.txt": b"again " * 9, "raw.txt": noise(0, 9), "empty.txt": b""}
DATA = press(MODEL, SMALL)[0]


def test_any_flipped_bit_is_noticed():
    assert set(Archive(io.BytesIO(DATA)).modes) >= {Mode.PIXELS, Mode.LZMA, Mode.RAW}
    for position in range(len(DATA)):
        damaged = bytearray(DATA)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LatentpressError):
            restored(bytes(damaged), MODEL)


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.binary(max_size=20))
def test_splices_give_the_same_texts_or_one_error(start, stop, middle):
    with suppress(LatentpressError):
        assert restored(DATA[:start] + middle + DATA[stop:], MODEL) == SMALL


def forged(head=None, index=None, block=None):
    """An archive with changed fields, or with other bytes in its LZMA block, whose checks are right."""
    position, parts = 9, {}
    while position < len(DATA) - 20:
        length = int.from_bytes(DATA[position + 4 : position + 12], "little")
        parts[DATA[position : position + 4]] = DATA[position + 12 : position + 12 + length]
        position += 12 + length
    trees = {b"HEAD": cbor2.loads(parts[b"HEAD"]), b"INDX": cbor2.loads(zlib.decompress(parts[b"INDX"]))}
    if block is not None:
        archive = Archive(io.BytesIO(DATA))
        number, lengths = archive.modes.index(Mode.LZMA), archive.lengths.tolist()
        start, data = sum(lengths[:number]), parts[b"DATA"]
        parts[b"DATA"] = data[:start] + block + data[start + lengths[number] :]
        lengths[number] = len(block)
        crcs = archive._payload_crcs.tolist()
        crcs[number] = zlib.crc32(block)
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


MODES = bytes(Archive(io.BytesIO(DATA)).modes)
LZMA_AT = MODES.index(Mode.LZMA)
HOSTILE = {
    "image": forged(head={"kind": "image"}),
    "film": forged(head={"kind": "film"}),
    "two channels": forged(head={"channels": 2}),
    "differences": forged(head={"differences": 1}),
    "lossy": forged(head={"pixels_id": None, "differences": None}, index={"whole": None}),
    "two axes": forged(head={"hop": [16, 1]}),
    "another hop": forged(head={"hop": [8]}),
    "empty whole": forged(index={"whole": b"\0\1\1\1"}),
    "all empty": forged(index={"shape": [pack([0, 0, 0, 0])]}),
    "huge": forged(index={"shape": [pack([(1 << 28) + 1, 54, 9, 0])]}),
    "longer": forged(index={"shape": [pack([90, 55, 9, 0])]}),
    "webp": forged(index={"modes": MODES.replace(b"\6", b"\5")}),
    "lzma of pixels": forged(index={"modes": MODES.replace(b"\4", b"\6")}),
    "no such mode": forged(index={"modes": MODES.replace(b"\6", b"\x08")}),
    "raw for lzma": forged(index={"modes": MODES.replace(b"\6", b"\0")}),
    "another text": forged(block=pack_text(b"other " * 9)),
    "a longer text": forged(block=pack_text(b"again " * 10)),
    "a bomb": forged(block=pack_text(bytes(1 << 20))),
    "cut off": forged(block=pack_text(SMALL["lzma.txt"])[:-3]),
    "more behind it": forged(block=pack_text(SMALL["lzma.txt"]) + b"\0"),
    "no stream": forged(block=b"hello"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_fields_give_one_error(what):
    with pytest.raises(ArchiveError):
        restored(HOSTILE[what], MODEL)


def test_forgery_itself_is_sound():
    assert restored(forged(), MODEL) == SMALL


# A golden archive


def golden():
    return press(text_codec(), texts(), model_name="golden", verify=False)[0]


def test_the_golden_archive_is_read_and_written_as_ever():
    data = (HERE / "golden" / "text.lpz").read_bytes()
    assert restored(data, text_codec()) == texts()
    old, new = Archive(io.BytesIO(data)), Archive(io.BytesIO(golden()))
    assert (old.header, old.items, old.whole, old.modes) == (new.header, new.items, new.whole, new.modes)
    for number, mode in enumerate(old.modes):
        if mode is not Mode.LZMA:  # liblzma's affair
            assert old.payload(number) == new.payload(number)
