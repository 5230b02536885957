"""Archives and restored files on disk: names, streams, overwriting, and what is left when something fails."""

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from latentpress import names
from latentpress.coding import Archive, inspect_archive
from latentpress.coding.container import write_archive
from latentpress.data import ItemRef, Skipped, Source
from latentpress.errors import ArchiveError, ItemError, LatentpressError, UnsafePathError
from latentpress.press import compress, decode_archive, decompress, encode_archive
from small.archives import codec, compressed, expected_samples, flat_samples, noise_samples, source_of


@pytest.fixture(scope="module")
def images():
    """A codec of images, and some."""
    model = codec("vq", "colour")
    items = {f"set/{n:03d}.jpg": expected_samples(model, (8, 6), n) for n in range(12)}
    return model, items | {
        "odd.png": expected_samples(model, (13, 7)),
        "dot.png": expected_samples(model, (1, 1)),
    }


@pytest.fixture(scope="module")
def texts():
    """A codec of texts, and some; one is empty."""
    model = codec("alone", "text", "autoregressive")
    contents = {"model/a": expected_samples(model, (300,)), "raw/b": noise_samples(model.item, (40,))}
    contents |= {"packed/crlf.bat": np.frombuffer(b"echo NAIVE\r\n" * 40, np.uint8)[:, None]}
    return model, contents | {"empty.json": np.zeros((0, 1), np.uint8)}


def files_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_images_come_back_as_png(images, tmp_path):
    model, items = images
    compress(model, source_of(model, items), tmp_path / "x.lpz", lossless=True)
    summary = decompress(tmp_path / "x.lpz", model, tmp_path / "out")
    restored = files_in(tmp_path / "out")
    assert set(restored) == {str(Path(name).with_suffix(".png")) for name in items}
    for name, samples in items.items():
        file = io.BytesIO(restored[str(Path(name).with_suffix(".png"))])
        assert np.array_equal(model.item.open(file).samples, samples)
    assert summary.file_bytes == sum(map(len, restored.values())) and summary.items == len(items)


@pytest.mark.parametrize("change", [{"name": "other"}, {"attributes": {"resolution": 72}}])
def test_no_archive_appears_whose_index_reads_otherwise(images, change, tmp_path, monkeypatch):
    model, items = images

    def wrong(file, header, records, *rest):
        write_archive(file, header, [replace(records[0], **change), *records[1:]], *rest)

    monkeypatch.setattr("latentpress.press.writing.write_archive", wrong)
    with pytest.raises(ArchiveError, match="does not read as it was written"):
        compress(model, source_of(model, items), tmp_path / "x.lpz")
    assert not list(tmp_path.iterdir())


def test_texts_come_back_under_their_names(texts, tmp_path):
    model, items = texts
    decompress(compressed(model, items)[0], model, tmp_path)
    assert files_in(tmp_path) == {name: samples.tobytes() for name, samples in items.items()}


def test_only_empty_items(tmp_path):
    model = codec("vq", "text", "autoregressive")
    items = {"a.txt": np.zeros((0, 1), np.uint8), "b/c": np.zeros((0, 1), np.uint8)}
    data, summary = compressed(model, items)
    assert not Archive(io.BytesIO(data)).layout and inspect_archive(data).bits_per_dim == 0
    assert summary.dims == summary.symbols == summary.bits_per_dim == summary.fallback == 0
    assert decompress(data, model, tmp_path).items == 2
    assert files_in(tmp_path) == {"a.txt": b"", "b/c": b""}


def test_the_bytes_of_the_files_that_come_in_are_counted(texts, tmp_path):
    model, items = texts
    for name, samples in items.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(samples.tobytes())
    out = io.BytesIO()
    summary = compress(model, [tmp_path / "in" / "model" / "a", tmp_path / "in" / "packed"], out)
    assert summary.file_bytes == 300 + 480 and summary.items == 2
    assert summary.archive_bytes == len(out.getvalue())


def test_two_items_never_meet(texts, tmp_path):
    model, _ = texts
    names = ["readme.md", "README.md", "Makefile", "makefile", "a.c"]
    items = {name: np.full((n + 1, 1), n, np.uint8) for n, name in enumerate(names)}
    assert decompress(compressed(model, items)[0], model, tmp_path).renamed == 2
    wanted = ["readme.md", "README-2.md", "Makefile", "makefile-2", "a.c"]
    assert files_in(tmp_path) == {name: bytes([n] * (n + 1)) for n, name in enumerate(wanted)}


def test_parts_of_an_archive(images, tmp_path):
    model, items = images
    data, _ = compressed(model, items)
    assert decompress(data, model, tmp_path, only="set/").items == 12
    assert decompress(data, model, tmp_path / "two", only=["odd.png", "set/003.jpg"]).items == 2
    assert set(files_in(tmp_path / "two")) == {"odd.png", "set/003.png"}
    with pytest.raises(ArchiveError, match="no item 'nothing'"):
        decompress(data, model, tmp_path, only=["dot.png", "nothing"])


def test_damage_costs_the_items_of_its_block_alone(images, tmp_path):
    model, items = images
    damaged = bytearray(compressed(model, items)[0])
    archive = Archive(io.BytesIO(damaged))
    [block] = archive.blocks_of[list(items).index("odd.png")]
    damaged[damaged.index(b"DATA") + 12 + sum(archive.lengths[:block])] ^= 1
    assert decompress(bytes(damaged), model, tmp_path, only="set").items == 12
    with pytest.raises(ArchiveError, match=r"block \d+ .odd.png"):
        decompress(bytes(damaged), model, tmp_path, only="odd.png")


def test_streams(images, tmp_path):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    (model, items), out = images, io.BytesIO()
    data = encode_archive(model, items, lossless=True)
    decompress(Pipe(data), model, out, only="dot.png")
    assert np.array_equal(model.item.open(out).samples, items["dot.png"])
    with pytest.raises(ArchiveError, match="name one"):
        decompress(data, model, out)
    pipe = Pipe()
    compress(model, source_of(model, items), pipe, lossless=True)
    assert pipe.getvalue() == data


def test_nothing_is_overwritten_unasked(images, tmp_path):
    model, items = images
    archive = tmp_path / "x.lpz"
    archive.write_bytes(b"mine")
    (tmp_path / "dot.png").write_bytes(b"mine")
    with pytest.raises(LatentpressError, match="exists"):
        compress(model, source_of(model, items), archive)
    with pytest.raises(LatentpressError, match="exists"):
        decompress(encode_archive(model, items), model, tmp_path)
    assert files_in(tmp_path) == {"x.lpz": b"mine", "dot.png": b"mine"}
    compress(model, source_of(model, items), archive, overwrite=True)
    decompress(archive, model, tmp_path, overwrite=True)
    assert (tmp_path / "dot.png").read_bytes() != b"mine"


def test_an_input_is_no_output(texts, tmp_path):
    model, _ = texts
    path = tmp_path / "in" / "a.txt"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    for source in ([path], [path.parent], [tmp_path / "in" / ".." / "in"]):
        with pytest.raises(LatentpressError, match="is one of the inputs"):
            compress(model, source, path, overwrite=True)
        assert path.read_bytes() == b"abc"


def test_a_damaged_item_leaves_nothing(images, tmp_path):
    def fail():
        raise ItemError("b.png: truncated")

    model, items = images
    refs = [ItemRef.of("a.png", items["odd.png"]), ItemRef("b.png", {}, fail)]
    with pytest.raises(ItemError, match=r"b\.png: truncated"):
        compress(model, Source(model.item, refs), tmp_path / "x.lpz")
    assert not list(tmp_path.iterdir())


def test_an_item_that_changes_on_the_way_leaves_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setattr("latentpress.press.reading.HELD_SAMPLES", 100)
    model, items = images
    opened = []

    def grow():
        opened.append(1)
        return ItemRef.of("b.png", flat_samples(model.item, (9 + len(opened), 9))).open()

    refs = [ItemRef("b.png", {}, grow), ItemRef.of("a.png", items["odd.png"])]
    with pytest.raises(ItemError, match=r"b\.png: the file changed"):
        compress(model, Source(model.item, refs), tmp_path / "x.lpz", lossless=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "/", "..", "a//b.png"])
def test_hostile_names_are_neither_compressed_nor_restored(name, images, tmp_path, monkeypatch):
    model, items = images
    hostile = {"good.png": items["dot.png"], name: items["odd.png"]}
    with pytest.raises(UnsafePathError):
        encode_archive(model, hostile)
    monkeypatch.setattr("latentpress.press.writing.unfit", lambda name: None)
    data = encode_archive(model, hostile)
    with pytest.raises(UnsafePathError):
        decompress(data, model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_drives_are_refused_and_reserved_names_escaped_on_windows(images, texts, tmp_path, monkeypatch):
    (model, items), monkey = images, monkeypatch
    for name in ("check_name", "output_names"):
        function = getattr(names, name)
        monkey.setattr(f"latentpress.press.restoring.{name}", partial(function, platform="win32"))
    for name in ("C:x.png", "..\\x.png", "\\x.png"):
        data = encode_archive(model, {"good.png": items["dot.png"], name: items["odd.png"]})
        with pytest.raises(UnsafePathError, match="drive"):
            decompress(data, model, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    model, contents = texts[0], {"NUL.txt": b"a", "12:30?/a.": b"b", "a%3F": b"c", "plain": b"d"}
    data = encode_archive(model, {n: np.frombuffer(each, np.uint8)[:, None] for n, each in contents.items()})
    assert decompress(data, model, tmp_path).renamed == 3
    assert files_in(tmp_path) == {"%4EUL.txt": b"a", "12%3A30%3F/a%2E": b"b", "a%253F": b"c", "plain": b"d"}


def test_every_legal_name_comes_back(texts, tmp_path):
    model = texts[0]
    contents = [
        "What now?.txt",
        "12:30 call.txt",
        "aux.txt",
        "draft.txt.",
        "a\\b",
        "caf\udce9.txt",
        "\n\x1b",
        "e\u0301",
    ]
    items = {name: np.full((n + 1, 1), 97, np.uint8) for n, name in enumerate(contents)}
    summary = decompress(encode_archive(model, items), model, tmp_path)
    if sys.platform != "linux":
        assert summary.renamed
        return
    assert files_in(tmp_path) == {name: bytes([97] * (n + 1)) for n, name in enumerate(contents)}
    assert summary.renamed == 0


def test_no_link_is_followed(images, tmp_path):
    model, items = images
    for folder in ("out", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "set").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "dot.png").symlink_to(tmp_path / "target")
    data = encode_archive(model, items)
    with pytest.raises(UnsafePathError, match="is a link"):
        decompress(data, model, tmp_path / "out", only="set")
    decompress(data, model, tmp_path / "out", only="dot.png", overwrite=True)
    assert not (tmp_path / "target").exists() and not list((tmp_path / "elsewhere").iterdir())


def test_a_pipe_is_not_restored_into(images, tmp_path):
    model, items = images
    try:
        os.mkfifo(tmp_path / "dot.png")
    except (OSError, AttributeError):
        pytest.skip("no pipes here")
    with pytest.raises(LatentpressError, match="is a device or a pipe"):
        decompress(encode_archive(model, items), model, tmp_path, only="dot.png", overwrite=True)
    assert (tmp_path / "dot.png").is_fifo()


def test_sources_that_cannot_be_restored_are_refused(images):
    model, items = images
    source = source_of(model, items)
    lost = replace(source, skipped=(Skipped("'../up.PNG'", "unsafe name", lost=True),))
    with pytest.raises(ItemError, match=r"would be left out: '\.\./up\.PNG' .unsafe name.; rename"):
        compress(model, lost, io.BytesIO())
    assert compress(model, lost, io.BytesIO(), skip=True).items == len(source.items)
    many = replace(source, skipped=tuple(Skipped(f"{n}.png", "gone", lost=True) for n in range(109)))
    with pytest.raises(ItemError, match=r"0\.png .gone., 1\.png .* 99\.png .gone. and 9 more; rename"):
        compress(model, many, io.BytesIO())
    foreign = replace(source, skipped=(Skipped("notes.txt", "not the suffix of an image"),))
    assert compress(model, foreign, io.BytesIO()).items == len(items)
    with pytest.raises(ItemError, match="same name"):
        compress(model, replace(source, items=source.items * 2), io.BytesIO())
    with pytest.raises(ItemError, match="1 to"):
        compress(model, replace(source, items=()), io.BytesIO())
    with pytest.raises(UnsafePathError, match="255 bytes"):
        encode_archive(model, {"x" * 254: items["dot.png"]})
    with pytest.raises(UnsafePathError, match=r"'/a': .*absolute.*, '\.\./b': "):
        encode_archive(model, {name: items["dot.png"] for name in ("/a", "good", "../b")})


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((4, 4), np.uint8), "the model takes images"),
        (np.zeros((4, 4, 1), np.uint8), "the model takes images"),
        (np.zeros((4, 4, 3), np.uint16), "uint8"),
        (np.zeros((0, 4, 3), np.uint8), "images are"),
        (np.broadcast_to(np.uint8(0), (1, 65537, 3)), "at most"),
    ],
)
def test_arrays_that_are_no_such_items_are_refused(samples, message, images):
    with pytest.raises(ItemError, match=f"^x.png: .*{message}"):
        encode_archive(images[0], {"x.png": samples})


KILLED = """
import sys, pathlib
sys.path[:0] = [{tests!r}]
from small.archives import codec, expected_samples, source_of
from latentpress.press import compress, decompress
model = codec("vq", "colour")
items = {{f"{{n}}.png": expected_samples(model, (40, 40), n) for n in range(400)}}
folder = pathlib.Path({folder!r})
print("ready", flush=True)
compress(model, source_of(model, items), folder / "x.lpz", lossless=True, overwrite=True)
print("written", flush=True)
decompress(folder / "x.lpz", model, folder / "out", overwrite=True)
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_no_file_is_half_there(tmp_path):
    """What has its name is whole: the archive as it was or as it is to be, and every restored image."""
    model, tests = codec("vq", "colour"), str(Path(__file__).parent)
    code = KILLED.format(tests=tests, folder=str(tmp_path))
    kept, _ = compressed(model, {"kept.png": expected_samples(model, (6, 4))}, lossless=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for after, wait in [("ready", n * 0.7) for n in range(6)] + [("written", n * 0.1) for n in range(6)]:
        (tmp_path / "x.lpz").write_bytes(kept)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == after:
                time.sleep(wait)
                process.kill()
        process.wait()
        process.stdout.close()
        names = [name for name, _ in decode_archive(tmp_path / "x.lpz", model)]
        assert names == ["kept.png"] or len(names) == 400
        for path in (tmp_path / "out").rglob("*.png"):
            number = int(path.stem)
            with path.open("rb") as file:
                assert np.array_equal(
                    model.item.open(file).samples, expected_samples(model, (40, 40), number)
                )
