"""A run on disk: what was asked for, and checkpoints from which it continues exactly.

    config.json     the resolved configuration, seed, data and limits: what makes it this run
    metrics.jsonl   one line of figures every few steps (`latentpress.train.metrics`)
    samples/        originals above their reconstructions
    step-N/         state.safetensors (weights, averages, moments) and state.json (counters)
    finished        empty; there once the model of the last stage is written

A checkpoint is written under a hidden name, flushed to the disk and renamed, so that a `step-N` folder
is always whole. The last two are kept.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentpress.errors import CheckpointError, TrainingError
from latentpress.files import write_atomically

__all__ = ["Checkpoint", "Position", "RunFolder"]

_KEPT = 2
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Position:
    """How far a run is: its stage, the optimiser steps taken in that and in all stages, and seconds.

    `elapsed` counts the seconds of all the times that the run was started, `stage_start` those before the stage.
    """

    stage: str
    stage_step: int = 0
    step: int = 0
    elapsed: float = 0.0
    stage_start: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A position, and every tensor that training from there on depends on."""

    position: Position
    tensors: dict[str, Tensor]


class RunFolder:
    """The folder of one run, `path`. One process `claim`s it before any reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any(self.path.glob("step-*"))

    @property
    def finished(self) -> bool:
        """Whether the run's last model is written."""
        return (self.path / "finished").exists()

    def finish(self) -> None:
        """Notes that the run's last model is written."""
        write_atomically(self.path / "finished", b"")

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Makes the folder, or makes sure that it is of this run, and clears what a kill left behind.

        `identity`, plain JSON values, is what makes it this run; `TrainingError` is raised where the folder
        holds a run with another.
        """
        self._check(json.loads(json.dumps(identity)))
        for leftover in self.path.glob(".step-*"):
            shutil.rmtree(leftover)

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint so that a kill at any moment leaves the earlier ones or this one whole."""
        final = self.path / f"step-{checkpoint.position.step}"
        if final.exists():
            return  # the end of one stage is the start of the next
        partial = self.path / f".{final.name}"
        partial.mkdir()
        save_file(checkpoint.tensors, partial / "state.safetensors")
        (partial / "state.json").write_text(json.dumps(dataclasses.asdict(checkpoint.position), indent=2))
        for path in (*partial.iterdir(), partial):
            _flush(path)
        os.rename(partial, final)
        _flush(self.path)
        for old in self._steps()[:-_KEPT]:
            shutil.rmtree(self.path / f"step-{old}")

    def latest(self) -> Checkpoint | None:
        """Reads the last checkpoint, or returns None where the run has none yet."""
        steps = self._steps()
        if not steps:
            return None
        folder = self.path / f"step-{steps[-1]}"
        try:
            position = Position(**json.loads((folder / "state.json").read_bytes()))
            return Checkpoint(position, load_file(folder / "state.safetensors"))
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder} is damaged ({error}); delete it to go on from an earlier one"
            ) from None

    def _check(self, identity: dict[str, Any]) -> None:
        config = self.path / "config.json"
        if not config.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(config, json.dumps(identity, indent=2).encode())
            return
        try:
            stored = json.loads(config.read_bytes())
        except (OSError, ValueError) as error:
            raise TrainingError(f"{config}: {error}; delete {self.path} to start again") from None
        if differing := _differences(stored, identity):
            raise TrainingError(
                f"{self.path} holds another run: {', '.join(differing[:4])} differ"
                f"{' and more' if len(differing) > 4 else ''}; "
                "give the same settings to continue it, another output folder, or delete it to start again"
            )

    def _steps(self) -> list[int]:
        matches = (_STEP.fullmatch(path.name) for path in self.path.iterdir())
        return sorted(int(match[1]) for match in matches if match)


def _differences(stored: object, wanted: object, name: str = "") -> list[str]:
    """Dotted names of the settings in which two trees differ."""
    if not isinstance(stored, dict) or not isinstance(wanted, dict):
        return [] if stored == wanted else [name or "everything"]
    pairs = ((key, f"{name}.{key}".lstrip(".")) for key in {**wanted, **stored})
    return [each for key, path in pairs for each in _differences(stored.get(key), wanted.get(key), path)]


def _flush(path: Path) -> None:
    """Forces a file, or the names in a folder, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
