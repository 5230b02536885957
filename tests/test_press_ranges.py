"""Items larger than what is held in memory: read, coded and restored by ranges of rows."""

import io
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import Archive, BlockLayout, Part, Segment
from latentpress.data import ItemRef, Source
from latentpress.items import Content, Image, Text
from latentpress.press import compress, decode_archive, decompress, restoring, verify_archive
from latentpress.press.blocks import batches
from latentpress.press.reading import row_ranges
from small.archives import Case, assert_near, compressed, expected_samples, flat_samples, noise_samples
from small.toy import Toy

HELD = 150
CASES = [
    Case("vq", "colour", "both", "lossy"),
    Case("vq", "toy", "parallel", "lossy"),
    Case("vq", "image", "autoregressive", "lossy"),
    Case("delta", "image", "both", "lossy"),
    Case("vq", "colour", "both", "lossless"),
    Case("vq", "toy", "both", "lossless"),
    Case("vq", "text", "autoregressive", "lossless"),
    Case("delta", "text", "autoregressive", "lossless"),
    Case("alone", "text", "autoregressive", "lossless"),
    Case("delta", "toy", "both", "bits-back"),
    Case("delta", "colour", "both", "bits-back"),
    Case("delta", "text", "autoregressive", "bits-back"),
]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def narrow(monkeypatch):
    """Short bands, small blocks, and little room."""
    for kind in (Image, Text, Toy):
        monkeypatch.setattr(kind, "segment", 64)
    monkeypatch.setattr("latentpress.coding.records.CODE_SEGMENT", 24)
    monkeypatch.setattr("latentpress.coding.records.CODE_BLOCK", 64)
    monkeypatch.setattr("latentpress.coding.records.FALLBACK_SEGMENT", 100)
    for module in ("reading", "restoring"):
        monkeypatch.setattr(f"latentpress.press.{module}.HELD_SAMPLES", HELD)


def long_items(model):
    """Items of several ranges, bands and blocks, and short ones between them."""
    rows, *further = model.item.size
    rows *= 1 if model.item.ordinal else 4
    return {
        "short": expected_samples(model, (rows, *further), 1),
        "long": expected_samples(model, (rows * 9 + 1, *further), 2),
        "packed": flat_samples(model.item, (rows * 30 + 1, *further)),
        "again": expected_samples(model, (rows, *further), 1),
        "raw": noise_samples(model.item, (rows * 4, *further)),
        "same": expected_samples(model, (rows * 9 + 1, *further), 2),
    }


def wanted(model, items, data):
    """What comes back of items, decoded whole."""
    archive = Archive(io.BytesIO(data))
    for number, (name, samples) in enumerate(items.items()):
        original = archive.original(number)
        if not archive.header.lossless and original not in archive.stored.fallback:
            codes = model.encode(samples[None])
            seeded = {"seed": archive.header.seed or 0, "numbers": [original]}
            samples = model.decode(codes, samples.shape[:-1], **seeded)[0]
        yield name, samples


def test_long_items_come_back(case, narrow, tmp_path):
    model = case.codec
    items = long_items(model)
    data, summary = compressed(model, items, **case.options)
    archive = Archive(io.BytesIO(data))
    bands = [lane for block in archive.layout for lane in block.lanes if lane.item == 1]
    assert len({lane.start for lane in bands}) > 1 and summary.duplicates == 2
    assert (1 in archive.stored.fallback, 2 in archive.stored.fallback) == (False, summary.lossless)
    restored, expected = dict(decode_archive(data, model)), dict(wanted(model, items, data))
    assert restored.keys() == items.keys()
    for name, samples in expected.items():
        assert_near(restored[name], samples, exact=summary.lossless)
    for name in ("long", "same", "packed"):
        assert np.array_equal(dict(decode_archive(data, model, only=name))[name], restored[name])
    decompress(data, model, tmp_path)
    for name, samples in restored.items():
        [path] = tmp_path.glob(f"{name}*")
        with path.open("rb") as file:
            assert np.array_equal(model.item.open(file).samples, samples)
    assert verify_archive(data, model).symbols == summary.symbols


def test_the_room_there_is_changes_no_archive(case, narrow, monkeypatch):
    items = long_items(case.codec)
    data, _ = compressed(case.codec, items, **case.options)
    for module in ("reading", "restoring"):
        monkeypatch.setattr(f"latentpress.press.{module}.HELD_SAMPLES", 1 << 24)
    assert compressed(case.codec, items, **case.options)[0] == data


@given(st.data())
@settings(max_examples=20)
def test_rows_are_restored_in_any_order(draws):
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "segment", 64)
        patch.setattr(restoring, "HELD_SAMPLES", HELD)
        model = Case("vq", "toy", "both", "lossless").codec
        samples = expected_samples(model, (29, 4, 4))
        data, _ = compressed(model, {"a": samples}, lossless=True)
        with restoring.open_archive(data) as archive:
            [(_, content)] = restoring._Restorer(archive, model, [0]).contents()
            for _ in range(4):
                start = draws.draw(st.integers(0, 29))
                stop = draws.draw(st.integers(start, 29))
                assert np.array_equal(content.read(start, stop), samples[start:stop])


@pytest.mark.parametrize("case", [case for case in CASES if case.model != "delta"], ids=str)
def test_few_rows_are_read_and_restored_at_once(case, narrow, monkeypatch):
    """Where neither codes nor samples depend on the whole item."""
    model = case.codec
    rows, *further = model.item.size
    samples, read, restored = expected_samples(model, (rows * 60, *further)), [0], [0]

    def part(start, stop):
        read.append(samples[start:stop].size)
        return samples[start:stop]

    write = type(model.item).write

    def noted(item, content, file):
        def rows_of(start, stop):
            found = content.read(start, stop)
            restored.append(found.size)
            return found

        for start, stop in row_ranges(content.shape):
            rows_of(start, stop)
        write(item, content, file)

    monkeypatch.setattr(type(model.item), "write", noted)
    ref = ItemRef("a", {}, partial(Content, samples.shape, part))
    out = io.BytesIO()
    compress(model, Source(model.item, [ref]), out, **case.options)
    margin = 2 * (model.encode_reach or 0) + max(model.hop[0], 64 // int(np.prod(further)))
    assert max(read) <= HELD + (margin + 1) * samples[0].size < samples.size
    pieces = []
    original = restoring._Restorer._samples

    def seen(self, *given):
        samples = original(self, *given)
        pieces.extend(each.size for each in samples.values())
        return samples

    monkeypatch.setattr(restoring._Restorer, "_samples", seen)
    decompress(out, model, io.BytesIO())
    if model.stochastic and case.way == "lossy":
        assert max(pieces) == samples.size  # it draws one sample after another
    else:
        assert max(pieces) <= HELD + model.hop[0] * samples[0].size < samples.size


def test_items_of_one_shape_are_encoded_together(monkeypatch):
    model = Case("vq", "colour", "both", "lossy").codec
    encode, shapes = type(model).encode, []
    monkeypatch.setattr(type(model), "encode", lambda self, x: shapes.append(x.shape[:2]) or encode(self, x))
    sizes = [(8, 8)] * 6 + [(9, 8), (1, 1)] + [(8, 8)] * 3
    items = {f"{n}.png": noise_samples(model.item, size, n) for n, size in enumerate(sizes)}
    compressed(model, items, verify=False)
    assert sorted(shapes) == [(1, 1), (1, 9), (9, 8)]


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 30), st.booleans()), max_size=40
    ),
    st.integers(1, 60),
    st.integers(1, 900),
)
def test_blocks_go_side_by_side_in_batches_that_fit_the_memory(blocks, most_lanes, most_positions):
    layout = [
        BlockLayout((rows, width), (Segment(0, 0, rows),) * lanes, Part.CHAIN if chain else Part.SAMPLES)
        for rows, width, lanes, chain in blocks
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentpress.press.blocks._SIDE_BY_SIDE", (most_lanes, most_positions))
        patch.setattr("latentpress.press.blocks._CHAINS", (2, most_positions))
        made = list(batches(layout, range(len(layout))))
    assert sorted(number for batch in made for number in batch) == list(range(len(layout)))
    for batch in made:
        chosen = [layout[number] for number in batch]
        [(part, _)] = {(block.part, block.shape[1:]) for block in chosen}
        lanes = [1 if part is Part.CHAIN else len(block.lanes) for block in chosen]
        positions = sum(n * block.positions for n, block in zip(lanes, chosen, strict=True))
        limit = 2 if part is Part.CHAIN else most_lanes
        assert len(batch) == 1 or (sum(lanes) <= limit and positions <= most_positions)


def test_ranges_cover_an_item_once():
    for rows in (1, 2, 7, 64):
        for hop in (1, 3, 8):
            ranges = list(row_ranges((rows, 1 << 22, 1), hop))
            assert [row for start, stop in ranges for row in range(start, stop)] == list(range(rows))
            assert all(start % hop == 0 for start, _ in ranges)


@pytest.mark.slow
def test_memory_does_not_grow_with_an_item(tmp_path, monkeypatch):
    for module, name in (
        ("press.reading", "HELD_SAMPLES"),
        ("press.restoring", "HELD_SAMPLES"),
        ("press.writing", "_SPOOL_BYTES"),
        ("coding.records", "FALLBACK_SEGMENT"),
        ("data.readers", "_SMALL_BYTES"),
        ("items.base", "_PIECE"),
    ):
        monkeypatch.setattr(f"latentpress.{module}.{name}", 1 << 15)
    monkeypatch.setattr("latentpress.press.blocks._SIDE_BY_SIDE", (1024, 1 << 16))
    monkeypatch.setattr(
        Text, "pack", lambda self, samples: None
    )  # LZMA takes 94 MB, which would hide the rest
    model = Case("vq", "text", "autoregressive", "lossless").codec
    peaks = []
    for length in (1 << 17, 1 << 18, 1 << 20):  # at first some is compiled
        path = tmp_path / f"{length}.txt"
        path.write_bytes(expected_samples(model, (length,)).tobytes())
        tracemalloc.start()
        compress(model, [path], tmp_path / "x.lpz", overwrite=True)
        decompress(tmp_path / "x.lpz", model, tmp_path / "out", overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert peaks[2] - peaks[1] < 1 << 18, peaks


def test_long_texts_have_several_blocks():
    model = Case("alone", "text", "autoregressive", "lossless").codec
    items = {"a": expected_samples(model, (100_000,)), "b": expected_samples(model, (2 * Text.segment,))}
    data, _ = compressed(model, items, verify=False)
    archive = Archive(io.BytesIO(data))
    lanes = [(lane.item, block.shape[0]) for block in archive.layout for lane in block.lanes]
    assert {block.part for block in archive.layout} == {Part.SAMPLES}
    assert sorted(lanes) == [(0, 14284), *[(0, 14286)] * 6, (1, Text.segment), (1, Text.segment)]
