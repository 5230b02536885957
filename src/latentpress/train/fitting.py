"""What a configuration takes from the data, and whether it fits them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from latentpress.config import AR1Config, DeltaVAEConfig, LabelConfig, RunConfig, VQVAEConfig, override
from latentpress.data import Dataset, Survey, evenly_spaced
from latentpress.errors import ConfigError, TrainingError
from latentpress.items import Item, residuals_are_cheaper
from latentpress.latents.rates import alpha_for_rate

__all__ = ["Suggestion", "check_dataset", "committing", "fitted", "suggest"]

_LOOKED_AT = 200  # items that say whether residuals suit them,
_ROWS = 1 << 12  # and rows of each


@dataclass(frozen=True)
class Suggestion:
    """What to train on some data.

    Attributes:
        preset: the name of a preset.
        item: the kind of the items.
        reason: why, in a few words.
    """

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
    autoregressive decoder are residuals.

    Args:
        config: such as a preset.
        dataset: the items to train on.
        changes: values by dotted names, as `latentpress.config.override` takes them.

    Raises:
        ConfigError: a change does not fit.
    """
    changes = changes or {}
    labels = [
        LabelConfig(name=name, values=values, along=isinstance(dataset.labels[name], tuple))
        for name, values in dataset.label_values.items()
        if len(values) > 1  # one value is none to tell apart
    ]
    config = override(config, {"model.labels": [asdict(label) for label in labels], **changes})
    found: dict[str, Any] = {}
    if config.model.autoregressive is not None:
        some = evenly_spaced(len(dataset), _LOOKED_AT)
        rows = (dataset.rows(i, 0, min(_ROWS, int(dataset.extents[i, 0]))) for i in some)
        found["model.autoregressive.residual"] = residuals_are_cheaper(dataset.item, rows)
    if config.model.item.size is None:
        found["model.item.size"] = _new_size(config, dataset)
    return override(config, {name: value for name, value in found.items() if name not in changes})


def _new_size(config: RunConfig, dataset: Dataset) -> list[int]:
    model, rank = config.model, len(dataset.item.axes)
    known = dataset.extents[dataset.extents.min(axis=1) > 0]
    if not len(known):
        return list(dataset.item.default_size)
    later = isinstance(model, VQVAEConfig) and model.prior is not None and model.prior.training == "after"
    crop = (config.prior if later else config.codec).extents(rank)
    size = np.median(known, axis=0).astype(int).clip(max=crop).tolist()
    given = len(model.encoder.hop) if isinstance(model, DeltaVAEConfig) and model.latents else rank
    return size[:given] + known[0, given:].tolist()  # latents that span whole axes know one size


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
    whole = model.item.size if model.item.epoch == "item" else None
    size = whole or config.codec.extents(len(model.item.axes))
    steps, *cells = (-(-extent // hop) for extent, hop in zip(size, model.hop, strict=True))
    alpha = alpha_for_rate(rate_bits * math.log(2) / math.prod(cells), steps, model.latents.channels)
    return replace(config, model=replace(model, latents=replace(model.latents, alpha=alpha)))


def check_dataset(config: RunConfig, dataset: Dataset) -> None:
    """Raises `TrainingError` where the items do not fit the model, and `ConfigError` where it lacks a size."""
    model, words = config.model, dataset.item.words
    if model.item.kind != dataset.item.kind:
        raise TrainingError(f"the model is one of {model.item.words.items}, and the items are {words.items}")
    if not len(dataset) or not dataset.extents.prod(axis=1).any():
        raise TrainingError(
            f"there is nothing to train on: the sources hold no {words.item} that is not empty"
        )
    if model.item.channels != dataset.item.channels:
        raise TrainingError(
            f"the items have {dataset.item.channels} channels and the model {model.item.channels}; "
            f"set model.item.channels={dataset.item.channels}, or read them as the model's kind of item"
        )
    parts = (getattr(model, name, None) for name in ("prior", "parallel", "autoregressive"))
    for name in (name for part in parts if part is not None for name in part.labels):
        if name not in dataset.label_values:
            there = ", ".join(dataset.label_values) or "none"
            raise TrainingError(
                f"the items have no label {name!r}, which conditions the model; here are: {there}"
            )
    if isinstance(model, DeltaVAEConfig) and model.latents is not None:
        _check_one_size(model, dataset)


def _check_one_size(model: DeltaVAEConfig, dataset: Dataset) -> None:
    """Items have one size along the axes that latents span whole."""
    given, words = len(model.encoder.hop), dataset.item.words
    size = np.array(model.hop[given:])
    others = np.flatnonzero((dataset.extents[:, given:] != size).any(axis=1))
    if len(others):
        axes = " and ".join(dataset.item.axes[given:])
        wanted, first = (
            " x ".join(map(str, each.tolist())) for each in (size, dataset.extents[others[0], given:])
        )
        raise TrainingError(
            f"this delta-VAE's latents span whole axes, and know one extent along {axes}, here {wanted} "
            f"(model.item.size); {len(others):,} of {len(dataset):,} {words.items} have another, first "
            f"{dataset.names[others[0]]}: {first}; scale them, leave them out, or give model.encoder.hop for all axes"
        )
