"""The loop on a stage that knows nothing of models: a line fitted to noisy points."""

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from latentpress.config import StageConfig
from latentpress.errors import CheckpointError, TrainingError
from latentpress.train.loop import Limit, Stage, StageLoss, Training, Validation, fit, stop_signals
from latentpress.train.replicas import Replicas
from latentpress.train.runs import Checkpoint, Position


class Line:
    """y = 2x + 1, with random noise in the loss, to see whether random numbers are resumed."""

    def __init__(self, config: StageConfig) -> None:
        self.config = config
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.steps = 0

    def stage(self) -> Stage:
        return Stage(
            name="codec",
            config=self.config,
            groups=[list(self.model.parameters())],
            stream=self.batches,
            loss=self.loss,
            finish=lambda: None,
            stepped=self.stepped,
            status=lambda: ({}, None),
            validate=Validation,
        )

    def batches(self, start: int) -> Iterator[Tensor]:
        size = self.config.batch_size
        for i in itertools.count(start):
            yield torch.linspace(-1, 1, 64).roll(-i * size)[:size, None]

    def loss(self, batch: Tensor, progress: float) -> StageLoss:
        noise = 1e-3 * torch.randn(()) if self.config.accumulate == 1 else 0
        total = (self.model(batch) - (2 * batch + 1 + noise)).square().mean()
        return StageLoss(total, {"twice": 2 * total.detach()})

    def stepped(self) -> None:
        self.steps += 1


CONFIG = StageConfig(batch_size=8, warmup=3, learning_rate=0.1)


def training_of(config: StageConfig = CONFIG, loss=None) -> Training:
    line = Line(config)
    stage = line.stage() if loss is None else replace(line.stage(), loss=partial(loss, line.model))
    return Training(stage, line.model, Position("codec"), Replicas(), seed=0)


def run(training: Training, limit: Limit, *, report=None, save=None, save_seconds: float = 1e9) -> bool:
    return fit(
        training,
        limit,
        received=[],
        report=report or (lambda *_: None),
        save=save or (lambda: None),
        save_seconds=save_seconds,
    )


def steps_seen(training: Training) -> int:
    line = training.stage.stepped.__self__  # type: ignore[attr-defined]
    assert isinstance(line, Line)
    return line.steps


def weights(training: Training) -> list[Tensor]:
    return [p.detach().clone() for p in training.parameters] + [t.clone() for t in training.average.tensors]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_fits_a_line():
    training = training_of()
    assert run(training, Limit(steps=300))
    training.finish()
    assert [round(p.item(), 1) for p in training.parameters] == [2.0, 1.0]
    assert training.position.step == training.position.stage_step == 300 == steps_seen(training)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_from_any_checkpoint_ends_with_the_same_bits(optimizer: str, accumulate: int):
    config = replace(CONFIG, optimizer=optimizer, accumulate=accumulate)
    whole = training_of(config)
    checkpoints: list[Checkpoint] = []

    def save():
        checkpoint = whole.checkpoint()
        tensors = {name: value.clone() for name, value in checkpoint.tensors.items()}
        checkpoints.append(Checkpoint(checkpoint.position, tensors))

    assert run(whole, Limit(steps=12), save=save, save_seconds=0)
    assert [each.position.step for each in checkpoints] == list(range(13))
    for checkpoint in checkpoints:
        resumed = training_of(config)
        resumed.restore(checkpoint)
        run(resumed, Limit(steps=12))
        assert equal(weights(resumed), weights(whole))


def test_every_step_and_every_seed_has_its_random_numbers():
    def numbers(seed: int) -> list[float]:
        seen: list[float] = []

        def loss(model: nn.Module, batch: Tensor, progress: float) -> StageLoss:
            seen.append(torch.rand(()).item())
            return StageLoss(model(batch).square().mean(), {})

        training = training_of(loss=loss)
        training.seed = seed
        run(training, Limit(steps=5))
        return seen

    assert numbers(0) == numbers(0) and len({*numbers(0), *numbers(1)}) == 10


def test_micro_batches_make_the_step_of_their_union():
    def exact(model: nn.Module, batch: Tensor, progress: float) -> StageLoss:
        return StageLoss((model(batch) - 2 * batch - 1).square().mean(), {})

    joint = training_of(replace(CONFIG, accumulate=1), exact)
    split = training_of(replace(CONFIG, batch_size=4, accumulate=2))
    run(joint, Limit(steps=20))
    run(split, Limit(steps=20))
    for a, b in zip(weights(joint), weights(split), strict=True):
        torch.testing.assert_close(a, b)


def test_figures_are_reported_and_saving_comes_last():
    training, seen = training_of(), []
    run(
        training,
        Limit(steps=50),
        report=lambda position, figures: seen.append((position.step, figures)),
        save=lambda: seen.append("saved"),
    )
    assert seen[-1] == "saved" and [step for step, _ in seen[:-1]] == [20, 40, 50]
    assert seen[0][1]["twice"] == pytest.approx(2 * seen[0][1]["loss"])
    assert seen[0][1]["items_per_second"] > 0


class Alike(Replicas):
    """Replicas that all do the same, so that nothing needs to be sent."""

    def average_gradients(self, parameters: object) -> None:
        pass

    def mean(self, values: Tensor) -> Tensor:
        return values

    def agree(self, elapsed: float, stop: int) -> tuple[float, int]:
        return elapsed, stop


@pytest.mark.parametrize(("accumulate", "world"), [(1, 1), (3, 1), (1, 4), (3, 4)])
def test_the_speed_counts_the_items_of_all_replicas(
    accumulate: int, world: int, monkeypatch: pytest.MonkeyPatch
):
    seconds = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))  # a second from look to look
    training, seen = training_of(replace(CONFIG, batch_size=8, accumulate=accumulate)), []
    training.replicas = Alike(rank=0, world=world)
    run(training, Limit(steps=40), report=lambda _, figures: seen.append(figures["items_per_second"]))
    assert seen == [8 * accumulate * world] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(number: signal.Signals):
    training, saved = training_of(), []
    before = signal.getsignal(number)

    def stop(position: Position, _):
        if position.step == 20:
            os.kill(os.getpid(), number)

    with stop_signals() as received:
        reached = fit(
            training,
            Limit(steps=1000),
            received=received,
            report=stop,
            save=lambda: saved.append(training.position.step),
            save_seconds=1e9,
        )
    assert not reached and saved == [21] and received == [number]
    assert signal.getsignal(number) is before


def test_a_limit_in_seconds_ends_at_the_run_clock():
    training = training_of()
    training.position = training.position._replace(elapsed=100.0, stage_start=100.0)
    assert run(training, Limit(seconds=100.2))
    assert 100.2 <= training.position.elapsed < 110 and training.position.step > 0
    assert run(training, Limit(seconds=100.2))  # over already: not one step more
    assert training.position.step == steps_seen(training)


def test_a_loss_that_is_not_finite_stops_with_advice_before_it_is_saved():
    def bad(model: nn.Module, batch: Tensor, progress: float) -> StageLoss:
        return StageLoss(model(batch).sum() * float("nan"), {})

    training, saved = training_of(loss=bad), []
    with pytest.raises(TrainingError, match=r"lower codec\.learning_rate"):
        run(training, Limit(steps=100), save=lambda: saved.append(1))
    assert not saved


def test_a_checkpoint_of_another_model_is_one_clear_error():
    checkpoint = training_of().checkpoint()
    checkpoint.tensors["model.weight"] = torch.zeros(7, 7)
    with pytest.raises(CheckpointError, match="does not fit"):
        training_of().restore(checkpoint)
