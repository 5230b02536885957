"""Small data sets of every kind, and short trainings of every model on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from latentpress.config import AnyModelConfig, DeltaVAEConfig, RunConfig, StageConfig, VQVAEConfig
from latentpress.data import Dataset, array_source, labels_as, load_dataset
from latentpress.items import Image, Text
from latentpress.model import VQVAE, DeltaVAE, Model, build
from latentpress.nn import pad_to_hop, to_signal
from latentpress.train import Progress, TrainResult, run
from latentpress.train.loop import Stage
from latentpress.train.plan import StageName, plan_stages
from latentpress.train.replicas import Replicas
from latentpress.train.stages import make_stage
from latentpress.train.terms import RunContext
from small.configs import DECODERS, ITEMS, delta_vae, vq_vae
from small.items import samples_of
from small.models import jolted
from small.toy import Toy

__all__ = [
    "CASES",
    "STAGE",
    "Case",
    "dataset_for",
    "dying_at",
    "parts_of",
    "reading_toys",
    "same",
    "stage_of",
    "train",
    "weights",
]

STAGE = StageConfig(
    batch_size=4, crop=24, warmup=1, learning_rate=1e-2, average_decay=0.9, weight_decay=0.01, flip=True
)


@dataclass(frozen=True)
class Case:
    """A kind of item, an invention, and its decoders."""

    kind: str
    model: str
    decoders: str

    @property
    def after(self) -> bool:
        """Whether the autoregressive decoder is fitted to the finished codec."""
        return self.decoders == "both" and self.kind in ("colour", "toy")

    def __str__(self) -> str:
        return f"{self.kind}-{self.model}-{self.decoders}"

    def config(self, **changes: Any) -> RunConfig:
        """A run; `changes` are of the model's configuration."""
        model: AnyModelConfig = {"vq": vq_vae, "delta": delta_vae}[self.model](
            ITEMS[self.kind], self.decoders
        )
        if self.after:
            assert model.autoregressive is not None
            model = replace(model, autoregressive=replace(model.autoregressive, training="after"))
        return RunConfig(
            model=replace(model, **changes), codec=STAGE, prior=STAGE, decoder=STAGE, encoder=STAGE
        )


CASES = [Case(kind, model, decoders) for kind in ITEMS for model in ("vq", "delta") for decoders in DECODERS]


@cache
def dataset_for(kind: str, labels: bool = False) -> Dataset:
    """104 items, of which two are held out; those of texts have 0 to 24 bytes.

    With `labels` they have two: "class", one an item, and "action", one a row along the first axis.
    """
    item = ITEMS[kind]
    sizes = [(i * 7 % 25,) if isinstance(item, Text) else item.size for i in range(104)]
    samples = [
        samples_of(item, size, seed=i) if min(size) else samples_of(item, (1,))[:0]
        for i, size in enumerate(sizes)
    ]
    table = None
    if labels:
        actions = [tuple("ab"[(i + row) % 2] for row in range(size[0])) for i, size in enumerate(sizes)]
        table = {"class": [f"c{i % 3}" for i in range(104)], "action": actions}
    return load_dataset(array_source(samples, item, table))


def train(case: Case, folder: Path, config: RunConfig | None = None, **options: Any) -> TrainResult:
    """A run of six steps, or as `options` say."""
    limits = {} if "seconds" in options else {"steps": 6}
    return run(config or case.config(), dataset_for(case.kind), folder, device="cpu", **{**limits, **options})


def stage_of(
    case: Case, name: StageName, config: RunConfig | None = None, *, labels: bool = False
) -> tuple[Model, Stage]:
    """A stage of ten steps, and its model, which is new, with all weights moved a little."""
    config, dataset = config or case.config(), labels_as_in(config, dataset_for(case.kind, labels))
    torch.manual_seed(0)
    model = build(config.model)
    jolted(model)
    if isinstance(model, VQVAE):  # code vectors start from a batch
        assert model.encoder is not None
        signal = to_signal(
            torch.from_numpy(dataset[7].astype("int64"))[None], model.item.low, model.item.levels
        )
        model.latents(model.encoder(pad_to_hop(signal, model.hop)))
        model.latents.update()
    context = RunContext(config, dataset, None, name == "codec", 0, Replicas())
    limit = plan_stages(config, (name,), 10, None)[name]
    return model, make_stage(name, model, context, limit)


def labels_as_in(config: RunConfig | None, dataset: Dataset) -> Dataset:
    """The items with the labels of a model, if it has any."""
    return dataset if config is None or not config.model.labels else labels_as(dataset, config.model.labels)


def weights(folder: Path) -> bytes:
    """A model file."""
    return (folder / "model.safetensors").read_bytes()


def parts_of(model: Model, *parts: str) -> dict[str, torch.Tensor]:
    """Copies of the weights of some parts."""
    return {name: v.clone() for name, v in model.state_dict().items() if name.split(".")[0] in parts}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether weights are the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def dying_at(step: int, stage: str | None = None) -> Callable[[Progress], None]:
    """A death at the first report of a step, or of a stage's step."""

    def die(progress: Progress) -> None:
        if progress.step >= step and stage in (None, progress.stage):
            raise SystemExit

    return die


@dataclass(frozen=True, kw_only=True)
class AnyVQVAEConfig(VQVAEConfig):
    """A VQ-VAE of any kind of items, toys among them."""

    item: Image | Text | Toy = field(default_factory=Image)  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class AnyDeltaVAEConfig(DeltaVAEConfig):
    """A delta-VAE likewise."""

    item: Image | Text | Toy = field(default_factory=Text)  # type: ignore[assignment]


@contextmanager
def reading_toys() -> Iterator[None]:
    """Within it model folders of toys can be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VQVAE, "config_class", AnyVQVAEConfig)
        patch.setattr(DeltaVAE, "config_class", AnyDeltaVAEConfig)
        yield
