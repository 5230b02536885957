import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import Parameter

from latentpress.train.replicas import Replicas

REPLICA = """
import hashlib, os, sys
from dataclasses import replace
from pathlib import Path
from latentpress.train import run
from small.training import Case, dataset_for

case = Case(*sys.argv[2].split("-"))
config = case.config()
latents = config.model.latents
if case.model == "vq":
    config = case.config(latents=replace(latents, dead_code_threshold=0.5))
folder, rank = Path(sys.argv[1]), os.environ["RANK"]
result = run(config, dataset_for(case.kind), folder, device="cpu", **{sys.argv[3]: float(sys.argv[4])})
digest = hashlib.sha256()
for value in result.model.state_dict().values():
    digest.update(value.numpy().tobytes())
(folder / f"digest-{rank}").write_text(f"{result.steps} {digest.hexdigest()}")
"""


def run_replicas(folder: Path, *limit: str) -> list[str]:
    """Starts two processes with the variables that torchrun sets; returns what each ended with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
    }
    environment = {**os.environ, **shared, "OMP_NUM_THREADS": "1", "PYTHONPATH": "src:tests"}
    command = [sys.executable, "-W", "ignore", "-c", REPLICA, str(folder), *limit]
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=ROOT)
        for rank in range(2)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    return [(folder / f"digest-{rank}").read_text() for rank in range(2)]


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("case", ["image-vq-both", pytest.param("text-delta-both", marks=pytest.mark.slow)])
def test_two_replicas_end_bit_identical_and_one_writes(case: str, tmp_path: Path):
    first, second = run_replicas(tmp_path, case, "seconds", "2")  # a limit in seconds: clocks must agree too
    assert first == second and int(first.split()[0]) > 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "held_out" not in line]
    assert steps == sorted(set(steps))


def test_one_process_is_its_own_mean():
    weight = Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, -2.0])
    Replicas().average_gradients([weight])
    assert weight.grad.tolist() == [1.0, -2.0]
    assert Replicas().mean(torch.tensor(3.0)).item() == 3.0
    assert Replicas().agree(1.25, 15) == (1.25, 15)
