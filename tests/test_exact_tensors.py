"""The checker of integer forms' tensors: nothing passes that is not what the specs say."""

import pytest
import torch

from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import ACCUMULATOR_LIMIT, Affine
from latentpress.exact.tensors import (
    Spec,
    affine_specs,
    affine_tensors,
    checked_against,
    digest,
    read_affine,
    read_structure,
    table_spec,
)

SPECS = (
    Spec("numbers", torch.int16, (2, 3), -5, 9),
    Spec("any", torch.int32, (2,)),
    table_spec("table", 4, 2),
    *affine_specs("map", 3, 5, (2, 4)),
    *affine_specs("plain", 1, 2),
)


def sound():
    tensors = {spec.name: torch.ones(spec.shape, dtype=spec.dtype) for spec in SPECS}
    return tensors | {"any": torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32)}


HOSTILE = {
    "missing": lambda t: t.pop("any"),
    "unknown": lambda t: t.update(more=t["any"]),
    "one label more": lambda t: t.update({"map.labels.2": t["map.labels.1"]}),
    "one label less": lambda t: t.pop("map.labels.0"),
    "type": lambda t: t.update(numbers=t["numbers"].int()),
    "float": lambda t: t.update(any=t["any"].double()),
    "shape": lambda t: t.update(numbers=t["numbers"].T),
    "low": lambda t: t["numbers"][1, 2].fill_(-6),
    "high": lambda t: t["numbers"][0, 0].fill_(10),
    "table": lambda t: t["table"][0, 1].fill_(-128),
    "weight": lambda t: t["map.weight"][2].fill_(-128),
    "shift": lambda t: t["map.shift"][0].fill_(17),
    "left shift": lambda t: t["map.shift"][0].fill_(-9),
    "bias": lambda t: t["plain.bias"].fill_(-(2**31)),
    "sum": lambda t: t["map.bias"].fill_(ACCUMULATOR_LIMIT - 127 * 5 - 1),
    "label": lambda t: t["map.labels.1"][3, 1].fill_(ACCUMULATOR_LIMIT),
    "shifted": lambda t: (t["plain.shift"].fill_(-8), t["plain.bias"].fill_(2**17)),
}


def test_sound_tensors_are_copied():
    tensors = sound()
    checked = checked_against(SPECS, tensors, "form")
    assert checked.keys() == tensors.keys()
    assert all(torch.equal(checked[name], tensors[name]) for name in tensors)
    tensors["any"].zero_()
    assert checked["any"].all()


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tensors_are_refused(what):
    tensors = sound()
    HOSTILE[what](tensors)
    with pytest.raises(CheckpointError, match=r"^form: "):
        checked_against(SPECS, tensors, "form")


def test_affines_are_restored():
    tables = torch.ones(2, 3, dtype=torch.int32), torch.zeros(4, 3, dtype=torch.int32)
    affine = Affine(
        torch.ones(3, 5, dtype=torch.int8), tables[0][0], torch.zeros(3, dtype=torch.int8), tables
    )
    again = read_affine({"other": tables[0]} | affine_tensors(affine, "map"), "map")
    assert again.labels == tables
    assert all(getattr(again, part) is getattr(affine, part) for part in ("weight", "bias", "shift"))


def refusing(integers):
    if integers != [1, 2]:
        raise ConfigError("other numbers")
    return tuple(integers)


@pytest.mark.parametrize(
    "structure",
    [None, torch.tensor([1.0, 2.0]), torch.tensor([[1, 2]]), torch.tensor([1]), torch.ones(10**6).long()],
)
def test_a_structure_is_read_or_refused(structure):
    assert read_structure({"structure": torch.tensor([1, 2])}, refusing, "form") == (1, 2)
    with pytest.raises(CheckpointError, match=r"^form: "):
        read_structure({} if structure is None else {"structure": structure}, refusing, "form")


def test_every_integer_name_type_and_kind_is_part_of_the_digest():
    tensors = {"a": torch.tensor([1, 2]), "b": torch.tensor([3])}
    others = [
        digest(tensors),
        digest({"a": torch.tensor([1, 3]), "b": torch.tensor([3])}),
        digest({"a": torch.tensor([1, 2]).int(), "b": torch.tensor([3])}),
        digest({"a": torch.tensor([[1, 2]]), "b": torch.tensor([3])}),
        digest({"a": torch.tensor([1, 2]), "c": torch.tensor([3])}),
        digest(tensors, b"another kind"),
    ]
    assert len({*others}) == len(others) and all(len(each) == 16 for each in others)
    assert digest(dict(reversed(tensors.items()))) == digest(tensors)
