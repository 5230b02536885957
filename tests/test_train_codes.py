"""Batches of codes for a prior: looked up or encoded as they come, they are the same."""

from itertools import islice

import numpy as np
import pytest
import torch

from latentpress.data import Dataset
from latentpress.data.batches import Batches
from latentpress.model import VQVAE
from latentpress.train.terms import whole_rows
from latentpress.train.vqvae import cell_mask, code_stream, encoded_codes, looked_up_codes
from small.configs import ITEMS
from small.models import small_model
from small.sources import dataset_of, random_items

KINDS = ["image", "colour", "toy"]


def parts_for(kind: str) -> tuple[VQVAE, Dataset]:
    model, item = small_model("vq-parallel", kind), ITEMS[kind]
    assert isinstance(model, VQVAE)
    size = (7, 5, 4)[: len(item.axes)]
    labels = {"class": [str(i % 3) for i in range(30)], "action": [("a", "b", "c", "a", "a", "b", "c")] * 30}
    return model, dataset_of(item, random_items(item, [size] * 30), labels)


def batches_of(dataset: Dataset, *, crop: int = 16, flip: bool = True) -> Batches:
    ones = (1,) * len(dataset.item.axes)
    return Batches(
        dataset, batch_size=6, extents=tuple(crop * n for n in ones), flip=flip, seed=0, multiple_of=ones
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flip", [True, False])
def test_looking_codes_up_gives_what_encoding_gives(kind: str, flip: bool):
    model, dataset = parts_for(kind)
    batches = batches_of(dataset, flip=flip)
    streams = looked_up_codes(model, batches)(3), encoded_codes(model, batches)(3)
    for looked_up, encoded in islice(zip(*streams, strict=True), 6):
        assert torch.equal(looked_up.labels, encoded.labels) and looked_up.labels.shape == (6, 7, 2)
        assert looked_up.mask is encoded.mask is None
        assert (looked_up.codes == encoded.codes).float().mean() > 0.999  # ties may fall otherwise


def test_codes_of_a_batch_depend_on_its_number_alone():
    model, dataset = parts_for("image")
    whole = list(islice(looked_up_codes(model, batches_of(dataset))(0), 5))
    later = next(iter(looked_up_codes(model, batches_of(dataset))(4)))
    assert torch.equal(later.codes, whole[4].codes) and torch.equal(later.labels, whole[4].labels)


@pytest.mark.parametrize(
    ("crop", "expected", "kind"),
    [(16, None, "looked_up"), (16, 10, "looked_up"), (16, 9, "encoded"), (6, None, "encoded")],
)
def test_all_is_encoded_first_where_that_is_less_work(crop: int, expected: int | None, kind: str):
    model, dataset = parts_for("image")
    stream = code_stream(model, batches_of(dataset, crop=crop), expected)
    assert stream.__qualname__.startswith(f"{kind}_codes.")


def test_windows_of_texts_are_encoded_as_they_come_and_masked():
    model, item = small_model("vq-parallel", "text"), ITEMS["text"]
    assert isinstance(model, VQVAE)
    dataset = dataset_of(item, random_items(item, [(5,), (24,)]))
    batches = Batches(dataset, batch_size=4, extents=(24,), seed=0, multiple_of=(2,))
    stream = code_stream(model, batches, None)
    assert stream.__qualname__.startswith("encoded_codes.")
    batch = next(iter(stream(0)))
    assert batch.mask is not None and batch.codes.shape == (4, 12, 2)
    assert set(batch.mask.sum(1).tolist()) == {3, 12}


def test_items_without_padding_are_kept_or_all_where_there_is_none():
    some, none = torch.tensor([[True, False], [True, True]]), torch.tensor([[True, False], [False, False]])
    values = torch.arange(2)
    assert [values[rows].tolist() for rows in whole_rows([some, none, None])] == [[1], [], [0, 1]]
    assert [values[rows].tolist() for rows in whole_rows([none, none])] == [[0, 1], [0, 1]]


def test_a_cell_is_there_if_one_of_its_samples_is():
    mask = torch.zeros(1, 5, 4, dtype=torch.bool)
    mask[0, 4, 0] = mask[0, 1, 3] = True
    assert cell_mask(mask, (2, 2)).int().tolist() == [[[0, 1], [0, 0], [1, 0]]]  # type: ignore[union-attr]
    assert cell_mask(None, (2, 2)) is None and np.prod(cell_mask(mask, (5, 4)).shape) == 1  # type: ignore[union-attr]
