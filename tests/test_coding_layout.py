import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding import lay_out
from latentpress.coding.layout import BLOCK, PIXEL_BLOCK, SEGMENT, TEXT_SEGMENT
from latentpress.errors import ArchiveError

READER = runpy.run_path(str(Path(__file__).with_name("lpz_reader.py")))
GRIDS = st.lists(st.tuples(st.integers(1, 150), st.sampled_from([1, 8, 60, 5000])), min_size=1, max_size=12)


@given(GRIDS, st.integers(1, 3))
def test_every_row_stands_in_exactly_one_lane(grids, members):
    rows = sorted(
        (lane.item, row)
        for block in lay_out(grids, members)
        for lane in block.lanes
        for row in range(lane.start, lane.stop)
    )
    assert rows == [(item, row) for item, grid in enumerate(grids) for row in range(grid[0])]


@given(GRIDS, st.integers(1, 3))
def test_blocks_are_of_bounded_size(grids, members):
    for block in lay_out(grids, members):
        assert block.positions <= SEGMENT or block.shape[0] == 1
        assert (len(block.lanes) - 1) * block.positions * members < BLOCK


@given(GRIDS, st.integers(1, 3))
def test_the_layout_is_the_documented_one(grids, members):
    blocks = [
        (block.shape, [(lane.item, lane.start, lane.stop) for lane in block.lanes])
        for block in lay_out(grids, members)
    ]
    assert blocks == READER["blocks_of"](grids, members)


ABSENT = st.sets(st.integers(0, 11))


@given(GRIDS, st.integers(1, 3), ABSENT)
def test_absent_items_leave_the_others_where_they_were(grids, members, absent):
    whole = {lane: block for block in lay_out(grids, members) for lane in block.lanes}
    blocks = lay_out(grids, members, absent=absent)
    assert all(block.lanes for block in blocks)
    lanes = [lane for block in blocks for lane in block.lanes]
    assert sorted(lanes, key=str) == sorted((lane for lane in whole if lane.item not in absent), key=str)
    cut = {i for i in absent if i < len(grids) and grids[i][0] * grids[i][1] > SEGMENT}
    for block in blocks:
        was = whole[block.lanes[0]]
        if not cut:
            assert block.lanes == tuple(lane for lane in was.lanes if lane.item not in absent)


@given(GRIDS, st.integers(1, 3), ABSENT, st.sampled_from([(64, 200), (1 << 17, 1 << 16)]))
def test_the_layout_of_a_lossless_archive_is_the_documented_one(grids, members, absent, sizes):
    segment, block = sizes
    blocks = [
        (found.shape, [(lane.item, lane.start, lane.stop) for lane in found.lanes])
        for found in lay_out(grids, members, segment=segment, block=block, absent=absent)
    ]
    assert blocks == READER["blocks_of"](grids, members, segment, block, absent)


LENGTHS = st.lists(st.integers(0, 60_000).map(lambda n: (n,)), min_size=1, max_size=8)


@given(LENGTHS, ABSENT)
def test_texts_are_laid_out_as_documented(grids, absent):
    blocks = lay_out(grids, 1, segment=TEXT_SEGMENT, block=PIXEL_BLOCK, absent=absent)
    found = [(block.shape, [(lane.item, lane.start, lane.stop) for lane in block.lanes]) for block in blocks]
    assert found == READER["blocks_of"](grids, 1, 1 << 14, 1 << 16, absent)
    rows = sorted((lane.item, lane.start, lane.stop) for block in blocks for lane in block.lanes)
    lengths = [0] * len(grids)
    for item, start, stop in rows:
        assert start == lengths[item] and 0 < stop - start <= TEXT_SEGMENT
        lengths[item] = stop
    assert lengths == [0 if item in absent else length for item, (length,) in enumerate(grids)]


def test_absent_items_cost_no_time_and_count_for_no_block():
    grids = [(1 << 16, 1 << 12)] * 10_000 + [(8, 8)]
    assert len(lay_out(grids, 1, absent=range(10_000), max_blocks=1)) == 1


def test_too_many_blocks_are_noticed_before_they_are_made():
    with pytest.raises(ArchiveError, match="more blocks"):
        lay_out([(1 << 20, 1 << 10)], 1, max_blocks=3)
