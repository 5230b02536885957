"""Offsets: the past only, no holes, and the raster on which they are shifts; and cells of samples."""

import itertools
import math
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.autoregressive.offsets import (
    Offset,
    Raster,
    depth_to_space,
    inside,
    layer_offsets,
    shift_and_concat,
    space_to_depth,
    window_offsets,
)
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import CausalConfig
from latentpress.errors import ConfigError


def reached(window: Iterable[Offset], layers: Iterable[Iterable[Offset]]) -> set[Offset]:
    """The offsets that can change a position: the window, shifted by every choice of one offset a layer."""
    result = set(window)
    for offsets in layers:
        result = {tuple(map(sum, zip(a, b, strict=True))) for a in result for b in offsets}
    return result


@given(rank=st.integers(1, 3), radius=st.integers(1, 3))
def test_the_window_is_exactly_the_past_within_the_radius(rank, radius):
    box = itertools.product(range(-radius, radius + 1), repeat=rank)
    assert window_offsets(rank, radius) == tuple(o for o in sorted(box) if o < (0,) * rank)


@pytest.mark.parametrize(("radius", "dilations"), [(1, (1, 2, 3)), (2, (1, 2, 1)), (3, (3, 2))])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_reached_is_past_and_every_row_is_without_holes(rank, radius, dilations):
    offsets = reached(window_offsets(rank, radius), [layer_offsets(rank, d) for d in dilations])
    assert all(offset < (0,) * rank for offset in offsets)
    rows: dict[tuple[int, ...], list[int]] = {}
    for *row, column in offsets:
        rows.setdefault(tuple(row), []).append(column)
    for columns in rows.values():
        assert sorted(columns) == list(range(min(columns), max(columns) + 1))
    present = rows[(0,) * (rank - 1)]
    assert max(present) == -1 and min(present) == -radius - sum(dilations)


def test_dilations_that_would_leave_holes_are_refused():
    with pytest.raises(ConfigError, match="holes"):
        NetworkStructure.of(CausalConfig(radius=1, depth=2, dilations=(4, 1)), (4,), 1)
    with pytest.raises(ConfigError, match="holes"):
        NetworkStructure.of(CausalConfig(radius=1, depth=3, dilations=(1, 2, 4)), (4,), 3)


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 3)])
def test_shifting_reads_each_source_or_zero(grid):
    x = torch.arange(1.0, math.prod(grid) * 2 + 1).view(1, *grid, 2)
    offsets = (*window_offsets(len(grid), 2), (0,) * len(grid))
    taps = shift_and_concat(x, offsets).unflatten(-1, (len(offsets), 2))
    for position in itertools.product(*map(range, grid)):
        for tap, offset in enumerate(offsets):
            source = tuple(p + o for p, o in zip(position, offset, strict=True))
            within = all(0 <= s < size for s, size in zip(source, grid, strict=True))
            expected = x[(0, *source)] if within else torch.zeros(2)
            assert torch.equal(taps[(0, *position, tap)], expected)


def test_the_gradient_of_shifting_is_its_transpose():
    x = torch.randn(1, 3, 4, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: shift_and_concat(x, ((-1, 2), (-5, 0), (0, -1), (0, 0))), x)


@given(grid=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), radius=st.integers(1, 3))
def test_on_the_raster_every_offset_is_one_shift(grid, radius):
    offsets = window_offsets(len(grid), radius)
    live = [offsets[i] for i in inside(offsets, grid)]
    raster = Raster(grid, margin=max((abs(o) for offset in live for o in offset), default=0))
    positions = list(itertools.product(*map(range, grid)))
    places = {position: raster.place(i) for i, position in enumerate(positions)}
    assert sorted(places.values()) == [places[p] for p in positions]
    for position, offset in itertools.product(positions, live):
        source = tuple(p + o for p, o in zip(position, offset, strict=True))
        place = places[position] - raster.shift(offset)
        assert places.get(source, place) == place
        assert source in places or place not in places.values()


SIZES_AND_HOPS = st.integers(1, 3).flatmap(
    lambda rank: st.tuples(*[st.lists(st.integers(1, 5), min_size=rank, max_size=rank).map(tuple)] * 2)
)


@given(SIZES_AND_HOPS)
def test_every_sample_is_where_its_cell_and_its_place_in_it_say(case):
    size, hop = case
    samples = 1 + torch.arange(2 * math.prod(size) * 3).view(2, *size, 3)
    cells = space_to_depth(samples, hop)
    assert cells.shape[1:-1] == tuple(-(-side // h) for side, h in zip(size, hop, strict=True))
    for position in itertools.product(*map(range, size)):
        cell, place = zip(*map(divmod, position, hop), strict=True)
        inner = cells[(slice(None), *cell)].view(2, *hop, 3)
        assert torch.equal(inner[(slice(None), *place)], samples[(slice(None), *position)])
    assert cells.count_nonzero() == samples.numel()  # and zeros fill the rest


@given(SIZES_AND_HOPS)
def test_cells_laid_out_are_the_samples(case):
    size, hop = case
    samples = torch.arange(2 * math.prod(size) * 3).view(2, *size, 3)
    assert torch.equal(depth_to_space(space_to_depth(samples, hop), hop, size), samples.movedim(-1, 1))
