"""Does a committed rate keep the latents in use? A delta-VAE beside its controls, on digits.

    python benchmarks/delta.py digits --seeds 3
    python benchmarks/delta.py mnist --data FOLDER_WITH_THE_IDX_FILES --steps 5000

For each seed: the decoder alone, the plain VAE, the delta-VAE, free bits and KL annealing, all with the
same decoder, the same number of steps and the same seed. The settings were
chosen on a part of the training set; the figures are of the test set, which no training saw. A run that
was stopped goes on where it was. With `--only NAME,...` some of the runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from latentpress.config import (
    AnnealedObjectiveConfig,
    AnticausalConfig,
    AR1Config,
    AutoregressiveDecoderConfig,
    AuxiliaryConfig,
    CausalConfig,
    DeltaVAEConfig,
    FreeBitsObjectiveConfig,
    PlainGaussianConfig,
    RunConfig,
    StageConfig,
)
from latentpress.config.presets import preset
from latentpress.data import Dataset, array_source, load_dataset, open_sources
from latentpress.evaluate import diagnose
from latentpress.items import Image
from latentpress.latents.rates import ar1_rate_nats
from latentpress.train import run

NAMES = ("alone", "plain", "delta", "free-bits", "annealed")


@dataclass(frozen=True)
class Task:
    """A data set, and how its models are trained."""

    config: RunConfig
    train: Dataset
    test: Dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task", choices=("digits", "mnist"))
    parser.add_argument("--data", type=Path, help="folder of MNIST's IDX files")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5000, help="of a run, for mnist")
    parser.add_argument("--runs", type=Path, default=Path("runs/delta"), help="where the models go")
    parser.add_argument("--only", default=",".join(NAMES))
    options = parser.parse_args()
    task = digits() if options.task == "digits" else mnist(options.data, options.steps)
    names = options.only.split(",")
    for seed in range(options.seeds):
        for name in names:
            _trained(task, name, seed, options.runs / options.task)
    print(table(task, names, range(options.seeds), options.runs / options.task))


def digits() -> Task:
    """scikit-learn's digits in 16 shades: 1,438 to train on, 359 to test."""
    found = import_module("sklearn.datasets").load_digits()
    images = (np.minimum(found.images, 15) * 17).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    item = Image(channels=1, size=(8, 8))
    test, train = (
        load_dataset(array_source(images[part], item, found.target[part]))
        for part in (order[:359], order[359:])
    )
    model = DeltaVAEConfig(
        item=item,
        encoder=AnticausalConfig(network=CausalConfig(width=16, depth=2, radius=2, embedding=8), hidden=64),
        latents=AR1Config(channels=1, alpha=0.95),
        autoregressive=AutoregressiveDecoderConfig(
            network=CausalConfig(width=32, depth=3, radius=2, embedding=16, head_width=64),
            map_past=3,
            map_width=32,
            map_channels=8,
        ),
        auxiliary=AuxiliaryConfig(width=16),
    )
    config = RunConfig(
        model=model,
        codec=StageConfig(
            batch_size=32, flip=False, learning_rate=2e-3, weight_decay=0.5, average_decay=0.99, steps=1500
        ),
        prior=StageConfig(
            batch_size=128, flip=False, learning_rate=3e-3, average_decay=0.99, clip_norm=10.0, steps=500
        ),
    )
    return Task(config, train, test)


def mnist(folder: Path, steps: int) -> Task:
    """MNIST: 60,000 images to train on, the first 5,000 of the test set to test."""
    item = Image(channels=1, size=(28, 28))
    train, test = (
        load_dataset(open_sources([folder / f"mnist-{part}-images-idx3-ubyte.gz"], item))
        for part in ("train", "t10k")
    )
    base = preset("delta-images")
    config = RunConfig(
        model=replace(base.model, item=item),
        codec=replace(base.codec, steps=steps),
        prior=replace(base.prior, steps=max(1, steps // 8)),
    )
    return Task(config, train, test.subset(range(5000)))


def variant(config: RunConfig, name: str) -> RunConfig:
    """The configuration of one of the runs."""
    model = config.model
    assert isinstance(model, DeltaVAEConfig) and isinstance(model.latents, AR1Config)
    plain = PlainGaussianConfig(channels=model.latents.channels)
    changed = {
        "alone": replace(model, latents=None, auxiliary=None),
        "plain": replace(model, latents=plain),
        "delta": model,
        "free-bits": replace(model, latents=plain, objective=FreeBitsObjectiveConfig(nats=_rate(config))),
        "annealed": replace(model, latents=plain, objective=AnnealedObjectiveConfig()),
    }
    return replace(config, model=changed[name])


def _rate(config: RunConfig) -> float:
    model = config.model
    assert isinstance(model, DeltaVAEConfig) and isinstance(model.latents, AR1Config)
    assert model.item.size is not None
    return ar1_rate_nats(model.latents.alphas, -(-model.item.size[0] // model.hop[0]))


def _trained(task: Task, name: str, seed: int, folder: Path) -> None:
    config, target = variant(task.config, name), folder / f"{name}-{seed}"
    print(f"{name}, seed {seed}", flush=True)
    model = run(config, task.train, target, seed=seed).model
    (target / "diagnosis.json").write_text(diagnose(model, task.test).to_json())


def _load(folder: Path, name: str, seed: int) -> Mapping[str, Any]:
    """The figures of a diagnosis, those of the latents among them."""
    found = json.loads((folder / f"{name}-{seed}" / "diagnosis.json").read_text())
    found |= found["details"] | {"probe_accuracy": (found["probe"] or {}).get("accuracy")}
    nats, kl, best = found["sample_nats"], found.get("kl_nats", 0.0), found["latent_nats"]
    return found | {"negative_elbo_nats": nats + kl, "negative_elbo_auxiliary_nats": nats + best}


def table(task: Task, names: list[str], seeds: range, folder: Path) -> str:
    """Markdown: one row a run, nats an item, and the medians over the seeds."""
    head = ["run", "seed", "committed", "KL", "min KL", "KL aux", "information", "its cap", "gap shuffled"]
    head += ["gap prior", "active", "probe", "-ELBO", "-ELBO aux"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in names:
        found = [_load(folder, name, seed) for seed in seeds]
        for seed, one in zip(seeds, found, strict=True):
            rows.append([name, str(seed), *_cells(one)])
        if len(found) > 1:
            columns = [[_value(one, field) for one in found] for field in _FIELDS]
            medians = [None if None in column else statistics.median(column) for column in columns]  # type: ignore[type-var]
            rows.append([f"**{name}**", "median", *map(_cell, medians)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_FIELDS = (
    "committed_nats",
    "kl_nats",
    "min_kl_nats",
    "auxiliary_kl_nats",
    "information_nats",
    "information_cap_nats",
    "shuffled_gap_nats",
    "prior_gap_nats",
    "active_units",
    "probe_accuracy",
    "negative_elbo_nats",
    "negative_elbo_auxiliary_nats",
)


def _value(found: Mapping[str, Any], field: str) -> float | None:
    return found.get(field)


def _cells(found: Mapping[str, Any]) -> list[str]:
    return [_cell(_value(found, field)) for field in _FIELDS]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
