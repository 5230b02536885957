import hashlib
import io
import time
import tracemalloc
import zlib
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
    inspect_archive,
    lay_out,
    modes,
    write_archive,
)
from latentpress.coding.metadata import dump, inflate, load, pack, unpack
from latentpress.coding.records import symbols_crc
from latentpress.errors import ArchiveError, LatentpressError

HEADER = Header(
    kind="image",
    channels=3,
    sizes=(512, 7),
    hop=(4, 4),
    model="test",
    prior_id=b"p" * 16,
    codebook_id=b"c" * 16,
)
ITEMS = [ItemRecord(f"a/{i:03d}.png", (32, 32), i % 3 or None) for i in range(70)] + [
    ItemRecord("big.jpg", (301, 298))
]
ENCODERS = [
    lambda codes, tables: Block(Mode.RAW, modes.encode_raw(codes, HEADER.sizes), symbols_crc(codes)),
    lambda codes, tables: Block(Mode.STATIC, modes.encode_static(codes, tables), symbols_crc(codes)),
    lambda codes, tables: Block(
        Mode.ADAPTIVE, modes.encode_adaptive(codes, HEADER.sizes), symbols_crc(codes)
    ),
]


def sample():
    """Returns an archive that uses every mode but the prior's, and the codes of its blocks."""
    rng = np.random.default_rng(0)
    counts = [np.arange(size) for size in HEADER.sizes]
    tables = [modes.normalize(count[None])[0] for count in counts]
    codes, blocks = [], []
    for number, block in enumerate(lay_out((HEADER.grid(item.shape) for item in ITEMS), 2)):
        shape = block.positions, len(block.lanes)
        codes.append(np.stack([rng.integers(0, size, shape) for size in HEADER.sizes], axis=-1))
        blocks.append(ENCODERS[number % 3](codes[-1], tables))
    file = io.BytesIO()
    assert write_archive(file, HEADER, ITEMS, blocks, counts) == len(file.getvalue())
    return file.getvalue(), codes


DATA, CODES = sample()


def test_reading_inverts_writing():
    archive = Archive(io.BytesIO(DATA))
    assert archive.header == HEADER and list(archive.items) == ITEMS
    assert {Mode.RAW, Mode.STATIC, Mode.ADAPTIVE} == set(archive.modes)
    for number, codes in enumerate(CODES):
        assert np.array_equal(archive.stored_codes(number), codes)


def test_blocks_of_an_item():
    archive = Archive(io.BytesIO(DATA))
    for item, numbers in enumerate(archive.blocks_of):
        for number in numbers:
            assert item in [lane.item for lane in archive.layout[number].lanes]
    assert len(archive.blocks_of[-1]) == 2  # 76 x 75 positions in two bands


def test_inspection_needs_no_block():
    damaged = bytearray(DATA)
    start = DATA.index(b"DATA") + 12
    damaged[start : start + 1000] = bytes(1000)
    info = inspect_archive(bytes(damaged))
    assert info.bytes == len(DATA) == info.framing_bytes + sum(use.bytes for use in info.modes)
    assert info.dims == 3 * (70 * 32 * 32 + 301 * 298)


def test_many_small_items_cost_next_to_nothing():
    items = [ItemRecord(f"cifar10/test/cat/{i:04d}.jpg", (32, 32)) for i in range(10_000)]
    file = io.BytesIO()
    blocks = [Block(Mode.RAW, bytes(4608), zlib.crc32(bytes([i]))) for i in range(79)]
    header = replace(HEADER, sizes=(512,), hop=(8, 8))
    assert write_archive(file, header, items, blocks[:40], None) - 40 * 4608 < 1200
    assert list(Archive(file).items) == items


@pytest.mark.parametrize("position", range(0, len(DATA), 997))
def test_a_changed_byte_is_noticed(position):
    damaged = bytearray(DATA)
    damaged[position] ^= 0x10
    with pytest.raises(ArchiveError):
        archive = Archive(io.BytesIO(damaged))
        for number in range(len(CODES)):
            archive.stored_codes(number)


@pytest.mark.parametrize("length", [0, 1, 8, 9, 20, 40, len(DATA) // 2, len(DATA) - 1])
def test_a_truncated_archive_is_refused(length):
    with pytest.raises(ArchiveError):
        Archive(io.BytesIO(DATA[:length]))


def test_damage_is_limited_to_its_block():
    damaged = bytearray(DATA)
    damaged[DATA.index(b"DATA") + 12] ^= 1
    archive = Archive(io.BytesIO(damaged))
    with pytest.raises(ArchiveError, match=r"block 0 .*other bytes"):
        archive.stored_codes(0)
    assert np.array_equal(archive.stored_codes(1), CODES[1])


def test_other_symbols_are_noticed():
    with pytest.raises(ArchiveError, match="other symbols"):
        Archive(io.BytesIO(DATA)).check(0, CODES[0] ^ 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.replace(b"\r\n", b"\n"), "binary mode"),
        (lambda data: b"PK\3\4" + data[4:], "not a Latentpress archive"),
        (lambda data: data[:8] + b"\2" + data[9:], "format version 2"),
        (lambda data: data + b"\n", "something was appended"),
    ],
)
def test_the_reason_is_named(damage, message):
    with pytest.raises(ArchiveError, match=message):
        Archive(io.BytesIO(damage(DATA)))


def sections(data=DATA):
    position, found = 9, {}
    while position < len(data) - 20:
        length = int.from_bytes(data[position + 4 : position + 12], "little")
        found[data[position : position + 4]] = data[position + 12 : position + 12 + length]
        position += 12 + length
    return found


def signed(parts):
    """Returns an archive of these sections whose digest is right: the work of an attacker."""
    data, digest = DATA[:9], hashlib.blake2b(DATA[:9], digest_size=16)
    for tag, payload in parts.items():
        head = tag + len(payload).to_bytes(8, "little")
        digest.update(head + (b"" if tag == b"DATA" else payload))
        data += head + payload
    return data + digest.digest() + DATA[-4:]


def with_index(**changes):
    index = cbor2.loads(zlib.decompress(sections()[b"INDX"])) | changes
    return signed(sections() | {b"INDX": zlib.compress(cbor2.dumps(index))})


def with_head(**changes):
    return signed(sections() | {b"HEAD": cbor2.dumps(cbor2.loads(sections()[b"HEAD"]) | changes)})


def test_unknown_sections():
    assert signed(sections()) == DATA
    assert list(Archive(io.BytesIO(signed(sections() | {b"noTE": b"hello" * 999}))).items) == ITEMS
    with pytest.raises(ArchiveError, match="does not know"):
        Archive(io.BytesIO(signed(sections() | {b"NOTE": b"hello"})))


BIG = (1 << 32) - 1
HOSTILE = {
    "too large": with_index(shape=[pack([1 << 15] * 71), pack([1 << 15] * 71)]),
    "too many blocks": with_index(shape=[pack([4] * 70 + [1 << 14]), pack([4] * 70 + [1 << 14])]),
    "too few blocks": with_index(shape=[pack([4] * 71), pack([4] * 71)]),
    "empty item": with_index(shape=[pack([0] * 71), pack([4] * 71)]),
    "one axis": with_index(shape=[pack([4] * 71)]),
    "no items": with_index(steps=b"", shared=b"", endings=b"", shape=[b"", b""]),
    "no blocks": with_index(modes=b"", lengths=b"", payload_crcs=b"", symbols_crcs=b""),
    "unknown mode": with_index(modes=bytes([9] * len(CODES))),
    "lengths": with_index(lengths=pack([BIG] * len(CODES))),
    "short column": with_index(lengths=pack([1])),
    "odd column": with_index(steps=b"123"),
    "names": with_index(endings=b"a\0" * 71),
    "type": with_index(modes=7),
    "missing": with_index(labels=None),
    "sizes": with_head(sizes=[1]),
    "huge sizes": with_head(sizes=[1 << 40]),
    "many sizes": with_head(sizes=[512] * 65),
    "text sizes": with_head(sizes=["a"]),
    "hop": with_head(hop=[0, 4]),
    "axes": with_head(hop=[4]),
    "model": with_head(model="\x1b[2J"),
    "channels": with_head(channels=0),
    "long kind": with_head(kind="x" * 33),
    "odd kind": with_head(kind="\x1b[2J"),
    "short id": with_head(prior_id=b""),
    "long id": with_head(codebook_id=bytes(17)),
    "long side": with_index(shape=[pack([4] * 70 + [1]), pack([4] * 70 + [65537])]),
    "tag": with_head(extra=cbor2.CBORTag(2, b"1")),
    "not a map": signed(sections() | {b"HEAD": b"\x80"}),
    "nested": signed(sections() | {b"HEAD": b"\x81" * 60000}),
    "not CBOR": signed(sections() | {b"HEAD": b"\xff"}),
    "long head": signed(sections() | {b"HEAD": cbor2.dumps({"x": bytes(1 << 17)})}),
    "not zlib": signed(sections() | {b"INDX": b"hello"}),
    "bomb": signed(sections() | {b"INDX": zlib.compress(bytes(1 << 27))}),
    "no index": signed({b"HEAD": sections()[b"HEAD"]}),
    "no table": signed({tag: part for tag, part in sections().items() if tag != b"TABL"}),
    "empty table": signed(sections() | {b"TABL": zlib.compress(pack([0] * 519))}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_fields_are_refused(what):
    with pytest.raises(ArchiveError):
        Archive(io.BytesIO(HOSTILE[what]))


@given(st.binary(max_size=300), st.booleans())
def test_any_metadata_gives_an_archive_or_one_error(payload, head):
    parts = {b"HEAD": payload} if head else {b"INDX": zlib.compress(payload)}
    with pytest.raises(LatentpressError):
        Archive(io.BytesIO(signed(sections() | parts)))


MIB = 1 << 20
ARRAYS = b"\xa1\x61x\x9a" + (16 * MIB).to_bytes(4, "big")
BOMBS = {
    "empty arrays": ARRAYS + b"\x80" * (16 * MIB),
    "nested arrays": ARRAYS + b"\x81" * (16 * MIB),
    "tags": b"\xa1\x61x" + b"\xc2" * (16 * MIB),
    "modes": dump(cbor2.loads(zlib.decompress(sections()[b"INDX"])) | {"modes": bytes(16 * MIB)}),
    "endings": dump(cbor2.loads(zlib.decompress(sections()[b"INDX"])) | {"endings": bytes(16 * MIB)}),
}


@pytest.mark.parametrize("what", BOMBS)
def test_an_index_that_is_a_bomb_is_refused_at_once(what):
    data = signed(sections() | {b"INDX": zlib.compress(BOMBS[what], 1)})
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(ArchiveError):
            Archive(io.BytesIO(data))
        assert time.perf_counter() - start < 2 and tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


SCALARS = st.integers(0, 2**64 - 1) | st.binary() | st.text()


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS)))
def test_metadata_is_inverted(tree):
    assert load(dump(tree)) == tree


@given(st.lists(st.integers(0, BIG)))
def test_columns_are_inverted(values):
    assert unpack(pack(values), len(values)).tolist() == values


def test_inflating_is_bounded():
    assert inflate(zlib.compress(bytes(100)), 100) == bytes(100)
    for data in (zlib.compress(bytes(101)), zlib.compress(bytes(9))[:-1], zlib.compress(b"") + b"x"):
        with pytest.raises(ArchiveError):
            inflate(data, 100)
