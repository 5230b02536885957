"""What a configuration takes from the data, and whether it fits them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from latentpress.config import (
    AnyModelConfig,
    AR1Config,
    AutoregressiveDecoderConfig,
    DeltaVAEConfig,
    LabelConfig,
    RunConfig,
    VQVAEConfig,
    override,
)
from latentpress.data import Dataset, Survey, evenly_spaced
from latentpress.errors import ConfigError, TrainingError
from latentpress.items import Item, residuals_are_cheaper
from latentpress.latents.rates import alpha_for_rate
from latentpress.model import Model
from latentpress.model.labels import used_labels
from latentpress.names import shown

__all__ = ["Suggestion", "check_dataset", "committing", "fitted", "idle_labels", "suggest"]

_LOOKED_AT = 200  # items that say whether residuals suit them,
_ROWS = 1 << 12  # and rows of each


@dataclass(frozen=True)
class Suggestion:
    """What to train on some data: the name of a preset, the kind of the items, and why."""

    preset: str
    item: Item
    reason: str


def suggest(survey: Survey) -> Suggestion:
    """The preset for what a survey of files has shown."""
    preset, reason = survey.item.preset(survey.extents)
    return Suggestion(preset, survey.item, reason)


def fitted(config: RunConfig, dataset: Dataset, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """A configuration with changes, and with what the data say where neither does.

    That is the labels; the size of new items: the usual one, but no larger than the pieces that the prior
    is trained on, since it knows nothing of what lies further apart; and whether the symbols of an
    autoregressive decoder are residuals. Changes are values by dotted names, for `config.override`.

    Raises:
        ConfigError: a change does not fit.
    """
    changes = changes or {}
    labels = [
        LabelConfig(name=name, values=values, along=name in dataset.along)
        for name, values in dataset.label_values.items()
        if len(values) > 1  # one value is none to tell apart
    ]
    config = override(config, {"model.labels": [asdict(label) for label in labels], **changes})
    fitting: dict[str, Any] = {}
    if isinstance(config.model.autoregressive, AutoregressiveDecoderConfig):
        some = evenly_spaced(len(dataset), _LOOKED_AT)
        rows = (dataset.rows(i, 0, min(_ROWS, int(dataset.extents[i, 0]))) for i in some)
        fitting["model.autoregressive.residual"] = residuals_are_cheaper(dataset.item, rows)
    if config.model.item.size is None:
        fitting["model.item.size"] = _new_size(config, dataset)
    return override(config, {name: value for name, value in fitting.items() if name not in changes})


def idle_labels(config: AnyModelConfig) -> list[str]:
    """Of each label that items have and no part of a model looks at, a sentence that says which part could.

    >>> from latentpress.config import PriorConfig
    >>> labels = LabelConfig(values=("cat", "dog")), LabelConfig(name="year", values=("1", "2", "3"))
    >>> print(*idle_labels(VQVAEConfig(labels=labels, prior=PriorConfig(labels=("class",)))))
    nothing in the model looks at the items' label 'year' (3 values): --set 'model.prior.labels=["year"]'
    """
    used, part = used_labels(config), "autoregressive"
    if isinstance(config, VQVAEConfig):
        part = "parallel" if config.prior is None else "prior"
    elif not isinstance(config.autoregressive, AutoregressiveDecoderConfig):
        return []  # what counts has no use for them
    return [
        f"nothing in the model looks at the items' label {label.name!r} ({len(label.values)} values): "
        f"--set 'model.{part}.labels=[\"{label.name}\"]'"
        for label in config.labels
        if label.name not in used
    ]


def _new_size(config: RunConfig, dataset: Dataset) -> list[int]:
    model, known = config.model, dataset.extents[dataset.extents.min(axis=1) > 0]
    if not len(known):
        return list(dataset.item.default_size)
    later = isinstance(model, VQVAEConfig) and model.prior is not None and model.prior.training == "after"
    crop = (config.prior if later else config.codec).extents(known.shape[1])
    size = np.median(known, axis=0).astype(int).clip(max=crop).tolist()
    if not isinstance(model, DeltaVAEConfig) or model.latents is None:
        return size
    given = len(model.encoder.hop)  # along the other axes, which latents span whole, items have one extent
    return [*size[:given], *known[0, given:].tolist()]


def committing(config: RunConfig, rate_bits: float) -> RunConfig:
    """`config` with the alpha that commits `rate_bits` an item, or a window of one.

    Raises:
        ConfigError: the latents are not AR(1), or no alpha commits that rate.

    >>> from latentpress.config import StageConfig
    >>> config = committing(RunConfig(model=DeltaVAEConfig(), codec=StageConfig(crop=64)), 20.0)
    >>> round(config.model.latents.alpha, 4)
    0.7377
    """
    model = config.model
    if not isinstance(model, DeltaVAEConfig) or not isinstance(model.latents, AR1Config):
        raise ConfigError("a rate to commit is for delta-VAEs with model.latents.kind=ar1")
    size = model.item.size if model.item.epoch == "item" else None
    size = size or config.codec.extents(len(model.item.axes))
    steps, *cells = (-(-extent // hop) for extent, hop in zip(size, model.hop, strict=True))
    alpha = alpha_for_rate(rate_bits * math.log(2) / math.prod(cells), steps, model.latents.channels)
    return replace(config, model=replace(model, latents=replace(model.latents, alpha=alpha)))


def check_dataset(model: Model, dataset: Dataset) -> None:
    """Raises `TrainingError` where the items do not fit a model."""
    item, words = dataset.item, dataset.item.words
    if model.item.kind != item.kind:
        raise TrainingError(f"the model is one of {model.item.words.items}, and the items are {words.items}")
    if not len(known := np.flatnonzero(dataset.extents.prod(axis=1))):
        raise TrainingError(f"there is nothing to train on: no {words.item} that is not empty")
    if (count := item.channels) != model.item.channels:
        raise TrainingError(f"the items have {count} channels; set model.item.channels={count}")
    if missing := sorted(used_labels(model.config) - dataset.label_values.keys()):
        there = ", ".join(dataset.label_values) or "none"
        raise TrainingError(f"the model is conditioned by the label {missing[0]!r}; the items have {there}")
    sizes = {i: tuple(dataset.extents[i].tolist()) for i in known}
    if others := [i for i, each in sizes.items() if not model.takes((*each, item.channels))]:
        size = " x ".join(map(str, sizes[others[0]]))
        raise TrainingError(
            f"the model takes {model.wanted()}; {len(others):,} of {len(dataset):,} {words.items} have "
            f"another size, first {shown(dataset.names[others[0]])}: {size}; scale them, or leave them out"
        )
