"""Texts: bytes as they are, read by ranges, and what is taken for one."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ItemError
from latentpress.items import Content, Text, base, text
from latentpress.items.text import SNIFFED_BYTES, TEXT_SUFFIXES, looks_like_text


class Counted(BytesIO):
    """A file that knows the most bytes that were read or written at once."""

    most = 0

    def read(self, size=-1, /):
        data = super().read(size)
        self.most = max(self.most, len(data))
        return data

    def write(self, data, /):
        self.most = max(self.most, len(data))
        return super().write(data)


@given(st.binary(max_size=300))
def test_bytes_come_back_as_they_were(data):
    content = Text().open(BytesIO(data))
    assert content.shape == (len(data), 1) and content.samples.dtype == np.uint8
    file = BytesIO()
    Text().write(content, file)
    assert file.getvalue() == data
    packed = Text().pack(content.samples)
    assert np.array_equal(Text().unpack(packed, content.shape), content.samples)


def test_a_long_text_is_never_in_memory_whole(monkeypatch):
    monkeypatch.setattr(base, "_PIECE", 1000)
    source, target = Counted(bytes(range(256)) * 100), Counted()
    content = Text().open(source)
    assert source.most == 0
    Text().write(content, target)
    assert target.getvalue() == source.getvalue()
    assert source.most == target.most == 1000


def test_a_text_is_bounded(monkeypatch):
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 10)
    assert Text().open(BytesIO(bytes(10))).shape == (10, 1)
    with pytest.raises(ItemError, match="11 bytes are more than the limit"):
        Text().open(BytesIO(bytes(11)))


def test_a_file_that_becomes_shorter_is_an_error():
    file = BytesIO(bytes(10))
    content = Text().open(file)
    file.truncate(5)
    assert content.read(0, 5).shape == (5, 1)
    with pytest.raises(ItemError, match="shorter while it was read"):
        content.read(4, 6)


@pytest.mark.parametrize("wrong", [np.zeros(3, np.uint8), np.zeros((3, 2), np.uint8), np.zeros((3, 1))])
def test_only_texts_are_written(wrong):
    with pytest.raises(ItemError, match=r"uint8 \(T, 1\)"):
        Text().write(Content.of(wrong), BytesIO())


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers(0, 3))
def test_a_character_may_be_cut_where_the_look_ends(string, shift):
    data = (string or "ä").encode() * SNIFFED_BYTES
    assert looks_like_text(b"x" * shift + data[: SNIFFED_BYTES - shift])


def test_what_is_no_text():
    assert looks_like_text(b"") and looks_like_text(b"a\r\n\x1b[0m")
    assert not looks_like_text(b"a\0b") and not looks_like_text(b"\xff\xfea\0")
    assert not looks_like_text("ä".encode()[:1])  # the whole file, cut


def test_texts_are_known_by_their_suffix_or_their_first_bytes():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in TEXT_SUFFIXES)
    assert Text().takes("a.MD", lambda length: b"\0") and Text().takes("Makefile", lambda length: b"all:\n")
    assert not Text().takes("a.out", lambda length: b"\x7fELF\0")
    assert not Text().opens_zip("a.docx") and Text().opens_zip("a.ZIP")


@pytest.fixture(scope="module")
def packed():
    return Text().pack(Text().open(BytesIO(b"the same again, " * 20)).samples)


def test_the_stream_ends_where_its_bytes_end(packed):
    assert len(Text().unpack(packed, (320, 1))) == 320
    for damaged in (packed[:-1], packed + b"\0", packed * 2):
        with pytest.raises(ItemError):
            Text().unpack(damaged, (320, 1))


@pytest.mark.parametrize("length", [0, 319, 321])
def test_another_length_is_refused(packed, length):
    with pytest.raises(ItemError):
        Text().unpack(packed, (length, 1))
