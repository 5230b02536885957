"""What files are, found out from the files."""

import numpy as np
import pytest

from latentpress.data import survey
from latentpress.errors import ItemError
from latentpress.items import Image, Text
from small.configs import ITEMS
from small.sources import file_of, random_items, sizes_of, write, zip_of
from small.toy import Toy

KINDS = (Image(), Text(), Toy())


def files_of(item, count, folder="x"):
    samples = random_items(item, sizes_of(item, count))
    return {f"{folder}{i % 2}/{i}{item.new_suffix}": file_of(item, each) for i, each in enumerate(samples)}


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("zipped", [False, True])
def test_the_kind_that_most_files_are_of(tmp_path, kind, zipped):
    item = ITEMS[kind]
    files = files_of(item, 9)
    for other in KINDS:
        files |= files_of(other, 2, "rest") if other.kind != item.kind else {}
    path = zip_of(tmp_path / "x.zip", files) if zipped else write(tmp_path / "x", files)
    result = survey([path], kinds=KINDS)
    assert (result.item.kind, result.item.channels) == (item.kind, item.channels)
    assert result.counts == {other.kind: 9 if other.kind == item.kind else 2 for other in KINDS}
    wanted = [list(samples.shape[:-1]) for samples in random_items(item, sizes_of(item, 9))]
    assert sorted(result.extents.tolist()) == sorted(wanted)


def test_images_are_grey_if_all_are(tmp_path):
    grey, colour = Image(channels=1), Image()
    write(tmp_path, files_of(grey, 4))
    (tmp_path / "same.png").write_bytes(file_of(colour, np.full((3, 4, 3), 9, np.uint8)))
    assert survey([tmp_path]).item == grey
    (tmp_path / "last.png").write_bytes(file_of(colour, random_items(colour, [(2, 2)])[0]))
    result = survey([tmp_path])
    assert result.item == colour and len(result.extents) == 6


def test_what_cannot_be_read_is_passed_over(tmp_path):
    write(tmp_path, {**files_of(Image(), 3), "bad.png": b"\x89PNG"})
    assert len(survey([tmp_path]).extents) == 3
    write(tmp_path / "worse", {"bad.png": b"\x89PNG"})
    with pytest.raises(ItemError, match=r"^bad\.png: "):
        survey([tmp_path / "worse"])


def test_a_sample_is_looked_at(tmp_path):
    write(tmp_path, {f"{i}.txt": bytes(i) for i in range(450)})
    result = survey([tmp_path])
    assert len(result.extents) == 200 and result.counts["text"] == 450
    assert result.extents.max() > 440 and result.extents.min() == 0


def test_files_named_one_by_one_count_by_what_they_are(tmp_path):
    files = files_of(Image(), 2)
    write(tmp_path, {**files, "notes": b"words"})
    result = survey([tmp_path / name for name in (*files, "notes")])
    assert result.item.kind == "image" and result.counts == {"image": 2, "text": 1}


def test_nothing_is_an_error(tmp_path):
    write(tmp_path, {"x.bin": b"\x7fELF\0"})
    with pytest.raises(ItemError, match=r"nothing to train on in .*: x\.bin, "):
        survey([tmp_path])
    with pytest.raises(ItemError, match="no such file"):
        survey([tmp_path / "missing"])
