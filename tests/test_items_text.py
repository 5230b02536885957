from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ItemError
from latentpress.items import text
from latentpress.items.text import (
    SNIFFED_BYTES,
    looks_like_text,
    pack_text,
    read_text,
    unpack_text,
    write_text,
)


@given(st.binary(max_size=300))
def test_bytes_come_back_as_they_were(data):
    symbols = read_text(data)
    assert symbols.shape == (len(data), 1) and symbols.dtype == np.uint8
    assert write_text(symbols) == data
    assert unpack_text(pack_text(data), len(data)) == data


def test_what_is_read_belongs_to_the_reader():
    data = b"abc"
    read_text(data)[:] = 0
    assert data == b"abc"


def test_a_text_is_bounded(monkeypatch):
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 10)
    assert len(read_text(bytes(10))) == 10
    with pytest.raises(ItemError, match="11 bytes are more than the limit"):
        read_text(bytes(11))


@pytest.mark.parametrize("wrong", [np.zeros(3, np.uint8), np.zeros((3, 2), np.uint8), np.zeros((3, 1))])
def test_only_texts_are_written(wrong):
    with pytest.raises(ItemError, match=r"uint8 \(T, 1\)"):
        write_text(wrong)


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers(0, 3))
def test_a_character_may_be_cut_where_the_look_ends(string, shift):
    data = (string or "ä").encode() * SNIFFED_BYTES
    assert looks_like_text(b"x" * shift + data[: SNIFFED_BYTES - shift])


def test_what_is_no_text():
    assert looks_like_text(b"") and looks_like_text(b"a\r\n\x1b[0m")
    assert not looks_like_text(b"a\0b") and not looks_like_text(b"\xff\xfea\0")
    assert not looks_like_text("ä".encode()[:1])  # the whole file, cut


@given(st.binary(max_size=60), st.integers(0, 300))
def test_hostile_streams_give_the_length_asked_for_or_one_error(data, length):
    with suppress(ItemError):
        assert len(unpack_text(data, length)) == length


PACKED = pack_text(b"the same again, " * 20)


@given(st.integers(0, len(PACKED) - 1), st.integers(0, 7))
def test_flipped_bits_give_the_length_asked_for_or_one_error(position, bit):
    damaged = bytearray(PACKED)
    damaged[position] ^= 1 << bit
    with suppress(ItemError):
        assert len(unpack_text(bytes(damaged), 320)) == 320


@pytest.mark.parametrize("packed", [PACKED[:-1], PACKED + b"\0", PACKED * 2, b""])
def test_the_stream_ends_where_its_bytes_end(packed):
    with pytest.raises(ItemError):
        unpack_text(packed, 320)


@pytest.mark.parametrize("length", [0, 319, 321])
def test_another_length_is_refused(length):
    with pytest.raises(ItemError):
        unpack_text(PACKED, length)


def test_a_bomb_is_unpacked_no_further_than_asked():
    bomb = pack_text(bytes(1 << 24))
    assert len(bomb) < 4096
    with pytest.raises(ItemError):
        unpack_text(bomb, 100)
