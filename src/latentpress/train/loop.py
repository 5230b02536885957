"""The training loop, for any stage: batches in, one optimiser step after another, a position out.

A step is a pure function of weights, averages, moments and its number, from which its batch, its random
numbers and its learning rate follow. So a run that was cut off and resumed from a checkpoint ends with the
same bits as one that was not.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from latentpress.config import StageConfig
from latentpress.errors import CheckpointError, TrainingError
from latentpress.train.metrics import Meter
from latentpress.train.optim import WeightAverage, build_optimizer, learning_rate
from latentpress.train.replicas import Replicas
from latentpress.train.runs import Checkpoint, Position

__all__ = ["Limit", "Stage", "StageLoss", "Training", "Validation", "fit", "stop_signals"]

_REPORT_EVERY = 20  # steps; each report waits for the device once
_GOLDEN = 0x9E3779B97F4A7C15  # keeps the seeds of two runs' steps apart
_INFINITE = (
    "the loss is no longer finite near step {step}; lower {stage}.learning_rate or {stage}.clip_norm, or "
    "raise {stage}.warmup, and train into another folder"
)


class StageLoss(NamedTuple):
    """What one batch gives: a scalar to minimise, and scalars to show, without gradient."""

    total: Tensor
    figures: Mapping[str, Tensor]


class Validation(NamedTuple):
    """How a model does on items that training does not see: figures, and a PNG to look at or None."""

    figures: Mapping[str, float] = {}
    picture: bytes | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """Parts of a model, how they are fitted, and on what.

    Attributes:
        name: of the stage.
        config: how it is trained.
        groups: what the optimiser moves, in groups whose gradients are clipped apart from one another.
        stream: endless batches from a number on; batch i is a pure function of i.
        loss: of one batch, in training mode, at a share of the stage that is over, 0 to 1.
        finish: called at the end, when the parameters hold their averages.
        stepped: called after every optimiser step.
        status: figures that are no means over steps, and a warning that says what to do, or None.
        validate: how the model does on held-out items.
    """

    name: str
    config: StageConfig
    groups: Sequence[Sequence[Parameter]]
    stream: Callable[[int], Iterator[Any]]
    loss: Callable[[Any, float], StageLoss]
    finish: Callable[[], None]
    stepped: Callable[[], None]
    status: Callable[[], tuple[Mapping[str, float], str | None]]
    validate: Callable[[], Validation]


@dataclass(frozen=True)
class Limit:
    """Where a stage ends: after `steps` of its own, or when the run's clock shows `seconds`.

    >>> Limit(steps=200).progress(Position("codec", stage_step=50))
    0.25
    >>> Limit(seconds=90).progress(Position("prior", elapsed=75, stage_start=60))
    0.5
    """

    steps: int | None = None
    seconds: float | None = None

    def progress(self, position: Position) -> float:
        """Share of the stage that is over; 1 or more at its end."""
        over, length = position.stage_step, self.steps
        if length is None:
            assert self.seconds is not None
            over, length = position.elapsed - position.stage_start, self.seconds - position.stage_start
        return over / length if length > 0 else 1.0


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Within it, in a process' main thread, signals to stop are noted; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT) if main}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Training:
    """One stage under way: everything that its steps change, among it the whole state of the model."""

    def __init__(
        self, stage: Stage, model: nn.Module, position: Position, replicas: Replicas, seed: int
    ) -> None:
        self.stage, self.model, self.position = stage, model, position
        self.device, self.replicas, self.seed = next(model.parameters()).device, replicas, seed
        self.parameters = [parameter for group in stage.groups for parameter in group]
        self.optimizer = build_optimizer(stage.config, self.parameters)
        self.average = WeightAverage(self.parameters, stage.config.average_decay)

    def step(self, batches: Iterator[Any], progress: float) -> dict[str, Tensor]:
        """Takes one optimiser step, at `progress` of the stage; returns its figures as tensors."""
        config, position = self.stage.config, self.position
        seed = (self.seed * _GOLDEN + position.step) % (1 << 63)
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` takes longer than a small step
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, position.stage_step, progress)
        figures: dict[str, Tensor] = {}
        for _ in range(config.accumulate):
            batch = next(batches)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                loss = self.stage.loss(batch, progress)
            (loss.total / config.accumulate).backward()
            for name, value in {"loss": loss.total, **loss.figures}.items():
                share = value.detach() / config.accumulate
                figures[name] = figures[name] + share if name in figures else share
        self.replicas.average_gradients(self.parameters)
        norms = [nn.utils.clip_grad_norm_(group, config.clip_norm) for group in self.stage.groups]
        figures["gradient_norm"] = norms[0]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(position.stage_step + 1)
        self.stage.stepped()
        self.position = position._replace(stage_step=position.stage_step + 1, step=position.step + 1)
        return figures

    def finish(self) -> None:
        """Gives the parameters their averages and ends the stage."""
        self.average.swap()
        self.stage.finish()

    def checkpoint(self) -> Checkpoint:
        """Everything that the next steps depend on, on the CPU; not a copy of what is there already."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{i}": value for i, value in enumerate(self.average.tensors)}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
        return Checkpoint(
            self.position, {n: value.detach().cpu().contiguous() for n, value in tensors.items()}
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continues from a checkpoint of this stage."""
        tensors, moments = checkpoint.tensors, dict[int, dict[str, Tensor]]()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, kind = name.split(".")
                moments.setdefault(int(i), {})[kind] = value
        weights = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
        try:
            self.model.load_state_dict(weights)
            for i, average in enumerate(self.average.tensors):
                average.copy_(tensors[f"average.{i}"])
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint does not fit this release's model: {error}") from None
        self.position = checkpoint.position


def fit(
    training: Training,
    limit: Limit,
    received: list[int],
    report: Callable[[Position, Mapping[str, float]], None],
    save: Callable[[], None],
    save_seconds: float,
) -> bool:
    """Trains a stage to its limit, or until a stop signal is `received`; returns whether it got there.

    `report` gets the position and mean figures every few steps; `items_per_second` counts those of all
    replicas. `save` is called every `save_seconds` and at the end.

    Raises:
        TrainingError: the loss or its gradient is not finite.
    """
    replicas, config, meter = training.replicas, training.stage.config, Meter()
    reported = training.position
    saved_at, clock_zero = reported.elapsed, time.monotonic() - reported.elapsed
    batches = training.stage.stream(reported.stage_step * config.accumulate)

    def flush() -> Position:
        position = training.position
        if figures := meter.read(replicas):
            if not math.isfinite(figures["loss"]) or not math.isfinite(figures["gradient_norm"]):
                raise TrainingError(_INFINITE.format(step=position.step, stage=position.stage))
            items = (position.step - reported.step) * config.batch_size * config.accumulate * replicas.world
            figures["items_per_second"] = items / max(1e-9, position.elapsed - reported.elapsed)
            report(position, figures)
        return position

    while True:
        elapsed, stop = replicas.agree(time.monotonic() - clock_zero, max(received, default=0))
        training.position = training.position._replace(elapsed=elapsed)
        progress = limit.progress(training.position)
        over = bool(stop) or progress >= 1
        if over or elapsed - saved_at >= save_seconds:
            reported, saved_at = flush(), elapsed
            save()
        elif training.position.stage_step % _REPORT_EVERY == 0:
            reported = flush()
        if over:
            received.extend([stop] * (stop != 0 and not received))  # another replica's
            return progress >= 1
        meter.add(training.step(batches, progress))
