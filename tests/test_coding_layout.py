"""What each block holds: every row once, in blocks of bounded size, as documented, and steadily."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpz_index
from latentpress.coding import Header, ItemRecord, Part, Stored
from latentpress.coding.layout import CODE_SEGMENT, Plan, lay_out, segments
from latentpress.coding.records import CODE_BLOCK, FALLBACK_SEGMENT
from latentpress.errors import ArchiveError

EXTENTS = {
    1: st.tuples(st.integers(0, 60_000)),
    2: st.tuples(st.integers(0, 150), st.sampled_from([1, 8, 60, 5000])),
    3: st.tuples(st.integers(0, 20), st.sampled_from([1, 8, 60]), st.sampled_from([1, 50])),
}


def header(content="samples", rank=2, hop=1, codes=(9,), samples=(256,), segment=1 << 12):
    return Header(
        kind="some",
        channels=len(samples),
        hop=(hop,) * rank,
        code_alphabets=() if content == "chains" else codes,
        sample_alphabets=samples,
        segment=segment,
        content=content,
    )


@st.composite
def archives(draw):
    """A header, its items, some of them duplicates, and the numbers of those the fallback codec stores."""
    rank = draw(st.integers(1, 3))
    content = draw(st.sampled_from(["codes", "samples", "chains"]))
    codes = (9,) * draw(st.integers(1 if content == "codes" else 0, 3))
    samples = (256,) * draw(st.integers(1, 3))
    segment = draw(st.sampled_from([64, 100, 1 << 10, 1 << 14, 1 << 17, 1 << 20]))
    items = []
    for number, shape in enumerate(draw(st.lists(EXTENTS[rank], min_size=1, max_size=12))):
        originals = [n for n, item in enumerate(items) if item.duplicate_of is None]
        original = draw(st.none() | st.sampled_from(originals)) if originals else None
        shape = shape if original is None else items[original].shape
        items.append(ItemRecord(f"{number}", shape, duplicate_of=original))
    stored = draw(st.sets(st.integers(0, len(items) - 1)))
    kept = {n for n in stored if items[n].positions and items[n].duplicate_of is None}
    files = {n: draw(st.integers(0, 300)) for n in kept if draw(st.booleans())}
    stored = Stored(frozenset(kept.difference(files)), files)
    return header(content, rank, draw(st.integers(1, 4)), codes, samples, segment), items, stored


def rows_of(blocks, part):
    return sorted(
        (lane.item, row)
        for block in blocks
        if block.part is part
        for lane in block.lanes
        for row in range(lane.start, lane.stop)
    )


def plain(blocks):
    return [(b.part.value, b.shape, [(lane.item, lane.start, lane.stop) for lane in b.lanes]) for b in blocks]


@given(archives())
def test_every_row_is_in_exactly_one_lane(archive):
    head, items, stored = archive
    blocks = head.layout(items, stored)
    grids = {n: item.shape for n, item in enumerate(items) if item.duplicate_of is None}
    coded = [(n, row) for n, shape in grids.items() if n not in stored.numbers for row in range(shape[0])]
    codes = [
        (n, row)
        for n, shape in grids.items()
        if n not in stored.numbers
        for row in range(head.grid(shape)[0])
    ]
    assert rows_of(blocks, Part.CODES) == (codes if head.code_alphabets else [])
    assert rows_of(blocks, Part.SAMPLES) == (coded if head.content == "samples" else [])
    assert rows_of(blocks, Part.CHAIN) == (coded if head.content == "chains" else [])
    fallback = [(n, row) for n in sorted(stored.fallback) for row in range(grids[n][0])]
    assert rows_of(blocks, Part.FALLBACK) == fallback
    files = [(n, byte) for n, length in sorted(stored.files.items()) for byte in range(length)]
    assert rows_of(blocks, Part.FILE) == files


@given(archives())
def test_the_layout_is_the_documented_one(archive):
    head, items, stored = archive
    tree = {name: getattr(head, name) for name in ("code_alphabets", "sample_alphabets", "hop", "content")}
    documented = lpz_index.layout_of(
        tree | {"segment": head.segment},
        [
            lpz_index.Item(
                item.name,
                item.shape,
                original=item.duplicate_of,
                stored=n in stored.fallback,
                file=stored.files.get(n),
            )
            for n, item in enumerate(items)
        ],
    )
    assert plain(head.layout(items, stored)) == documented


@given(archives())
def test_blocks_are_of_bounded_size(archive):
    head, items, stored = archive
    for block in head.layout(items, stored):
        components = len(head.alphabets(block.part))
        if block.part is Part.CHAIN:
            full, segment = min(1 << 18, 16 * head.segment), head.segment
            sizes = [lane.stop - lane.start for lane in block.lanes]
            row = math.prod(block.shape[1:])
            assert sizes == sorted(sizes) and block.shape[0] == sum(sizes)
            assert block.positions < full + max(segment, row)
            assert {items[lane.item].shape[1:] for lane in block.lanes} == {block.shape[1:]}
        elif block.part in (Part.FALLBACK, Part.FILE):
            assert len(block.lanes) == 1 and block.positions <= FALLBACK_SEGMENT
        else:
            codes = block.part is Part.CODES
            segment = CODE_SEGMENT if codes else head.segment
            full = CODE_BLOCK if codes else min(1 << 16, 4 * head.segment)
            assert block.positions <= segment or block.shape[0] == 1
            assert (len(block.lanes) - 1) * block.positions * components < full


@given(archives())
def test_stored_items_leave_the_others_where_they_were(archive):
    head, items, stored = archive
    segment = {Part.CODES: CODE_SEGMENT, Part.SAMPLES: head.segment, Part.CHAIN: head.segment}

    def cut(part):
        grids = [head.grid(items[n].shape) if part is Part.CODES else items[n].shape for n in stored.numbers]
        return any(math.prod(grid) > segment[part] for grid in grids)

    before = {(block.part, lane): block for block in head.layout(items) for lane in block.lanes}
    for block in head.layout(items, stored):
        if block.part in (Part.FALLBACK, Part.FILE) or cut(block.part):
            continue  # those of several bands take no place
        was = before[block.part, block.lanes[0]]
        assert block.lanes == tuple(lane for lane in was.lanes if lane.item not in stored.numbers)


def test_a_band_is_cut_evenly_and_a_row_never():
    assert [s.stop - s.start for s, _ in segments(0, (10, 4), 12)] == [3, 3, 3, 1]
    assert [shape for _, shape in segments(0, (3, 100), 12)] == [(1, 100)] * 3
    assert list(segments(0, (0, 100), 12)) == []


def test_items_stored_by_the_fallback_codec_are_cut_into_bands():
    items = [ItemRecord("long", ((1 << 28) + 1,)), ItemRecord("short", (9,))]
    blocks = header(rank=1).layout(items, Stored(frozenset({0, 1})))
    assert [block.part for block in blocks] == [Part.FALLBACK] * 6
    assert [block.lanes[0].item for block in blocks] == [0] * 5 + [1]
    assert all(block.positions <= FALLBACK_SEGMENT for block in blocks)


@pytest.mark.parametrize("content", ["codes", "samples", "chains"])
def test_too_many_blocks_are_noticed_before_they_are_made(content):
    """If they were made first this would not end."""
    with pytest.raises(ArchiveError, match="more blocks"):
        header(content).layout([ItemRecord("huge", (1 << 40, 1 << 4))] * 9, max_blocks=3)
    with pytest.raises(ArchiveError, match="more blocks"):
        header(content).layout([ItemRecord("huge", (1 << 40, 1 << 4))], Stored(frozenset({0})), max_blocks=3)


@given(archives())
def test_as_many_blocks_as_there_are_suffice(archive):
    head, items, stored = archive
    blocks = head.layout(items, stored)
    assert head.layout(items, stored, max_blocks=len(blocks)) == blocks
    if blocks:
        with pytest.raises(ArchiveError, match="more blocks"):
            head.layout(items, stored, max_blocks=len(blocks) - 1)


@pytest.mark.parametrize("segment", [64, 1 << 20])
@pytest.mark.parametrize("content", ["samples", "chains"])
def test_a_block_of_a_cut_item_has_few_lanes(content, segment):
    for row in (1, 3, segment // 2 + 1, segment):
        blocks = header(content, codes=(), segment=segment).layout(
            [ItemRecord("x", (40 * segment // row, row))]
        )
        assert max(len(block.lanes) for block in blocks) <= (9 if content == "samples" else 33)


def test_absent_items_cost_no_time_and_count_for_no_block():
    plan = Plan(Part.CODES, 1, CODE_SEGMENT, CODE_BLOCK)
    grids = [(1 << 16, 1 << 12)] * 10_000 + [(8, 8)]
    assert len(lay_out(enumerate(grids), plan, absent=range(10_000), max_blocks=1)) == 1
    small = lay_out(enumerate([(8, 8)] * 30), plan, absent=range(30), max_blocks=0)
    assert small == []


def test_open_blocks_are_closed_in_the_order_of_opening():
    plan = Plan(Part.CODES, 1, CODE_SEGMENT, CODE_BLOCK)
    shapes = [(3, 3), (2, 2), (4096, 1), (3, 3), (1, 1)]
    blocks = lay_out(enumerate(shapes), plan)
    assert [block.shape for block in blocks] == [(4096, 1), (3, 3), (2, 2), (1, 1)]
    assert [lane.item for lane in itertools.chain(*(block.lanes for block in blocks))] == [2, 0, 3, 1, 4]


@pytest.mark.parametrize(
    ("part", "grid", "count", "stored", "lanes"),
    [
        (Part.CODES, (8, 8), 100, {0, 1, 99}, [62, 35]),
        (Part.SAMPLES, (64,), 9, {0, 5}, [3, 3, 1]),  # of as many positions as a segment
        (Part.SAMPLES, (65,), 9, {0, 5}, None),  # and of one more: two bands, left out
        (Part.CHAIN, (64,), 33, {0, 20}, [15, 15, 1]),
    ],
)
def test_stored_items_of_one_band_keep_their_places(part, grid, count, stored, lanes):
    plan = {
        Part.CODES: Plan(part, 1, CODE_SEGMENT, CODE_BLOCK),
        Part.SAMPLES: Plan(part, 1, 64, 256),
        Part.CHAIN: Plan(part, 1, 64, 1024),
    }[part]
    blocks = lay_out(enumerate([grid] * count), plan, absent=stored)
    if lanes is None:
        assert blocks == lay_out([(n, grid) for n in range(count) if n not in stored], plan)
    else:
        assert [len(block.lanes) for block in blocks] == lanes
    shapes = {n: grid for n in range(count)}
    chained = part is Part.CHAIN
    documented = lpz_index.blocks_of(shapes, 1, plan.segment, plan.block, stored, chained)
    assert [(b.shape, [(lane.item, lane.start, lane.stop) for lane in b.lanes]) for b in blocks] == documented
