import numpy as np
import pytest

from latentpress.data.ahead import run_ahead
from latentpress.data.loading import load_pool
from latentpress.data.sources import ItemRef, Skipped, Source, array_source
from latentpress.errors import ItemError

RANDOM = np.random.default_rng(0)


def source_of(images, labels=None):
    labels = labels or [None] * len(images)
    items = tuple(
        ItemRef(f"{i}.png", label, lambda image=image: image)
        for i, (image, label) in enumerate(zip(images, labels, strict=True))
    )
    return Source(items, tuple(sorted({label for label in labels if label})))


def various(count=20, channels=(1, 3)):
    return [
        RANDOM.integers(0, 256, (*RANDOM.integers(1, 12, 2), RANDOM.choice(channels)), dtype=np.uint8)
        for _ in range(count)
    ]


def damaged():
    raise ItemError("bad.png: damaged")


@pytest.mark.parametrize("budget", [1 << 20, 500, 0])
def test_pool_is_the_items_whatever_it_holds(budget):
    images = various()
    pool = load_pool(source_of(images), budget=budget)
    assert pool.channels == 3 and len(pool) == 20 and pool.memory.nbytes <= budget
    assert pool.held == (budget == 1 << 20)
    for i, image in enumerate(images):
        assert np.array_equal(pool[i], np.broadcast_to(image, (*image.shape[:2], 3)))
        assert np.array_equal(pool.planes(i), pool[i].transpose(2, 0, 1))


def test_stacked_is_the_pool():
    images = RANDOM.integers(0, 256, (30, 4, 5, 3), dtype=np.uint8)
    pool = load_pool(array_source(images))
    assert pool.stacked is not None and np.array_equal(pool.stacked, images.transpose(0, 3, 1, 2))
    assert load_pool(array_source(images), budget=100).stacked is None
    assert load_pool(source_of(various())).stacked is None


def test_labels_are_indices():
    pool = load_pool(source_of(various(4), ["dog", None, "cat", "dog"]))
    assert pool.label_names == ("cat", "dog") and pool.labels.tolist() == [1, -1, 0, 1]


def test_damaged_items_are_listed_and_left_out():
    good = source_of(various(3))
    bad = ItemRef("bad.png", None, damaged)
    seen = []
    source = Source((good.items[0], bad, *good.items[1:]), skipped=(Skipped("x.txt", "why"),))
    pool = load_pool(source, progress=lambda done, total: seen.append((done, total)))
    assert pool.names == ("0.png", "1.png", "2.png")
    assert pool.skipped == (("x.txt", "why"), ("bad.png", "damaged"))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(ItemError, match=r"none of 1 items could be read, the first, bad\.png: damaged"):
        load_pool(Source((bad,)))


def test_an_item_that_changes_is_an_error():
    images = iter([np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)])
    pool = load_pool(Source((ItemRef("x.png", None, lambda: next(images)),)), budget=0)
    with pytest.raises(ItemError, match=r"x\.png: the file has changed"):
        pool[0]


def test_ahead_keeps_the_order_and_its_bound():
    begun = []

    def square(n):
        begun.append(n)
        return n * n

    results = run_ahead(square, iter(range(1000)), threads=3, ahead=5)
    assert [next(results) for _ in range(10)] == [n * n for n in range(10)]
    results.close()
    assert len(begun) <= 10 + 5 + 1


def test_ahead_passes_exceptions_on():
    results = run_ahead(lambda n: 1 // n, [1, 0, 1], threads=2, ahead=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
