"""Presets are configurations like any other, and the kinds of items name those that are there."""

import numpy as np
import pytest

from latentpress.config import RunConfig, from_json, to_json
from latentpress.config.presets import PRESETS, preset
from latentpress.errors import ConfigError
from latentpress.items import ITEM_KINDS, Image, Text


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_read_back(name: str) -> None:
    run = preset(name)
    assert from_json(RunConfig, to_json(run)) == run
    rank = len(run.model.item.axes)
    assert all(len(stage.extents(rank)) == rank for stage in (run.codec, run.prior, run.decoder, run.encoder))


def test_an_unknown_preset() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'image'; here are: .*images-small"):
        preset("image")


@pytest.mark.parametrize("kind", ITEM_KINDS)
@pytest.mark.parametrize(("extent", "count"), [(16, 3), (40, 60_000), (300, 5), (1000, 30)])
def test_kinds_name_presets_of_their_own(kind, extent: int, count: int) -> None:
    item = kind()
    name, why = item.preset(np.full((count, len(item.axes)), extent))
    assert preset(name).model.item.kind == item.kind and why


def test_which_presets_kinds_name() -> None:
    def name(item: Image | Text, *extents: tuple[int, ...]) -> str:
        return item.preset(np.array(extents))[0]

    assert name(Image(), (28, 28), (40, 32), (300, 400)) == "images-small"
    assert name(Image(), (512, 768), (256, 256)) == "tiny"
    assert name(Image(), *[(512, 768)] * 24) == "photos"
    assert name(Text(), (5,)) == "text"
