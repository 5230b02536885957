"""Zip archives as sources: names, bombs, damage, encryption, and one open file for all entries."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from latentpress.data import open_sources, readers, sources
from latentpress.errors import ItemError
from latentpress.items import Text
from small.configs import ITEMS
from small.sources import file_of, names, random_items, sizes_of, zip_of


@pytest.fixture(params=ITEMS)
def item(request):
    return replace(ITEMS[request.param], size=None)


@pytest.mark.parametrize(
    ("raw", "system", "name"),
    [
        ("é".encode(), 3, "é"),
        (b"\x82", 3, "é"),
        (b"\x82\xff", 0, "é\xa0"),
        (b"plain", 3, "plain"),
        (b"win\\dows", 0, "win/dows"),
        (b"uni\\x", 3, "uni\\x"),
    ],
)
def test_names_in_zip_archives_without_the_flag_of_utf_8(raw, system, name, tmp_path):
    entry = zipfile.ZipInfo("~" * len(raw) + ".txt")
    entry.create_system = system
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(entry, b"text")
    data = (tmp_path / "x.zip").read_bytes().replace(b"~" * len(raw), raw)
    (tmp_path / "x.zip").write_bytes(data)
    source = open_sources([tmp_path / "x.zip"], Text())
    assert names(source) == [f"{name}.txt"] and source.items[0].read().tobytes() == b"text"


def test_what_archives_unpack_to_is_bounded(item, tmp_path, monkeypatch):
    path = zip_of(tmp_path / "x.zip", {f"bomb{item.new_suffix}": bytes(1 << 21)})
    monkeypatch.setattr(readers, "MAX_ENTRY_BYTES", 1 << 19)
    with pytest.raises(ItemError, match=r"^bomb\.\w+: the entry has more than"):
        open_sources([path], item).items[0].open()
    monkeypatch.setattr(sources, "_MAX_ARCHIVE_BYTES", 1 << 19)
    with pytest.raises(ItemError, match="zip bomb"):
        open_sources([path], item)


def test_damaged_archives_give_items_or_an_item_error(item, tmp_path):
    files = [file_of(item, samples) for samples in random_items(item, sizes_of(item, 3))]
    path = zip_of(tmp_path / "x.zip", {f"{i}{item.new_suffix}": data for i, data in enumerate(files)})
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for trial in range(200):
        damaged = bytearray(data[: random.integers(4, len(data))] if trial % 5 == 0 else data)
        for place in random.integers(4, len(damaged), 2) if len(damaged) > 4 else ():
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            for ref in open_sources([path], item).items:
                assert ref.read().dtype == item.dtype
        except ItemError as error:
            assert "\n" not in str(error)


def test_encrypted_entries_are_an_item_error_or_would_be_missed(tmp_path):
    path = zip_of(tmp_path / "x.zip", {"a": b"text", "b.txt": b"text"})
    data, position = bytearray(path.read_bytes()), -1
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for _ in range(2):
            position = data.index(magic, position + 1)
            data[position + offset] |= 1
    path.write_bytes(data)
    source = open_sources([path], Text())
    assert names(source) == ["b.txt"]
    with pytest.raises(ItemError, match=r"b\.txt: cannot be read: .*encrypted"):
        source.items[0].read()
    (skipped,) = source.skipped
    assert skipped.name == "a" and "encrypted" in skipped.reason and skipped.lost


def test_a_zip_of_no_zip(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\3\4" + bytes(100))
    for kind in ITEMS.values():
        with pytest.raises(ItemError, match=r"x\.zip: cannot be read"):
            open_sources([tmp_path / "x.zip"], kind)


def test_many_entries_share_one_file(tmp_path):
    path = zip_of(tmp_path / "x.zip", {f"{i}.txt": b"text" for i in range(50)})
    opened = []
    original = zipfile.ZipFile.__init__

    def counting(self, *arguments, **options):
        opened.append(self)
        original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "__init__", counting)
        source = open_sources([path], Text())
        assert [ref.read().tobytes() for ref in source.items] == [b"text"] * 50
    assert len(opened) == 1
