"""Labels of items as numbers, and those of them that condition a part of a model."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.config import AnyModelConfig, LabelConfig, PartName
from latentpress.errors import LatentpressError

__all__ = ["LabelNumbers", "check_labels", "decoder_labels", "label_numbers", "labels_of", "part_labels"]
__all__ += ["used_labels"]

_CONDITIONED: tuple[PartName, ...] = ("prior", "parallel", "autoregressive")


@dataclass(frozen=True, eq=False)
class LabelNumbers:
    """The labels of one item, in the order of a model's `labels`: numbers of their values, -1 where unknown.

    Attributes:
        values: one number a label; -1 too for a label that every row has of its own.
        tracks: (rows, L) int64, the numbers at every row along the first axis; None where no label of the
            item has rows of its own.
    """

    values: tuple[int, ...] = ()
    tracks: NDArray[np.int64] | None = None


def label_numbers(
    configs: Sequence[LabelConfig], labels: Mapping[str, str | tuple[str, ...]], rows: int
) -> LabelNumbers:
    """Looks up an item's labels.

    >>> config = LabelConfig(values=("cat", "dog"))
    >>> [label_numbers([config], {"class": value}, 5).values for value in ("dog", "cow")]
    [(1,), (-1,)]
    """
    numbers, columns, along = [], [], False
    for config in configs:
        index, value = {name: n for n, name in enumerate(config.values)}, labels.get(config.name)
        if isinstance(value, tuple):
            along = True
            numbers.append(-1)
            column = np.array([index.get(name, -1) for name in value[:rows]], np.int64)
            columns.append(np.pad(column, (0, rows - len(column)), constant_values=-1))
        else:
            numbers.append(index.get(value, -1) if value is not None else -1)
            columns.append(np.full(rows, numbers[-1], np.int64))
    return LabelNumbers(tuple(numbers), np.stack(columns, axis=1) if along else None)


def labels_of(items: Sequence[LabelNumbers]) -> Tensor | None:
    """The labels of items that go through a network together: (B, L), or (B, T, L); None without any."""
    if not items or not items[0].values:
        return None
    if all(item.tracks is None for item in items):
        return torch.tensor([item.values for item in items])
    rows = max(len(item.tracks) for item in items if item.tracks is not None)
    tracks = [np.tile(item.values, (rows, 1)) if item.tracks is None else item.tracks for item in items]
    return torch.from_numpy(np.stack(tracks).astype(np.int64))


def part_labels(
    configs: Sequence[LabelConfig], names: Sequence[str], labels: Tensor | None, rows: int
) -> Tensor | None:
    """The columns of `labels` (B, L) or (B, T, L) that are called `names`, at every `rows`-th row."""
    if labels is None or not names:
        return None
    order = [config.name for config in configs]
    chosen = labels[..., [order.index(name) for name in names]]
    return chosen[:, ::rows] if chosen.ndim == 3 else chosen


def used_labels(config: AnyModelConfig) -> set[str]:
    """The names of the labels that condition some part of a model.

    >>> from latentpress.config import LabelConfig, PriorConfig, VQVAEConfig
    >>> labels = LabelConfig(values=("cat", "dog")), LabelConfig(name="speaker")
    >>> used_labels(VQVAEConfig(labels=labels, prior=PriorConfig(labels=("class",))))
    {'class'}
    """
    sections = (getattr(config, part, None) for part in _CONDITIONED)
    return {name for section in sections for name in getattr(section, "labels", ())}


def decoder_labels(config: AnyModelConfig) -> set[str]:
    """The names of the labels that condition the decoder which restores: the parallel one if there is one."""
    section = config.autoregressive if config.parallel is None else config.parallel
    return set(getattr(section, "labels", ()))


def check_labels(config: AnyModelConfig, labels: Mapping[str, str], used: Container[str], part: str) -> None:
    """Raises `LatentpressError` for labels that are not among those `used`, and for unknown values."""
    known = {label.name: label.values for label in config.labels}
    for name, value in labels.items():
        if name not in used:
            what = "nothing in the model is" if part == "prior" else "the decoder that restores is not"
            hint = f"train with --set 'model.{part}.labels=[\"{name}\"]'"
            raise LatentpressError(f"{what} conditioned by a label {name!r}; {hint}")
        if value not in known[name]:
            raise LatentpressError(f"no {name} {value!r}; the model has: {', '.join(known[name])}")
