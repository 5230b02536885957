"""Which segments a chain holds: every row once, as documented, and the others' places kept."""

import math
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding.chains import CHAIN, lay_out_chains
from latentpress.coding.layout import PIXEL_SEGMENT, TEXT_SEGMENT, Part
from latentpress.errors import ArchiveError

READER = runpy.run_path(str(Path(__file__).with_name("lpz_reader.py")))
TEXTS = st.lists(st.integers(0, 60_000).map(lambda n: (n,)), min_size=1, max_size=25)
IMAGES = st.lists(
    st.tuples(st.integers(1, 3000), st.sampled_from([1, 28, 500, 90_000])), min_size=1, max_size=15
)
ABSENT = st.sets(st.integers(0, 24))


def found(chains):
    return [(chain.shape, [(lane.item, lane.start, lane.stop) for lane in chain.lanes]) for chain in chains]


@given(TEXTS.map(lambda s: (s, TEXT_SEGMENT)) | IMAGES.map(lambda s: (s, PIXEL_SEGMENT)), ABSENT)
def test_chains_are_the_documented_ones(case, absent):
    shapes, segment = case
    chains = lay_out_chains(shapes, segment, absent=absent)
    assert found(chains) == READER["chains_of"](shapes, segment, absent)
    lanes = [lane for chain in chains for lane in chain.lanes]
    rows = sorted((lane.item, row) for lane in lanes for row in (lane.start, lane.stop))
    ends = {item: [row for other, row in rows if other == item] for item, _ in rows}
    assert sorted(ends) == [i for i, shape in enumerate(shapes) if shape[0] and i not in absent]
    for item, own in ends.items():  # each row once
        assert own[0] == 0 and own[-1] == shapes[item][0] and own[1:-1:2] == own[2:-1:2]


@given(IMAGES)
def test_chains_are_of_bounded_size_and_of_one_width(shapes):
    for chain in lay_out_chains(shapes, PIXEL_SEGMENT):
        assert chain.part is Part.CHAIN
        sizes = [lane.stop - lane.start for lane in chain.lanes]
        assert sizes == sorted(sizes) and chain.shape == (sum(sizes), shapes[chain.lanes[0].item][1])
        assert {shapes[lane.item][1] for lane in chain.lanes} == {chain.shape[1]}
        assert chain.positions < CHAIN + max(PIXEL_SEGMENT, chain.shape[1])


@given(TEXTS, ABSENT)
def test_absent_items_leave_the_others_where_they_were(shapes, absent):
    if any(shapes[i][0] > TEXT_SEGMENT for i in absent if i < len(shapes)):
        return  # those of several segments take no place
    whole = {lane: n for n, chain in enumerate(lay_out_chains(shapes, TEXT_SEGMENT)) for lane in chain.lanes}
    for chain in lay_out_chains(shapes, TEXT_SEGMENT, absent=absent):
        assert len({whole[lane] for lane in chain.lanes}) == 1


def test_too_many_chains_are_refused_as_they_are_made():
    shapes = [(1 << 14,)] * 40  # two whole ones, and a rest
    assert len(lay_out_chains(shapes, TEXT_SEGMENT, max_blocks=3)) == 3
    with pytest.raises(ArchiveError, match="more blocks"):
        lay_out_chains(shapes, TEXT_SEGMENT, max_blocks=2)
    huge = ((1 << 28,) for _ in range(1 << 20))
    with pytest.raises(ArchiveError, match="more blocks"):
        lay_out_chains(Lazy(huge), TEXT_SEGMENT, max_blocks=5)


class Lazy:
    """A sequence that is as long as it is looked at."""

    def __init__(self, shapes):
        self.shapes = shapes

    def __iter__(self):
        return self.shapes


def test_an_absent_item_counts_for_no_chain():
    shapes = [(100,)] * 30
    assert lay_out_chains(shapes, TEXT_SEGMENT, absent=set(range(30)), max_blocks=0) == []
    assert (
        math.prod(lay_out_chains(shapes, TEXT_SEGMENT, absent=set(range(29)), max_blocks=1)[0].shape) == 100
    )
