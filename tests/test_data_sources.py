"""Files, folders and zip archives as lists of items, for every kind."""

import gc
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentpress.data import ItemRef, Skipped, array_source, evenly_spaced, open_sources, readers, sources
from latentpress.errors import ItemError
from latentpress.items import Image, Text
from small.configs import ITEMS
from small.sources import bytes_of, file_of, names, random_items, sizes_of, write, zip_of
from small.toy import Toy

FOREIGN = b"\x7fELF\0\1"


@pytest.fixture(params=ITEMS)
def item(request):
    return replace(ITEMS[request.param], size=None)


def tree(item):
    """Files of a kind in folders, with one that is not, and hidden ones; and the names of the items."""
    suffix = item.new_suffix
    names = [
        f"a/1{suffix}",
        f"b/10{suffix.upper() if item.kind == 'image' else suffix}",
        f"b/2{suffix}",
        f"top{suffix}",
    ]
    files = [file_of(item, samples) for samples in random_items(item, sizes_of(item, 4))]
    hidden = {f".hidden{suffix}": files[0], f".cache/x{suffix}": files[0]}
    return {**dict(zip(names, files, strict=True)), "a/blob.bin": FOREIGN, **hidden}, names


def folders(source):
    return [ref.labels["class"] for ref in source.items]


def test_folder_and_zip_list_the_same(item, tmp_path):
    files, wanted = tree(item)
    folder = open_sources([write(tmp_path / "data", files)], item)
    archive = open_sources(
        [zip_of(tmp_path / "data.zip", {**files, f"__MACOSX/a/1{item.new_suffix}": b""})], item
    )
    for source in (folder, archive):
        assert names(source) == sorted(wanted)
        assert [bytes_of(ref, item) for ref in source.items] == [files[name] for name in sorted(wanted)]
        assert folders(source) == ["a", "b", "b", "data"]
        foreign, *hidden = sorted(source.skipped, key=lambda skipped: "hidden" in skipped.reason)
        assert foreign == Skipped("a/blob.bin", item.foreign, lost=False)
        assert bool(hidden) == item.tells_hidden and not any(skipped.lost for skipped in hidden)


def test_hidden_folders_are_not_entered_but_may_be_named(tmp_path):
    files, _ = tree(Text())
    folder = write(tmp_path, files)
    left_out = {skipped.name for skipped in open_sources([folder], Text()).skipped}
    assert left_out == {"a/blob.bin", ".cache", ".hidden.txt"}
    assert names(open_sources([folder / ".cache"], Text())) == ["x.txt"]


def test_one_class_alone_keeps_its_label(item, tmp_path):
    data, suffix = file_of(item, random_items(item, sizes_of(item, 1))[0]), item.new_suffix
    write(tmp_path, {f"a/1{suffix}": data, f"a/2{suffix}": data, f"b/1{suffix}": data})
    archive = zip_of(tmp_path / "x.zip", {f"a/1{suffix}": data})
    for path in (tmp_path / "a", tmp_path / "a" / f"1{suffix}", archive):
        assert set(folders(open_sources([path], item))) == {"a"}


def test_files_named_one_by_one_are_taken_whatever_they_are_called(item, tmp_path):
    files = [file_of(item, samples) for samples in random_items(item, sizes_of(item, 3))]
    write(tmp_path, dict(zip(["a/x.y", "b/x.y", "c/.item"], files, strict=True)))
    source = open_sources([str(tmp_path / "b/x.y"), tmp_path / "a/x.y", tmp_path / "c/.item"], item)
    assert names(source) == ["x.y", "x-2.y", ".item"] and folders(source) == ["b", "a", "c"]
    assert [bytes_of(ref, item) for ref in source.items] == [files[1], files[0], files[2]]


def test_what_a_text_may_be_is_not_opened_as_a_container(tmp_path):
    files = {
        "x.npz": b"PK\3\4 no zip",
        "report.docx": b"PK\3\4 more",
        "x.gz": b"\x1f\x8b",
        "blob.bin": FOREIGN,
    }
    write(tmp_path, files)
    source = open_sources([tmp_path / name for name in files], Text())
    assert {ref.name: bytes_of(ref, Text()) for ref in source.items} == files


def test_taken_names_get_the_next_free_number_and_errors_say_it(item, tmp_path):
    good, suffix = file_of(item, random_items(item, sizes_of(item, 1))[0]), item.new_suffix
    paths = [write(tmp_path / name, {f"x{suffix}": good, f"x-2{suffix}": good}) for name in "abc"]
    source = open_sources(paths, item)
    assert names(source) == [f"x{n}{suffix}" for n in ("-2", "", "-2-2", "-3", "-2-3", "-4")]
    (tmp_path / "c" / f"x{suffix}").unlink()
    with pytest.raises(ItemError, match=r"^x-4\.\w+: cannot be read"):
        source.items[-1].open()


def test_many_equal_names_cost_no_quadratic_time():
    entries = [ItemRef.of("x.png", np.zeros((1, 1)))] * 20000
    assert len({ref.name for ref in sources._uniquely_named(entries)}) == 20000


def test_loops_of_links_end(item, tmp_path):
    name = f"a/1{item.new_suffix}"
    write(tmp_path, {name: file_of(item, random_items(item, sizes_of(item, 1))[0])})
    try:
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "b").symlink_to(tmp_path / "a")
        (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("no links here")
    source = open_sources([tmp_path], item)
    assert names(source) == [name]
    assert {(skipped.name, skipped.reason, skipped.lost) for skipped in source.skipped} == {
        ("a/up", "the same folder as .", False),
        ("b", "the same folder as a", False),
        ("gone.png", "a link to nothing", isinstance(item, Image)),
    }


def test_what_is_no_file_is_listed_and_missed_if_it_is_called_like_an_item(item, tmp_path):
    suffix = item.new_suffix
    write(tmp_path, {f"here{suffix}": file_of(item, random_items(item, sizes_of(item, 1))[0])})
    try:
        (tmp_path / f"gone{suffix}").symlink_to("../annex")
        (tmp_path / f"self{suffix}").symlink_to(f"self{suffix}")
        (tmp_path / f".#lock{suffix}").symlink_to("user@host")
        os.mkfifo(tmp_path / f"pipe{suffix}")
        os.mkfifo(tmp_path / "control")
    except (OSError, AttributeError):
        pytest.skip("no links or pipes here")
    source = open_sources([tmp_path], item)
    assert names(source) == [f"here{suffix}"]
    shown = {skipped.name: (skipped.reason, skipped.lost) for skipped in source.skipped}
    hidden = shown.pop(f".#lock{suffix}", None)
    assert (hidden is not None) == item.tells_hidden
    assert shown == {
        f"gone{suffix}": ("a link to nothing", True),
        f"self{suffix}": ("a link to nothing", True),
        f"pipe{suffix}": ("a pipe, device or socket", True),
        "control": ("a pipe, device or socket", False),
    }


@pytest.mark.parametrize("small", [0, 1 << 20], ids=["spooled", "in-memory"])
@pytest.mark.parametrize("zipped", [False, True])
@given(st.data())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_are_rows_of_the_whole(item, zipped, small, tmp_path, monkeypatch, data):
    monkeypatch.setattr(readers, "_SMALL_BYTES", small)
    samples = random_items(item, [(9, *sizes_of(item, 1)[0][1:])])[0]
    files = {f"x{item.new_suffix}": file_of(item, samples)}
    path = zip_of(tmp_path / "x.zip", files) if zipped else write(tmp_path / "x", files)
    (ref,) = open_sources([path], item).items
    content = ref.open()
    assert content.shape == samples.shape and np.array_equal(content.samples, samples)
    for part in (ref, ref.part(2, 8).part(1, 5)):
        content, whole = part.open(), samples if part is ref else samples[3:7]
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert content.shape == whole.shape
        assert np.array_equal(content.read(start, stop), whole[start:stop])
        assert np.array_equal(content.samples, whole)


def test_attributes_travel(tmp_path):
    data = file_of(Toy(), random_items(Toy(), [(2, 3, 4)])[0], {"ticks_per_second": 24})
    (ref,) = open_sources([write(tmp_path, {"x.toy": data})], Toy()).items
    assert ref.open().attributes == ref.part(1, 2).open().attributes == {"ticks_per_second": 24}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_files_close_with_their_content(item, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_SMALL_BYTES", 0)
    files, _ = tree(item)
    refs = open_sources([write(tmp_path, files)], item).items
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    contents = [ref.open() for ref in refs]
    assert len(os.listdir("/proc/self/fd")) == before + len(refs)
    reads = [content.read for content in contents]
    del contents
    assert [len(read(0, 1)) for read in reads] == [1] * len(refs)
    del reads
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(readers, "_SMALL_BYTES", 1 << 20)
    contents = [ref.open() for ref in refs]
    assert contents and len(os.listdir("/proc/self/fd")) == before


def test_errors_of_damaged_files_begin_with_the_name(tmp_path):
    for kind in (Image(), Toy()):
        data = file_of(kind, random_items(kind, [(4,) * len(kind.axes)])[0])[:40]
        source = open_sources([write(tmp_path / kind.kind, {f"a/bad{kind.new_suffix}": data})], kind)
        with pytest.raises(ItemError, match=r"^a/bad\.\w+: damaged"):
            source.items[0].read()


def test_errors_in_reading_ranges_begin_with_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_SMALL_BYTES", 4)
    (ref,) = open_sources([write(tmp_path, {"x.txt": bytes(range(100))}) / "x.txt"], Text()).items
    content = ref.open()
    (tmp_path / "x.txt").write_bytes(b"short")
    with pytest.raises(ItemError, match=r"^x\.txt: the file became shorter"):
        content.read(50, 60)


def test_nothing_to_read_is_an_error(item, tmp_path):
    words = item.words.items
    with pytest.raises(ItemError, match="missing: no such file"):
        open_sources([tmp_path / "missing"], item)
    with pytest.raises(ItemError, match=rf"no {words} in .*left out 1, first blob\.bin: {item.foreign}"):
        open_sources([write(tmp_path / "x", {"blob.bin": FOREIGN})], item)
    with pytest.raises(ItemError, match=f"no {words}"):
        open_sources([zip_of(tmp_path / "empty.zip", {})], item)


def test_unsafe_names_in_archives_are_left_out_and_would_be_missed(item, tmp_path):
    suffix, data = item.new_suffix, file_of(item, random_items(item, sizes_of(item, 1))[0])
    unsafe = ["../up", "/root", "a/../../b", "\n/../c", "x" * 256]
    files = {name + suffix: data for name in unsafe} | {"b\n.bin": FOREIGN, f"fine{suffix}": data}
    source = open_sources([zip_of(tmp_path / "x.zip", files)], item)
    assert names(source) == [f"fine{suffix}"]
    lost = [skipped for skipped in source.skipped if skipped.lost]
    assert len(lost) == len(unsafe) and all("no archive can hold" in skipped.reason for skipped in lost)
    assert len(source.skipped) == len(unsafe) + 1
    assert not any("\n" in part for skipped in source.skipped for part in skipped[:2])


def test_names_are_the_files_own(item, tmp_path):
    suffix, data = item.new_suffix, file_of(item, random_items(item, sizes_of(item, 1))[0])
    wanted = sorted(
        f"{name}{suffix}"
        for name in ("What now?", "12:30 call", "aux", "e\u0301", "\xe9", "a\\b", "c\n", "\udce9", "C:/x")
    )
    archive = zip_of(tmp_path / "x.zip", {name: data for name in wanted if name.isprintable()})
    assert names(open_sources([archive], item)) == [name for name in wanted if name.isprintable()]
    try:
        folder = write(tmp_path / "x", dict.fromkeys(wanted, data))
    except OSError:
        pytest.skip("not all of these names are legal here")
    source = open_sources([folder], item)
    assert sorted(names(source)) == wanted and not source.skipped
    (tmp_path / "x" / f"c\n{suffix}").unlink()
    with pytest.raises(ItemError) as caught:
        source.items[names(source).index(f"c\n{suffix}")].open()
    assert str(caught.value).startswith(rf"'c\n{suffix}': cannot be read") and "\n" not in str(caught.value)


def test_colour_is_dropped_only_where_that_is_asked_for(tmp_path):
    grey = np.full((4, 4, 3), 7, np.uint8)
    coloured = grey.copy()
    coloured[3, 3, 2] = 8
    np.savez(tmp_path / "x.npz", images=[grey, coloured])
    write(tmp_path / "x", {"0.png": file_of(Image(), grey), "1.png": file_of(Image(), coloured)})
    for path in (tmp_path / "x.npz", tmp_path / "x"):
        converted = open_sources([path], Image(channels=1), convert=True)
        assert [ref.read().shape for ref in converted.items] == [(4, 4, 1)] * 2
        first, second = open_sources([path], Image(channels=1)).items
        assert np.array_equal(first.read(), grey[..., :1])
        with pytest.raises(ItemError, match=rf"^{second.name}: the image has colour, and the model is grey"):
            second.read()
        assert open_sources([path], Image()).items[0].read().shape == (4, 4, 3)


def test_arrays_in_memory_have_labels_by_name(item):
    samples = np.stack(random_items(item, [(3,) * len(item.axes)] * 2))
    actions = np.array([[0, 1, 1], [1, 2, 0]])
    source = array_source(samples, item, {"speaker": ["b", "a"], "action": actions})
    assert names(source) == [f"array/{i:05d}{item.new_suffix}" for i in range(2)]
    assert source.items[1].labels == {"speaker": "a", "action": ("1", "2", "0")}
    assert source.items[1].part(1, 3).labels == {"speaker": "a", "action": ("2", "0")}
    assert folders(array_source(samples, item, [7, 9])) == ["7", "9"]
    assert array_source(samples, item).items[0].labels == {}
    with pytest.raises(ItemError, match="2 items but 1 labels"):
        array_source(samples, item, [1])


def test_arrays_in_memory_may_differ_in_size(item):
    samples = random_items(item, sizes_of(item, 5))
    read = [ref.read() for ref in array_source(samples, item).items]
    assert all(np.array_equal(a, b) for a, b in zip(read, samples, strict=True))


def test_what_is_read_belongs_to_the_reader(item):
    samples = np.stack(random_items(item, [(3,) * len(item.axes)]))
    source = array_source(samples, item)
    before = source.items[0].read().copy()
    source.items[0].read()[:] = 7
    assert np.array_equal(source.items[0].read(), before)


@given(st.integers(0, 60), st.integers(1, 60))
def test_evenly_spaced_numbers(count, most):
    chosen = evenly_spaced(count, most)
    assert len(chosen) == min(count, most) and len(set(chosen)) == len(chosen)
    assert all(0 <= number < count for number in chosen)
    assert len(chosen) < 2 or np.ptp(np.diff(chosen)) <= 1


def test_a_source_may_be_thinned_out(item):
    source = array_source(np.stack(random_items(item, [(2,) * len(item.axes)] * 9)), item, range(9))
    assert names(source.evenly(3)) == [names(source)[i] for i in (0, 3, 6)]
