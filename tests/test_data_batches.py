import gc
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.data.batches import Batches
from latentpress.data.loading import load_pool
from latentpress.data.sources import ItemRef, Source, array_source
from latentpress.errors import ItemError


def uniform(count, height=6, width=7, channels=3):
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return load_pool(array_source(images, range(count)))


def marked(count):
    """Items that say which they are in every pixel."""
    return load_pool(
        array_source(np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8))
    )


def mixed():
    shapes = [(3, 20), (12, 5), (9, 9), (30, 31)]
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    items = [ItemRef(f"{i}.png", None, lambda image=image: image) for i, image in enumerate(images)]
    return load_pool(Source(tuple(items)))


def batches_of(pool, **settings):
    return Batches(
        pool, **{"batch_size": 4, "crop": 8, "flip": True, "seed": 0, "multiple_of": 2, **settings}
    )


def equal(one, other):
    return torch.equal(one.pixels, other.pixels) and torch.equal(one.labels, other.labels)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    pool = mixed()
    batches = batches_of(pool)
    forward = [batches.batch(step) for step in range(9)]
    backward = [batches_of(pool).batch(step) for step in reversed(range(9))][::-1]
    assert all(map(equal, forward, backward))
    assert not equal(forward[0], batches.batch(1))
    assert not equal(forward[0], batches_of(pool, seed=1).batch(0))


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_every_epoch_visits_every_item_once(count, batch_size, epoch, seed):
    batches = batches_of(marked(count), batch_size=batch_size, seed=seed)
    steps = -(-count * (epoch + 1) // batch_size)
    seen = torch.cat([batches.batch(step).pixels[:, 0, 0, 0] for step in range(steps)])
    assert sorted(seen[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_epochs_differ_in_order():
    batches = batches_of(marked(50), batch_size=50)
    first, second = (batches.batch(step).pixels[:, 0, 0, 0].tolist() for step in (0, 1))
    assert first != second and first != sorted(first)


@pytest.mark.parametrize("pool", [uniform(11), mixed()])
def test_ranks_together_see_the_joint_batch(pool):
    joint = batches_of(pool, batch_size=6)
    ranks = [batches_of(pool, batch_size=2, rank=rank, world=3) for rank in range(3)]
    for step in range(5):
        parts = [batches.batch(step) for batches in ranks]
        assert torch.equal(joint.batch(step).pixels, torch.cat([part.pixels for part in parts]))
        assert torch.equal(joint.batch(step).labels, torch.cat([part.labels for part in parts]))


@pytest.mark.parametrize("crop", [1, 4, 6, 8, 50])
@pytest.mark.parametrize("multiple_of", [1, 4, 5])
def test_cutting_at_once_is_cutting_each(crop, multiple_of):
    pool = uniform(9, 10, 7)
    batches = batches_of(pool, crop=crop, multiple_of=multiple_of, batch_size=20)
    draw = batches.draw(3)
    assert pool.stacked is not None and 0 < draw.flipped.sum() < 20
    assert np.array_equal(batches._cut_stacked(draw, pool.stacked), batches._cut_each(draw))


def test_what_is_held_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (9, 10, 11, 3), dtype=np.uint8)
    held, partly = (batches_of(load_pool(array_source(images), budget=budget)) for budget in (1 << 20, 1000))
    assert partly.pool.stacked is None and not partly.pool.held
    assert all(equal(held.batch(step), partly.batch(step)) for step in range(4))


@pytest.mark.parametrize(
    "height, width, crop, hop, size",
    [
        (32, 32, 32, 4, (32, 32)),
        (28, 28, 32, 8, (32, 32)),
        (321, 481, 128, 8, (128, 128)),
        (20, 200, 64, 8, (24, 64)),
        (50, 50, 10, 4, (12, 12)),
        (1, 1, 8, 8, (8, 8)),
    ],
)
def test_size_of_crops(height, width, crop, hop, size):
    batches = batches_of(uniform(2, height, width), crop=crop, multiple_of=hop)
    assert batches.size == size
    assert batches.batch(0).pixels.shape == (4, 3, *size)


def test_whole_items_are_continued_by_their_edges():
    pool = uniform(5, 6, 7)
    batch = batches_of(pool, crop=32, multiple_of=4, flip=False).batch(0)
    for planes, label in zip(batch.pixels.numpy(), batch.labels, strict=True):
        index = pool.labels.tolist().index(int(label))
        assert np.array_equal(planes, np.pad(pool.planes(index), ((0, 0), (0, 2), (0, 1)), mode="edge"))


def test_crops_are_windows_of_their_items_mirrored_half_of_the_time():
    rows, columns = np.mgrid[:20, :30].astype(np.uint8)
    pool = load_pool(array_source(np.stack([rows, columns, rows + columns], -1)[None]))
    pixels = batches_of(pool, batch_size=400, crop=8).batch(0).pixels.to(torch.int64)
    assert torch.equal(pixels[:, 2], pixels[:, 0] + pixels[:, 1])
    steps = pixels[:, 1].diff(dim=2).flatten(1)
    mirrored = steps[:, 0] == -1
    assert torch.equal(steps, torch.where(mirrored, -1, 1)[:, None].expand_as(steps))
    assert 150 < mirrored.sum() < 250
    corners = {(int(p[0].min()), int(p[1].min())) for p in pixels}
    assert {top for top, _ in corners} == set(range(13)) and {left for _, left in corners} == set(range(23))


def test_stream_is_the_batches_from_its_start():
    batches = batches_of(mixed())
    stream = batches.stream(7)
    assert all(equal(next(stream), batches.batch(step)) for step in range(7, 20))


def test_an_abandoned_stream_leaves_no_thread():
    before = set(threading.enumerate())
    stream = batches_of(uniform(9)).stream(0)
    next(stream)
    own = [t for t in set(threading.enumerate()) - before if t.name.startswith("latentpress-ahead")]
    assert own
    del stream
    gc.collect()
    for thread in own:
        thread.join(10)
    assert not any(thread.is_alive() for thread in own)


def test_stream_passes_errors_on():
    reads = iter([np.zeros((4, 4, 3), np.uint8)])

    def read():
        if (image := next(reads, None)) is None:
            raise ItemError("x.png: gone")
        return image

    pool = load_pool(Source((ItemRef("x.png", None, read),)), budget=0)
    with pytest.raises(ItemError, match="gone"):
        next(batches_of(pool).stream(0))
