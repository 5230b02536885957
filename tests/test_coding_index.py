"""Every field of an archive's index has its range, and says no other thing than the blocks that are there."""

from dataclasses import replace

import numpy as np
import pytest

from latentpress.coding import Block, Header, ItemRecord, Mode, Part
from latentpress.coding.metadata import pack
from latentpress.coding.records import Stored, shape_fits
from latentpress.errors import ArchiveError
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
from small.forging import REMOVED, forged


@pytest.fixture(scope="module")
def data():
    return small_archive()[0]


@pytest.fixture(scope="module")
def symbols():
    return small_archive()[1]


BIG, COUNT = (1 << 32) - 1, len(ITEMS)


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
