"""Hostile archives, whose checks are right: sections, headers, payloads and bombs give one error."""

import io
import tracemalloc
import zlib
from dataclasses import replace

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding import Block, Header, ItemRecord, Mode, Part
from latentpress.coding.container import write_archive
from latentpress.coding.metadata import pack
from latentpress.errors import ArchiveError, LatentpressError
from small.containers import (
    CODES_ID,
    DECODER_ID,
    ENCODER_ID,
    HEADER,
    ITEMS,
    PRIOR_ID,
    opened,
    small_archive,
    written,
)
from small.forging import REMOVED, forged, sections, signed


@pytest.fixture(scope="module")
def data():
    return small_archive()[0]


@pytest.fixture(scope="module")
def symbols():
    return small_archive()[1]


COUNT = len(ITEMS)


def test_forging_is_sound(data):
    assert signed(sections(data)) == data
    for same in (forged(data), forged(data, payloads={0: opened(data).payload(0)})):
        assert list(opened(same).items) == list(ITEMS) and opened(same).header == HEADER


def test_unknown_sections(data):
    assert list(opened(signed(sections(data) | {b"noTE": b"hello" * 999})).items) == list(ITEMS)
    with pytest.raises(ArchiveError, match="does not know"):
        opened(signed(sections(data) | {b"NOTE": b"hello"}))
    with pytest.raises(ArchiveError, match="longer than the file, or there twice"):
        many = {f"n{n:03d}".encode(): b"" for n in range(62)}
        opened(signed(sections(data) | many))
    assert opened(signed(sections(data) | dict(list(many.items())[:60]))).header == HEADER


def test_a_section_is_there_once_and_inside_the_file(data):
    head = sections(data)[b"HEAD"]
    start = data.index(b"HEAD")
    twice = (
        data[: start + 12 + len(head)] + data[start : start + 12 + len(head)] + data[start + 12 + len(head) :]
    )
    long = data[: start + 4] + (1 << 40).to_bytes(8, "little") + data[start + 12 :]
    for hostile in (twice, long):
        with pytest.raises(ArchiveError, match="longer than the file, or there twice"):
            opened(hostile)


@pytest.mark.parametrize(("length", "fits"), [(1 << 16, True), ((1 << 16) + 1, False)])
def test_the_header_is_of_bounded_length(data, length, fits):
    head = cbor2.loads(sections(data)[b"HEAD"])
    head["model"] = "x" * (length - len(cbor2.dumps(head | {"model": ""})) - 2)
    payload = cbor2.dumps(head)
    assert len(payload) == length
    hostile = signed(sections(data) | {b"HEAD": payload})
    if fits:
        assert opened(hostile).header.model == head["model"]
    else:
        with pytest.raises(ArchiveError, match="a section is too long"):
            opened(hostile)


def test_the_items_are_of_bounded_number(data, monkeypatch):
    monkeypatch.setattr("latentpress.coding.index.MAX_ITEMS", COUNT)
    assert len(opened(data).items) == COUNT
    monkeypatch.setattr("latentpress.coding.index.MAX_ITEMS", COUNT - 1)
    with pytest.raises(ArchiveError, match=f"archive of {COUNT} items"):
        opened(data)


def test_unknown_keys_are_ignored(data):
    archive = opened(forged(data, head={"more": 1}, index={"more": [b"x"]}))
    assert archive.header == HEADER and list(archive.items) == ITEMS


HEADS = {
    "kind": ["", "x" * 33, "Image", "two words", "\x1b[2J", 7, REMOVED],
    "channels": [0, 65, "3", REMOVED],
    "hop": [[], [4], [4, 4, 4], [4, 4, 4, 4], [0, 4], [65537, 4], ["4", 4], 4, REMOVED],
    "code_alphabets": [[], [1], [65537], [1 << 40], [512] * 65, ["a"], 512, REMOVED],
    "sample_alphabets": [[], [1], [65537], [256] * 65, [b"a"], REMOVED],
    "segment": [63, (1 << 20) + 1, 1 << 40, "64", REMOVED],
    "content": ["pixels", "", 0, REMOVED],
    "residual": [1, 2, "no", REMOVED],
    "labels": [0, 1, 3, 65, REMOVED],
    "model": ["\x1b[2J", b"x", REMOVED],
    "codes_id": [b"", bytes(15), bytes(17), "x" * 16, REMOVED],
    "prior_id": [b"", bytes(17), 0],
    "seed": ["1", b"1", cbor2.CBORTag(2, b"1" * 9)],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in HEADS.items() for value in values]
)
def test_every_field_of_the_header_has_its_range(data, key, value):
    with pytest.raises(ArchiveError):
        opened(forged(data, head={key: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 1},
        {"channels": 64},
        {"hop": (1, 65536)},
        {"code_alphabets": (2, 65536)},
        {"code_alphabets": (2,) * 64},
        {"sample_alphabets": (2, 65536)},
        {"sample_alphabets": (2,) * 64},
        {"segment": 1 << 6},
        {"segment": 1 << 20},
        {"labels": 64},
        {"kind": "a" * 32},
        {"seed": 0},
        {"seed": None},
        {"model": "x" * 60_000},
    ],
)
def test_every_field_of_the_header_reaches_its_bounds(change):
    header = replace(HEADER, **{"labels": 0, **change})
    items = [ItemRecord("x", (0, 1), (-1,) * header.labels)]
    assert opened(written(header, items, [])).header == header


@pytest.mark.parametrize(
    "change",
    [
        {"content": "samples"},
        {"content": "chains"},
        {"content": "samples", "ids": {"decoder": DECODER_ID}},
        {"content": "chains", "ids": {"decoder": DECODER_ID, "prior": PRIOR_ID}, "seed": None},
        {"residual": True},
        {"ids": {}},
        {"ids": {"codes": CODES_ID, "other": CODES_ID}},
        {"seed": 1 << 64},
        {"seed": -1},
        {"labels": 65},
        {"segment": 1},
        {"kind": "No"},
    ],
)
def test_a_header_that_cannot_be_read_is_not_written(change):
    with pytest.raises(ArchiveError, match="its header has"):
        write_archive(io.BytesIO(), replace(HEADER, **change), ITEMS, [])


def test_what_a_mode_needs_must_be_there(data):
    archive = opened(data)
    blocks = zip(archive.modes, archive.layout, strict=True)
    numbers = bytes(Mode.PRIOR if block.part is Part.CODES else mode for mode, block in blocks)
    prior = forged(data, index={"modes": numbers})
    assert Mode.PRIOR in opened(prior).modes
    with pytest.raises(ArchiveError, match="prior"):
        opened(forged(prior, head={"prior_id": REMOVED}))
    tables = {tag: part for tag, part in sections(data).items() if tag != b"TABL"}
    with pytest.raises(ArchiveError, match="tables"):
        opened(signed(tables))


@pytest.mark.parametrize(
    "section",
    [zlib.compress(pack([0] * 519)), zlib.compress(pack([1] * 518)), zlib.compress(pack([1] * 520)), b"x"],
)
def test_static_tables_are_whole(data, section):
    with pytest.raises(ArchiveError):
        opened(signed(sections(data) | {b"TABL": section}))


@pytest.mark.parametrize(
    "change",
    [
        {b"HEAD": b"\x80"},
        {b"HEAD": b"\x81" * 60000},
        {b"HEAD": b"\xff"},
        {b"HEAD": cbor2.dumps({"x": bytes(1 << 17)})},
        {b"INDX": b"hello"},
        {b"INDX": zlib.compress(bytes(1 << 27))},
    ],
)
def test_sections_of_another_form_are_refused(data, change):
    with pytest.raises(ArchiveError):
        opened(signed(sections(data) | change))


@pytest.mark.parametrize("tag", [b"HEAD", b"DATA", b"INDX"])
def test_no_section_may_be_missing(data, tag):
    with pytest.raises(ArchiveError, match="section is missing"):
        opened(signed({other: part for other, part in sections(data).items() if other != tag}))


def test_hostile_payloads_give_symbols_in_range_or_one_error(data, symbols):
    rng = np.random.default_rng(0)
    for number in range(len(symbols)):
        for payload in (b"\xff", rng.bytes(64), b"\xff" * len(opened(data).payload(number))):
            archive = opened(forged(data, payloads={number: payload}))
            if archive.modes[number] is not Mode.PACKED:
                with pytest.raises(ArchiveError):  # if not damaged, then of other symbols
                    archive.stored_symbols(number)


@given(st.binary(max_size=300), st.booleans())
def test_any_metadata_gives_an_archive_or_one_error(data, payload, head):
    parts = {b"HEAD": payload} if head else {b"INDX": zlib.compress(payload)}
    with pytest.raises(LatentpressError):
        opened(signed(sections(data) | parts))


MIB = 1 << 20
ARRAYS = b"\xa1\x61x\x9a" + (16 * MIB).to_bytes(4, "big")


def bombs(data):
    index = cbor2.loads(zlib.decompress(sections(data)[b"INDX"]))
    return {
        "empty arrays": ARRAYS + b"\x80" * (16 * MIB),
        "nested arrays": ARRAYS + b"\x81" * (16 * MIB),
        "tags": b"\xa1\x61x" + b"\xc2" * (16 * MIB),
        "modes": cbor2.dumps(index | {"modes": bytes(16 * MIB)}),
        "endings": cbor2.dumps(index | {"endings": bytes(16 * MIB)}),
        "flags": cbor2.dumps(index | {"tracked": bytes(16 * MIB)}),
        "tracks": cbor2.dumps(index | {"tracks": [bytes(8 * MIB)] * 2}),
        "values": cbor2.dumps(index | {"values": [bytes(8 * MIB)] * 2}),
        "shared": cbor2.dumps(index | {"shared": bytes(16 * MIB)}),
    }


@pytest.mark.parametrize(
    "what",
    ["empty arrays", "nested arrays", "tags", "modes", "endings", "flags", "tracks", "values", "shared"],
)
def test_an_index_that_is_a_bomb_is_refused_at_once(data, what):
    hostile = signed(sections(data) | {b"INDX": zlib.compress(bombs(data)[what], 1)})
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            opened(hostile)
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("segment", [64, 1 << 20])
@pytest.mark.parametrize("content", ["samples", "chains"])
def test_extents_make_no_more_work_than_there_are_blocks(content, segment):
    ids = {"decoder": DECODER_ID, "encoder": ENCODER_ID, "prior": PRIOR_ID}
    header = Header(
        kind="image",
        channels=1,
        hop=(1,),
        code_alphabets=(),
        sample_alphabets=(256,),
        segment=segment,
        content=content,
        ids=ids,
    )
    mode = Mode.SAMPLES if content == "samples" else Mode.BITS_BACK
    items = [ItemRecord("x", (1 << 40,))]
    hostile = written(header, items, (Block(mode, b"1", 0) for _ in range(3000)))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="more blocks"):
            opened(hostile)
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()
