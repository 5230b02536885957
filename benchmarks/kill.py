"""Is a killed training run, started again, the same run?

Trains a small model once without disturbance, then again with SIGKILL at random moments (loading,
steps, the writing of checkpoints and of the model), each time followed by the same command, and
compares the bytes of `model.safetensors`. Where a run ends before all kills are spent, the rest hit
further runs, and each of them is compared.

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

_CHECKPOINT_SECONDS = 0.5
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
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train is not None:
        return train(arguments.train, arguments.steps)
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
    undisturbed = folder / "undisturbed"
    assert start(undisturbed, steps).communicate() and last_step(undisturbed) == steps
    expected = (undisturbed / "model.safetensors").read_bytes()
    killed_at: list[int] = []
    runs = differing = 0
    while len(killed_at) < kills:
        model = folder / f"killed-{runs}"
        while len(killed_at) < kills and killed(start(model, steps), steps, moments):
            killed_at.append(last_step(model))
        start(model, steps).communicate()
        differing += (model / "model.safetensors").read_bytes() != expected
        runs += 1
    return Result(len(killed_at), runs, differing, steps, tuple(killed_at))


def start(model: Path, steps: int) -> subprocess.Popen[bytes]:
    """Starts the command, always the same; it writes a line at every report."""
    command = [sys.executable, __file__, "--train", str(model), "--steps", str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def killed(process: subprocess.Popen[bytes], steps: int, moments: random.Random) -> bool:
    """Kills a training at a random moment; returns whether it had not ended before."""
    assert process.stdout is not None
    if moments.random() >= _LOADING:
        first = int(process.stdout.readline() or steps)
        last = first + moments.uniform(0, _STEPS * steps)
        while int(process.stdout.readline() or steps) < min(last, steps):
            pass
    time.sleep(moments.uniform(0, _SECONDS))
    running = process.poll() is None
    process.kill()  # SIGKILL
    process.communicate()
    return running


def last_step(model: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in model.glob("run/step-*")), default=0)


def train(folder: Path, steps: int) -> None:
    """One call of the training, what is killed."""
    from latentpress.config import CodebookConfig, ConvConfig, GridConfig, ModelConfig, RunConfig, StageConfig
    from latentpress.data.loading import load_pool
    from latentpress.data.sources import array_source
    from latentpress.train import Progress, run

    conv = ConvConfig(width=64, depths=(0, 1))
    stage = StageConfig(batch_size=32, warmup=10)
    config = RunConfig(
        model=ModelConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=64, code_dim=16),
            prior=GridConfig(width=32, depth=2, reach=3),
        ),
        codec=stage,
        prior=stage,
    )
    pool = load_pool(array_source(np.random.default_rng(0).integers(0, 256, (500, 16, 16, 3), np.uint8)))

    def report(progress: Progress) -> None:
        print(progress.step, flush=True)

    run(
        config,
        pool,
        folder,
        steps=steps,
        device="cpu",
        progress=report,
        checkpoint_seconds=_CHECKPOINT_SECONDS,
    )


if __name__ == "__main__":
    main()
