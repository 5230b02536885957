"""How much of the training loop's time is the networks' own work?

Measures images/s of the whole loop (`latentpress.train.loop.fit`: batches from the pool, loss, figures,
clipping, optimiser, averages, codebook) against the bare networks' forward, backward and optimiser
step on tensors that are ready, alternating in one process; the median of the pairs' ratios counts.

Both sides start from the same weights and take the same batches at the same learning rates, so that
neither meets slower numbers than the other: a side that diverged on a batch of its own was up to
twice as slow, at the same work.

    python benchmarks/loop_overhead.py [--preset images-small] [--steps 20] [--pairs 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latentpress.config import RunConfig, VQVAEConfig
from latentpress.config.presets import preset
from latentpress.data import array_source, load_dataset
from latentpress.data.batches import Batches
from latentpress.items import Image
from latentpress.model import VQVAE, resolve_device
from latentpress.nn import to_signal
from latentpress.train.loop import Limit, Stage, Training, fit
from latentpress.train.optim import build_optimizer, learning_rate
from latentpress.train.replicas import Replicas
from latentpress.train.runs import Position
from latentpress.train.stages import make_stage
from latentpress.train.terms import RunContext


@dataclass(frozen=True)
class Result:
    """Medians over the pairs."""

    device: str
    loop_images_per_second: float
    bare_images_per_second: float
    ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="images-small")
    parser.add_argument("--steps", type=int, default=20, help="steps a measurement")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    config = preset(arguments.preset)
    codec = replace(config.codec, batch_size=arguments.batch_size or config.codec.batch_size)
    config = replace(config, codec=codec)
    device = resolve_device(arguments.device)
    model, batches, training = prepared(config, device)
    steps = arguments.steps * (arguments.pairs + 1)
    ready = [to_signal(batches.batch(i).samples.to(device), 0, 256) for i in range(steps)]
    bare = Bare(deepcopy(model), training.stage, ready)
    loop_seconds, bare_seconds = [], []
    for _ in range(arguments.pairs + 1):  # the first pair warms up
        loop_seconds.append(seconds(lambda: run_loop(training, arguments.steps), device))
        bare_seconds.append(seconds(lambda: bare.run(arguments.steps), device))
    ratios = [b / a for a, b in zip(loop_seconds[1:], bare_seconds[1:], strict=True)]
    count = arguments.steps * codec.batch_size
    result = Result(
        str(device),
        count / statistics.median(loop_seconds[1:]),
        count / statistics.median(bare_seconds[1:]),
        statistics.median(ratios),
    )
    if arguments.json:
        print(json.dumps(asdict(result)))
    else:
        print(f"loop {result.loop_images_per_second:.1f} images/s on {device}")
        print(f"bare {result.bare_images_per_second:.1f} images/s")
        print(f"ratio {result.ratio:.3f}")


def prepared(config: RunConfig, device: torch.device) -> tuple[VQVAE, Batches, Training]:
    """The model, the batches that its codec is trained on, and the training."""
    assert isinstance(config.model, VQVAEConfig) and config.model.parallel is not None, (
        "a preset with that decoder"
    )
    images = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), np.uint8)
    dataset = load_dataset(array_source(images, Image()))
    model, context = VQVAE(config.model).to(device), RunContext(config, dataset, None, True, 0, Replicas())
    stage = make_stage("codec", model, context, Limit(steps=config.codec.steps))
    codec = config.codec
    batches = Batches(
        dataset,
        batch_size=codec.batch_size,
        extents=codec.extents(2),
        seed=0,
        multiple_of=(1, 1),
        flip=codec.flip,
    )
    return model, batches, Training(stage, model, Position("codec"), Replicas(), seed=0)


def run_loop(training: Training, steps: int) -> None:
    end = Limit(steps=training.position.stage_step + steps)
    fit(training, end, [], lambda position, figures: None, lambda: None, float("inf"))


class Bare:
    """The same networks and optimiser, on batches that are ready."""

    def __init__(self, model: VQVAE, stage: Stage, ready: list[Tensor]) -> None:
        self.model, self.config, self.ready, self.taken = model, stage.config, ready, 0
        self.optimizer = build_optimizer(stage.config, [p for p in model.parameters() if p.requires_grad])

    def run(self, steps: int) -> None:
        """Takes `steps` optimiser steps."""
        model = self.model
        assert model.encoder is not None and model.parallel is not None
        end, loss = self.taken + steps, self.ready[0].new_zeros(())
        while self.taken < end:
            progress = self.taken / end
            self.optimizer.param_groups[0]["lr"] = learning_rate(self.config, self.taken, progress)
            signal = self.ready[self.taken]
            self.taken += 1
            with torch.autocast(signal.device.type, torch.bfloat16, enabled=signal.is_cuda):
                quantized = model.latents(model.encoder(signal))
                nats = model.parallel.nats(signal, quantized.vectors).mean() / signal[0].numel()
                loss = nats + quantized.commitment_loss + quantized.codebook_loss
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            model.latents.update()
        assert torch.isfinite(loss), "the bare side diverged: its time says nothing"


def seconds(function, device: torch.device) -> float:
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
