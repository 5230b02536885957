import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.data.sources import ItemRef, Skipped, Source
from latentpress.data.windows import Windows, load_text_pool
from latentpress.errors import ItemError

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


def pool_of(texts, labels=None):
    labels = labels or [None] * len(texts)
    items = [
        ItemRef(f"{i}.txt", label, lambda t=t: np.frombuffer(t, np.uint8).reshape(-1, 1).copy())
        for i, (t, label) in enumerate(zip(texts, labels, strict=True))
    ]
    names = tuple(sorted({label for label in labels if label is not None}))
    return load_text_pool(Source(tuple(items), names, (Skipped("x", "why"),)))


def marked(lengths):
    """Texts of which every byte is another, none of them 0."""
    stops = np.cumsum(lengths)
    return pool_of([bytes(range(stop - n + 1, stop + 1)) for stop, n in zip(stops, lengths, strict=True)])


def windows_of(pool, **settings):
    return Windows(pool, **{"batch_size": 4, "window": 8, "seed": 0, **settings})


def equal(one, other):
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("symbols", "mask", "labels")
    )


def seen_in_epoch(windows, epoch):
    """How often each byte comes in an epoch of windows one a batch."""
    steps = range(epoch * windows.per_epoch, (epoch + 1) * windows.per_epoch)
    batches = [windows.batch(step) for step in steps]
    shown = torch.cat([batch.symbols[batch.mask] for batch in batches]).numpy().ravel()
    return np.bincount(shown, minlength=256)


def test_a_pool_keeps_every_byte():
    texts = [b"", b"\xff\0a", b"x" * 100, b""]
    pool = pool_of(texts, ["b", "a", None, "b"])
    assert [pool[i].tobytes() for i in range(4)] == texts
    assert pool.lengths.tolist() == [0, 3, 100, 0] and len(pool.memory) == 103
    assert pool.labels.tolist() == [1, 0, -1, 1] and pool.label_names == ("a", "b")
    assert pool.names == ("0.txt", "1.txt", "2.txt", "3.txt") and pool.skipped == (("x", "why"),)
    part = pool.subset([2, 0])
    assert [part[i].tobytes() for i in range(2)] == [texts[2], b""] and part.labels.tolist() == [-1, 1]


def test_what_cannot_be_read_is_skipped():
    def fail():
        raise ItemError("bad.txt: gone")

    calls = []
    good = ItemRef("good.txt", None, lambda: np.zeros((3, 1), np.uint8))
    pool = load_text_pool(
        Source((ItemRef("bad.txt", None, fail), good)), progress=lambda *call: calls.append(call)
    )
    assert pool.names == ("good.txt",) and pool.skipped == (("bad.txt", "gone"),)
    assert calls == [(1, 2), (2, 2)]
    with pytest.raises(ItemError, match=r"none of 1 items could be read, the first, bad\.txt: gone"):
        load_text_pool(Source((ItemRef("bad.txt", None, fail),)))


def test_a_batch_is_a_pure_function_of_seed_and_step():
    pool = marked([5, 30, 0, 17])
    windows = windows_of(pool)
    forward = [windows.batch(step) for step in range(9)]
    backward = [windows_of(pool).batch(step) for step in reversed(range(9))][::-1]
    assert all(map(equal, forward, backward))
    assert not equal(forward[0], windows.batch(1))
    assert not equal(forward[0], windows_of(pool, seed=1).batch(0))
    stream = windows.stream(3)
    assert all(equal(next(stream), windows.batch(step)) for step in range(3, 9))


@given(LENGTHS, st.integers(1, 12), st.integers(0, 3))
@settings(deadline=None)
def test_every_epoch_shows_every_byte(lengths, window, epoch):
    windows = windows_of(marked(lengths), window=window, batch_size=1)
    seen = seen_in_epoch(windows, epoch)[1 : sum(lengths) + 1]
    assert seen.min() >= 1
    assert seen.max() <= 2  # the windows of a text lie at most half of their length over one another


@given(LENGTHS, st.integers(1, 12), st.integers(0, 50))
@settings(deadline=None)
def test_windows_are_pieces_of_texts(lengths, window, step):
    pool = marked(lengths)
    windows = windows_of(pool, window=window)
    batch = windows.batch(step)
    assert windows.size == min(window, max(lengths)) == batch.mask.shape[1]
    assert batch.symbols.shape == (4, windows.size, 1) and batch.symbols.dtype == torch.uint8
    texts = [pool[i].tobytes() for i in range(len(pool))]
    for symbols, mask in zip(batch.symbols.numpy(), batch.mask.numpy(), strict=True):
        count = int(mask.sum())
        piece = symbols[:count].tobytes()
        assert count >= 1 and mask[:count].all() and not symbols[count:].any()
        (text,) = (text for text in texts if piece in text)
        at_an_edge = text.startswith(piece) or text.endswith(piece)
        assert count == windows.size or (at_an_edge if len(text) > windows.size else piece == text)


def test_every_byte_of_a_text_is_as_likely_as_any_other():
    windows = windows_of(marked([30]), window=8, batch_size=1)
    epochs = 2000
    seen = sum(seen_in_epoch(windows, epoch) for epoch in range(epochs))[1:31]
    expected = windows.per_epoch * 8 / 37
    assert np.abs(seen / epochs - expected).max() < 0.05


def test_texts_are_seen_in_proportion_to_their_bytes():
    windows = windows_of(pool_of([b"a" * 50_000, b"b" * 10_000, b"c" * 300]), window=100, batch_size=1000)
    shown = torch.cat([b.symbols[b.mask] for b in (windows.batch(step) for step in range(6))])
    counts = np.bincount(shown.numpy().ravel(), minlength=256)[[97, 98, 99]]
    assert np.allclose(counts / counts.sum(), np.array([50_000, 10_000, 300]) / 60_300, atol=0.01)


def test_ranks_together_see_the_joint_batch():
    pool = marked([20, 3, 33])
    joint = windows_of(pool, batch_size=6)
    ranks = [windows_of(pool, batch_size=2, rank=rank, world=3) for rank in range(3)]
    for step in range(8):
        parts = [windows.batch(step) for windows in ranks]
        for name in ("symbols", "mask", "labels"):
            assert torch.equal(getattr(joint.batch(step), name), torch.cat([getattr(p, name) for p in parts]))


def test_labels_are_those_of_the_texts():
    pool = pool_of([b"a" * 20, b"b" * 20, b"c" * 5], ["y", None, "x"])
    batch = windows_of(pool, batch_size=60).batch(0)
    wanted = {97: 1, 98: -1, 99: 0}
    assert [wanted[int(row[0, 0])] for row in batch.symbols] == batch.labels.tolist()
