"""What a model's latents are worth: what they cost, what they say, and what becomes of items without them.

What latents cost proves nothing by itself: codes may all be in use by a decoder that does without them,
and a posterior may sit on its floor and be the same for every item. So there is also measured how much
worse the decoder does with another item's latents, and with those of no item, drawn from the prior. What
else there is to say of a latent space is the model's (`Model.details`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.data import Dataset
from latentpress.errors import ItemError, LatentpressError
from latentpress.evaluate.inputs import Inputs, input_earnings
from latentpress.evaluate.latents import as_tensor, light, on_device, pooled
from latentpress.evaluate.probe import Probe, probe
from latentpress.evaluate.results import to_json
from latentpress.exact.distribution import Sampling
from latentpress.model.base import Model
from latentpress.model.details import LatentDetails
from latentpress.model.labels import labels_of
from latentpress.model.latents import Latents
from latentpress.names import shown

__all__ = ["Diagnosis", "diagnose"]

_BATCH_POSITIONS = 1 << 17
_PRIOR_POSITIONS = 1 << 15  # of latents that are drawn from the prior: one after the other

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
LatentsOf = Callable[[int, Integers], Latents | None]
"""The latents of rows of a group of items, or of the first of these rows; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Figures of a model on some items; what is said of an item is the mean over them.

    Attributes:
        dims: samples an item.
        sample_nats: -log p(x | z) of an item under the decoder.
        latent_nats: what its latents cost under the best prior: codes -log p(z), Gaussian latents a KL.
        shuffled_gap_nats: how much -log p(x | z) grows with the latents of another item of the same size,
            None where no two have one size,
        shuffled_dims: the samples of those items.
        prior_gap_nats: how much it grows with latents drawn from the prior, None without one.
        alone_nats: -log p(x) under the model without latents that it was compared with.
        probe: what a linear classifier reads from the latents; None without labels.
        details: what else there is to say.
        inputs: what the inputs of the prior and the decoder earn, as far as these count.
    """

    items: int
    dims: float
    sample_nats: float
    latent_nats: float
    shuffled_gap_nats: float | None
    shuffled_dims: float | None
    prior_gap_nats: float | None
    alone_nats: float | None
    probe: Probe | None
    details: LatentDetails
    inputs: Mapping[str, Inputs] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """One sentence."""
        return self.details.verdict(self.shuffled_gap_nats, self.shuffled_dims)

    def to_json(self) -> str:
        """All figures and the verdict."""
        return to_json({**vars(self), "verdict": self.verdict})


def diagnose(
    model: Model,
    dataset: Dataset,
    *,
    alone: Model | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measures a model on items that it was not trained on.

    Args:
        model: in evaluation mode.
        dataset: two items at least, of any sizes that the model takes; the first of their labels is for the
            probe.
        alone: a model of the same items without latents, to compare with.
        seed: of all draws.
        progress: called with what is being measured, how many items of it are done, and of how many.

    Raises:
        ItemError: an item has a shape that the model does not take.
        MissingPartError: this is half a model.
        LatentpressError: there are fewer than two items, or `alone` is of other items or has latents.
    """
    for part in ("encoder", "parallel"):
        model.require(part)
    if len(dataset) < 2:
        raise LatentpressError("a diagnosis compares items with one another: give it two or more")
    for name, extents in zip(dataset.names, dataset.extents.tolist(), strict=True):
        if not model.takes((*extents, model.item.channels)):
            raise ItemError(
                f"{shown(name)}: {' x '.join(map(str, extents))}, and the model takes {model.wanted()}"
            )
    with torch.inference_mode(), torch.random.fork_rng([]):  # whatever the model draws on the way
        if alone is not None:
            first = alone.infer(as_tensor(dataset[0][None]), generator=torch.Generator())
            if alone.item != model.item or _says_something(first):
                raise LatentpressError(
                    "the model to compare with is a decoder alone, without latents, of the same items"
                )
        return _Measuring(model, dataset, seed, progress or (lambda *_: None)).diagnosed(alone)


class _Measuring:
    """Items of a data set, their latents, and what both cost."""

    def __init__(self, model: Model, dataset: Dataset, seed: int, report: Progress) -> None:
        self.model, self.dataset, self.seed, self.report = model, dataset, seed, report
        _, sizes = np.unique(dataset.extents, axis=0, return_inverse=True)
        self.groups = [np.flatnonzero(sizes.ravel() == size) for size in range(sizes.max() + 1)]
        self.latents: list[Latents] = []  # of each group's items

    def diagnosed(self, alone: Model | None) -> Diagnosis:
        costs, features = self.infer()
        nats = self.nats("latents", lambda group, rows: self.latents[group].take(torch.from_numpy(rows)))
        shuffled, drawn = self.shuffled_nats(), self.prior_nats()
        without = None
        if alone is not None:
            without = _mean(
                self.nats(
                    "decoder alone", lambda g, rows: alone.infer(self.samples(self.groups[g][rows])), alone
                )
            )
        moved = np.flatnonzero(~np.isnan(shuffled))
        dims = self.dataset.extents.prod(axis=1) * self.model.item.channels
        return Diagnosis(
            items=len(self.dataset),
            dims=float(dims.mean()),
            sample_nats=float(nats.mean()),
            latent_nats=float(costs.mean()),
            shuffled_gap_nats=_mean(shuffled - nats),
            shuffled_dims=float(dims[moved].mean()) if len(moved) else None,
            prior_gap_nats=_mean(drawn - nats),
            alone_nats=without,
            probe=self.probe(features),
            details=self.model.details(pooled(self.latents).to(self.model.device)),
            inputs=input_earnings(self.model, self.dataset, self.report),
        )

    def infer(self) -> tuple[Floats, Floats]:
        """Infers all latents; returns what each item's cost, and what a classifier sees of them, (N, D)."""
        costs, seen, done = np.zeros(len(self.dataset)), [], 0
        generator = torch.Generator().manual_seed(self.seed)
        parts: list[list[Latents]] = [[] for _ in self.groups]
        for group, _, numbers in self.batches():
            latents = self.model.infer(self.samples(numbers), generator=generator)
            costs[numbers] = self.model.latent_nats(latents, self.labels(numbers)).numpy()
            seen.append(self.model.features(latents).double().numpy())
            parts[group].append(light(latents))
            self.report("infer", done := done + len(numbers), len(costs))
        self.latents = [Latents.cat(each) for each in parts]
        return costs, np.concatenate(seen)[np.argsort(np.concatenate(self.groups))]

    def nats(self, stage: str, latents_of: LatentsOf, model: Model | None = None) -> Floats:
        """-log p(x | z) of every item; NaN where there are no latents for it."""
        model, nats, done = model or self.model, np.full(len(self.dataset), np.nan), 0
        for group, rows, numbers in self.batches():
            if (latents := latents_of(group, rows)) is not None:
                some = numbers[: len(latents)]
                latents, labels = on_device(model, latents), self.labels(some)
                nats[some] = model.sample_nats(self.samples(some), latents, labels).numpy()
            self.report(stage, done := done + len(numbers), len(self.dataset))
        return nats

    def shuffled_nats(self) -> Floats:
        """-log p(x | z) of every item with the latents of another of its size, if there is one."""
        generator = torch.Generator().manual_seed(self.seed)
        orders = [torch.randperm(len(latents), generator=generator) for latents in self.latents]
        others = [order.roll(1)[order.argsort()] for order in orders]

        def another(group: int, rows: Integers) -> Latents | None:
            alike = self.latents[group]
            used = _says_something(alike) and len(alike) > 1
            return alike.take(others[group][rows]) if used else None

        return self.nats("latents of others", another)

    def prior_nats(self) -> Floats:
        """-log p(x | z) of some items with latents drawn from the prior, if there is one."""
        left = _PRIOR_POSITIONS if self.model.integer.prior is not None else 0

        def drawn(group: int, rows: Integers) -> Latents | None:
            nonlocal left
            size = self.dataset.extents[self.groups[group][0]].tolist()
            positions = math.prod(self.model.grid(size))
            count = min(len(rows), left // positions)
            left -= count * positions
            if not count:
                return None
            how = Sampling(seed=self.seed + left)  # other draws for every batch
            codes = self.model.sample_codes(count, size, how).to(self.model.device)
            known = self.latents[group].codes is not None  # else the codes are finer than those of items
            return Latents(self.model.vectors_of(codes, sampled=True), codes if known else None)

        return self.nats("latents of the prior", drawn)

    def probe(self, features: Floats) -> Probe | None:
        """What a linear classifier reads from the latents of the first label, where all items have one."""
        label = next(iter(self.dataset.items[0].labels), "")
        values = [ref.labels.get(label) for ref in self.dataset.items]
        if not features.size or not all(isinstance(value, str) for value in values):
            return None
        return probe(features, values, label)

    def batches(self) -> Iterator[tuple[int, Integers, Integers]]:
        """The number of a group, some of its rows, and the numbers of the items there."""
        for group, members in enumerate(self.groups):
            run = max(1, _BATCH_POSITIONS // int(self.dataset.extents[members[0]].prod()))
            for rows in np.split(np.arange(len(members)), range(run, len(members), run)):
                yield group, rows, members[rows]

    def samples(self, numbers: Integers) -> Tensor:
        """Items of one size, (B, *size, C)."""
        return as_tensor(np.stack([self.dataset[number] for number in numbers.tolist()]))

    def labels(self, numbers: Integers) -> Tensor | None:
        """The labels of items as the model takes them."""
        rows = int(self.dataset.extents[numbers[0], 0])
        items = [self.dataset.items[number] for number in numbers.tolist()]
        return labels_of([self.model.label_numbers(item.labels, rows) for item in items])


def _says_something(latents: Latents) -> bool:
    """Whether there are latents at all."""
    return latents.codes is not None or latents.vectors.shape[1] > 0


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
