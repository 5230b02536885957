"""A whole run: a model and its stages, one after another, in a folder from which it continues."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from latentpress.checkpoint import write_atomically
from latentpress.config import RunConfig, StageConfig, to_json
from latentpress.data.batches import Batch, Batches
from latentpress.data.loading import Pool
from latentpress.errors import ConfigError, TrainingError
from latentpress.model import LatentModel, build, resolve_device
from latentpress.train.card import model_card
from latentpress.train.codes import code_source
from latentpress.train.loop import Limit, Stage, StopSignals, Training, fit
from latentpress.train.metrics import MetricsSink, open_sinks
from latentpress.train.pools import check_pool, pool_digest, split
from latentpress.train.replicas import Replicas, join_replicas
from latentpress.train.runs import Checkpoint, Position, RunFolder
from latentpress.train.stages import CodecStage, PriorStage
from latentpress.train.validation import codec_figures, prior_figures, sample_sheet

__all__ = ["Progress", "StageName", "TrainResult", "run"]

StageName = Literal["codec", "prior"]


@dataclass(frozen=True)
class Progress:
    """What a running training tells its caller, every few steps.

    Attributes:
        stage: "codec" or "prior".
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

    model: LatentModel
    folder: Path
    steps: int
    seconds: float
    finished: bool
    figures: Mapping[str, float]


def run(
    config: RunConfig,
    pool: Pool,
    folder: Path | str,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 120.0,
    stages: Sequence[StageName] = ("codec", "prior"),
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
        steps: optimiser steps of all stages together, split by `config.codec_share`. Where neither
            `steps` nor `seconds` is given, each stage's own `steps` count.
        seconds: time for training instead, split in the same way.
        seed: of weights, batches and everything else that is drawn.
        device: "auto", "cpu", "cuda", ...
        progress: called every few steps.
        checkpoint_seconds: time between checkpoints.
        stages: "codec", "prior" or both; "prior" alone fits a new prior to the codec in `folder`.

    Returns:
        The model and how the run ended.

    Raises:
        ConfigError: limits or stages do not fit the configuration.
        TrainingError: there are no items, `folder` holds another run or another run's model, the codec
            of an earlier run of the prior was replaced, or the loss is not finite.
        CheckpointError: a checkpoint is damaged.
    """
    plan = _plan(config, stages, steps, seconds)
    check_pool(pool, config.model)
    folder = Path(folder)
    codec = None if "codec" in plan else LatentModel.from_pretrained(folder, "cpu")
    identity = {
        **json.loads(to_json(config)),
        "stages": list(plan),
        "steps": steps,
        "seconds": seconds,
        "seed": seed,
        "data": pool_digest(pool),
    }
    if codec is not None:
        identity["codec_weights"] = _digest(_codec_weights(codec))
    with ExitStack() as stack:
        replicas, place = stack.enter_context(join_replicas(resolve_device(device)))
        stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        runs = RunFolder(folder / ("run" if len(stages) > 1 else f"run-{stages[0]}"))
        if replicas.first:
            if codec is None and _has_model(folder) and not runs.started:
                raise TrainingError(
                    f"{folder} holds a model already; train into another folder, or delete it to start again"
                )
            runs.claim(identity)
        replicas.wait()
        session = _Session(config, pool, folder, codec, seed, place, replicas, progress or (lambda _: None))
        return session.run(plan, runs, checkpoint_seconds)


def _plan(
    config: RunConfig, stages: Sequence[StageName], steps: int | None, seconds: float | None
) -> dict[StageName, Limit]:
    """The stages that there is something to do in, in their order, and where each ends."""
    if not stages or not set(stages) <= {"codec", "prior"}:
        raise ConfigError(f"stages: codec, prior or both, got {', '.join(stages) or 'none'}")
    if steps is not None and seconds is not None:
        raise ConfigError("give a limit in steps or in seconds, not both")
    if any(limit is not None and limit <= 0 for limit in (steps, seconds)):
        raise ConfigError("the limit of a training must be positive")
    prior = config.model.prior
    after = prior is not None and prior.training == "after"
    possible: tuple[StageName, ...] = ("codec", "prior") if after else ("codec",)
    names: list[StageName] = [name for name in possible if name in stages]
    if not names:
        raise ConfigError("stage prior: this configuration has no prior that is trained after the codec")
    share = config.codec_share if len(names) == 2 else 1.0
    if steps is not None:
        first = round(steps * share)
        ends = [Limit(steps=first), Limit(steps=steps - first)]
    elif seconds is not None:
        ends = [Limit(seconds=seconds * share), Limit(seconds=seconds)]
    else:
        ends = [Limit(steps=_stage_config(config, name).steps) for name in names]
    return dict(zip(names, ends, strict=False))


def _stage_config(config: RunConfig, name: StageName) -> StageConfig:
    return config.codec if name == "codec" else config.prior


def _has_model(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()


def _codec_weights(model: LatentModel) -> dict[str, Tensor]:
    """What a model holds besides its prior."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("prior.")}


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
        config: RunConfig,
        pool: Pool,
        folder: Path,
        codec: LatentModel | None,
        seed: int,
        device: torch.device,
        replicas: Replicas,
        progress: Callable[[Progress], None],
    ) -> None:
        self.config, self.folder, self.codec, self.seed = config, folder, codec, seed
        self.device, self.replicas, self.progress = device, replicas, progress
        self.pool, self.held_out = split(pool)
        self.signals = StopSignals()
        self.figures: dict[str, float] = {}
        self.sinks: list[MetricsSink] = []

    def run(self, plan: Mapping[StageName, Limit], runs: RunFolder, save_seconds: float) -> TrainResult:
        """Runs the stages of `plan` that are not over yet."""
        names = list(plan)
        over = runs.finished and _has_model(self.folder)
        checkpoint = runs.latest()
        model = self._model(checkpoint)
        position = checkpoint.position if checkpoint else Position(names[0])
        self.sinks = open_sinks(runs.path, position.step) if self.replicas.first else []
        reached = True
        try:
            for name in names[names.index(cast(StageName, position.stage)) :]:
                if name != position.stage:
                    checkpoint = None
                    position = Position(name, 0, position.step, position.elapsed, position.elapsed)
                stage = self._stage(name, model, plan[name])
                training = Training(
                    stage, model, position, device=self.device, replicas=self.replicas, seed=self.seed
                )
                if checkpoint is not None:
                    training.restore(checkpoint)
                reached = self._fit(training, plan[name], model, runs, save_seconds)
                position = training.position
                if not reached:
                    break
                if not over:
                    training.finish()
                    self._save_model(model, position)
            if over:
                model = LatentModel.from_pretrained(self.folder, self.device)
            elif reached and self.replicas.first:
                runs.finish()
        finally:
            for sink in self.sinks:
                sink.close()
        if self.signals.received == signal.SIGINT:
            raise KeyboardInterrupt
        return TrainResult(model.eval(), self.folder, position.step, position.elapsed, reached, self.figures)

    def _fit(
        self, training: Training, limit: Limit, model: LatentModel, runs: RunFolder, save_seconds: float
    ) -> bool:
        held_out = self._held_out_batches(training.stage.config)

        def save() -> None:
            if self.replicas.first:
                runs.save(training.checkpoint())
                with training.average.applied():
                    self._judge(model, training.position, limit, held_out, runs.path / "samples")

        def report(position: Position, figures: dict[str, float]) -> None:
            warning = None
            if position.stage == "codec":
                usage = model.latents.usage()
                figures, warning = {**figures, "perplexity": usage.perplexity}, usage.warning
            self._report(position, limit, figures, warning)

        return fit(training, limit, signals=self.signals, report=report, save=save, save_seconds=save_seconds)

    def _model(self, checkpoint: Checkpoint | None) -> LatentModel:
        """A new model, with the folder's codec where only the prior is trained."""
        torch.manual_seed(self.seed)
        model = build(self.config.model).to(self.device)
        if self.codec is None or checkpoint is not None:
            return model
        old, new = self.codec.config, model.config
        old = replace(old, item=replace(old.item, size=new.item.size))  # the prior's affair
        parts = ("item", "encoder", "latents", "decoder", "likelihood")
        if differing := [part for part in parts if getattr(old, part) != getattr(new, part)]:
            raise TrainingError(f"the codec in {self.folder} has other settings: {', '.join(differing)}")
        model.load_state_dict(_codec_weights(self.codec), strict=False)
        return model

    def _stage(self, name: StageName, model: LatentModel, limit: Limit) -> Stage[Any]:
        config = _stage_config(self.config, name)
        batches = Batches(
            self.pool,
            batch_size=config.batch_size,
            crop=config.crop,
            flip=config.flip,
            seed=2 * self.seed + (name == "prior"),
            multiple_of=model.hop_length,
            rank=self.replicas.rank,
            world=self.replicas.world,
        )
        if name == "codec":
            return CodecStage(model, config, batches)
        expected = None if limit.steps is None else limit.steps * config.accumulate
        return PriorStage(model, config, code_source(model, batches, expected))

    def _held_out_batches(self, config: StageConfig) -> list[Batch]:
        if self.held_out is None or not self.replicas.first:
            return []
        size = min(config.batch_size, len(self.held_out))
        hop = self.config.model.encoder.hop_length
        batches = Batches(
            self.held_out, batch_size=size, crop=config.crop, flip=False, seed=self.seed, multiple_of=hop
        )
        return [batches.batch(step) for step in range(len(self.held_out) // size)]

    def _judge(
        self, model: LatentModel, position: Position, limit: Limit, batches: list[Batch], samples: Path
    ) -> None:
        """Reports figures on held-out items, and writes a picture of some while the codec changes."""
        if not batches:
            return
        figures = codec_figures(model, batches)
        prior = self.config.model.prior
        if position.stage == "prior" or (prior is not None and prior.training == "joint"):
            figures |= prior_figures(model, batches)
        if position.stage == "codec":
            samples.mkdir(exist_ok=True)
            write_atomically(samples / f"step-{position.step}.png", sample_sheet(model, batches[0]))
        self.figures = figures
        self._report(position, limit, {f"held_out_{name}": value for name, value in figures.items()})

    def _report(
        self, position: Position, limit: Limit, figures: dict[str, float], warning: str | None = None
    ) -> None:
        if not self.replicas.first:
            return
        for sink in self.sinks:
            sink.write(position.stage, position.step, figures)
        fraction = min(1.0, limit.progress(position))
        self.progress(Progress(position.stage, position.step, fraction, position.elapsed, figures, warning))

    def _save_model(self, model: LatentModel, position: Position) -> None:
        if self.replicas.first:
            card = model_card(model.config, self.pool, position.step, position.elapsed, self.figures)
            model.save_pretrained(self.folder, card=card)
