"""Figures of a run over its steps: means on the way, and the places where they are written."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from latentpress.files import write_atomically
from latentpress.train.replicas import Replicas

__all__ = ["Meter", "Sink", "json_lines", "open_sinks", "tensorboard"]

Sink = Callable[[str, int, Mapping[str, float]], None]
"""A place where the figures of a moment go: those of a stage, after so many steps of the run."""


class Meter:
    """Means of named figures, added up on their device so that no step waits for it.

    >>> meter = Meter()
    >>> meter.add({"loss": torch.tensor(1.0)})
    >>> meter.add({"loss": torch.tensor(2.0)})
    >>> meter.read(Replicas())
    {'loss': 1.5}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Adds one step's figures, scalars."""
        for name, value in figures.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def read(self, replicas: Replicas) -> dict[str, float]:
        """Returns the means since the last call, over the replicas too."""
        if not self._count:
            return {}
        means = replicas.mean(torch.stack(list(self._sums.values())) / self._count).tolist()
        figures = dict(zip(self._sums, means, strict=True))
        self._sums, self._count = {}, 0
        return figures


def json_lines(path: Path, step: int) -> Sink:
    """One JSON object a line. Lines after `step`, and half a line that a kill left, are dropped first."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        write_atomically(path, b"".join(line for line in lines if _belongs(line, step)))

    def write(stage: str, step: int, figures: Mapping[str, float]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "step": step, **figures}) + "\n")

    return write


def tensorboard(path: Path, step: int) -> Sink:
    """Event files for TensorBoard, where that package is installed (extra `tensorboard`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(path), purge_step=step + 1)

    def write(stage: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(f"{stage}/{name}", value, step)
        writer.flush()

    return write


def open_sinks(folder: Path, step: int) -> list[Sink]:
    """Opens `metrics.jsonl` and, where it can be imported, TensorBoard, to go on after `step`."""
    sinks = [json_lines(folder / "metrics.jsonl", step)]
    with suppress(ImportError):
        sinks.append(tensorboard(folder / "tensorboard", step))
    return sinks


def _belongs(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError):
        return False
