"""The archive file: what is written is read, by the package and by a reader made from the format page, and
damage is found out."""

import io
import zlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding import Block, Header, ItemRecord, Mode, Part, inspect_archive, modes, open_archive
from latentpress.coding.container import write_archive
from latentpress.coding.metadata import pack
from latentpress.coding.records import Stored, shape_fits, symbols_crc
from latentpress.errors import ArchiveError
from latentpress.items import Image
from lpz_reader import Reader
from small.containers import COUNTS, HEADER, ITEMS, STORED, coded, opened, small_archive, written
from small.forging import forged, sections


@pytest.fixture(scope="module")
def data():
    return small_archive()[0]


@pytest.fixture(scope="module")
def symbols():
    return small_archive()[1]


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
