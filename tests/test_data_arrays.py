import gzip
import struct

import numpy as np
import pytest

from latentpress.data import arrays
from latentpress.data.arrays import image_array, read_idx, read_npz
from latentpress.errors import ItemError


def idx(array):
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5])


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-images.idx3-ubyte"])
@pytest.mark.parametrize(
    "zipped, labels_zipped", [(False, False), (True, True), (False, True), (True, False)]
)
def test_idx_finds_its_labels(tmp_path, name, zipped, labels_zipped):
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(idx(IMAGES)) if zipped else idx(IMAGES))
    labels = tmp_path / (name.replace("images", "labels").replace("idx3", "idx1") + ".gz" * labels_zipped)
    labels.write_bytes(gzip.compress(idx(LABELS)) if labels_zipped else idx(LABELS))
    array = read_idx(path)
    assert np.array_equal(array.images, IMAGES[..., None])
    assert array.labels == ("3", "1", "4", "1", "5")


def test_idx_without_labels_and_with_colours(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
    (tmp_path / "images").write_bytes(idx(colours))
    array = read_idx(tmp_path / "images")
    assert np.array_equal(array.images, colours) and array.labels is None


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
        idx(np.zeros((2, 4, 4, 2))),
        gzip.compress(idx(IMAGES))[:-12],
        gzip.compress(idx(IMAGES) + bytes(1 << 20)),
    ],
)
def test_damaged_idx_is_an_item_error(tmp_path, data):
    path = tmp_path / "x-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ItemError):
        read_idx(path)


def test_idx_with_too_few_labels(tmp_path):
    (tmp_path / "images-idx3").write_bytes(idx(IMAGES))
    (tmp_path / "labels-idx1").write_bytes(idx(LABELS[:-1]))
    with pytest.raises(ItemError, match="5 images but 4 labels"):
        read_idx(tmp_path / "images-idx3")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("labels", [LABELS, np.array(["a", "b", "c", "d", "ä"])])
def test_npz_round_trip(tmp_path, save, labels):
    save(tmp_path / "x.npz", images=np.asfortranarray(IMAGES), labels=labels)
    array = read_npz(tmp_path / "x.npz")
    assert np.array_equal(array.images, IMAGES[..., None])
    assert array.labels == tuple(map(str, labels))


@pytest.mark.parametrize(
    "content, reason",
    [
        ({"pictures": IMAGES}, "no array named images"),
        ({"images": IMAGES.astype(np.float32)}, "float32"),
        ({"images": IMAGES.astype(np.int16)}, "int16"),
        ({"images": IMAGES[0]}, "uint8"),
        ({"images": IMAGES, "labels": LABELS[:, None]}, "one-dimensional"),
        ({"images": IMAGES, "labels": np.array([{}] * 5, dtype=object)}, "object"),
    ],
)
def test_npz_of_another_layout_is_refused(tmp_path, content, reason):
    np.savez(tmp_path / "x.npz", allow_pickle=True, **content)
    with pytest.raises(ItemError, match=reason):
        read_npz(tmp_path / "x.npz")


def test_damaged_npz_is_an_item_error(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    data = (tmp_path / "x.npz").read_bytes()
    random = np.random.default_rng(0)
    for cut in range(0, len(data), 37):
        (tmp_path / "x.npz").write_bytes(data[:cut])
        with pytest.raises(ItemError):
            read_npz(tmp_path / "x.npz")
    for _ in range(200):
        damaged = bytearray(data)
        damaged[random.integers(0, len(data))] ^= 1 << random.integers(0, 8)
        (tmp_path / "x.npz").write_bytes(damaged)
        try:
            assert read_npz(tmp_path / "x.npz").images.dtype == np.uint8
        except ItemError as error:
            assert "\n" not in str(error)


def test_arrays_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", IMAGES.size - 1)
    np.savez(tmp_path / "x.npz", images=IMAGES)
    with pytest.raises(ItemError, match="limit"):
        read_npz(tmp_path / "x.npz")
    (tmp_path / "x").write_bytes(idx(IMAGES))
    with pytest.raises(ItemError, match="limit"):
        read_idx(tmp_path / "x")


def test_arrays_in_memory_are_checked():
    with pytest.raises(ItemError, match="float64"):
        image_array(np.zeros((2, 4, 4)))
    with pytest.raises(ItemError, match="labels"):
        image_array(IMAGES, [1, 2])
