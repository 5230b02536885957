"""A whole run: a model and its stages, one after another, in a folder from which it continues."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from latentpress.checkpoint import write_atomically
from latentpress.config import RunConfig, VQVAEConfig, to_json
from latentpress.data.loading import Pool
from latentpress.data.windows import TextPool
from latentpress.errors import TrainingError
from latentpress.model import AnyModel, build, load, resolve_device
from latentpress.train.codebook import CodebookRecipe
from latentpress.train.delta import DeltaRecipe
from latentpress.train.loop import Limit, StopSignals, Training, fit
from latentpress.train.metrics import MetricsSink, open_sinks
from latentpress.train.plan import STAGES, StageName, plan_stages
from latentpress.train.pools import check_pool, pool_digest
from latentpress.train.recipes import Recipe, Setting
from latentpress.train.replicas import join_replicas
from latentpress.train.runs import Position, RunFolder

__all__ = ["Progress", "StageName", "TrainResult", "run"]

_FITTED = ("prior", "pixels", "auxiliary")
"""Parts of models that are fitted after the codec."""


@dataclass(frozen=True)
class Progress:
    """What a running training tells its caller, every few steps.

    Attributes:
        stage: "codec", "prior" or "decoder".
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

    model: Any
    folder: Path
    steps: int
    seconds: float
    finished: bool
    figures: Mapping[str, float]


def run(
    config: RunConfig,
    pool: Pool | TextPool,
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
    """Trains a model on a pool of items and writes it as a model folder.

    Called again with the same arguments it continues from the last checkpoint: with a limit in steps
    it ends, on the same CPU machine, with the bits of a run that was never interrupted. SIGTERM makes
    it save and return, SIGINT save and raise `KeyboardInterrupt`. Under `torchrun` each process calls
    it with the same arguments. A run that is over is left as it is, and so is a prior fitted since.

    Arguments:
        config: the model, and how each stage is trained.
        pool: the items.
        folder: the model folder; its `run` subfolder holds what is needed to continue.
        steps: optimiser steps of all stages together, split as `RunConfig` says. Where neither `steps`
            nor `seconds` is given, each stage's own `steps` count.
        seconds: time for training instead, split in the same way.
        seed: of weights, batches and everything else that is drawn.
        device: "auto", "cpu", "cuda", ...
        progress: called every few steps.
        checkpoint_seconds: time between checkpoints.
        stages: some of "codec", "prior" and "decoder", as far as the model has them; without "codec" the
            others are fitted anew to the codec in `folder`. A decoder that uses no codes needs no codec.

    Returns:
        The model and how the run ended.

    Raises:
        ConfigError: limits or stages do not fit the configuration.
        TrainingError: there are no items, `folder` holds another run or another run's model, the codec
            of an earlier run of the prior was replaced, or the loss is not finite.
        CheckpointError: a checkpoint is damaged.
    """
    plan = plan_stages(config, stages, steps, seconds)
    check_pool(pool, config.model)
    folder = Path(folder)
    alone = list(plan) == ["decoder"] and not _needs_codec(config)
    fresh = "codec" in plan or (alone and not _has_model(folder))
    codec = None if fresh else load(folder, "cpu")
    identity = {
        **json.loads(to_json(config)),
        "stages": list(plan),
        "steps": steps,
        "seconds": seconds,
        "seed": seed,
        "data": pool_digest(pool),
    }
    if codec is not None and not alone:
        identity["codec_weights"] = _digest(_weights(codec, lambda part: part not in _FITTED))
    with ExitStack() as stack:
        replicas, place = stack.enter_context(join_replicas(resolve_device(device)))
        stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        runs = RunFolder(folder / ("run" if len(stages) > 1 else f"run-{stages[0]}"))
        if replicas.first:
            if "codec" in plan and _has_model(folder) and not runs.started:
                raise TrainingError(
                    f"{folder} holds a model already; train into another folder, or delete it to start again"
                )
            runs.claim(identity)
        replicas.wait()
        setting = Setting(config, pool, seed, place, replicas)
        session = _Session(setting, folder, codec, progress or (lambda _: None))
        return session.run(plan, runs, checkpoint_seconds)


def _has_model(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()


def _needs_codec(config: RunConfig) -> bool:
    """Whether a stage "decoder" looks at codes."""
    return (
        not isinstance(config.model, VQVAEConfig)
        or config.model.pixels is None
        or config.model.pixels.use_codes
    )


def _recipe(setting: Setting) -> Recipe:
    kind = CodebookRecipe if isinstance(setting.config.model, VQVAEConfig) else DeltaRecipe
    return kind(setting)


def _weights(model: AnyModel, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The weights of the parts whose names are `wanted`."""
    return {name: value for name, value in model.state_dict().items() if wanted(name.partition(".")[0])}


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Hash of tensors on the CPU, with their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class _Session:
    """One call of `run`: what its stages share."""

    def __init__(
        self,
        setting: Setting,
        folder: Path,
        codec: AnyModel | None,
        progress: Callable[[Progress], None],
    ) -> None:
        self.config, self.device, self.replicas = setting.config, setting.device, setting.replicas
        self.seed, self.folder, self.codec, self.progress = setting.seed, folder, codec, progress
        self.recipe = _recipe(setting)
        self.signals = StopSignals()
        self.figures: dict[str, float] = {}
        self.sinks: list[MetricsSink] = []

    def run(self, plan: Mapping[StageName, Limit], runs: RunFolder, save_seconds: float) -> TrainResult:
        """Runs the stages of `plan` that are not over yet."""
        names = list(plan)
        over = runs.finished and _has_model(self.folder)
        checkpoint = runs.latest()
        model = self._model(plan)
        position = checkpoint.position if checkpoint else Position(names[0])
        self.sinks = open_sinks(runs.path, position.step) if self.replicas.first else []
        reached = True
        try:
            for name in names[names.index(cast(StageName, position.stage)) :]:
                if name != position.stage:
                    checkpoint = None
                    position = Position(name, 0, position.step, position.elapsed, position.elapsed)
                stage = self.recipe.stage(name, model, plan[name])
                training = Training(
                    stage, model, position, device=self.device, replicas=self.replicas, seed=self.seed
                )
                if checkpoint is not None:
                    training.restore(checkpoint)
                    self._adopt(model, plan)
                    self._recall(model, name)
                reached = self._fit(training, plan[name], model, runs, save_seconds)
                position = training.position
                if not reached:
                    break
                if not over:
                    training.finish()
                    self._save_model(model, position)
            if over:
                model = load(self.folder, self.device)
            elif reached and self.replicas.first:
                runs.finish()
        finally:
            for sink in self.sinks:
                sink.close()
        if self.signals.received == signal.SIGINT:
            raise KeyboardInterrupt
        return TrainResult(model.eval(), self.folder, position.step, position.elapsed, reached, self.figures)

    def _fit(
        self, training: Training, limit: Limit, model: AnyModel, runs: RunFolder, save_seconds: float
    ) -> bool:
        def save() -> None:
            if self.replicas.first:
                runs.save(training.checkpoint())
                with training.average.applied():
                    self._judge(model, training.position, limit, runs.path / "samples")

        def report(position: Position, figures: dict[str, float]) -> None:
            live, warning = self.recipe.live(position.stage, model)
            self._report(position, limit, {**figures, **live}, warning)

        return fit(training, limit, signals=self.signals, report=report, save=save, save_seconds=save_seconds)

    def _model(self, plan: Mapping[StageName, Limit]) -> Any:
        """A new model, with what the folder's model has of the parts that are not trained."""
        torch.manual_seed(self.seed)
        model = build(self.config.model).to(self.device)
        self._adopt(model, plan)
        return model

    def _adopt(self, model: Any, plan: Mapping[StageName, Limit]) -> None:
        """Gives `model` the folder's codec, and the parts fitted after it where they stay."""
        if self.codec is None:
            return
        staying = {stage: part for stage, part in self.recipe.fitted.items() if stage not in plan}
        old, new = self.codec.config, model.config
        if new.item.kind == "text" or isinstance(new, VQVAEConfig):
            old = replace(old, item=replace(old.item, size=new.item.size))  # the prior's affair
        kept = [*self.recipe.fixed, *staying.values()]
        if type(old) is not type(new):
            raise TrainingError(f"{self.folder} holds a model of another kind")
        if differing := [part for part in kept if getattr(old, part) != getattr(new, part)]:
            raise TrainingError(f"the codec in {self.folder} has other settings: {', '.join(differing)}")
        trained = set(self.recipe.fitted.values()) - set(staying.values())
        model.load_state_dict(_weights(self.codec, lambda part: part not in trained), strict=False)
        settled = self.recipe.settled.get(next(iter(plan)), ())
        for name in {*settled, *(f"exact_{part}" for part in staying.values())}:
            if (exact := getattr(self.codec, name, None)) is not None:
                setattr(model, name, exact.to(self.device))

    def _recall(self, model: Any, name: StageName) -> None:
        """Gives the model of a resumed stage the exact forms that the stages before it left."""
        settled = [form for form in self.recipe.settled.get(name, ()) if getattr(model, form) is None]
        if settled and _has_model(self.folder):
            before = load(self.folder, self.device)
            for form in settled:
                setattr(model, form, getattr(before, form))

    def _judge(self, model: AnyModel, position: Position, limit: Limit, samples: Path) -> None:
        """Reports figures on held-out items, and writes the picture that comes with them."""
        judged = self.recipe.judge(model, position)
        if judged.picture is not None:
            samples.mkdir(exist_ok=True)
            write_atomically(samples / f"step-{position.step}.png", judged.picture)
        if judged.figures:
            self.figures = dict(judged.figures)
            self._report(position, limit, {f"held_out_{name}": value for name, value in self.figures.items()})

    def _report(
        self, position: Position, limit: Limit, figures: dict[str, float], warning: str | None = None
    ) -> None:
        if not self.replicas.first:
            return
        for sink in self.sinks:
            sink.write(position.stage, position.step, figures)
        fraction = min(1.0, limit.progress(position))
        self.progress(Progress(position.stage, position.step, fraction, position.elapsed, figures, warning))

    def _save_model(self, model: AnyModel, position: Position) -> None:
        if self.replicas.first:
            model.save_pretrained(self.folder, card=self.recipe.card(model, position, self.figures))
