"""A whole run: a model and its stages, one after another, in a folder from which it continues."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from latentpress.config import AnyModelConfig, RunConfig, to_json
from latentpress.data import Dataset, labels_as
from latentpress.errors import TrainingError
from latentpress.files import write_atomically
from latentpress.model import Model, build, load, resolve_device
from latentpress.train.card import model_card
from latentpress.train.fits import RunContext
from latentpress.train.fitting import check_dataset
from latentpress.train.loop import Limit, StopSignals, Training, fit
from latentpress.train.metrics import MetricsSink, open_sinks
from latentpress.train.plan import STAGES, StageName, fitted_parts, plan_stages, used_parts
from latentpress.train.replicas import join_replicas
from latentpress.train.runs import Position, RunFolder
from latentpress.train.stages import make_stage

__all__ = ["Progress", "TrainResult", "run"]

_PARTS = ("encoder", "latents", "parallel", "autoregressive", "prior", "auxiliary")
_FORMS = {"decoder": "autoregressive", "encoder": "encoder"}  # the part of which an integer form is


@dataclass(frozen=True)
class Progress:
    """What a running training reports to its caller, every few steps.

    Attributes:
        stage: its name.
        step: optimiser steps taken in all stages.
        fraction: share of the stage that is over, 0 to 1.
        elapsed: seconds trained.
        figures: mean figures since the last report; those of held-out items begin with `held_out_`.
        warning: one line that says what to do, where something is wrong.
    """

    stage: str
    step: int
    fraction: float
    elapsed: float
    figures: Mapping[str, float] = field(default_factory=dict)
    warning: str | None = None


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        model: the model, in evaluation mode.
        folder: the model folder.
        steps: optimiser steps taken, over all the times that the run was started.
        seconds: seconds trained, likewise.
        finished: whether all stages are done; false after SIGTERM.
        figures: the last figures on held-out items; empty where there are none.
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
    it with the same arguments. A run that is over is left as it is, and so is a prior fitted since.

    Args:
        config: the model, and how each stage is trained; `latentpress.train.fitted` fits it to the data.
        dataset: the items; some of them are held out, if there are many.
        folder: the model folder; its `run` subfolder holds what is needed to continue.
        steps: optimiser steps of all stages together, split as `RunConfig` says. Where neither `steps`
            nor `seconds` is given, the `steps` of each stage's configuration count.
        seconds: time for training instead, split in the same way.
        seed: of weights, batches and everything else that is random.
        device: "auto", "cpu", "cuda", ...
        progress: called every few steps.
        checkpoint_seconds: time between checkpoints.
        stages: which, as far as the model has them. Without "codec" the others are fitted anew to the
            codec in `folder`, which a decoder that does not see the latents does without.

    Raises:
        ConfigError: limits or stages do not fit the configuration.
        TrainingError: there are no items, or others than the model takes; `folder` holds another run or
            another run's model; the codec of an earlier run was replaced; or the loss is not finite.
        CheckpointError: a checkpoint or the model in `folder` is damaged.
    """
    plan = plan_stages(config, stages, steps, seconds)
    check_dataset(config, dataset)
    dataset, folder, whole = labels_as(dataset, config.model.labels), Path(folder), "codec" in plan
    fits = {part for name in plan for part in fitted_parts(config.model, name, whole=whole)}
    uses = {part for name in plan for part in used_parts(config.model, name)} - fits
    previous = load(folder, "cpu") if not whole and (uses or _has_model(folder)) else None
    limits = {
        "stages": list(plan),
        "steps": steps,
        "seconds": seconds,
        "seed": seed,
        "data": dataset.digest(),
    }
    identity = {**json.loads(to_json(config)), **limits}
    if previous is not None and uses:
        identity["codec_weights"] = _digest(_weights(previous, uses))
    with ExitStack() as stack:
        replicas, place = stack.enter_context(join_replicas(resolve_device(device)))
        stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        runs = RunFolder(folder / ("run" if len(stages) > 1 else f"run-{stages[0]}"))
        if replicas.first:
            if whole and _has_model(folder) and not runs.started:
                raise TrainingError(
                    f"{folder} holds a model already; train into another folder, or delete it to start again"
                )
            runs.claim(identity)
        replicas.wait()
        torch.manual_seed(seed)
        model = build(config.model).to(place)
        if previous is not None:
            adopt(model, previous, fits, folder)
        context = RunContext(config, *dataset.split(), whole, seed, replicas)
        return _Session(context, folder, runs, plan, progress or (lambda _: None)).run(
            model, checkpoint_seconds
        )


def adopt(model: Model, previous: Model, fits: Collection[str], folder: Path) -> None:
    """Gives a new model what the finished one in `folder` has of the parts that are not in `fits`.

    Raises:
        TrainingError: the configurations differ in what stays.
    """
    old, new = previous.config, model.config
    if type(model) is not type(previous):
        raise TrainingError(f"{folder} holds a model of another kind")
    kept = [part for part in _PARTS if part not in fits]
    differing = [part for part in kept if _settings(old, part) != _settings(new, part)]
    if (old.item.kind, old.item.channels, previous.hop) != (new.item.kind, new.item.channels, model.hop):
        differing.insert(0, "item")
    if differing:
        raise TrainingError(f"the codec in {folder} has other settings: {', '.join(differing)}")
    model.load_state_dict(_weights(previous, kept), strict=False)
    forms = previous.integer.to(model.device)
    new_forms = {form: None for form, part in _FORMS.items() if part in fits}
    model.integer = replace(forms, **new_forms)


def _settings(config: AnyModelConfig, part: str) -> object:
    """What a part was made by: its section, but for when it is trained, and the labels that condition it."""
    section: Any = getattr(config, part, None)
    names = getattr(section, "labels", ())
    section = replace(section, training="joint") if hasattr(section, "training") else section
    return section, [label for label in config.labels if label.name in names]


def _has_model(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()


def _weights(model: Model, parts: Collection[str]) -> dict[str, Tensor]:
    """The weights of the parts of those names."""
    return {name: value for name, value in model.state_dict().items() if name.partition(".")[0] in parts}


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Hash of tensors on the CPU, with their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(eq=False)
class _Session:
    """One call of `run`: what its stages share."""

    context: RunContext
    folder: Path
    runs: RunFolder
    plan: Mapping[StageName, Limit]
    progress: Callable[[Progress], None]
    signals: StopSignals = field(default_factory=StopSignals)
    figures: Mapping[str, float] = field(default_factory=dict)
    sinks: Sequence[MetricsSink] = ()

    def run(self, model: Model, save_seconds: float) -> TrainResult:
        """Runs the stages of the plan that are not over yet."""
        names, device, reached = list(self.plan), model.device, True
        over = self.runs.finished and _has_model(self.folder)
        checkpoint = self.runs.latest()
        position = checkpoint.position if checkpoint else Position(names[0])
        self.sinks = open_sinks(self.runs.path, position.step) if self.context.replicas.first else ()
        try:
            for name in names[names.index(cast(StageName, position.stage)) :]:
                if name != position.stage:
                    checkpoint = None
                    position = Position(name, 0, position.step, position.elapsed, position.elapsed)
                elif checkpoint is not None and name != names[0]:
                    model.integer = load(self.folder, device).integer  # of the stages before
                stage = make_stage(name, model, self.context, self.plan[name])
                training = Training(stage, model, position, self.context.replicas, self.context.seed)
                if checkpoint is not None:
                    training.restore(checkpoint)
                reached = self._fit(training, save_seconds)
                position = training.position
                if not reached:
                    break
                if not over:
                    training.finish()
                    self._save_model(model, position)
            if over:
                model = load(self.folder, device)
            elif reached and self.context.replicas.first:
                self.runs.finish()
        finally:
            for sink in self.sinks:
                sink.close()
        if self.signals.received == signal.SIGINT:
            raise KeyboardInterrupt
        return TrainResult(model.eval(), self.folder, position.step, position.elapsed, reached, self.figures)

    def _fit(self, training: Training, save_seconds: float) -> bool:
        limit = self.plan[cast(StageName, training.stage.name)]

        def save() -> None:
            if self.context.replicas.first:
                self.runs.save(training.checkpoint())
                with training.average.applied():
                    self._validate(training, limit)

        def report(position: Position, figures: dict[str, float]) -> None:
            status, warning = training.stage.status()
            self._report(position, limit, {**figures, **status}, warning)

        return fit(training, limit, signals=self.signals, report=report, save=save, save_seconds=save_seconds)

    def _validate(self, training: Training, limit: Limit) -> None:
        """Reports figures on held-out items, and writes the picture that comes with them."""
        validation, position = training.stage.validate(), training.position
        if validation.picture is not None:
            samples = self.runs.path / "samples"
            samples.mkdir(exist_ok=True)
            write_atomically(samples / f"step-{position.step}.png", validation.picture)
        if validation.figures:
            self.figures = validation.figures
            self._report(position, limit, {f"held_out_{name}": value for name, value in self.figures.items()})

    def _report(
        self, position: Position, limit: Limit, figures: dict[str, float], warning: str | None = None
    ) -> None:
        if not self.context.replicas.first:
            return
        for sink in self.sinks:
            sink.write(position.stage, position.step, figures)
        fraction = min(1.0, limit.progress(position))
        self.progress(Progress(position.stage, position.step, fraction, position.elapsed, figures, warning))

    def _save_model(self, model: Model, position: Position) -> None:
        if self.context.replicas.first:
            config, dataset = model.config, self.context.dataset
            card = model_card(config, dataset, position.step, position.elapsed, self.figures)
            model.save_pretrained(self.folder, card=card)
