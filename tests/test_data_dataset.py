"""Items in memory: what is held changes nothing, and every part of a data set is made of its items."""

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.config import LabelConfig
from latentpress.data import ItemRef, Skipped, Source, ahead, array_source, dataset, labels_as, load_dataset
from latentpress.data.ahead import run_ahead
from latentpress.errors import ItemError
from latentpress.items import Content, Image, Text
from small.configs import ITEMS
from small.sources import dataset_of, random_items, sizes_of
from small.toy import Toy


class Film(Toy):
    """Toys of which training shows each sample once an epoch."""

    epoch = "sample"


KINDS = {**ITEMS, "film": Film()}


@pytest.fixture(params=KINDS)
def item(request):
    return KINDS[request.param]


def various(item, count=12):
    return random_items(item, sizes_of(item, count))


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(one[i], other[i]) for i in range(len(one)))


def nbytes(samples):
    return sum(each.nbytes for each in samples)


def failing(name, message):
    def fail():
        raise ItemError(f"{name}: {message}")

    return ItemRef(name, {}, fail)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("large", [1 << 26, 0], ids=["ahead", "in-pieces"])
def test_a_dataset_is_its_items_whatever_it_holds(item, share, large, monkeypatch):
    monkeypatch.setattr(ahead, "_LARGE", large)
    monkeypatch.setattr(dataset, "_PIECE_BYTES", 16)
    samples = various(item)
    budget = int(share * nbytes(samples))
    data = dataset_of(item, samples, budget=budget)
    held = [each for each in data.held if each is not None]
    assert (
        nbytes(held) <= budget and bool(held) == (share > 0) and (len(held) == len(samples)) == (share == 1)
    )
    assert same(data, samples) and data[0].dtype == item.dtype and data.item is item
    assert [tuple(size) for size in data.extents.tolist()] == [each.shape[:-1] for each in samples]
    assert data.digest() == dataset_of(item, samples).digest()
    for index, each in enumerate(samples):
        assert np.array_equal(data.rows(index, 0, 1), each[:1])
        assert np.array_equal(data.rows(index, len(each) // 2, len(each)), each[len(each) // 2 :])


def test_grey_images_among_others_have_three_channels():
    refs = [ItemRef.of(f"{c}.png", np.full((2, 3, c), c, np.uint8)) for c in (1, 3)]
    for budget in (1 << 20, 0):
        data = load_dataset(Source(Image(), refs), budget=budget)
        assert [data[i].shape for i in range(2)] == [(2, 3, 3)] * 2 and data[0].max() == 1


def test_what_is_given_out_is_a_copy(item):
    data = dataset_of(item, various(item, 1))
    before = data[0]
    data[0][:] = 0
    assert np.array_equal(data[0], before)


@pytest.mark.parametrize("large", [1 << 26, 0], ids=["ahead", "in-pieces"])
def test_damaged_items_are_listed_and_left_out(item, large, monkeypatch):
    monkeypatch.setattr(ahead, "_LARGE", large)
    monkeypatch.setattr(dataset, "_PIECE_BYTES", 1)
    samples = random_items(item, [(6,) * len(item.axes)] * 3)

    def half(start, stop):
        if stop > 3:
            raise ItemError("half.x: cut off")
        return samples[0][start:stop]

    late = ItemRef("half.x", {}, lambda: Content(samples[0].shape, half))
    good = array_source(samples, item).items
    seen = []
    source = Source(item, (good[0], failing("bad.x", "damaged"), late, *good[1:]), [Skipped("x", "why")])
    data = load_dataset(source, progress=lambda done, total: seen.append((done, total)))
    assert data.names == tuple(ref.name for ref in good) and same(data, samples)
    wanted = (
        Skipped("x", "why"),
        Skipped("bad.x", "damaged", lost=True),
        Skipped("half.x", "cut off", lost=True),
    )
    assert data.skipped == wanted
    assert seen == [(done, 5) for done in range(1, 6)]
    with pytest.raises(ItemError, match=r"none of 1 items could be read, the first, bad\.x: damaged"):
        load_dataset(Source(item, [failing("bad.x", "damaged")]))


def test_samples_of_another_kind_are_left_out(item):
    odd = ItemRef.of("odd", np.zeros((3,) * (len(item.axes) + 1), np.int64))
    good = array_source(various(item, 1), item).items
    data = load_dataset(Source(item, [odd, *good]))
    assert len(data) == 1 and data.skipped[0].name == "odd" and "int64" in data.skipped[0].reason


def test_an_item_that_changes_is_an_error(item):
    sizes = [(4,) * len(item.axes), (5, *(4,) * (len(item.axes) - 1))]
    contents = iter([Content.of(samples) for samples in random_items(item, sizes)])
    data = load_dataset(Source(item, [ItemRef("x", {}, lambda: next(contents))]), budget=0)
    with pytest.raises(ItemError, match=r"x: the file has changed"):
        data[0]


def test_what_is_not_held_is_read_by_ranges():
    samples, read = random_items(Text(), [(1000,)])[0], []

    def count(start, stop):
        read.append((start, stop))
        return samples[start:stop]

    data = load_dataset(Source(Text(), [ItemRef("x", {}, lambda: Content(samples.shape, count))]), budget=0)
    read.clear()
    assert np.array_equal(data.rows(0, 500, 510), samples[500:510]) and read == [(500, 510)]


def test_labels_are_indices(item):
    labels = {"class": ["dog", "bird", "cat", "dog"], "take": [2, 1, 2, 1]}
    source = array_source(random_items(item, [(2,) * len(item.axes)] * 4), item, labels)
    unlabelled = replace(source.items[1], labels={"take": "1"})
    data = load_dataset(Source(item, [source.items[0], unlabelled, *source.items[2:]]))
    assert data.label_values == {"class": ("cat", "dog"), "take": ("1", "2")} and not data.along
    assert isinstance(data.labels, np.ndarray)
    assert data.labels.tolist() == [[1, 1], [-1, 0], [0, 1], [1, 0]]
    part = data.subset([3, 1])
    assert part.labels.tolist() == [[1, 0], [-1, 0]] and part.names == (data.names[3], data.names[1])
    assert dataset_of(item, various(item, 1)).labels[0].shape == (0,)


def test_labels_go_along_the_first_axis(item):
    rest = (2,) * (len(item.axes) - 1)
    samples = random_items(item, [(3, *rest), (2, *rest), (4, *rest)])
    source = array_source(samples, item, {"act": ["aba", "xx", "bbb"], "who": ["me", "you", "me"]})
    tracks = [tuple("aba"), "b", tuple("bbb")]
    refs = [replace(r, labels={**r.labels, "act": t}) for r, t in zip(source.items, tracks, strict=True)]
    data = load_dataset(Source(item, refs))
    assert data.along == {"act"} and len(data) == 2 and list(data.label_values) == ["act", "who"]
    assert data.skipped == (Skipped(refs[2].name, "3 labels (act) along 4 rows", lost=True),)
    assert [track.tolist() for track in data.labels] == [[[0, 0], [1, 0], [0, 0]], [[1, 1], [1, 1]]]


def test_labels_in_the_order_of_a_model(item):
    rest = (2,) * (len(item.axes) - 1)
    labels = {"class": ["dog", "cat"], "act": [list("ab"), list("bz")]}
    data = dataset_of(item, random_items(item, [(2, *rest)] * 2), labels)
    act, kind = LabelConfig(name="act", values=("b", "a"), along=True), LabelConfig(values=("owl", "dog"))
    other, slow = LabelConfig(name="speaker", values=("me",)), LabelConfig(values=("cat", "dog"), along=True)
    known = labels_as(data, [act, kind, other])
    assert list(known.label_values) == ["act", "class", "speaker"] and known.label_values["class"] == (
        "owl",
        "dog",
    )
    assert known.labels[0].tolist() == [[1, 1, -1], [0, 1, -1]]
    assert known.labels[1].tolist() == [[0, -1, -1], [-1, -1, -1]]
    assert labels_as(data, [slow]).labels[1].tolist() == [[0], [0]]
    assert labels_as(data, []).labels[0].shape == (0,)
    with pytest.raises(ItemError, match="act goes along"):
        labels_as(data, [replace(act, along=False)])


def test_a_subset_shares_the_memory(item):
    samples = various(item)
    data = dataset_of(item, samples)
    part = data.subset(np.array([5, 0, 5]))
    assert same(part, [samples[5], samples[0], samples[5]])
    assert np.shares_memory(part.rows(0, 0, 1), data.rows(5, 0, 1))
    assert part.skipped == ()


@pytest.mark.parametrize("budget", [1 << 20, 0])
@pytest.mark.parametrize(("count", "held"), [(100, 2), (1017, 20)])
def test_of_many_items_each_is_in_one_of_both_parts(item, count, held, budget):
    samples = random_items(item, [(2,) * len(item.axes)] * count)
    data = dataset_of(item, samples, np.arange(count) % 3, budget=budget)
    train, held_out = data.split()
    assert held_out is not None and len(held_out) == held and len(train) == count - held
    assert sorted(train.names + held_out.names) == sorted(data.names)
    places = [data.names.index(name) for name in held_out.names]
    assert set(np.diff(places)) <= {count // held, count // held + 1}
    for part in (train, held_out):
        for index in range(0, len(part), 7):
            place = data.names.index(part.names[index])
            assert np.array_equal(part[index], samples[place])
            assert part.labels[index].tolist() == [place % 3]


@pytest.mark.parametrize("count", [3, 99])
def test_of_few_items_none_is_held_out_where_items_are_seen_whole(item, count):
    if item.epoch == "item":
        data = dataset_of(item, random_items(item, [(2,) * len(item.axes)] * count))
        assert data.split() == (data, None)


@pytest.mark.parametrize("budget", [1 << 20, 0])
@pytest.mark.parametrize("kind", [Text(), Film()], ids=["text", "film"])
def test_of_few_items_the_end_of_the_longest_is_held_out(kind, budget):
    rest = (3, 2)[: len(kind.axes) - 1]
    samples = random_items(kind, [(300, *rest), (800, *rest), (2, *rest), (98, *rest)])
    data = dataset_of(kind, samples, {"act": [list(range(len(each))) for each in samples]}, budget=budget)
    train, held_out = data.split()
    assert held_out is not None and held_out.names == (data.names[1],) and train.names == data.names
    assert same(held_out, [samples[1][-24:]])
    assert same(train, [samples[0], samples[1][:-24], *samples[2:]]) and same(data, samples)
    assert held_out.labels[0][0] == data.labels[1][776]
    assert np.array_equal(train.labels[1], data.labels[1][:776])
    assert held_out.items[0].read().shape == held_out[0].shape
    assert held_out.items[0].labels["act"][0] == "776"


def test_next_to_nothing_is_not_split():
    data = dataset_of(Text(), random_items(Text(), [(20,), (29,)]))
    assert data.split() == (data, None)


def test_equally_short_texts_are_not_eaten_up():
    train, held_out = dataset_of(Text(), [np.array([[97], [98]], np.uint8)] * 99).split()
    assert held_out is not None and [held_out[0].tobytes()] == [b"b"]
    assert [train[i].tobytes() for i in range(99)] == [b"a", *[b"ab"] * 98]


def test_empty_texts_are_kept_and_never_held_out():
    data = dataset_of(Text(), random_items(Text(), [(3,), (0,)] * 100))
    train, held_out = data.split()
    assert held_out is not None and len(held_out) == 2 and held_out.extents.all()
    assert len(train) == 198 and data[1].shape == (0, 1) and data.digest()
    empty = dataset_of(Text(), random_items(Text(), [(0,)]))
    assert empty[0].shape == (0, 1) and empty.split() == (empty, None)


def test_the_digest_tells_data_sets_apart(item):
    samples = random_items(item, [(3,) * len(item.axes)] * 4)
    other = [*samples[:3], samples[3] ^ 1]
    longer = random_items(item, [(3,) * len(item.axes)] * 5)
    datasets = [dataset_of(item, each) for each in (samples, other, longer)]
    datasets += [dataset_of(item, samples, labels) for labels in ([0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 2, 2])]
    datasets.append(dataset_of(item, samples, {"act": [list("abc")] * 4}))
    datasets.append(dataset_of(item, samples, {"act": [list("abd")] * 4}))
    renamed = [replace(ref, name=f"other/{ref.name}") for ref in array_source(samples, item).items]
    datasets.append(load_dataset(Source(item, tuple(renamed))))
    digests = [data.digest() for data in datasets]
    assert len(set(digests)) == len(digests) and digests[0] == dataset_of(item, samples).digest()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 12), st.integers(1, 9))
def test_windows_are_whole_and_none_overlap(lengths, extent, most):
    for kind in (Text(), Film()):
        rest = (2, 3)[: len(kind.axes) - 1]
        lengths = lengths if kind.kind == "text" else [max(1, n) for n in lengths]
        samples = random_items(kind, [(n, *rest) for n in lengths])
        data = dataset_of(kind, samples, {"act": [list(range(n)) for n in lengths]})
        total = sum(n // extent for n in lengths)
        if not total:
            with pytest.raises(ItemError, match=f"no {kind.words.item} is {extent}"):
                data.windows(extent, most)
            continue
        windows = data.windows(extent, most)
        assert len(windows) == min(total, most) and len(set(windows.names)) == len(windows)
        places = []
        for index, name in enumerate(windows.names):
            name, _, limits = name.rstrip("]").partition("[")
            place, (start, stop) = data.names.index(name), map(int, limits.split(":"))
            assert np.array_equal(windows[index], samples[place][start:stop])
            assert np.array_equal(windows.items[index].read(), windows[index])
            assert np.array_equal(windows.labels[index], data.labels[place][start:stop])
            places.append((place, start))
        assert places == sorted(places)
        assert all(a[0] < b[0] or a[1] + extent <= b[1] for a, b in pairwise(places))


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


def test_items_are_read_on_threads_and_few_ahead_of_need():
    lock, opened, most = threading.Lock(), set(), [0]

    def ref(number):
        def read(start, stop):
            assert threading.current_thread() is not threading.main_thread()
            with lock:
                opened.add(number)
                most[0] = max(most[0], len(opened))
            return np.zeros((stop - start, 1), np.uint8)

        return ItemRef(str(number), {}, lambda: Content((1, 1), read))

    contents = ahead.open_ahead([ref(number) for number in range(200)])
    for number, content in enumerate(contents):
        assert isinstance(content, Content) and content.samples.shape == (1, 1)
        with lock:
            opened.remove(number)
    assert most[0] <= (2 * ahead._THREADS + 1) * ahead._GROUP
