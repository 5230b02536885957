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
from latentpress.config import ModelConfig, RunConfig, StageConfig, to_json
from latentpress.data.batches import Batch, Batches
from latentpress.data.loading import Pool
from latentpress.errors import TrainingError
from latentpress.model import LatentModel, build, resolve_device
from latentpress.train.card import model_card
from latentpress.train.codes import code_source
from latentpress.train.loop import Limit, Stage, StopSignals, Training, fit
from latentpress.train.metrics import MetricsSink, open_sinks
from latentpress.train.pixels import PixelStage
from latentpress.train.plan import STAGES, StageName, plan_stages, stage_config
from latentpress.train.pools import check_pool, pool_digest, split
from latentpress.train.replicas import Replicas, join_replicas
from latentpress.train.runs import Position, RunFolder
from latentpress.train.stages import CodecStage, PriorStage
from latentpress.train.validation import codec_figures, pixel_figures, prior_figures, sample_sheet

__all__ = ["Progress", "StageName", "TrainResult", "run"]


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
    alone = list(plan) == ["decoder"] and not _needs_codec(config.model)
    fresh = "codec" in plan or (alone and not _has_model(folder))
    codec = None if fresh else LatentModel.from_pretrained(folder, "cpu")
    identity = {
        **json.loads(to_json(config)),
        "stages": list(plan),
        "steps": steps,
        "seconds": seconds,
        "seed": seed,
        "data": pool_digest(pool),
    }
    if codec is not None and not alone:
        identity["codec_weights"] = _digest(_codec_weights(codec))
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
        session = _Session(config, pool, folder, codec, seed, place, replicas, progress or (lambda _: None))
        return session.run(plan, runs, checkpoint_seconds)


def _has_model(folder: Path) -> bool:
    return (folder / "model.safetensors").exists()


def _needs_codec(config: ModelConfig) -> bool:
    """Whether the decoder of pixels looks at codes."""
    return config.pixels is None or config.pixels.use_codes


def _codec_weights(model: LatentModel) -> dict[str, Tensor]:
    """What a model holds besides its prior and its decoder of pixels."""
    return _weights(model, lambda part: part not in ("prior", "pixels"))


def _weights(model: LatentModel, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
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
        model = self._model(plan)
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
                    self._adopt(model, plan)
                    if name == "decoder" and model.exact_prior is None and _has_model(self.folder):
                        before = LatentModel.from_pretrained(self.folder, self.device)
                        model.exact_prior = before.exact_prior  # what the stage before this one left
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
        config, decoder = training.stage.config, training.stage.name == "decoder"
        held_out = self._held_out_batches(config, model.hop_length)
        whole = self._held_out_batches(config, 1) if decoder else []

        def save() -> None:
            if self.replicas.first:
                runs.save(training.checkpoint())
                with training.average.applied():
                    self._judge(model, training.position, limit, held_out, whole, runs.path / "samples")

        def report(position: Position, figures: dict[str, float]) -> None:
            warning = None
            if position.stage == "codec":
                usage = model.latents.usage()
                figures, warning = {**figures, "perplexity": usage.perplexity}, usage.warning
            self._report(position, limit, figures, warning)

        return fit(training, limit, signals=self.signals, report=report, save=save, save_seconds=save_seconds)

    def _model(self, plan: Mapping[StageName, Limit]) -> LatentModel:
        """A new model, with what the folder's model has of the parts that are not trained."""
        torch.manual_seed(self.seed)
        model = build(self.config.model).to(self.device)
        self._adopt(model, plan)
        return model

    def _adopt(self, model: LatentModel, plan: Mapping[StageName, Limit]) -> None:
        """Gives `model` the folder's codec, and its prior and decoder of pixels where they stay."""
        if self.codec is None:
            return
        kept = ["item", "encoder", "latents", "decoder", "likelihood"]
        kept += [part for part, stage in (("prior", "prior"), ("pixels", "decoder")) if stage not in plan]
        old, new = self.codec.config, model.config
        old = replace(old, item=replace(old.item, size=new.item.size))  # the prior's affair
        if differing := [part for part in kept if getattr(old, part) != getattr(new, part)]:
            raise TrainingError(f"the codec in {self.folder} has other settings: {', '.join(differing)}")
        trained = {"prior" if stage == "prior" else "pixels" for stage in plan}
        model.load_state_dict(_weights(self.codec, lambda part: part not in trained), strict=False)
        if "prior" in kept and self.codec.exact_prior is not None:
            model.exact_prior = self.codec.exact_prior.to(self.device)
        if "pixels" in kept and self.codec.exact_pixels is not None:
            model.exact_pixels = self.codec.exact_pixels.to(self.device)

    def _stage(self, name: StageName, model: LatentModel, limit: Limit) -> Stage[Any]:
        config, hop = stage_config(self.config, name), model.hop_length
        batches = Batches(
            self.pool,
            batch_size=config.batch_size,
            crop=config.crop,
            flip=config.flip,
            seed=len(STAGES) * self.seed + STAGES.index(name),
            multiple_of=1 if name == "decoder" else hop,
            corner_step=hop if name == "decoder" and _needs_codec(model.config) else 1,
            rank=self.replicas.rank,
            world=self.replicas.world,
        )
        if name == "codec":
            return CodecStage(model, config, batches)
        if name == "decoder":
            return PixelStage(model, config, batches)
        expected = None if limit.steps is None else limit.steps * config.accumulate
        return PriorStage(model, config, code_source(model, batches, expected))

    def _held_out_batches(self, config: StageConfig, multiple_of: int) -> list[Batch]:
        if self.held_out is None or not self.replicas.first:
            return []
        size = min(config.batch_size, len(self.held_out))
        batches = Batches(
            self.held_out,
            batch_size=size,
            crop=config.crop,
            flip=False,
            seed=self.seed,
            multiple_of=multiple_of,
        )
        return [batches.batch(step) for step in range(len(self.held_out) // size)]

    def _judge(
        self,
        model: LatentModel,
        position: Position,
        limit: Limit,
        batches: list[Batch],
        whole: list[Batch],
        samples: Path,
    ) -> None:
        """Reports figures on held-out items, and writes a picture of some while the codec changes.

        `batches` are cut to the hop; `whole`, for the decoder of pixels, are not.
        """
        if not batches:
            return
        figures = codec_figures(model, batches)
        prior = self.config.model.prior
        joint = prior is not None and prior.training == "joint"
        if joint or position.stage == "prior" or model.exact_prior is not None:
            figures |= prior_figures(model, batches)
        if whole:
            figures |= pixel_figures(model, whole)
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
