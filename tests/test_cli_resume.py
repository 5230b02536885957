"""A training that is killed goes on, through the command line, as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentpress.cli import main
from workplace import QUICK, Workplace

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",  # as the tests' own process
    "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
}
TRAIN = ("--steps=60", "--checkpoint=0.01s")  # a checkpoint after nearly every step
KILLED_AFTER = 5  # steps, at least: early enough that the run is not over yet


def last_step(model: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in model.glob("run/step-*")), default=0)


def train_until_killed(command: list[str], model: Path) -> int:
    """Starts a training and kills it once it has a checkpoint; returns its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "latentpress", *command],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None and last_step(model) < KILLED_AFTER:
            time.sleep(0.002)
    finally:
        process.kill()
    return process.wait()


def test_a_killed_training_ends_bit_identical(workplace: Workplace, tmp_path: Path) -> None:
    def command(model: Path) -> list[str]:
        return ["train", str(workplace.folder / "photos"), "-o", str(model), *QUICK, *TRAIN]

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert main(command(undisturbed)) == 0
    assert train_until_killed(command(killed), killed) == -signal.SIGKILL
    assert KILLED_AFTER <= last_step(killed) < 60 and not (killed / "run" / "finished").exists()
    assert main(command(killed)) == 0
    for name in ("model.safetensors", "config.json"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_stopped_training_is_saved_and_goes_on(
    number: int, code: int, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", str(workplace.folder / "photos"), "-o", str(tmp_path), *QUICK, "--steps=60"]
    signals = [number]

    def stop_once(_: object, stage: str, *__: object) -> None:
        if stage == "codec" and signals:
            os.kill(os.getpid(), signals.pop())

    monkeypatch.setattr("latentpress.cli.progress.StageBar.show", stop_once)
    assert main(command) == code
    assert 0 < last_step(tmp_path) < 60 and not (tmp_path / "model.safetensors").exists()
    assert main(command) == 0 and last_step(tmp_path) == 60
