import importlib.util
import json
from pathlib import Path

import pytest
import torch

from latentpress.train.metrics import Meter, json_lines, open_sinks
from latentpress.train.replicas import Replicas


def test_means_begin_anew_after_each_reading():
    meter = Meter()
    assert meter.read(Replicas()) == {}
    for value in (1.0, 2.0, 6.0):
        meter.add({"loss": torch.tensor(value), "norm": torch.tensor(-value)})
    assert meter.read(Replicas()) == {"loss": 3.0, "norm": -3.0}
    meter.add({"loss": torch.tensor(5.0)})
    assert meter.read(Replicas()) == {"loss": 5.0}


def test_lines_after_the_checkpoint_and_half_lines_are_dropped(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    log = json_lines(path, 0)
    for step in (20, 40, 60):
        log("codec", step, {"loss": 1.0 / step})
    with open(path, "a") as file:
        file.write('{"stage": "codec", "step": 4')
    log = json_lines(path, 40)
    log("codec", 60, {"loss": 0.0})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [20, 40, 60]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 0.0


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_tensorboard_is_not_needed(tmp_path: Path):
    (sink,) = open_sinks(tmp_path, 0)
    sink("codec", 1, {"loss": 2.0})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"stage": "codec", "step": 1, "loss": 2.0}
