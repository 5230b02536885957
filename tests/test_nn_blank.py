"""Networks without weights."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from latentpress.config.presets import PRESETS, preset
from latentpress.items import Image
from latentpress.model import build
from latentpress.nn.blank import blank

MAKE = """
import sys
from latentpress.config.presets import PRESETS, preset
from latentpress.model import build
from latentpress.nn.blank import blank
for name in set(PRESETS) - {"delta-images"}:  # which lacks a size
    with blank():
        build(preset(name).model)
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.parametrize("name", PRESETS)
def test_a_blank_model_has_the_shapes_of_a_filled_one_and_draws_nothing(name: str) -> None:
    config = preset(name).model
    if name == "delta-images":
        config = replace(config, item=Image(channels=1, size=(28, 28)))
    torch.manual_seed(0)
    with blank():
        model = build(config)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3)) and torch.rand(3).device.type == "cpu"
    filled = build(config).state_dict()
    assert {n: v.shape for n, v in model.state_dict().items()} == {n: v.shape for n, v in filled.items()}
    assert all(parameter.is_meta for parameter in model.parameters())


def test_outside_the_block_weights_are_drawn() -> None:
    with blank():
        nn.Linear(3, 4)
    assert nn.init.normal_(torch.zeros(100)).abs().sum() > 0


def test_making_a_blank_model_imports_no_compiler() -> None:
    """It took longer than all else that loading a model does."""
    subprocess.run([sys.executable, "-c", MAKE], check=True)
