"""The metadata: maps that any CBOR library reads, columns, and bytes that are refused."""

import zlib

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding.metadata import dump, get, inflate, load, pack, unpack
from latentpress.errors import ArchiveError

SCALARS = st.integers(0, 2**64 - 1) | st.binary() | st.text()
TREES = st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=64), max_size=64)


@given(TREES)
def test_maps_are_inverted(tree):
    assert load(dump(tree)) == tree


@given(TREES)
def test_maps_are_those_of_another_library(tree):
    assert cbor2.loads(dump(tree)) == tree
    assert load(cbor2.dumps(tree)) == tree
    assert dump(tree) == dump(dict(reversed(tree.items())))  # the order of the keys does not matter


@given(st.binary(max_size=200))
def test_any_bytes_give_a_map_or_one_error(data):
    try:
        tree = load(data)
    except ArchiveError:
        return
    assert cbor2.loads(data) == tree


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",  # an array
        b"\xff",
        b"\xbf\xff",  # an indefinite length
        b"\xa1\x01\x01",  # a key that is no text
        b"\xa2\x61x\x01\x61x\x02",  # a key twice
        b"\xa1\x61x\x20",  # a negative number
        b"\xa1\x61x\xf6",  # null
        b"\xa1\x61x\xc2\x41\x01",  # a tag
        b"\xa1\x61x\x81\x80",  # nested arrays
        b"\xa1\x61x\xa0",  # a map in a map
        b"\xa1\x61x\x62\xc3\x28",  # no UTF-8
        b"\xa1\x61x\x1b\xff",  # cut off in a number
        b"\xa1\x61x\x5b" + b"\xff" * 8,  # longer than the file
        b"\xa1\x61x\x98\x41" + b"\x00" * 65,  # 65 entries
        b"\xa0\x00",  # something after the map
        b"\xa1\x61x\x1c",  # a reserved length
        b"\xb8\x41" + b"".join(b"\x61" + bytes([48 + n]) + b"\x00" for n in range(65)),  # 65 entries
    ],
)
def test_other_forms_are_refused(data):
    with pytest.raises(ArchiveError, match="CBOR map"):
        load(data)


def test_entries_must_be_of_their_type():
    tree = {"number": 1, "text": "x"}
    assert get(tree, "number", int) == 1
    for key, kind in (("number", str), ("text", bytes), ("missing", int)):
        with pytest.raises(ArchiveError, match=key):
            get(tree, key, kind)


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_columns_are_inverted(values):
    assert unpack(pack(values), len(values)).tolist() == values


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_wide_columns_are_inverted(values):
    assert unpack(pack(values, 8), len(values), 8).tolist() == values


@pytest.mark.parametrize(("data", "count"), [(b"123", None), (b"1234", 2), (7, 1), ("1234", 1)])
def test_columns_of_another_length_are_refused(data, count):
    with pytest.raises(ArchiveError, match="column"):
        unpack(data, count)


def test_a_number_that_does_not_fit_is_not_cut():
    with pytest.raises(OverflowError):
        pack(np.array([1, 1 << 32]))
    with pytest.raises(OverflowError):
        pack([-1])


def test_inflating_is_bounded():
    assert inflate(zlib.compress(bytes(100)), 100) == bytes(100)
    for data in (zlib.compress(bytes(101)), zlib.compress(bytes(9))[:-1], zlib.compress(b"") + b"x", b"x"):
        with pytest.raises(ArchiveError):
            inflate(data, 100)


def test_maps_and_arrays_have_up_to_64_entries():
    for tree in ({f"{n}": n for n in range(64)}, {"x": list(range(64))}):
        assert load(dump(tree)) == tree
    for tree in ({f"{n}": n for n in range(65)}, {"x": list(range(65))}):
        with pytest.raises(ArchiveError):
            load(dump(tree))
