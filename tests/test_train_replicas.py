import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch.nn import Parameter

from latentpress.train.replicas import Replicas

REPLICA = """
import hashlib, os, sys
from pathlib import Path
import numpy as np
from latentpress.config import CodebookConfig, ConvConfig, CausalConfig, VQVAEConfig, RunConfig, StageConfig
from latentpress.data.loading import load_pool
from latentpress.data.sources import array_source
from latentpress.train import run

conv = ConvConfig(width=32, depths=(0, 1))
prior = CausalConfig(width=8, depth=1, radius=2, dilations=(1,), embedding=4, head_width=8)
latents = CodebookConfig(codebook_size=16, code_dim=4, dead_code_threshold=0.5)
model = VQVAEConfig(encoder=conv, decoder=conv, latents=latents, prior=prior)
stage = StageConfig(batch_size=4, warmup=2, learning_rate=1e-2)
pool = load_pool(array_source(np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), np.uint8)))
folder, rank = Path(sys.argv[1]), os.environ["RANK"]
result = run(RunConfig(model=model, codec=stage, prior=stage), pool, folder, device="cpu",
             **{sys.argv[2]: float(sys.argv[3])})
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
    environment = {**os.environ, **shared, "OMP_NUM_THREADS": "1", "PYTHONPATH": "src"}
    command = [sys.executable, "-W", "ignore", "-c", REPLICA, str(folder), *limit]
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=ROOT)
        for rank in range(2)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    return [(folder / f"digest-{rank}").read_text() for rank in range(2)]


ROOT = Path(__file__).parents[1]


def test_two_replicas_end_bit_identical_and_one_writes(tmp_path: Path):
    first, second = run_replicas(tmp_path, "seconds", "2")  # a limit in seconds: clocks must agree too
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
