"""Texts among the sources: what is taken, what is left out, and that this is said."""

import zipfile

import pytest

from latentpress.data import sources
from latentpress.data.sources import Skipped, is_lost, open_sources
from latentpress.errors import ItemError
from latentpress.items.text import write_text

TREE = {
    "b/main.PY": b"print()\n",
    "b/LICENSE": b"as is\r\n",
    "b/blob.bin": b"\x7fELF\0\1",
    "a/latin.txt": b"na\xefve",
    "a/empty": b"",
    "top.md": "naïve".encode(),
    ".gitignore": b"*.o",
    ".git/config": b"[core]",
    ".git/HEAD": b"ref",
}
NAMES = ["a/empty", "a/latin.txt", "b/LICENSE", "b/main.PY", "top.md"]
FOREIGN = "neither the suffix of a text nor UTF-8"


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zip_of(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def texts(source):
    return {item.name: write_text(item.read()) for item in source.items}


def test_folder_and_zip_give_the_same_texts(tmp_path):
    folder = open_sources([write(tmp_path / "data", TREE)], kind="text")
    archive = open_sources([zip_of(tmp_path / "data.zip", TREE)], kind="text")
    assert texts(folder) == texts(archive) == {name: TREE[name] for name in NAMES}
    assert [item.label for item in folder.items] == ["a", "a", "b", "b", "data"]
    assert [item.label for item in archive.items] == ["a", "a", "b", "b", "data"]


def test_what_is_left_out_is_told_and_hidden_folders_once(tmp_path):
    source = open_sources([write(tmp_path / "data", TREE)], kind="text")
    reasons = dict(source.skipped)
    assert reasons.pop("b/blob.bin") == FOREIGN
    assert reasons.keys() == {".git", ".gitignore"} and all("hidden" in why for why in reasons.values())
    assert not any(is_lost(skipped, "text") for skipped in source.skipped)
    archive = open_sources([zip_of(tmp_path / "data.zip", TREE)], kind="text")
    assert {name for name, _ in archive.skipped} == {".git/HEAD", ".git/config", ".gitignore", "b/blob.bin"}


def test_images_tell_nothing_of_hidden_files(tmp_path):
    with pytest.raises(ItemError, match=r"left out 5, first a/empty: not the suffix"):
        open_sources([write(tmp_path, {name: data for name, data in TREE.items() if name != "top.md"})])


def test_a_file_named_is_taken_whatever_it_holds(tmp_path):
    write(tmp_path, {**TREE, "x.npz": b"PK\3\4 no zip", "report.docx": b"PK\3\4 more", "x.gz": b"\x1f\x8b"})
    named = ["b/blob.bin", ".gitignore", "x.npz", "report.docx", "x.gz"]
    source = open_sources([tmp_path / name for name in named], kind="text")
    assert list(texts(source).values()) == [(tmp_path / name).read_bytes() for name in named]
    assert [item.name for item in source.items] == ["blob.bin", *named[1:]]


def test_a_hidden_folder_may_be_named(tmp_path):
    source = open_sources([write(tmp_path, TREE) / ".git"], kind="text")
    assert texts(source) == {"HEAD": b"ref", "config": b"[core]"}


def test_texts_that_cannot_be_taken_would_be_missed(tmp_path):
    path = zip_of(tmp_path / "x.zip", {"../up.txt": b"up", "nul": b"text", "ok.txt": b"", "pic": b"\xff\0"})
    source = open_sources([path], kind="text")
    assert texts(source) == {"ok.txt": b""}
    assert {skipped.name: is_lost(skipped, "text") for skipped in source.skipped} == {
        "'../up.txt'": True,
        "'nul'": True,
        "pic": False,
    }
    assert is_lost(Skipped("'../a.PNG'", "unsafe"), "image") and not is_lost(Skipped("a", "unsafe"), "image")


def test_encrypted_entries_of_no_known_suffix_would_be_missed(tmp_path):
    path = zip_of(tmp_path / "x.zip", {"a": b"text", "b.txt": b"text"})
    data = bytearray(path.read_bytes())
    position = -1
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for _ in range(2):
            position = data.index(magic, position + 1)
            data[position + offset] |= 1
    path.write_bytes(data)
    source = open_sources([path], kind="text")
    assert [item.name for item in source.items] == ["b.txt"]
    with pytest.raises(ItemError, match=r"b\.txt: cannot be read: .*encrypted"):
        source.items[0].read()
    (skipped,) = source.skipped
    assert skipped.name == "a" and "encrypted" in skipped.reason and is_lost(skipped, "text")


def test_texts_are_bounded(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "x.zip", {"bomb.txt": bytes(1 << 20)})
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1 << 19)
    with pytest.raises(ItemError, match=r"bomb\.txt: the file has more than"):
        open_sources([path], kind="text").items[0].read()


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(ItemError, match=r"no texts in .*x: neither"):
        open_sources([write(tmp_path, {"x": b"\0"})], kind="text")
