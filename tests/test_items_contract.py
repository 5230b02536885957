"""The laws of `latentpress.items.base.Item`, over all kinds, that of the tests included."""

from __future__ import annotations

import math
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ItemError
from latentpress.items import ITEM_KINDS, Content, residuals_are_cheaper
from latentpress.items.base import Item, Samples, Shape
from small.configs import ITEMS
from small.items import samples_of

ATTRIBUTES = {
    "image": {"dots_per_metre_x": 2835, "dots_per_metre_y": 11811},
    "colour": {"dots_per_metre_x": 1, "dots_per_metre_y": 1000000007},
    "text": {},
    "toy": {"ticks_per_second": 24},
}

kinds = pytest.mark.parametrize("name", ITEMS)
sizes = st.lists(st.integers(1, 6), min_size=3, max_size=3)
seeds = st.integers(0, 2**32 - 1)


def noise(item: Item, size: Shape, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    return random.integers(item.low, item.low + item.levels, (*size, item.channels)).astype(item.dtype)


def written(item: Item, content: Content) -> bytes:
    file = BytesIO()
    item.write(content, file)
    return file.getvalue()


def test_every_kind_is_tested():
    assert {kind().kind for kind in ITEM_KINDS} <= {item.kind for item in ITEMS.values()}
    assert set(ATTRIBUTES) == set(ITEMS)


@kinds
def test_what_a_kind_says_of_itself_fits_together(name):
    item = ITEMS[name]
    rank = len(item.axes)
    assert rank in (1, 2, 3) and len(set(item.axes)) == rank
    assert len(item.default_size) == rank and min(item.default_size) > 0
    assert item.size is not None and len(item.size) == rank
    assert item.mirror is None or 0 <= item.mirror < rank
    assert item.picture is None or 0 <= item.picture[0] < item.picture[1] < rank
    assert item.segment.bit_count() == 1 and 2**6 <= item.segment <= 2**20
    assert item.new_suffix.startswith(".") and item.suffix in (None, item.new_suffix)
    assert all(word and word.isprintable() for word in (*item.words, item.foreign))
    types = np.iinfo(item.dtype)
    assert types.min <= item.low < item.low + item.levels - 1 <= types.max
    assert math.prod(item.alphabets) >= item.levels**item.channels and max(item.alphabets) <= 65536
    assert item.takes("a" + item.new_suffix, lambda length: b"\xff"[:length])
    assert not item.takes("a.unknown", lambda length: b"\x7fELF\0\0"[:length])
    assert item.opens_zip("a.zip")


@kinds
@given(sizes, seeds)
def test_files_are_read_as_they_were_written(name, size, seed):
    item = ITEMS[name]
    samples = noise(item, tuple(size[: len(item.axes)]), seed)
    content = item.open(BytesIO(written(item, Content.of(samples, ATTRIBUTES[name]))))
    assert content.shape == samples.shape and content.size == samples.shape[:-1]
    assert content.samples.dtype == item.dtype and np.array_equal(content.samples, samples)
    assert content.attributes == ATTRIBUTES[name]


@kinds
@given(sizes, seeds, st.data())
def test_items_are_read_by_ranges_in_any_order(name, size, seed, data):
    item = ITEMS[name]
    samples = noise(item, tuple(size[: len(item.axes)]), seed)
    content = item.open(BytesIO(written(item, Content.of(samples))))
    for _ in range(3):
        start = data.draw(st.integers(0, len(samples)))
        stop = data.draw(st.integers(start, len(samples)))
        assert np.array_equal(content.read(start, stop), samples[start:stop])


@kinds
def test_what_is_read_belongs_to_the_reader(name):
    item = ITEMS[name]
    data = written(item, Content.of(samples_of(item)))
    content = item.open(BytesIO(data))
    content.samples[:] += 1
    assert written(item, item.open(BytesIO(data))) == data


@kinds
@pytest.mark.parametrize("residual", [False, True])
@given(sizes, seeds, st.data())
def test_symbols_are_samples_and_come_in_pieces(name, residual, size, seed, data):
    item = ITEMS[name]
    samples = noise(item, tuple(size[: len(item.axes)]), seed)
    symbols = item.to_symbols(samples, residual=residual)
    assert symbols.shape == (*samples.shape[:-1], len(item.alphabets))
    assert (symbols >= 0).all() and (symbols < np.array(item.alphabets)).all()
    restored = item.from_symbols(symbols, residual=residual)
    assert restored.dtype == item.dtype and np.array_equal(restored, samples)

    row = data.draw(st.integers(0, len(samples)))
    before = samples[data.draw(st.integers(0, row - 1)) : row] if row else None
    assert np.array_equal(item.to_symbols(samples[row:], before, residual=residual), symbols[row:])
    assert np.array_equal(item.from_symbols(symbols[row:], before, residual=residual), samples[row:])


@kinds
@pytest.mark.parametrize("residual", [False, True])
@given(sizes, seeds)
def test_all_symbols_are_those_of_some_samples(name, residual, size, seed):
    item = ITEMS[name]
    random = np.random.default_rng(seed)
    shape = *size[: len(item.axes)], len(item.alphabets)
    symbols = random.integers(0, item.alphabets, shape).astype(np.uint8)
    samples = item.from_symbols(symbols, residual=residual)
    assert np.array_equal(item.to_symbols(samples, residual=residual), symbols)


@kinds
def test_neither_symbols_nor_packing_change_the_samples(name):
    item = ITEMS[name]
    samples = samples_of(item)
    samples.flags.writeable = False
    for residual in (False, True):
        symbols = item.to_symbols(samples[1:], samples[:1], residual=residual)
        symbols.flags.writeable = False
        item.from_symbols(symbols, samples[:1], residual=residual)
    assert item.pack(samples) is not None
    assert np.array_equal(item.fit(samples), samples)


@kinds
def test_residuals_are_cheaper_where_samples_are_smooth(name):
    item = ITEMS[name]
    ramp = np.indices(item.size).sum(axis=0)[..., None]
    smooth = np.broadcast_to(item.low + 3 * ramp, (*item.size, item.channels)).astype(item.dtype)
    assert residuals_are_cheaper(item, [smooth, smooth])
    assert not residuals_are_cheaper(
        item, [np.where(noise(item, item.size, 0) % 5, 0, 200).astype(item.dtype)]
    )


@kinds
@given(sizes, seeds)
def test_packing_loses_nothing(name, size, seed):
    item = ITEMS[name]
    samples = noise(item, tuple(size[: len(item.axes)]), seed)
    restored = item.unpack(item.pack(samples), samples.shape)
    assert restored.dtype == item.dtype and np.array_equal(restored, samples)


@kinds
def test_packing_is_strong(name):
    item = ITEMS[name]
    samples = np.tile(samples_of(item), (64, *[1] * len(item.axes)))
    assert len(item.pack(samples)) < samples.nbytes / 4


@kinds
@pytest.mark.parametrize("change", [-1, 1])
def test_another_shape_is_refused(name, change):
    item = ITEMS[name]
    samples = samples_of(item)
    with pytest.raises(ItemError):
        item.unpack(item.pack(samples), (samples.shape[0] + change, *samples.shape[1:]))


@kinds
@given(st.binary(max_size=60), st.data())
def test_hostile_packed_bytes_give_the_shape_asked_for_or_one_error(name, data, place):
    item = ITEMS[name]
    samples = samples_of(item)
    packed = item.pack(samples)
    start = place.draw(st.integers(0, len(packed) - 1))
    bit = bytes([packed[start] ^ 1 << place.draw(st.integers(0, 7))])
    for damaged in (data, packed[:start] + data + packed[start:], packed[:start] + bit + packed[start + 1 :]):
        with suppress(ItemError):
            restored = item.unpack(damaged, samples.shape)
            assert restored.shape == samples.shape and restored.dtype == item.dtype


@kinds
def test_packed_bytes_end_where_they_end(name):
    item = ITEMS[name]
    samples = samples_of(item)
    packed = item.pack(samples)
    for damaged in (b"", packed[: len(packed) // 2]):
        with pytest.raises(ItemError):
            item.unpack(damaged, samples.shape)


@kinds
def test_a_bomb_is_unpacked_no_further_than_asked(name):
    item = ITEMS[name]
    large = np.zeros((*[1 << 20 // len(item.axes)] * len(item.axes), item.channels), item.dtype)
    bomb = item.pack(large)
    assert len(bomb) < 1 << 16
    with pytest.raises(ItemError):
        item.unpack(bomb, samples_of(item).shape)


@kinds
@given(st.binary(max_size=60), st.data())
def test_hostile_files_give_content_or_one_error_of_one_line(name, data, place):
    item = ITEMS[name]
    file = written(item, Content.of(samples_of(item)))
    start = place.draw(st.integers(0, len(file)))
    for damaged in (data, file[:start] + data + file[start:], file[:start] + data):
        try:
            content = item.open(BytesIO(damaged))
            assert content.samples.shape == content.shape
            assert content.samples.dtype == item.dtype
        except ItemError as error:
            assert "\n" not in str(error)


@kinds
def test_only_arrays_of_the_kind_fit(name):
    item = ITEMS[name]
    samples = samples_of(item)
    five = np.concatenate([samples[..., :1]] * 5, axis=-1)
    for wrong in (samples[..., 0], samples[0], five, samples.astype(np.float32), samples[..., :0]):
        with pytest.raises(ItemError):
            item.fit(wrong)
    with pytest.raises(ItemError):
        item.write(Content.of(five), BytesIO())


@kinds
def test_a_narrowed_kind_opens_the_same_files(name):
    item = ITEMS[name]
    files = [written(item, Content.of(samples_of(item, seed=seed))) for seed in range(2)]
    wide = type(item)()
    narrow = wide.narrowed([wide.open(BytesIO(file)) for file in files])
    assert narrow.kind == item.kind and narrow.channels == item.channels
    for seed, file in enumerate(files):
        assert np.array_equal(narrow.open(BytesIO(file)).samples, samples_of(item, seed=seed))


@kinds
@pytest.mark.parametrize("count", [1, 5])
def test_joined_items_are_split_again(name, count):
    item = ITEMS[name]
    items = [samples_of(item, seed=seed) for seed in range(count)]
    joined = item.join(items)
    if joined is not None:
        assert joined.layout and joined.samples.shape == item.fit(joined.samples).shape
        parts = joined.split(joined.samples)
        assert len(parts) == count
        assert all(np.array_equal(part, each) for part, each in zip(parts, items, strict=True))


@kinds
def test_lossless_baselines_make_files(name):
    item = ITEMS[name]
    samples = np.tile(samples_of(item), (8, *[1] * len(item.axes)))
    for baseline in item.lossless_baselines():
        assert 0 < len(baseline.pack(samples)) < samples.nbytes, baseline.name


@kinds
def test_lossy_baselines_restore_more_with_more_bytes(name):
    item = ITEMS[name]
    assert item.lossy or not item.lossy_baselines()
    samples = samples_of(item, tuple(8 * extent for extent in item.size))
    for baseline in item.lossy_baselines():
        files = [baseline.encode(samples, quality) for quality in (baseline.lowest, baseline.highest)]
        restored = [baseline.decode(file, samples) for file in files]
        assert all(each.shape == samples.shape and each.dtype == samples.dtype for each in restored)
        errors = [np.abs(each.astype(float) - samples).mean() for each in restored]
        assert len(files[0]) < len(files[1]) and errors[0] > errors[1], baseline.name
