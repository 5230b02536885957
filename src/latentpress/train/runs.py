"""A run on disk: what was asked for, and checkpoints from which it continues exactly.

    config.json     the resolved configuration, seed, data and limits: what makes it this run
    metrics.jsonl   one line of figures every few steps (`latentpress.train.metrics`)
    samples/        originals above their reconstructions
    step-N          a checkpoint in the safetensors format: weights, averages, moments; counters as metadata
    end-STAGE       the checkpoint at the end of a stage, from which more of it can be trained
    finished        how the run ended; there once the model of the last stage is written

A checkpoint is written under a hidden name, flushed and renamed: it is always whole. The last two are kept,
and those at the ends of stages. It holds a digest of itself, since disks and copies fail too; a damaged one
is given up for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latentpress.errors import CheckpointError, LatentpressError, TrainingError
from latentpress.files import write_atomically

__all__ = ["Checkpoint", "Position", "RunFolder", "locked"]

_KEPT = 2
_LIMITS = ("steps", "seconds")
_ENDS = [{"steps": int, "seconds": kind, "figures": dict} for kind in (int, float)]
_STEP = re.compile(r"step-(\d+)")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made, until the block or this process ends.

    Raises `LatentpressError` if another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise LatentpressError(f"another process is at work in {folder}; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


class Position(NamedTuple):
    """How far a run is: its stage, steps in that and in all stages, seconds, and those before the stage."""

    stage: str
    stage_step: int = 0
    step: int = 0
    elapsed: float = 0.0
    stage_start: float = 0.0


class Checkpoint(NamedTuple):
    """A position, and every tensor that training from there on depends on."""

    position: Position
    tensors: dict[str, Tensor]


class RunFolder:
    """The folder of one run, `path`. One process `claim`s it before any reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(self) -> dict[str, Any] | None:
        """How the run ended: `steps`, `seconds` and `figures`; None where its last model is not written yet.

        Raises `CheckpointError` where the note is damaged.
        """
        path = self.path / "finished"
        if not path.exists():
            return None
        try:
            end = json.loads(path.read_bytes())
            sound = {name: type(value) for name, value in end.items()}
            figures = [type(value) for value in end["figures"].values()]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            end, sound, figures = {}, {}, []
        if sound not in _ENDS or not set(figures) <= {int, float}:
            raise CheckpointError(f"{path} is damaged; delete it, and the run's end is found again")
        return end

    def finish(self, **end: Any) -> None:
        """Notes that the run's last model is written, and plain JSON values of how the run ended."""
        write_atomically(self.path / "finished", json.dumps(end).encode())

    def begun(self) -> bool:
        """Whether a run was begun here, whether or not it came to a checkpoint."""
        return (self.path / "config.json").exists()

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Makes the folder, and clears what a kill left behind.

        A run of the same `identity`, plain JSON values, but of more of one of its `_LIMITS` is the same run,
        which then is not finished. Raises `TrainingError` where the folder holds another.
        """
        config, wanted = self.path / "config.json", json.loads(json.dumps(identity))
        self.path.mkdir(parents=True, exist_ok=True)
        if not config.exists():
            write_atomically(config, json.dumps(wanted, indent=2).encode())
        try:
            stored = json.loads(config.read_bytes())
            differing = _differences(stored, wanted)
        except (OSError, ValueError) as error:
            raise TrainingError(f"{config}: {error}; delete {self.path} to start again") from None
        if len(differing) == 1 and differing[0] in _LIMITS and _is_more(stored, wanted, differing[0]):
            self._reopen(wanted)
        elif differing:
            more = " and more" if len(differing) > 4 else ""
            raise TrainingError(
                f"{self.path} holds another run: {', '.join(differing[:4])} differ{more}; give the same "
                "settings to continue it, another output folder, or delete it to start again"
            )
        for leftover in self.path.glob(".*.part"):
            leftover.unlink()

    def _reopen(self, identity: Mapping[str, Any]) -> None:
        """Goes back to the end of the first stage: the others are for what it comes to."""
        stages, ends = identity.get("stages", []), sorted(self.path.glob("end-*"))
        first = self.path / f"end-{stages[0] if stages else ''}"
        later = [path for path in ends if path != first]
        if (self.path / "finished").exists() and not first.exists() and len(stages) > 1:
            raise TrainingError(
                f"{self.path} holds no checkpoint of the end of its first stage, from which more could be "
                "trained; train into another folder"
            )
        if first.exists():
            checkpoint = _read(first)
            for step in self.steps():
                if step > checkpoint.position.step:
                    (self.path / f"step-{step}").unlink()
            _link(first, self.path / f"step-{checkpoint.position.step}")
        (self.path / "finished").unlink(missing_ok=True)
        for path in later:
            path.unlink()
        write_atomically(self.path / "config.json", json.dumps(identity, indent=2).encode())

    def end(self, stage: str) -> None:
        """Keeps the last checkpoint as that of the end of a stage."""
        if steps := self.steps():
            _link(self.path / f"step-{steps[-1]}", self.path / f"end-{stage}")

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint so that a kill at any moment leaves the earlier ones or this one whole."""
        path = self.path / f"step-{checkpoint.position.step}"
        if path.exists():
            return  # the end of one stage is the start of the next
        position = json.dumps(checkpoint.position._asdict())
        metadata = {"position": position, "digest": _digest(position, checkpoint.tensors)}
        write_atomically(path, save(checkpoint.tensors, metadata))
        for old in self.steps()[:-_KEPT]:
            (self.path / f"step-{old}").unlink()

    def latest(self) -> Checkpoint | None:
        """Reads the last checkpoint, or returns None where the run has none yet.

        A damaged one is deleted with a warning if there is an earlier one. Raises `CheckpointError` if not.
        """
        steps = self.steps()
        while steps:
            path = self.path / f"step-{steps.pop()}"
            try:
                return _read(path)
            except CheckpointError as error:
                if not steps:
                    raise
                warnings.warn(f"{error}; going back to step {steps[-1]}", stacklevel=2)
                path.unlink(missing_ok=True)  # each process of a run finds the damage
        return None

    def steps(self) -> list[int]:
        """Those of which there is a checkpoint to go on from."""
        matches = (_STEP.fullmatch(path.name) for path in self.path.glob("step-*"))
        return sorted(int(match[1]) for match in matches if match)


def _link(source: Path, target: Path) -> None:
    """Makes a file known under another name too, or copies it where a system has no such links."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _is_more(stored: Mapping[str, Any], wanted: Mapping[str, Any], limit: str) -> bool:
    """Whether a limit that both have is larger in what is wanted."""
    before, now = stored.get(limit), wanted.get(limit)
    return isinstance(before, int | float) and isinstance(now, int | float) and now > before


def _read(path: Path) -> Checkpoint:
    """Reads a checkpoint and compares it with its digest; raises `CheckpointError`."""
    try:
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["digest"] != _digest(metadata["position"], tensors):
            raise ValueError("its digest is another")
        return Checkpoint(Position(**json.loads(metadata["position"])), tensors)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged ({error})") from None


def _digest(position: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(position.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _differences(stored: object, wanted: object, name: str = "") -> list[str]:
    """Dotted names of the settings in which two trees differ."""
    if not isinstance(stored, dict) or not isinstance(wanted, dict):
        return [] if stored == wanted else [name or "everything"]
    pairs = ((key, f"{name}.{key}".lstrip(".")) for key in {**wanted, **stored})
    return [each for key, path in pairs for each in _differences(stored.get(key), wanted.get(key), path)]
