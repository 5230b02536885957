"""Offsets: the past only, no holes, and the raster on which they are shifts."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.autoregressive.offsets import Raster, gather, inside, layer_offsets, reached, window_offsets
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import CausalConfig
from latentpress.errors import ConfigError


@given(dims=st.integers(1, 3), radius=st.integers(1, 3))
def test_the_window_is_exactly_the_past_within_reach(dims, radius):
    box = itertools.product(range(-radius, radius + 1), repeat=dims)
    assert window_offsets(dims, radius) == tuple(o for o in sorted(box) if o < (0,) * dims)


@pytest.mark.parametrize(("radius", "dilations"), [(1, (1, 2, 3)), (2, (1, 2, 1)), (3, (3, 2))])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_what_is_reached_is_past_and_every_row_is_without_holes(dims, radius, dilations):
    offsets = reached(window_offsets(dims, radius), [layer_offsets(dims, d) for d in dilations])
    assert all(offset < (0,) * dims for offset in offsets)
    rows: dict[tuple[int, ...], list[int]] = {}
    for *row, column in offsets:
        rows.setdefault(tuple(row), []).append(column)
    for columns in rows.values():
        assert sorted(columns) == list(range(min(columns), max(columns) + 1))
    present = rows[(0,) * (dims - 1)]
    assert max(present) == -1 and min(present) == -radius - sum(dilations)


def test_dilations_that_would_leave_holes_are_refused():
    with pytest.raises(ConfigError, match="holes"):
        NetworkStructure.of(CausalConfig(radius=1, depth=2, dilations=(4, 1)), (4,), 1)
    with pytest.raises(ConfigError, match="holes"):
        NetworkStructure.of(CausalConfig(radius=1, depth=3, dilations=(1, 2, 4)), (4,), 3)


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 3)])
def test_gather_reads_each_source_or_zero(grid):
    x = torch.arange(1.0, math.prod(grid) * 2 + 1).view(1, *grid, 2)
    offsets = (*window_offsets(len(grid), 2), (0,) * len(grid))
    taps = gather(x, offsets).unflatten(-1, (len(offsets), 2))
    for position in itertools.product(*map(range, grid)):
        for tap, offset in enumerate(offsets):
            source = tuple(p + o for p, o in zip(position, offset, strict=True))
            found = all(0 <= s < size for s, size in zip(source, grid, strict=True))
            expected = x[(0, *source)] if found else torch.zeros(2)
            assert torch.equal(taps[(0, *position, tap)], expected)


def test_the_gradient_of_gather_is_its_transpose():
    x = torch.randn(1, 3, 4, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gather(x, ((-1, 2), (-5, 0), (0, -1), (0, 0))), x)


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
