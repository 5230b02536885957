"""Batches of pieces of items: a pure function of seed and step, by the laws that the module states."""

import gc
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.data import ItemRef, Source, load_dataset
from latentpress.data.batches import Batch, Batches
from latentpress.errors import ItemError
from latentpress.items import Content, Image, Text
from small.configs import ITEMS
from small.sources import dataset_of, random_items, sizes_of
from small.toy import Toy


class Film(Toy):
    """Toys of which training shows each sample once an epoch, and that may be mirrored in time."""

    epoch = "sample"
    mirror = 0


class Backwards(Toy):
    """Toys that may be mirrored along their first axis."""

    mirror = 0


KINDS = {**ITEMS, "film": Film(), "backwards": Backwards()}
LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


@pytest.fixture(params=KINDS)
def item(request):
    return KINDS[request.param]


def various(item, **settings):
    """Items of many sizes with two labels, one of which goes along them."""
    samples = random_items(item, sizes_of(item, 7, least=2, most=17))
    labels = {"class": list("abcabca"), "act": [list(range(len(each))) for each in samples]}
    return dataset_of(item, samples, labels, **settings)


def uniform(item, count=11, size=None):
    samples = random_items(item, [size or (6, 7, 5)[: len(item.axes)]] * count)
    return dataset_of(item, np.stack(samples), range(count))


def batches_of(dataset, extent: int | tuple[int, ...] = 8, hop: int | tuple[int, ...] = 2, **settings):
    rank = len(dataset.item.axes)
    extents, hops = (each if isinstance(each, tuple) else (each,) * rank for each in (extent, hop))
    where = {"extents": extents, "multiple_of": hops}
    return Batches(
        dataset, **{"batch_size": 4, "flip": True, "seed": 0, "residual": True, **where, **settings}
    )


def parts(batch):
    return [batch.samples, batch.mask, batch.labels, batch.symbols]


def equal(one, other):
    return all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(parts(one), parts(other), strict=True)
    )


def joined(batches):
    masks = [
        torch.ones(b.samples.shape[:-1], dtype=torch.bool) if b.mask is None else b.mask for b in batches
    ]
    mask = torch.cat(masks)
    samples, labels, symbols = (
        torch.cat([getattr(b, name) for b in batches]) for name in ("samples", "labels", "symbols")
    )
    return Batch(samples, None if mask.all() else mask, labels, symbols)


def test_a_batch_is_a_pure_function_of_seed_and_step(item):
    data = various(item)
    batches = batches_of(data)
    forward = [batches.batch(step) for step in range(9)]
    backward = [batches_of(data).batch(step) for step in reversed(range(9))][::-1]
    assert all(map(equal, forward, backward))
    assert not equal(forward[0], batches.batch(1))
    assert not equal(forward[0], batches_of(data, seed=1).batch(0))
    stream = batches.stream(3)
    assert all(equal(next(stream), forward[step]) for step in range(3, 9))


def test_ranks_together_see_the_joint_batch(item):
    for data in (uniform(item), various(item)):
        joint = batches_of(data, batch_size=6)
        ranks = [batches_of(data, batch_size=2, rank=rank, world=3) for rank in range(3)]
        for step in range(8):
            assert equal(joint.batch(step), joined([batches.batch(step) for batches in ranks]))


def test_what_is_held_changes_nothing(item):
    held = batches_of(various(item))
    partly = batches_of(various(item, budget=sum(held.dataset[i].nbytes for i in range(7)) // 2))
    assert 0 < sum(each is None for each in partly.dataset.held) < len(partly.dataset)
    assert all(equal(held.batch(step), partly.batch(step)) for step in range(6))
    stream = partly.stream(0)
    assert all(equal(held.batch(step), next(stream)) for step in range(6))


def expected(batches, step):
    """The batch of a step, sample by sample from where its pieces lie."""
    data, pieces, size, item = batches.dataset, batches.draw(step), batches.size, batches.dataset.item
    shape = (batches.batch_size, *size)
    samples = np.zeros((*shape, item.channels), np.int64)
    mask, symbols = np.zeros(shape, bool), np.zeros((*shape, len(item.alphabets)), np.int64)
    labels = np.full((batches.batch_size, size[0], len(data.label_values)), -1)
    for i, (index, corner, flipped) in enumerate(zip(*pieces, strict=True)):
        whole, extents = data[index], data.extents[index]
        axes = [[c + n for n in range(s)] for c, s in zip(corner, size, strict=True)]
        inside = [[place for place in axis if 0 <= place < e] for axis, e in zip(axes, extents, strict=True)]
        if flipped:
            inside[item.mirror].reverse()
        for axis in range(item.epoch == "sample", len(size)):
            inside[axis] += [inside[axis][-1]] * (size[axis] - len(inside[axis]))
        piece = whole[np.ix_(*inside)]
        rows = len(piece)
        samples[i, :rows], mask[i, :rows] = piece, True
        symbols[i, :rows] = item.to_symbols(piece, residual=batches.residual)
        known = data.labels[index]
        labels[i, :rows] = known[inside[0]] if known.ndim == 2 else known
    return Batch(*map(torch.from_numpy, (samples, mask, labels if data.along else labels[:, 0], symbols)))


@pytest.mark.parametrize("extent", [1, 4, 6, 50])
@pytest.mark.parametrize("hop", [1, 4, 5])
@pytest.mark.parametrize("residual", [False, True])
def test_pieces_are_cut_from_where_they_lie(item, extent, hop, residual):
    for data in (uniform(item, 5), various(item)):
        batches = batches_of(data, extent, hop, batch_size=10, residual=residual)
        for step in range(2):
            batch, wanted = batches.batch(step), expected(batches, step)
            mask = torch.ones_like(wanted.mask) if batch.mask is None else batch.mask
            assert batch.samples.dtype == (torch.uint8 if item.dtype == np.uint8 else torch.int32)
            assert torch.equal(batch.samples.long(), wanted.samples) and torch.equal(mask, wanted.mask)
            assert torch.equal(batch.symbols.long(), wanted.symbols)
            assert torch.equal(batch.labels, wanted.labels)
            assert batch.dims == int(wanted.mask.sum()) * item.channels
            assert batch.mask is None or (item.epoch == "sample" and not batch.mask.all())


@pytest.mark.parametrize(
    "size, extent, hop, wanted",
    [
        ((32, 32, 32), (32, 32, 32), (4, 4, 4), (32, 32, 32)),
        ((28, 28, 5), (32, 32, 32), (8, 8, 1), (32, 32, 5)),
        ((321, 481, 2), (128, 128, 8), (8, 8, 8), (128, 128, 8)),
        ((20, 200, 7), (64, 64, 3), (8, 1, 2), (24, 64, 4)),
        ((50, 50, 50), (10, 10, 10), (4, 3, 1), (12, 12, 10)),
        ((1, 1, 1), (8, 8, 8), (8, 8, 8), (8, 8, 8)),
    ],
)
def test_size_of_pieces(item, size, extent, hop, wanted):
    rank = len(item.axes)
    batches = batches_of(uniform(item, 2, size[:rank]), extent[:rank], hop[:rank], residual=None, flip=False)
    batch = batches.batch(0)
    assert batches.size == wanted[:rank] and batch.symbols is None
    assert batch.samples.shape == (4, *wanted[:rank], item.channels)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 5), st.integers(0, 3))
def test_every_epoch_shows_every_item_once(count, batch_size, epoch, seed):
    for kind in (ITEMS["colour"], Backwards()):
        batches = batches_of(uniform(kind, count), batch_size=batch_size, seed=seed)
        assert batches.windows_per_epoch == count
        steps = -(-count * (epoch + 1) // batch_size)
        seen = torch.cat([batches.batch(step).labels[:, 0] for step in range(steps)])
        names = [int(batches.dataset.label_values["class"][index]) for index in seen]
        assert sorted(names[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_differ_in_order(item):
    batches = batches_of(uniform(item, 50, (4,) * len(item.axes)), batch_size=50)
    first, second = (batches.draw(step).indices.tolist() for step in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != sorted(first)


def marked(kind, lengths):
    """Items of which every row along the first axis has a number of its own, from 1 on."""
    stops, rest = np.cumsum(lengths), (3, 2)[: len(kind.axes) - 1]
    ones = np.ones((*rest, kind.channels), kind.dtype)
    columns = [
        np.arange(stop - n + 1, stop + 1).astype(kind.dtype) for stop, n in zip(stops, lengths, strict=True)
    ]
    return dataset_of(kind, [np.multiply.outer(column, ones) for column in columns])


def seen_in_epoch(batches, epoch):
    """How often each numbered row comes in an epoch of windows one a batch."""
    steps = range(epoch * batches.windows_per_epoch, (epoch + 1) * batches.windows_per_epoch)
    shown = []
    for batch in map(batches.batch, steps):
        samples = batch.samples if batch.mask is None else batch.samples[batch.mask]
        rest = batch.samples[0, 0].numel()
        shown.append(samples.reshape(-1, rest)[:, 0].long())
    return np.bincount(torch.cat(shown).numpy(), minlength=256)


@pytest.mark.parametrize("kind", [Text(), Film()], ids=["text", "film"])
@given(LENGTHS, st.integers(1, 12), st.integers(1, 3), st.integers(0, 3))
def test_every_epoch_shows_every_sample(kind, lengths, window, step, epoch):
    lengths = lengths if kind.kind == "text" else [max(1, n) for n in lengths]
    rank = len(kind.axes)
    further = (4,) * (rank - 1)
    settings = {"corner_step": (step, *(1,) * (rank - 1)), "batch_size": 1, "flip": False}
    batches = batches_of(marked(kind, lengths), (window * step, *further), (step, *further), **settings)
    seen = seen_in_epoch(batches, epoch)[1 : sum(lengths) + 1]
    assert seen.min() >= 1
    assert seen.max() <= 2  # neighbouring windows lie at most half of their length over one another


@given(LENGTHS, st.integers(1, 12), st.integers(0, 50))
def test_windows_are_pieces_of_items(lengths, window, step):
    data = marked(Text(), lengths)
    batches = batches_of(data, window, 1, residual=False)
    batch = batches.batch(step)
    (size,) = batches.size
    assert size == min(window, max(lengths))
    texts = [data[i].tobytes() for i in range(len(data))]
    mask = torch.ones(4, size, dtype=torch.bool) if batch.mask is None else batch.mask
    for samples, inside in zip(batch.samples.numpy(), mask.numpy(), strict=True):
        count = int(inside.sum())
        piece = samples[:count].tobytes()
        assert count >= 1 and inside[:count].all() and not samples[count:].any()
        (text,) = (text for text in texts if piece in text)
        at_an_edge = text.startswith(piece) or text.endswith(piece)
        assert count == size or (at_an_edge if len(text) > size else piece == text)


@pytest.mark.parametrize("kind", [Text(), Film()], ids=["text", "film"])
def test_every_sample_of_an_item_is_as_likely_as_any_other(kind):
    batches = batches_of(marked(kind, [30]), (8, 3, 2)[: len(kind.axes)], 1, batch_size=1, flip=False)
    epochs = 1500
    seen = sum(seen_in_epoch(batches, epoch) for epoch in range(epochs))[1:31]
    expected = batches.windows_per_epoch * 8 / 37
    assert np.abs(seen / epochs - expected).max() < 0.06


def test_texts_are_seen_in_proportion_to_their_bytes():
    sizes = [50_000, 10_000, 300]
    data = dataset_of(Text(), [np.full((n, 1), 97 + i, np.uint8) for i, n in enumerate(sizes)])
    batches = batches_of(data, 100, 1, batch_size=1000)
    shown = [b.samples if b.mask is None else b.samples[b.mask] for b in map(batches.batch, range(6))]
    counts = np.bincount(torch.cat([each.ravel() for each in shown]).numpy(), minlength=256)[97:100]
    assert np.allclose(counts / counts.sum(), np.array(sizes) / sum(sizes), atol=0.01)


def test_empty_items_are_never_shown():
    batches = batches_of(marked(Text(), [0, 3, 0]), 8, 1)
    assert set(batches.draw(0).indices) == {1}


@pytest.mark.parametrize("step", [(1, 1, 1), (2, 3, 1)])
def test_corners_lie_everywhere_and_at_multiples_of_a_step(item, step):
    size, rank = (20, 30, 9), len(item.axes)
    data = uniform(item, 3, size[:rank])
    extent = (8, 9, 4)
    batches = batches_of(data, extent[:rank], step[:rank], corner_step=step[:rank], batch_size=400)
    corners = np.concatenate([batches.draw(n).corners for n in range(5)])
    for axis in range(rank):
        least = -(batches.size[0] - step[0]) if axis == 0 and item.epoch == "sample" else 0
        room = size[axis] - (step[0] if axis == 0 and item.epoch == "sample" else batches.size[axis])
        assert set(corners[:, axis]) == set(range(least, room + 1, step[axis]))


def test_half_of_the_pieces_are_mirrored_where_the_kind_allows_it(item):
    data = uniform(item)
    flipped = np.concatenate([batches_of(data, batch_size=100).draw(n).flipped for n in range(10)])
    assert not batches_of(data, flip=False).draw(0).flipped.any()
    assert batches_of(data).flip == (item.mirror is not None)
    assert 400 < flipped.sum() < 600 if item.mirror is not None else not flipped.any()


def test_symbols_move_as_integers(item):
    batch = batches_of(uniform(item)).batch(0)
    moved = batch.to("cpu")
    assert moved.symbols is not None and moved.symbols.dtype == torch.int64
    assert equal(Batch(moved.samples, moved.mask, moved.labels, moved.symbols.to(batch.symbols.dtype)), batch)
    assert batch.symbols.dtype == torch.uint8 and batch.symbols.shape[-1] == len(item.alphabets)


def test_where_nothing_is_cut_there_is_no_mask():
    data = dataset_of(Text(), random_items(Text(), [(9,)] * 4))
    assert batches_of(data, 9, 1).batch(0).mask is None
    assert batches_of(data, 9, 2).batch(0).mask is not None


def test_pieces_of_a_seed_stay_the_same_from_release_to_release():
    images, texts = (batches_of(various(kind), seed=5).draw(2) for kind in (Image(), Text()))
    assert images.indices.tolist() == [0, 2, 3, 1] and images.flipped.tolist() == [True, True, False, True]
    assert images.corners.tolist() == [[6, 3], [0, 0], [0, 0], [2, 0]]
    assert texts.indices.tolist() == [2, 0, 5, 1] and texts.corners.tolist() == [[-4], [-2], [0], [8]]


def test_an_abandoned_stream_leaves_no_thread():
    before = set(threading.enumerate())
    stream = batches_of(uniform(Text())).stream(0)
    next(stream)
    threads = [t for t in set(threading.enumerate()) - before if t.name.startswith("latentpress-ahead")]
    assert threads
    del stream
    gc.collect()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_stream_passes_errors_on(item):
    samples = random_items(item, [(4,) * len(item.axes)])[0]
    contents = iter([Content.of(samples)])

    def open_once():
        if (content := next(contents, None)) is None:
            raise ItemError("x: gone")
        return content

    data = load_dataset(Source(item, [ItemRef("x", {}, open_once)]), budget=0)
    with pytest.raises(ItemError, match="x: gone"):
        next(batches_of(data).stream(0))
