import gzip
import struct
import zipfile

import numpy as np
import pytest

from latentpress.data import sources
from latentpress.data.sources import array_source, open_sources
from latentpress.errors import ItemError
from latentpress.items.image import write_png


def image(value=0, channels=3, side=4):
    return np.full((side, side, channels), value, np.uint8)


def png(value=0, channels=3):
    return write_png(image(value, channels))


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


TREE = {
    "b/2.PNG": png(2),
    "b/10.png": png(10),
    "a/1.png": png(1),
    "top.png": png(9),
    "a/notes.txt": b"text",
    ".hidden.png": png(),
    ".cache/x.png": png(),
}
NAMES = ["a/1.png", "b/10.png", "b/2.PNG", "top.png"]


def names(source):
    return [item.name for item in source.items]


def values(source):
    return [int(item.read().flat[0]) for item in source.items]


def test_folder_and_zip_list_the_same(tmp_path):
    folder = open_sources([write(tmp_path / "data", TREE)])
    archive = open_sources([zip_of(tmp_path / "data.zip", {**TREE, "__MACOSX/a/1.png": b""})])
    assert names(folder) == names(archive) == NAMES
    assert values(folder) == values(archive) == [1, 10, 2, 9]
    assert (
        [item.label for item in folder.items]
        == [item.label for item in archive.items]
        == ["a", "b", "b", "data"]
    )
    assert folder.labels == archive.labels == ("a", "b", "data")
    assert folder.skipped == archive.skipped == (("a/notes.txt", "not the suffix of an image"),)


def test_one_class_alone_keeps_its_label(tmp_path):
    write(tmp_path, {"a/1.png": png(), "a/2.png": png(), "b/1.png": png()})
    for path in (tmp_path / "a", tmp_path / "a" / "1.png", zip_of(tmp_path / "x.zip", {"a/1.png": png()})):
        source = open_sources([path])
        assert source.labels == ("a",) and {item.label for item in source.items} == {"a"}


def test_files_named_one_by_one(tmp_path):
    write(tmp_path, {"a/x.png": png(1), "b/x.png": png(2), "c/image": png(3)})
    source = open_sources([str(tmp_path / "b/x.png"), tmp_path / "a/x.png", tmp_path / "c/image"])
    assert names(source) == ["x.png", "x-2.png", "image"]
    assert values(source) == [2, 1, 3]
    assert [item.label for item in source.items] == ["b", "a", "c"]


def test_taken_names_get_the_next_free_number(tmp_path):
    folders = [write(tmp_path / name, {"x.png": png(), "x-2.png": png()}) for name in "abc"]
    assert names(open_sources(folders)) == [
        "x-2.png",
        "x.png",
        "x-2-2.png",
        "x-3.png",
        "x-2-3.png",
        "x-4.png",
    ]


def test_loops_of_links_end(tmp_path):
    write(tmp_path, {"a/1.png": png()})
    try:
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "b").symlink_to(tmp_path / "a")
        (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("no links here")
    assert len(open_sources([tmp_path]).items) == 1


def test_idx_and_npz(tmp_path):
    images = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    head = struct.pack(">HBB3I", 0, 8, 3, 3, 4, 4)
    (tmp_path / "x-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
    np.savez(tmp_path / "y.npz", images=images, labels=[0, 1, 1])
    source = open_sources([tmp_path / "x-images-idx3-ubyte.gz", tmp_path / "y.npz"], channels=3)
    assert names(source)[::3] == ["x-images-idx3-ubyte/00000.png", "y/00000.png"]
    assert [item.label for item in source.items] == [None, None, None, "0", "1", "1"]
    assert values(source) == [0, 1, 2, 0, 1, 2]
    assert {item.read().shape for item in source.items} == {(4, 4, 3)}


def test_what_is_read_belongs_to_the_reader():
    source = array_source(np.zeros((1, 4, 4, 3), np.uint8))
    source.items[0].read()[:] = 7
    assert source.items[0].read().max() == 0


def test_channels_and_alpha(tmp_path):
    write(tmp_path, {"grey.png": png(5, 1)})
    assert open_sources([tmp_path]).items[0].read().shape == (4, 4, 1)
    assert open_sources([tmp_path], channels=3).items[0].read().shape == (4, 4, 3)


def test_colour_is_dropped_only_where_that_is_asked_for(tmp_path):
    grey, coloured = image(7), image(7)
    coloured[3, 3, 2] = 8
    np.savez(tmp_path / "x.npz", images=[grey, coloured])
    write(tmp_path / "x", {"0.png": write_png(grey), "1.png": write_png(coloured)})
    for path in (tmp_path / "x.npz", tmp_path / "x"):
        dropped = open_sources([path], channels=1, drop_colour=True)
        assert [item.read().shape for item in dropped.items] == [(4, 4, 1)] * 2
        first, second = open_sources([path], channels=1).items
        assert np.array_equal(first.read(), grey[..., :1])
        with pytest.raises(ItemError, match=rf"^{second.name}: the image has colour, and the model is grey"):
            second.read()


def test_errors_name_the_item(tmp_path):
    write(tmp_path, {"a/bad.png": png()[:40]})
    with pytest.raises(ItemError, match=r"^a/bad\.png: damaged or truncated"):
        open_sources([tmp_path]).items[0].read()
    source = open_sources([write(tmp_path / "b", {"gone.png": png()})])
    (tmp_path / "b" / "gone.png").unlink()
    with pytest.raises(ItemError, match=r"^gone\.png: cannot be read"):
        source.items[0].read()


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(ItemError, match="no such file"):
        open_sources([tmp_path / "missing"])
    with pytest.raises(ItemError, match=r"no images in .*notes\.txt: not the suffix"):
        open_sources([write(tmp_path, {"notes.txt": b""})])
    with pytest.raises(ItemError, match="no images"):
        open_sources([zip_of(tmp_path / "empty.zip", {})])


def test_unsafe_names_in_archives_are_left_out(tmp_path):
    unsafe = ["../up.png", "/root.png", "a/../../b.png", "C:/x.png", "nul.png/x.png", "a\n.png"]
    source = open_sources([zip_of(tmp_path / "x.zip", {name: png() for name in [*unsafe, "win\\dows.png"]})])
    assert names(source) == ["win/dows.png"]
    assert len(source.skipped) == len(unsafe)
    assert all("unsafe name" in skipped.reason and "\n" not in skipped.name for skipped in source.skipped)


def test_sizes_in_archives_are_bounded(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "x.zip", {"bomb.bmp": b"BM" + bytes(1 << 20)})
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1 << 19)
    with pytest.raises(ItemError, match=r"bomb\.bmp: the file has more than"):
        open_sources([path]).items[0].read()
    monkeypatch.setattr(sources, "_MAX_ARCHIVE_BYTES", 1 << 19)
    with pytest.raises(ItemError, match="zip bomb"):
        open_sources([path])


def test_damaged_archives_give_items_or_an_item_error(tmp_path):
    path = zip_of(tmp_path / "x.zip", {f"{i}.png": png(i) for i in range(3)})
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for trial in range(300):
        damaged = bytearray(data[: random.integers(4, len(data))] if trial % 5 == 0 else data)
        for place in random.integers(4, len(damaged), 2) if len(damaged) > 4 else ():
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            for item in open_sources([path]).items:
                assert item.read().dtype == np.uint8
        except ItemError as error:
            assert "\n" not in str(error)


def test_encrypted_entries_are_an_item_error(tmp_path):
    path = zip_of(tmp_path / "x.zip", {"a.png": png()})
    data = bytearray(path.read_bytes())
    for start in (6, data.index(b"PK\1\2") + 8):
        data[start] |= 1
    path.write_bytes(data)
    with pytest.raises(ItemError, match="encrypted"):
        open_sources([path]).items[0].read()


def test_a_zip_of_no_zip(tmp_path):
    (tmp_path / "x").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(ItemError, match="cannot be read"):
        open_sources([tmp_path / "x"])


def test_many_equal_names_cost_no_quadratic_time():
    items = [sources.ItemRef("x.png", None, lambda: image())] * 20000
    assert len(set(item.name for item in sources._with_unique_names(items))) == 20000
