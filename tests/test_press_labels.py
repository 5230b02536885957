"""Labels of items, and of their rows: they travel with an archive, and condition what it is coded with."""

import io

import numpy as np
import pytest
import torch

from latentpress.coding import Archive
from latentpress.coding.metadata import pack
from latentpress.config import LabelConfig, ParallelDecoderConfig, PriorConfig
from latentpress.errors import ArchiveError
from latentpress.press import compress, decode_archive
from small.archives import assert_near, codec, compressed, expected_samples, noise_samples, source_of
from small.configs import NETWORK, vq_vae
from small.documented import documented_codes, documented_symbols
from small.forging import forged
from small.models import jolted

NAMES = ("class", "action")
LABELS = (LabelConfig(values=("cat", "dog")), LabelConfig(name="action", values=("up", "down"), along=True))


@pytest.fixture(scope="module")
def toys():
    """A codec all of whose parts are conditioned, some films, and their labels."""
    conv = vq_vae(codec("vq", "toy").item).encoder
    parallel = ParallelDecoderConfig(network=conv, labels=NAMES)
    prior = PriorConfig(network=NETWORK, labels=NAMES)
    settings = {"decoder": (("labels", NAMES),), "labels": LABELS, "prior": prior, "parallel": parallel}
    model = codec("vq", "toy", **settings)
    jolted(model.parallel)  # what labels add starts at zero
    items = {f"{n}": expected_samples(model, (rows, 4, 4), n) for n, rows in enumerate((9, 9, 6, 9, 13))}
    labels = {
        "class": {"0": "dog", "1": "cat", "4": "dog", "3": "cow"},
        "action": {"1": ("up", "down") * 5, "2": ("down",) * 3 + ("jump",) * 3, "4": ("up",) * 20},
    }
    return model, items, labels


def labelled(toys, **options):
    model, items, labels = toys
    return compressed(model, source_of(model, items, **labels), **options)[0]


@pytest.mark.parametrize("lossless", [False, True])
def test_labels_travel_and_condition(toys, lossless):
    model, items, labels = toys
    data = labelled(toys, lossless=lossless)
    archive = Archive(io.BytesIO(data))
    assert archive.header.labels == 2
    assert [item.labels for item in archive.items] == [(1, -1), (0, -1), (-1, -1), (-1, -1), (1, -1)]
    tracks = [None if item.tracks is None else item.tracks[:, 1].tolist() for item in archive.items]
    assert tracks == [None, [0, 1] * 4 + [0], [1] * 3 + [-1] * 3, None, [0] * 13]
    restored = dict(decode_archive(data, model))
    for name, samples in items.items():
        if not lossless:
            given = model.label_numbers(
                {key: values[name] for key, values in labels.items() if name in values}, len(samples)
            )
            own = torch.tensor(given.values if given.tracks is None else given.tracks)[None]
            samples = model.decode(model.encode(samples[None]), samples.shape[:-1], labels=own)[0]
        assert_near(restored[name], samples, exact=lossless)
    plain, _ = compressed(model, items, lossless=lossless)
    other = dict(decode_archive(plain, model))
    assert all(item.tracks is None and item.labels == (-1, -1) for item in Archive(io.BytesIO(plain)).items)
    assert lossless or any((restored[name] != other[name]).any() for name in items)
    coded = [Archive(io.BytesIO(each)).payload(0) for each in (data, plain)]
    assert coded[0] != coded[1]


def test_a_reader_made_from_the_format_page_reads_the_same(toys):
    model, items, _ = toys
    items = {name: items[name] for name in ("0", "1", "2")}
    for lossless in (False, True):
        data = labelled((model, items, toys[2]), lossless=lossless)
        codes = {name: model.encode(samples[None]).reshape(-1, 2).tolist() for name, samples in items.items()}
        if not lossless:
            assert documented_codes(data, model) == {name: [*map(tuple, own)] for name, own in codes.items()}
            continue
        symbols = {
            name: model.item.to_symbols(own, residual=False).reshape(-1, 2) for name, own in items.items()
        }
        assert documented_symbols(data, model) == {
            n: [*map(tuple, own.tolist())] for n, own in symbols.items()
        }


@pytest.mark.parametrize(("lossless", "duplicates"), [(False, 1), (True, 2)])
def test_equal_items_of_other_labels_are_duplicates_where_labels_do_not_matter(toys, lossless, duplicates):
    model = toys[0]
    same = expected_samples(model, (6, 4, 4))
    source = source_of(model, dict.fromkeys("abc", same), **{"class": {"a": "cat", "b": "cat", "c": "dog"}})
    out = io.BytesIO()
    assert compress(model, source, out, lossless=lossless).duplicates == duplicates
    assert [item.labels[0] for item in Archive(out).items] == [0, 0, 1]
    restored = dict(decode_archive(out, model))
    assert np.array_equal(restored["a"], restored["b"])
    assert np.array_equal(restored["a"], restored["c"]) == lossless


def test_labels_that_the_model_does_not_know_are_refused(toys):
    data = labelled(toys)
    for index in (
        {"labels": [pack([3, 0, 0, 0, 0]), pack([0] * 5)]},
        {"tracks": [pack([0] * 28), pack([9] * 28)]},
    ):
        with pytest.raises(ArchiveError, match="label"):
            list(decode_archive(forged(data, index=index), toys[0]))


def test_labels_of_items_that_are_stored_by_the_fallback_travel_too():
    labels = (LabelConfig(values=("cat", "dog")),)
    model = codec("delta", "image", labels=labels)
    items = {"a.png": noise_samples(model.item, (6, 5)), "b.png": expected_samples(model, (24, 4))}
    source = source_of(model, items, **{"class": {"a.png": "dog", "b.png": "cat"}})
    for options in ({}, {"lossless": True}, {"lossless": True, "bits_back": True}):
        data, summary = compressed(model, source, **options)
        assert summary.fallback == 1 and [item.labels for item in Archive(io.BytesIO(data)).items] == [
            (1,),
            (0,),
        ]
        assert np.array_equal(dict(decode_archive(data, model))["a.png"], items["a.png"])
