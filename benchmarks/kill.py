"""Is a killed training run, started again, the same run?

Trains a small model with `latentpress train` once without disturbance, then again with SIGKILL at random
moments (loading, steps, the writing of checkpoints and of the model), each time followed by the same
command, and compares the bytes of `model.safetensors`. Where a run ends before all kills are spent, the
rest hit further runs, and each of them is compared.

    python benchmarks/kill.py [--kills 10] [--steps 200] [--seed 0] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

_TRAIN = (
    *("--preset", "tiny", "--device", "cpu", "--checkpoint", "0.5s"),
    *("--set", "model.encoder.width=64", "--set", "model.parallel.network.width=64"),
    *(
        "--set",
        'model.prior.network={"width": 32, "depth": 2}',
        "--set",
        "codec.batch_size=32",
        "--set",
        "prior.batch_size=32",
    ),
)
_LOADING = 0.2  # share of the kills that come before the first step
_STEPS = 0.2  # the others come after at most this share of the run's steps,
_SECONDS = 0.5  # and each then after at most so long


@dataclass(frozen=True)
class Result:
    """Kills, runs that were killed, runs that ended with other bytes, and moments of the kills."""

    kills: int
    runs: int
    differing: int
    steps: int
    killed_at_steps: tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.kills, arguments.steps, random.Random(arguments.seed))
    if arguments.json:
        print(json.dumps(asdict(result)))
    else:
        print(f"{result.kills} kills in {result.runs} runs of {result.steps} steps")
        print(f"last checkpoints at the kills: {', '.join(map(str, result.killed_at_steps))}")
        print(f"runs whose final weights differ from the undisturbed run's: {result.differing}")
    sys.exit(result.differing > 0)


def measure(folder: Path, kills: int, steps: int, moments: random.Random) -> Result:
    data = folder / "images.npz"
    np.savez(data, images=np.random.default_rng(0).integers(0, 256, (500, 16, 16, 3), np.uint8))
    undisturbed = folder / "undisturbed"
    assert start(data, undisturbed, steps).wait() == 0 and last_step(undisturbed) == steps
    expected = (undisturbed / "model.safetensors").read_bytes()
    killed_at: list[int] = []
    runs = differing = 0
    while len(killed_at) < kills:
        model = folder / f"killed-{runs}"
        while len(killed_at) < kills and killed(start(data, model, steps), model, steps, moments):
            killed_at.append(last_checkpoint(model))
        assert start(data, model, steps).wait() == 0
        differing += (model / "model.safetensors").read_bytes() != expected
        runs += 1
    return Result(len(killed_at), runs, differing, steps, tuple(killed_at))


def start(data: Path, model: Path, steps: int) -> subprocess.Popen[bytes]:
    """Starts the command, always the same."""
    command = ["-m", "latentpress", "train", str(data), "-o", str(model), "--steps", str(steps), *_TRAIN]
    return subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)


def killed(process: subprocess.Popen[bytes], model: Path, steps: int, moments: random.Random) -> bool:
    """Kills a training at a random moment; returns whether it had not ended before."""
    if moments.random() >= _LOADING:
        before = last_step(model)
        wait_for_step(process, model, before + 1)
        wait_for_step(process, model, int(before + moments.uniform(0, _STEPS * steps)))
    time.sleep(moments.uniform(0, _SECONDS))
    running = process.poll() is None
    process.kill()  # SIGKILL
    process.wait()
    return running


def wait_for_step(process: subprocess.Popen[bytes], model: Path, step: int) -> None:
    while process.poll() is None and last_step(model) < step:
        time.sleep(0.005)


def last_step(model: Path) -> int:
    """The step of the run's last report."""
    try:
        lines = (model / "run/metrics.jsonl").read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    return max((json.loads(line)["step"] for line in lines if line.endswith(b"\n")), default=0)


def last_checkpoint(model: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in model.glob("run/step-*")), default=0)


if __name__ == "__main__":
    main()
