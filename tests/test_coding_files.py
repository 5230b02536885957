"""Archives with items that are stored as the files that they were: written, read, refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

from latentpress.coding import Archive, Block, Header, ItemRecord, Mode, Part, Stored, inspect_archive, modes
from latentpress.coding.container import write_archive
from latentpress.coding.metadata import pack
from latentpress.coding.records import symbols_crc
from latentpress.errors import ArchiveError
from lpz_reader import Reader
from small.forging import forged

HEADER = Header(
    kind="image",
    channels=3,
    hop=(4, 4),
    code_alphabets=(512,),
    sample_alphabets=(256,) * 3,
    segment=1 << 17,
    content="codes",
    ids={"codes": bytes(16)},
)
ITEMS = [
    ItemRecord("coded.png", (8, 8)),
    ItemRecord("file.jpg", (20, 10)),
    ItemRecord("stored.png", (3, 2)),
    ItemRecord("odd.tif", (0, 1)),
    ItemRecord("odd again.tif", (0, 1), duplicate_of=3),
    ItemRecord("no bytes.png", (0, 1)),
]
FILES = {1: b"hello", 3: bytes(range(256)) * 4, 5: b""}
STORED = Stored(frozenset({2}), {number: len(data) for number, data in FILES.items()})


@pytest.fixture(scope="module")
def made() -> bytes:
    blocks = []
    for block in HEADER.layout(ITEMS, STORED):
        lane = block.lanes[0]
        if block.part is Part.FILE:
            symbols = np.frombuffer(FILES[lane.item], np.uint8)[lane.start : lane.stop, None, None]
        else:
            shape = block.positions, 1, len(HEADER.alphabets(block.part))
            symbols = np.arange(np.prod(shape)).reshape(shape) % 7
        payload = modes.encode_raw(symbols, HEADER.alphabets(block.part))
        blocks.append(Block(Mode.RAW, payload, symbols_crc(symbols)))
    file = io.BytesIO()
    write_archive(file, HEADER, ITEMS, blocks, stored=STORED)
    return file.getvalue()


def test_files_are_read_as_they_were_written(made: bytes) -> None:
    archive = Archive(io.BytesIO(made))
    assert archive.stored == STORED and list(archive.items) == ITEMS
    assert [block.part for block in archive.layout] == [Part.CODES, Part.FALLBACK, Part.FILE, Part.FILE]
    for number, block in enumerate(archive.layout):
        if block.part is Part.FILE:
            assert archive.stored_symbols(number).tobytes() == FILES[block.lanes[0].item]
    assert archive.blocks_of == [[0], [2], [1], [3], [3], []]


def test_a_reader_made_from_the_format_page_reads_the_same_files(made: bytes) -> None:
    reader = Reader(made)
    expected = {ITEMS[number].name: data for number, data in FILES.items()}
    assert reader.files() == expected | {"odd again.tif": FILES[3]}
    assert set(reader.codes()) == {"coded.png"} and set(reader.symbols()) == {"stored.png"}


def test_a_file_is_cut_into_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentpress.coding.records.FILE_SEGMENT", 100)
    blocks = HEADER.layout(ITEMS, STORED)
    lanes = [block.lanes[0] for block in blocks if block.part is Part.FILE]
    assert [(lane.item, lane.start, lane.stop) for lane in lanes[:3]] == [(1, 0, 5), (3, 0, 94), (3, 94, 188)]
    assert lanes[-1].stop == 1024


def test_what_is_stored_is_counted(made: bytes) -> None:
    info = inspect_archive(made)
    assert (info.fallback, info.files, info.duplicates) == (1, 3, 1)
    assert [(use.part, use.mode, use.bytes) for use in info.modes][-1] == ("file", "raw", 5 + 1024)


@pytest.mark.parametrize(
    "files",
    [
        pack([0, 6, 3, 1025, 0, 1], 8),  # of an item that the fallback codec stores too
        pack([0, 6, 0, 1025, 9, 1], 8),  # of a duplicate
        pack([0, 6, 0, 1 << 60, 0, 1], 8),
        pack([0, 6, 0, 1024, 0, 1], 8),
        pack([0, 6, 0, 0, 0, 1], 8),
        pack([6], 8),
        pack([0, 6, 0, 1025, 0, 1]),
        7,
    ],
)
def test_odd_lengths_of_files_are_refused(made: bytes, files: object) -> None:
    with pytest.raises(ArchiveError):
        archive = Archive(io.BytesIO(forged(made, index={"files": files})))
        [archive.stored_symbols(number) for number in range(len(archive.layout))]


def test_a_file_is_raw_or_packed(made: bytes) -> None:
    for mode in Mode:
        if mode not in (Mode.RAW, Mode.PACKED):
            with pytest.raises(ArchiveError, match="mode"):
                Archive(io.BytesIO(forged(made, index={"modes": bytes([0, 0, 0, mode])})))
