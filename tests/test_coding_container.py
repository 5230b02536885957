"""The archive file: what is written is read, by the package and by a reader made from the format page, and
bytes that lie are found out, whatever they say."""

import io
import time
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding import (
    Archive,
    Block,
    Header,
    ItemRecord,
    Mode,
    Part,
    inspect_archive,
    modes,
    open_archive,
)
from latentpress.coding.container import write_archive
from latentpress.coding.metadata import pack
from latentpress.coding.records import Stored, shape_fits, symbols_crc
from latentpress.errors import ArchiveError, LatentpressError
from latentpress.items import Image
from lpz_reader import Reader
from small.forging import REMOVED, forged, sections, signed

CODES_ID, PRIOR_ID, DECODER_ID, ENCODER_ID = (bytes([n]) * 16 for n in range(1, 5))
HEADER = Header(
    kind="image",
    channels=3,
    hop=(4, 4),
    code_alphabets=(512, 7),
    sample_alphabets=(256,) * 3,
    segment=1 << 17,
    content="codes",
    labels=2,
    model="test",
    ids={"codes": CODES_ID, "prior": PRIOR_ID},
    seed=2**64 - 1,
)
ITEMS = [
    *(ItemRecord(f"a/{i:03d}.png", (32, 32), (i % 3 - 1, i)) for i in range(69)),
    ItemRecord("clip", (32, 32), (-1, -1), np.arange(64).reshape(32, 2) % 5 - 1),
    ItemRecord("big.jpg", (301, 298), (-1, 2**32 - 2), attributes={"dots": 2**64 - 1, "rate_hz": 0}),
    ItemRecord("again.jpg", (301, 298), (0, 0), attributes={"dots": 1}, duplicate_of=70),
    ItemRecord("empty", (0, 7), (-1, -1), np.zeros((0, 2), np.int64)),
    ItemRecord("raw", (9, 5), (-1, -1)),
    ItemRecord("packed", (16, 16), (-1, -1)),
]
STORED = Stored(frozenset({73, 74}))
COUNTS = [np.arange(size) for size in HEADER.code_alphabets]
TABLES = [modes.normalize(count[None])[0] for count in COUNTS]


def coded(symbols, mode, alphabets=HEADER.code_alphabets):
    payload = {
        Mode.RAW: lambda: modes.encode_raw(symbols, alphabets),
        Mode.STATIC: lambda: modes.encode_static(symbols, TABLES),
        Mode.ADAPTIVE: lambda: modes.encode_adaptive(symbols, alphabets),
        Mode.PACKED: lambda: Image().pack(symbols.reshape(16, 16, 3).astype(np.uint8)),
    }
    return Block(mode, payload[mode](), symbols_crc(symbols))


def written(header, items, blocks, *more, **others):
    file = io.BytesIO()
    assert write_archive(file, header, items, blocks, *more, **others) == len(file.getvalue())
    return file.getvalue()


@pytest.fixture(scope="module")
def made():
    """An archive that uses every mode that needs no model, and the symbols of its blocks."""
    rng = np.random.default_rng(0)
    symbols, blocks = [], []
    for number, block in enumerate(HEADER.layout(ITEMS, STORED)):
        shape, fallback = (block.positions, len(block.lanes)), block.part is Part.FALLBACK
        alphabets = HEADER.alphabets(block.part)
        symbols.append(np.stack([rng.integers(0, size, shape) for size in alphabets], axis=-1))
        mode = Mode(number % 3)
        if fallback:
            mode = Mode.PACKED if ITEMS[block.lanes[0].item].name == "packed" else Mode.RAW
        blocks.append(coded(symbols[-1], mode, alphabets))
    return written(HEADER, ITEMS, iter(blocks), COUNTS, STORED), symbols


@pytest.fixture(scope="module")
def data(made):
    return made[0]


@pytest.fixture(scope="module")
def symbols(made):
    return made[1]


def opened(data):
    return Archive(io.BytesIO(data))


# What is written is read


def test_reading_inverts_writing(data, symbols):
    archive = opened(data)
    assert archive.header == HEADER and list(archive.items) == ITEMS and archive.stored == STORED
    assert set(archive.modes) == {Mode.RAW, Mode.STATIC, Mode.ADAPTIVE, Mode.PACKED}
    for number, expected in enumerate(symbols):
        if archive.modes[number] is Mode.PACKED:
            archive.check(number, expected)
            image = Image().unpack(archive.payload(number), (16, 16, 3))
            assert np.array_equal(image.reshape(expected.shape), expected)
        else:
            assert np.array_equal(archive.stored_symbols(number), expected)


def test_a_reader_made_from_the_format_page_reads_the_same(data, symbols):
    reader, archive = Reader(data), opened(data)
    for item, record in zip(reader.items, ITEMS, strict=True):
        assert (item.name, item.extents, item.labels) == (record.name, record.shape, record.labels)
        assert item.attributes == record.attributes and item.original == record.duplicate_of
        assert item.tracks == (None if record.tracks is None else [tuple(r) for r in record.tracks.tolist()])
    codes, stored = reader.codes(), reader.symbols()
    for number, block in enumerate(archive.layout):
        for index, lane in enumerate(block.lanes):
            found = (codes if block.part is Part.CODES else stored)[ITEMS[lane.item].name]
            first = lane.start * int(np.prod(block.shape[1:]))
            expected = [tuple(row) for row in symbols[number][:, index].tolist()]
            assert found[first : first + block.positions] == expected
    assert codes["again.jpg"] == codes["big.jpg"] and codes["empty"] == stored["empty"] == []


@st.composite
def records(draw, labels, rank):
    extents = [st.integers(0, 1 << 40), st.integers(1, 1 << 24), st.integers(1, 1 << 24)][:rank]
    shape = draw(st.tuples(*extents).filter(shape_fits))
    numbers = st.tuples(*[st.integers(-1, 2**32 - 2)] * labels)
    attributes = st.dictionaries(st.sampled_from(["rate", "depth_bits", "z"]), st.integers(0, 2**64 - 1))
    tracks = None
    if labels and shape[0] < 40 and draw(st.booleans()):
        rows = draw(st.lists(numbers, min_size=shape[0], max_size=shape[0]))
        tracks = np.array(rows, np.int64).reshape(shape[0], labels)
    return ItemRecord(draw(st.text("ab1./", min_size=1)), shape, draw(numbers), tracks, draw(attributes))


@st.composite
def indices(draw):
    """Headers and items that need no block: of lossless archives whose every item is empty or a duplicate."""
    labels, rank = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    items = draw(st.lists(records(labels, rank), min_size=1, max_size=9, unique_by=lambda item: item.name))
    items = [replace(item, shape=(0, *item.shape[1:])) for item in items]
    items = [replace(i, tracks=None if i.tracks is None else i.tracks[:0]) for i in items]
    for number in range(1, len(items)):
        if draw(st.booleans()):
            original = draw(st.sampled_from([n for n in range(number) if items[n].duplicate_of is None]))
            items[number] = replace(items[number], shape=items[original].shape, duplicate_of=original)
    header = Header(
        kind=draw(st.text("az09-_", min_size=1, max_size=32)),
        channels=draw(st.integers(1, 64)),
        hop=tuple(draw(st.lists(st.integers(1, 65536), min_size=rank, max_size=rank))),
        code_alphabets=tuple(draw(st.lists(st.integers(2, 65536), max_size=64))),
        sample_alphabets=tuple(draw(st.lists(st.integers(2, 65536), min_size=1, max_size=64))),
        segment=draw(st.integers(1 << 6, 1 << 20)),
        content="samples",
        residual=draw(st.booleans()),
        labels=labels,
        model=draw(st.text().filter(str.isprintable)),
        ids={"decoder": draw(st.binary(min_size=16, max_size=16))},
    )
    return header, items


@given(indices())
def test_any_header_and_items_are_read_as_they_were_written(index):
    header, items = index
    archive = opened(written(header, items, []))
    assert archive.header == header and list(archive.items) == items
    assert [archive.original(n) for n in range(len(items))] == [
        n if item.duplicate_of is None else item.duplicate_of for n, item in enumerate(items)
    ]


@given(st.data())
def test_records_differ_by_each_field(draw):
    record, other = (draw.draw(records(2, 2)) for _ in range(2))
    assert record == replace(record) and record != "record"
    same = all(
        getattr(record, name) == getattr(other, name)
        for name in ("name", "shape", "labels", "attributes", "duplicate_of")
    )
    tracks = [None if r.tracks is None else r.tracks.tolist() for r in (record, other)]
    assert (record == other) == (same and tracks[0] == tracks[1])


def test_blocks_are_written_as_they_come(symbols):
    taken = []

    def blocks():
        for number, (own, block) in enumerate(zip(symbols, HEADER.layout(ITEMS, STORED), strict=True)):
            taken.append(file.tell())
            yield coded(own, Mode.RAW, HEADER.alphabets(block.part)) if number < 7 else last

    last, file = Block(Mode.RAW, b"x", 0), io.BytesIO(b"before")
    file.seek(6)
    length = write_archive(file, HEADER, ITEMS, blocks())
    assert taken == sorted(set(taken)) and len(file.getvalue()) == 6 + length == file.tell()
    assert file.getvalue()[:6] == b"before"


def test_an_archive_is_the_same_however_its_fields_are_given(data, symbols):
    again = io.BytesIO()
    blocks = []
    for number, own in enumerate(symbols):
        archive = opened(data)
        blocks.append(Block(archive.modes[number], archive.payload(number), symbols_crc(own)))
    items = [replace(item, attributes=dict(reversed(item.attributes.items()))) for item in ITEMS]
    header = replace(HEADER, ids=dict(reversed(HEADER.ids.items())))
    write_archive(again, header, items, blocks, COUNTS, Stored(frozenset(list(STORED.fallback))))
    assert again.getvalue() == data


def test_an_archive_is_opened_as_bytes_path_or_stream(data, tmp_path):
    (tmp_path / "a.lpz").write_bytes(data)

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    for source in (data, tmp_path / "a.lpz", str(tmp_path / "a.lpz"), io.BytesIO(data), Pipe(data)):
        with open_archive(source) as archive:
            assert list(archive.items) == ITEMS


def test_blocks_of_an_item(data):
    archive = opened(data)
    for item, numbers in enumerate(archive.blocks_of):
        assert numbers == sorted(set(numbers))
        for number in numbers:
            assert archive.original(item) in [lane.item for lane in archive.layout[number].lanes]
    assert len(archive.blocks_of[70]) == 2  # 76 x 75 positions in two bands
    assert archive.blocks_of[71] == archive.blocks_of[70] and archive.blocks_of[72] == []


def test_blocks_of_rows(data):
    archive = opened(data)
    first, second = archive.blocks_of[70]
    bands = [archive.layout[n].lanes[0] for n in (first, second)]
    assert [(band.start, band.stop) for band in bands] == [(0, 38), (38, 76)]
    for item in (70, 71):
        assert archive.blocks_of_rows(item, Part.CODES, 0, 38) == [first]
        assert archive.blocks_of_rows(item, Part.CODES, 37, 39) == [first, second]
        assert archive.blocks_of_rows(item, Part.CODES, 38, 99) == [second]
        assert archive.blocks_of_rows(item, Part.CODES, 76, 99) == []
        assert archive.blocks_of_rows(item, Part.FALLBACK, 0, 301) == []
    assert archive.blocks_of_rows(73, Part.FALLBACK, 8, 9) == archive.blocks_of[73]


def test_inspection_needs_no_block(data):
    damaged = bytearray(data)
    start = data.index(b"DATA") + 12
    damaged[start : start + 1000] = bytes(1000)
    info = inspect_archive(bytes(damaged))
    assert info.bytes == len(data) == info.framing_bytes + sum(use.bytes for use in info.modes)
    assert info.dims == 3 * (70 * 32 * 32 + 2 * 301 * 298 + 9 * 5 + 16 * 16)
    assert info.bits_per_dim == 8 * len(data) / info.dims
    assert (info.fallback, info.files, info.duplicates) == (2, 0, 1)
    assert {(use.part, use.mode) for use in info.modes} == {
        ("codes", "raw"),
        ("codes", "static"),
        ("codes", "adaptive"),
        ("fallback", "raw"),
        ("fallback", "packed"),
    }


def test_many_small_items_cost_next_to_nothing():
    items = [ItemRecord(f"cifar10/test/cat/{i:04d}.jpg", (32, 32)) for i in range(10_000)]
    header = replace(HEADER, code_alphabets=(512,), hop=(8, 8), labels=0)
    blocks = [Block(Mode.RAW, bytes(4608), zlib.crc32(bytes([i]))) for i in range(40)]
    data = written(header, items, blocks)
    assert len(data) - 40 * 4608 < 1200
    assert list(opened(data).items) == list(items)


@pytest.mark.parametrize("rows", [1, 1 << 26])
def test_a_stored_item_of_one_band(rows):
    header = replace(HEADER, hop=(1, 1), sample_alphabets=(2,), labels=0)
    item, symbols = ItemRecord("x", (rows, 1)), np.zeros((rows, 1, 1), np.uint8)
    symbols[-1] = 1
    blocks = [Block(Mode.RAW, modes.encode_raw(symbols, (2,)), symbols_crc(symbols))]
    archive = opened(written(header, [item], blocks, stored=Stored(frozenset({0}))))
    assert [block.shape for block in archive.layout] == [(rows, 1)]
    assert np.array_equal(archive.stored_symbols(0), symbols)


def test_a_stored_item_of_several_bands(monkeypatch):
    monkeypatch.setattr("latentpress.coding.records.FALLBACK_SEGMENT", 20)
    rng = np.random.default_rng(1)
    header = replace(HEADER, labels=0, sample_alphabets=(300, 9))
    item, bands = ItemRecord("x", (10, 5)), []
    for block in header.layout([item], Stored(frozenset({0}))):
        shape = block.positions, 1
        bands.append(np.stack([rng.integers(0, size, shape) for size in (300, 9)], axis=-1))
    blocks = [coded(band, Mode.RAW, (300, 9)) for band in bands]
    archive = opened(written(header, [item], blocks, stored=Stored(frozenset({0}))))
    assert [block.lanes[0].start for block in archive.layout] == [0, 4, 8]
    for number, band in enumerate(bands):
        assert np.array_equal(archive.stored_symbols(number), band)
    assert archive.blocks_of_rows(0, Part.FALLBACK, 3, 5) == [0, 1]


# Damage


@pytest.mark.parametrize("offset", range(0, 40))
def test_a_changed_byte_is_noticed(data, symbols, offset):
    for position in range(offset, len(data), 1009 * 40):
        damaged = bytearray(data)
        damaged[position + (offset * 1009) % (len(data) - position)] ^= 0x10
        with pytest.raises(ArchiveError):
            archive = opened(damaged)
            for number in range(len(symbols)):
                archive.payload(number)


def test_a_changed_byte_beside_the_blocks_is_noticed_at_once(data):
    start = data.index(b"DATA") + 12
    stop = start + len(sections(data)[b"DATA"])
    for position in [*range(start), *range(stop, len(data), 5)]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(ArchiveError):
            opened(damaged)


def test_any_truncation_is_refused(data):
    start = data.index(b"INDX")
    for length in [*range(60), *range(60, start, 997), *range(start, len(data), 41), len(data) - 1]:
        with pytest.raises(ArchiveError):
            opened(data[:length])


@given(st.data())
def test_splices_give_the_same_items_or_one_error(data, draw):
    start, stop = (draw.draw(st.integers(0, len(data))) for _ in range(2))
    spliced = data[:start] + draw.draw(st.binary(max_size=20)) + data[stop:]
    with suppress(ArchiveError):
        assert list(opened(spliced).items) == list(ITEMS) and spliced[-20:] == data[-20:]


def test_damage_is_limited_to_its_block(data, symbols):
    damaged = bytearray(data)
    damaged[data.index(b"DATA") + 12] ^= 1
    archive = opened(damaged)
    with pytest.raises(ArchiveError, match=r"block 0 .*other bytes"):
        archive.stored_symbols(0)
    assert np.array_equal(archive.stored_symbols(1), symbols[1])


def test_other_symbols_are_noticed(data, symbols):
    with pytest.raises(ArchiveError, match="other symbols"):
        opened(data).check(0, symbols[0] ^ 1)
    archive = opened(forged(data, index={"symbols_crcs": pack([0] * len(symbols))}))
    for number in (n for n, mode in enumerate(archive.modes) if mode is not Mode.PACKED):
        with pytest.raises(ArchiveError, match="other symbols"):
            archive.stored_symbols(number)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.replace(b"\r\n", b"\n"), "binary mode"),
        (lambda data: b"PK\3\4" + data[4:], "not a Latentpress archive"),
        (lambda data: data[:8] + b"\2" + data[9:], "format version 2"),
        (lambda data: data + b"\n", "something was appended"),
        (lambda data: data[:-1], "end is missing"),
        (lambda data: data[:5], "truncated archive: it ends too early"),
        (lambda data: data[:9] + bytes([data[9] ^ 1]) + data[10:], "does not know"),
        (lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:], "does not match its digest"),
    ],
)
def test_the_reason_is_named(data, damage, message):
    with pytest.raises(ArchiveError, match=message):
        opened(damage(data))


# Hostile archives, whose checks are right


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


BIG, COUNT = (1 << 32) - 1, len(ITEMS)
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


def test_the_bounds_of_extents():
    fit = [(0,), (1 << 40,), (1 << 20, 1 << 24), (1, 1 << 24, 4), (1 << 18, 1 << 13, 1 << 13), (0, 1 << 24)]
    unfit = [((1 << 40) + 1,), (1, (1 << 24) + 1), (1, 0), (1, 1 << 13, (1 << 13) + 1), (1 << 30, 1 << 15)]
    assert all(map(shape_fits, fit)) and not any(map(shape_fits, unfit))


def extents(*axes):
    return {"extents": [pack(axis, 8) for axis in axes]}


def changed(shapes):
    """The extents of the items, some of them others."""
    return extents(*zip(*(shapes.get(n, item.shape) for n, item in enumerate(ITEMS)), strict=True))


def mentions(what):
    """A field out of range, and what the error says of it."""
    messages = {
        "archive of 0 items": ["no items"],
        "too large": ["too many rows", "2^64 - 1 rows", "too wide", "no columns", "too many positions"],
        "more names": ["more shared than items"],
        "more blocks": ["too many blocks"],
        "fewer blocks": ["too few blocks"],
        "duplicate of one": ["a duplicate of "],
        "nothing to store": ["a stored "],
        "flags": ["flags of", "flags that", "tracks that"],
        "attributes": ["an attribute twice", "capitals", "a long", "an empty", "an attribute that"],
    }
    found = [message for message, starts in messages.items() if any(start in what for start in starts)]
    return found[0] if found else "damaged archive"


INDEX = {
    "one axis": extents([32] * COUNT),
    "three axes": extents([32] * COUNT, [32] * COUNT, [1] * COUNT),
    "too many rows": changed({0: (1 << 41, 32)}),
    "2^64 - 1 rows": changed({0: ((1 << 64) - 1, 32)}),
    "too wide": changed({0: (1, (1 << 24) + 1)}),
    "no columns": changed({0: (32, 0)}),
    "too many positions": changed({0: (1 << 30, 1 << 15)}),
    "too many blocks": changed({0: (1 << 40, 8)}),
    "too few blocks": changed({70: (8, 8), 71: (8, 8)}),
    "narrow extents": {"extents": [pack([32] * COUNT)] * 2},
    "extents of another type": {"extents": [1, 2]},
    "extents that are none": {"extents": b""},
    "no items": {"steps": b"", "shared": b"", "endings": b"", "extents": [b"", b""]},
    "no blocks": {"modes": b"", "lengths": b"", "payload_crcs": b"", "symbols_crcs": b""},
    "unknown mode": {"modes": bytes([9] * 16)},
    "odd column": {"steps": b"123"},
    "names": {"endings": b"a\0" * COUNT},
    "more shared than items": {"shared": pack([0] * (COUNT + 1))},
    "no names": {"endings": REMOVED},
    "modes of another type": {"modes": 7},
    "null": {"labels": None},
    "one column of labels": {"labels": [pack([0] * COUNT)]},
    "short labels": {"labels": [pack([0] * COUNT), pack([0])]},
    "labels of another type": {"labels": pack([0] * COUNT)},
    "short flags of tracks": {"tracked": bytes(3)},
    "tracks that are none": {"tracked": bytes([2] * COUNT)},
    "flags without tracks": {"tracks": REMOVED},
    "tracks of one label": {"tracks": [pack([0] * 32)]},
    "long tracks": {"tracks": [pack([0] * 33)] * 2},
    "tracks of all": {"tracked": bytes([1] * COUNT)},
    "attributes without flags": {"attributed": REMOVED},
    "attributes without values": {"values": []},
    "an attribute twice": {"attributes": ["dots", "dots"]},
    "capitals in an attribute": {"attributes": ["dots", "Rate"]},
    "a long attribute": {"attributes": ["dots", "x" * 65]},
    "an empty attribute": {"attributes": ["dots", ""]},
    "an attribute that is no text": {"attributes": ["dots", b"x"]},
    "attributes that are none": {"attributes": "dots"},
    "odd flags of an attribute": {"attributed": [bytes([7] * COUNT)] * 2},
    "flags of an attribute that are none": {"attributed": [1, 2]},
    "short values": {"values": [pack([1], 8)] * 2},
    "a duplicate of itself": {"originals": pack([0] * 71 + [72] + [0] * 3)},
    "a duplicate of a later one": {"originals": pack([0] * 69 + [72] + [0] * 5)},
    "a duplicate of a duplicate": {"originals": pack([0, 1, 2] + [0] * 72)},
    "a duplicate of another size": {"originals": pack([0] * 71 + [1] + [0] * 3)},
    "a duplicate of none": {"originals": pack([0] * 71 + [BIG] + [0] * 3)},
    "short duplicates": {"originals": pack([0])},
    "duplicates that are none": {"originals": 5},
    "a stored duplicate": {"fallback": bytes([0] * 71 + [1, 0, 1, 1])},
    "a stored item without samples": {"fallback": bytes([0] * 72 + [1, 1, 1])},
    "odd flags of the fallback": {"fallback": bytes([0] * 73 + [2, 1])},
    "short flags of the fallback": {"fallback": b"\1"},
    "long flags of the fallback": {"fallback": bytes([0] * 73 + [1, 1, 2])},
    "flags that are none": {"fallback": 1},
    "nothing stored": {"fallback": REMOVED},
}


@pytest.mark.parametrize("what", INDEX)
def test_every_field_of_the_index_has_its_range(data, what):
    with pytest.raises(ArchiveError, match=mentions(what)):
        opened(forged(data, index=INDEX[what]))


def test_labels_may_be_missing(data):
    archive = opened(forged(data, index={"labels": REMOVED}))
    assert {item.labels for item in archive.items} == {(-1, -1)}


def test_labels_that_the_header_does_not_know():
    plain = written(replace(HEADER, labels=0), [ItemRecord("x", (0, 1))], [])
    assert opened(forged(plain, index={"labels": []})).items[0].labels == ()
    assert opened(forged(plain, index={"labels": [pack([1])]})).items[0].labels == ()
    for tracks in ([], [b""]):
        with pytest.raises(ArchiveError, match="tracks of labels"):
            opened(forged(plain, index={"tracked": b"\1", "tracks": tracks}))


@pytest.mark.parametrize("lengths", [lambda n: [BIG] * n, lambda n: [1 << 63] * n, lambda n: [0] * n])
def test_the_blocks_fill_the_data(data, symbols, lengths):
    for column in (pack(lengths(len(symbols)), 8), pack([1], 8), pack([1] * len(symbols)), 7):
        with pytest.raises(ArchiveError):
            opened(forged(data, index={"lengths": column}))
    own = list(opened(data).lengths)
    own[0], own[1] = 0, own[0] + own[1]
    with pytest.raises(ArchiveError, match="lengths"):
        opened(forged(data, index={"lengths": pack(own, 8)}))


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("mode", [*Mode, 7, 255])
def test_a_block_has_a_mode_for_what_it_holds(part, mode):
    allowed = {
        Part.CODES: {Mode.RAW, Mode.STATIC, Mode.ADAPTIVE, Mode.PRIOR},
        Part.SAMPLES: {Mode.SAMPLES},
        Part.CHAIN: {Mode.BITS_BACK},
        Part.FALLBACK: {Mode.RAW, Mode.PACKED},
        Part.FILE: {Mode.RAW, Mode.PACKED},
    }
    content = {Part.SAMPLES: "samples", Part.CHAIN: "chains"}.get(part, "codes")
    header = Header(
        kind="image",
        channels=1,
        hop=(1,),
        code_alphabets=(9,) if content == "codes" else (),
        sample_alphabets=(9,),
        segment=64,
        content=content,
        ids={"codes": CODES_ID, "prior": PRIOR_ID, "decoder": DECODER_ID, "encoder": ENCODER_ID},
    )
    items, forms = (
        [ItemRecord("x", (5,))],
        {Part.FALLBACK: Stored(frozenset({0})), Part.FILE: Stored(files={0: 5})},
    )
    stored = forms.get(part, Stored())
    counts = [np.ones(9, int)] if content == "codes" else None
    good = written(header, items, [Block(min(allowed[part]), b"1234", 0)], counts, stored)
    assert opened(good).layout[0].part is part
    changed = forged(good, index={"modes": bytes([mode])})
    if mode in allowed[part]:
        assert opened(changed).modes == [mode]
    else:
        with pytest.raises(ArchiveError, match="a mode"):
            opened(changed)


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
    start = time.perf_counter()
    try:
        with pytest.raises(ArchiveError):
            opened(hostile)
        assert time.perf_counter() - start < 2 and tracemalloc.get_traced_memory()[1] < 100 * MIB
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
    start = time.perf_counter()
    try:
        with pytest.raises(ArchiveError, match="more blocks"):
            opened(hostile)
        assert time.perf_counter() - start < 5 and tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()
