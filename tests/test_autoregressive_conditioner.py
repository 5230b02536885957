"""Structures of upsamplers as integers, of both kinds, and the real latents' own layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.autoregressive.conditioner import ConditionerStructure, LatentConditioner
from latentpress.errors import ConfigError

STRUCTURES = st.builds(
    ConditionerStructure,
    sizes=st.lists(st.integers(2, 300), min_size=1, max_size=4).map(tuple),
    hop=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    embedding=st.integers(1, 9),
    width=st.integers(1, 99),
    channels=st.integers(1, 99),
    past=st.integers(0, 64),
)


@given(STRUCTURES)
def test_integers_restore_the_structure(structure: ConditionerStructure):
    integers = structure.integers()
    assert ConditionerStructure.from_integers(integers) == structure
    assert integers[0] == (2 if structure.past else 1)


@given(STRUCTURES, st.data())
def test_integers_name_one_structure_or_none(structure: ConditionerStructure, data: st.DataObject):
    integers = structure.integers()
    integers[data.draw(st.integers(0, len(integers) - 1))] = data.draw(st.integers(-2, 70))
    integers = integers[: data.draw(st.integers(0, len(integers)))]
    try:
        found = ConditionerStructure.from_integers(integers)
    except ConfigError:
        return
    assert found.integers() == integers


@pytest.mark.parametrize(
    "integers",
    [
        [],
        [2],
        [2, 0, 1, 4, 4, 1, 2, 255],
        [2, -1, 1, 4, 4, 1, 2, 255],
        [2, 65, 1, 4, 4, 1, 2, 255],
        [3, 2, 1, 4, 4, 1, 2, 255],
        [2, 2, 1, 4, 4, 1, 2],
        [2, 2, 1, 4, 4, 0, 255],
        [2, 2, 1, 4, 4, 1, 2, 1],
    ],
)
def test_a_structure_that_cannot_be_is_refused(integers: list[int]):
    with pytest.raises(ConfigError):
        ConditionerStructure.from_integers(integers)


def test_the_past_is_along_the_first_axis_and_ends_at_the_position():
    structure = ConditionerStructure(sizes=(255,), hop=(2, 5), embedding=1, width=4, channels=3, past=3)
    assert structure.offsets == ((-2, 0), (-1, 0), (0, 0)) and structure.inputs == 3


def test_codes_are_latents_in_units():
    structure = ConditionerStructure(sizes=(255,) * 2, hop=(4,), embedding=1, width=8, channels=3, past=2)
    upsampler = LatentConditioner(structure, unit=1 / 24)
    q = torch.randint(-127, 128, (3, 5, 2))
    torch.testing.assert_close(upsampler.units_of_codes(q + 127), upsampler.units(q / 24))
    for table, scale in upsampler.integer_tables():
        assert table.dtype == torch.int8 and torch.equal(table[:, 0], torch.arange(-127, 128).to(torch.int8))
        assert scale.tolist() == [1 / 24]
