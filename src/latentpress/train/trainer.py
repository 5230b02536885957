"""A whole run: a model and its stages, one after another, in a folder from which it continues."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors.torch import save as dump
from torch import Tensor

from latentpress.config import AnyModelConfig, PartName, RunConfig, to_json
from latentpress.data import Dataset, labels_as
from latentpress.errors import TrainingError
from latentpress.files import write_atomically
from latentpress.model import Model, build, load, resolve_device
from latentpress.nn.blank import blank
from latentpress.train.card import model_card
from latentpress.train.counting import count_stage, held_out_bits
from latentpress.train.fitting import check_dataset
from latentpress.train.loop import Limit, Training, fit, stop_signals
from latentpress.train.metrics import Sink, open_sinks
from latentpress.train.plan import (
    STAGES,
    StageName,
    counts,
    counts_alone,
    fitted_parts,
    plan_stages,
    used_parts,
)
from latentpress.train.replicas import join_replicas
from latentpress.train.runs import Position, RunFolder, locked
from latentpress.train.stages import make_stage
from latentpress.train.terms import RunContext

__all__ = ["Progress", "TrainResult", "run"]


@dataclass(frozen=True)
class Progress:
    """What a running training reports to its caller, every few steps.

    `step` counts the optimiser steps of all stages, `fraction` is the share of this one that is over and
    `elapsed` the seconds trained. `figures` are means since the last report; those of held-out items begin
    with `held_out_`. A `warning` is one line that says what to do.
    """

    stage: str
    step: int
    fraction: float
    elapsed: float
    figures: Mapping[str, float] = field(default_factory=dict)
    warning: str | None = None


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: its model in evaluation mode, and the folder that holds it.

    `steps` and `seconds` count all the times that the run was started. It is `finished` if all stages are
    done, which they are not after SIGTERM. `figures` are the last ones on held-out items, if there are any.
    """

    model: Model
    folder: Path
    steps: int
    seconds: float
    finished: bool
    figures: Mapping[str, float]


def run(
    config: RunConfig,
    dataset: Dataset,
    folder: Path | str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 120.0,
    stages: Sequence[StageName] = STAGES,
) -> TrainResult:
    """Trains a model on a data set and writes it as a model folder.

    Called again with the same arguments it continues from the last checkpoint: with a limit in steps
    it ends, on the same CPU machine, with the bits of a run that was never interrupted. SIGTERM makes
    it save and return, SIGINT save and raise `KeyboardInterrupt`. Under `torchrun` each process calls
    it with the same arguments. A run that is over is left as it is, and so is a prior fitted since; with more
    steps or seconds it goes on from the end of its first stage, at the learning rate of the longer run, and
    what comes after that stage is fitted anew.

    Args:
        config: the model, and how each stage is trained; see `latentpress.train.fitted`.
        dataset: the items, of which some are held out if there are many.
        folder: the model folder; its `run` subfolder holds what is needed to continue.
        steps: optimiser steps of all stages together, split as `RunConfig` says.
        seconds: time for training instead. By default the `steps` of each stage's configuration count.
        seed: of weights, batches and everything else that is random.
        device: "auto", "cpu", "cuda", ...
        progress: called every few steps.
        checkpoint_seconds: time between checkpoints.
        stages: which, as far as the model has them. Without "codec" the others are fitted anew to the
            codec in `folder`, which a decoder that does not see the latents does without.

    Raises:
        ConfigError: limits or stages do not fit the configuration.
        TrainingError: the items do not fit the model; `folder` holds another run or another run's model;
            the codec of an earlier run was replaced; or the loss is not finite.
        CheckpointError: a checkpoint or the model in `folder` is damaged.
        LatentpressError: another process trains into `folder`.
    """
    plan = plan_stages(config, stages, steps, seconds)
    with blank():
        check_dataset(build(config.model), dataset)
    dataset, folder, whole = labels_as(dataset, config.model.labels), Path(folder), "codec" in plan
    fits: set[PartName] = {part for name in plan for part in fitted_parts(config.model, name, whole=whole)}
    used: set[PartName] = {part for name in plan for part in used_parts(config.model, name)}
    uses = used - fits
    previous = load(folder, "cpu") if not whole and (uses or _has_model(folder)) else None
    identity = json.loads(to_json(config)) | {"stages": list(plan), "steps": steps, "seconds": seconds}
    identity |= {"seed": seed, "data": dataset.digest()}
    if previous is not None and uses:
        digest = hashlib.blake2b(dump(_weights(previous, uses)), digest_size=16)
        identity["codec_weights"] = digest.hexdigest()
    with ExitStack() as stack:
        replicas, place = stack.enter_context(join_replicas(resolve_device(device)))
        stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        runs = RunFolder(folder / ("run" if len(stages) > 1 else f"run-{stages[0]}"))
        if replicas.first:
            stack.enter_context(locked(folder))
        counted = any(counts(config.model, name) for name in plan)  # which makes no checkpoints
        known = runs.begun() if counted else bool(runs.steps())
        if replicas.first and whole and _has_model(folder) and not known:
            raise TrainingError(f"{folder} holds a model already; train into another folder, or delete it")
        if replicas.first:
            runs.claim(identity)
        replicas.agree(0.0, 0)  # that the folder is there
        if (end := runs.finished()) is not None and _has_model(folder):
            return TrainResult(load(folder, place), folder, finished=True, **end)
        torch.manual_seed(seed)
        model = build(config.model).to(place)
        if previous is not None:
            adopt(model, previous, fits, folder)
        context = RunContext(config, *dataset.split(), whole, seed, replicas)
        received, report = stack.enter_context(stop_signals()), progress or (lambda _: None)
        return _Session(context, folder, runs, plan, report, checkpoint_seconds, received).run(model)


def adopt(model: Model, previous: Model, fits: Collection[PartName], folder: Path) -> None:
    """Gives a new model the parts of the finished one in `folder` but for `fits`, if their settings agree."""
    old, new = previous.config, model.config
    if old.half is not None:
        raise TrainingError(f"{folder} holds the {old.half} half of a model; fit parts to the whole model")
    if type(model) is not type(previous):
        raise TrainingError(f"{folder} holds a model of another kind")
    kept: list[PartName] = [part for part in get_args(PartName) if part not in fits]
    differing = [part for part in kept if _settings(old, part) != _settings(new, part)]
    if (old.item.kind, old.item.channels, previous.hop) != (new.item.kind, new.item.channels, model.hop):
        differing.insert(0, "item")
    if differing:
        raise TrainingError(f"the codec in {folder} has other settings: {', '.join(differing)}")
    model.load_state_dict(_weights(previous, kept), strict=False)
    forms = {"decoder": "autoregressive", "encoder": "encoder"}  # of a part that is fitted anew none stays
    none = {form: None for form, part in forms.items() if part in fits}
    model.integer = replace(previous.integer.to(model.device), **none)


def _settings(config: AnyModelConfig, part: PartName) -> object:
    """What a part was made by: its section, but for when it is trained, and the labels that condition it."""
    section: Any = getattr(config, part, None)
    names = getattr(section, "labels", ())
    if "training" in getattr(section, "__dict__", ()):
        section = replace(section, training="joint")
    return section, [label for label in config.labels if label.name in names]


def _has_model(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()


def _weights(model: Model, parts: Collection[PartName]) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.partition(".")[0] in parts}


class _Stopped(Exception):
    """A signal came while items were counted."""


@dataclass(eq=False)
class _Session:
    """One call of `run`: what its stages share."""

    context: RunContext
    folder: Path
    runs: RunFolder
    plan: Mapping[StageName, Limit]
    progress: Callable[[Progress], None]
    save_seconds: float
    received: list[int]
    figures: Mapping[str, float] = field(default_factory=dict)
    sinks: Sequence[Sink] = ()

    def run(self, model: Model) -> TrainResult:
        """Runs the stages of the plan that are not over yet."""
        names, context, reached = list(self.plan), self.context, True
        checkpoint = self.runs.latest()
        position = checkpoint.position if checkpoint else Position(names[0])
        self.sinks = open_sinks(self.runs.path, position.step) if context.replicas.first else ()
        for name in names[names.index(cast(StageName, position.stage)) :]:
            if name != position.stage:
                checkpoint = None
                position = Position(name, 0, position.step, position.elapsed, position.elapsed)
            elif checkpoint is not None and name != names[0]:
                model.integer = load(self.folder, model.device).integer  # of the stages before
            if not counts_alone(context.config.model, name):
                stage = make_stage(name, model, context, self.plan[name])
                training = Training(stage, model, position, context.replicas, context.seed)
                if checkpoint is not None:
                    training.restore(checkpoint)
                reached = self._fit(training, self.plan[name])
                position = training.position
                if not reached:
                    break
                if context.replicas.first:
                    self.runs.end(name)
                training.finish()
            if counts(context.config.model, name):
                position, reached = self._count(model, position, self.plan[name])
                if not reached:
                    break
            self._save(model, position)
        if reached and context.replicas.first:
            self.runs.finish(steps=position.step, seconds=position.elapsed, figures=dict(self.figures))
        if signal.SIGINT in self.received:
            raise KeyboardInterrupt
        return TrainResult(model.eval(), self.folder, position.step, position.elapsed, reached, self.figures)

    def _save(self, model: Model, position: Position) -> None:
        """Writes the model folder."""
        if self.context.replicas.first:
            about = self.context.dataset, position.step, position.elapsed, self.figures
            model.save_pretrained(self.folder, card=model_card(model.config, *about))

    def _count(self, model: Model, position: Position, limit: Limit) -> tuple[Position, bool]:
        """Gives a model what a stage counts; returns the position, and whether it got to the end."""
        start, name = time.monotonic(), cast(StageName, position.stage)

        def report(share: float) -> None:
            if self.received:
                raise _Stopped
            here = position.elapsed + time.monotonic() - start
            if self.context.replicas.first:
                self.progress(Progress(position.stage, position.step, share, here))

        try:
            model.integer = count_stage(model, name, self.context.dataset, limit.seconds, report)
        except _Stopped:
            return position, False
        self.figures = {**self.figures, **held_out_bits(model, name, self.context.held_out)}
        position = position._replace(elapsed=position.elapsed + time.monotonic() - start)
        for sink in self.sinks:
            sink(position.stage, position.step, {f"held_out_{n}": v for n, v in self.figures.items()})
        return position, True

    def _fit(self, training: Training, limit: Limit) -> bool:
        first, stage = self.context.replicas.first, training.stage

        def report(position: Position, figures: Mapping[str, float], prefix: str = "") -> None:
            status, warning = ({}, None) if prefix else stage.status()
            figures = {**{prefix + name: value for name, value in figures.items()}, **status}
            for sink in self.sinks:
                sink(stage.name, position.step, figures)
            share = min(1.0, limit.progress(position))
            if first:
                self.progress(Progress(stage.name, position.step, share, position.elapsed, figures, warning))

        def save() -> None:
            if not first:
                return
            self.runs.save(training.checkpoint())
            training.average.swap()
            figures, picture = stage.validate()
            training.average.swap()
            if picture is not None:
                samples = self.runs.path / "samples"
                samples.mkdir(exist_ok=True)
                write_atomically(samples / f"step-{training.position.step}.png", picture)
            if figures:
                self.figures = figures
                report(training.position, figures, "held_out_")

        return fit(training, limit, self.received, report, save, self.save_seconds)
