"""Arrays of items in IDX and .npz files, well formed and hostile."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from latentpress.data import Skipped, open_sources, readers
from latentpress.data.readers import item_array, read_idx
from latentpress.errors import ItemError
from latentpress.items import Image
from small.configs import ITEMS
from small.sources import random_items
from small.toy import Toy

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5])
GREY = Image(channels=1)


def idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def stacked(item, count=3):
    return np.stack(random_items(item, [(4,) * len(item.axes)] * count))


@pytest.fixture(params=["image", "colour", "toy"])
def item(request):
    return ITEMS[request.param]


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-images.idx3-ubyte"])
@pytest.mark.parametrize(
    "zipped, labels_zipped", [(False, False), (True, True), (False, True), (True, False)]
)
def test_idx_comes_with_its_labels(tmp_path, name, zipped, labels_zipped):
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(idx(IMAGES)) if zipped else idx(IMAGES))
    labels = tmp_path / (name.replace("images", "labels").replace("idx3", "idx1") + ".gz" * labels_zipped)
    labels.write_bytes(gzip.compress(idx(LABELS)) if labels_zipped else idx(LABELS))
    source = open_sources([path], GREY)
    assert source.items[0].name == f"{name}/00000.png"
    assert np.array_equal([ref.read() for ref in source.items], IMAGES[..., None])
    assert [ref.labels["class"] for ref in source.items] == ["3", "1", "4", "1", "5"]


def test_idx_without_labels_and_with_colours(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
    (tmp_path / "images").write_bytes(idx(colours))
    array = read_idx(tmp_path / "images", Image())
    assert np.array_equal(array.samples, colours) and array.labels == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x08",
        idx(IMAGES)[:-1],
        idx(IMAGES) + b"\0",
        idx(LABELS),
        b"\0\0\x0d\3" + idx(IMAGES)[4:],
        b"\0\0\x08\3" + b"\xff" * 12,
        idx(np.zeros((0, 4, 4))),
        idx(np.zeros((2, 4, 4, 5))),
        gzip.compress(idx(IMAGES), mtime=0)[:-12],
        gzip.compress(idx(IMAGES) + bytes(1 << 20), mtime=0),
    ],
)
def test_damaged_idx_is_an_item_error(tmp_path, data):
    path = tmp_path / "x-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ItemError):
        open_sources([path], GREY).items[0].open()


def test_idx_of_another_kind(tmp_path):
    (tmp_path / "toys").write_bytes(idx(np.zeros((2, 4, 4, 4))))
    with pytest.raises(ItemError, match="toys: a toy is uint16"):
        open_sources([tmp_path / "toys"], Toy())


def test_idx_with_too_few_labels(tmp_path):
    (tmp_path / "images-idx3").write_bytes(idx(IMAGES))
    (tmp_path / "labels-idx1").write_bytes(idx(LABELS[:-1]))
    with pytest.raises(ItemError, match="5 items but 4 labels"):
        open_sources([tmp_path / "images-idx3"], GREY)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("called", ["items", "words"])
def test_npz_round_trip(tmp_path, item, save, called):
    samples, rows = stacked(item), 4
    columns = {
        "labels": np.array(["a", "b", "ä"]),
        "speaker": np.array([[1], [2], [1]]),
        "action": np.arange(3 * rows).reshape(3, rows),
    }
    name = "items" if called == "items" else item.words.items
    save(tmp_path / "x.npz", **{name: np.asfortranarray(samples)}, **columns)
    source = open_sources([tmp_path / "x.npz"], item)
    assert np.array_equal([ref.read() for ref in source.items], samples) and not source.skipped
    assert source.items[2].labels == {"class": "ä", "speaker": "1", "action": ("8", "9", "10", "11")}
    assert source.items[2].name == f"x/00002{item.new_suffix}"


@pytest.mark.parametrize("kind", ["image", "text", "toy"])
def test_one_channel_needs_no_axis(kind):
    samples = stacked(ITEMS[kind])
    assert np.array_equal(item_array(samples[..., 0], ITEMS[kind]), samples)


def test_arrays_that_are_no_labels_are_left_out_with_a_word(tmp_path):
    others = {"names": np.array(["x"] * 7), "scores": np.zeros(5), "not-a-word": LABELS, "masks": IMAGES}
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS, **others)
    source = open_sources([tmp_path / "x.npz"], GREY)
    assert source.items[0].labels.keys() == {"class"}
    assert {skipped.name for skipped in source.skipped} == {f"x/{name}" for name in others}
    assert all(skipped.reason.startswith("no label") and not skipped.lost for skipped in source.skipped)


@pytest.mark.parametrize(
    "content, reason",
    [
        ({"pictures": IMAGES}, "no array named images"),
        ({"images": IMAGES.astype(np.float32)}, "float32"),
        ({"images": IMAGES.astype(np.int16)}, "int16"),
        ({"images": IMAGES[0]}, "uint8"),
        ({"images": IMAGES[:0]}, "uint8"),
        ({"images": IMAGES.astype(object)}, "object"),
        ({"images": IMAGES, "labels": np.zeros((5, 2), int)}, r"\(5, 2\)"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, r"\(4,\)"),
        ({"images": IMAGES, "labels": np.array([{}] * 5, dtype=object)}, "object"),
    ],
)
def test_npz_of_another_layout_is_refused(tmp_path, content, reason):
    np.savez(tmp_path / "x.npz", allow_pickle=True, **content)
    with pytest.raises(ItemError, match=reason):
        open_sources([tmp_path / "x.npz"], GREY)


def test_npz_may_lie_about_its_size(tmp_path):
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1 << 6, 1 << 6)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", buffer.getvalue() + bytes(100))
    with pytest.raises(ItemError, match="not as long as the header says"):
        open_sources([tmp_path / "x.npz"], GREY)


def test_damaged_npz_is_an_item_error(tmp_path, item):
    np.savez_compressed(tmp_path / "x.npz", items=stacked(item), labels=LABELS[:3])
    data = (tmp_path / "x.npz").read_bytes()
    random = np.random.default_rng(0)
    for cut in range(0, len(data), 37):
        (tmp_path / "x.npz").write_bytes(data[:cut])
        with pytest.raises(ItemError):
            open_sources([tmp_path / "x.npz"], item)
    for _ in range(150):
        damaged = bytearray(data)
        damaged[random.integers(0, len(data))] ^= 1 << random.integers(0, 8)
        (tmp_path / "x.npz").write_bytes(damaged)
        try:
            assert open_sources([tmp_path / "x.npz"], item).items[0].read().dtype == item.dtype
        except ItemError as error:
            assert "\n" not in str(error)


def test_arrays_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_ARRAY_BYTES", IMAGES.size - 1)
    np.savez(tmp_path / "x.npz", images=IMAGES)
    with pytest.raises(ItemError, match="limit"):
        open_sources([tmp_path / "x.npz"], GREY)
    (tmp_path / "x").write_bytes(idx(IMAGES))
    with pytest.raises(ItemError, match="limit"):
        open_sources([tmp_path / "x"], GREY)


def test_arrays_cannot_hold_code(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, extra=np.array([print], object))
    (skipped,) = open_sources([tmp_path / "x.npz"], GREY).skipped
    assert skipped == Skipped(
        "x/extra", "no label: extra holds object: items are numbers, labels integers or strings"
    )
