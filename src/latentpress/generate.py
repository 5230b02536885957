"""New items from a model: latents drawn from its prior, then decoded.

    z ~ p(z),   x ~ p(x | z),  or what the parallel decoder gives for z

Both are drawn in integers, so one seed gives the same codes on every machine, and the same items where the
decoder is autoregressive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from latentpress.errors import ConfigError
from latentpress.exact.distribution import Sampling
from latentpress.items.base import Samples, Shape
from latentpress.model import Model
from latentpress.model.base import PriorName
from latentpress.model.labels import check_labels, labels_of, used_labels

__all__ = ["Progress", "generate"]

Progress = Callable[[str, int, int], None]
"""Called with the stage ("compile", "draw" or "decode"), how many symbols are done, and of how many."""

_MAX_POSITIONS = 1 << 24  # of an item: one is drawn after the other
_DECODED_POSITIONS = 1 << 22  # of the items that are decoded together


def generate(
    model: Model,
    count: int,
    *,
    how: Sampling | None = None,
    size: Shape | None = None,
    labels: Mapping[str, str] | None = None,
    given: Samples | None = None,
    prior: PriorName | None = None,
    progress: Progress | None = None,
) -> Samples:
    """Draws new items, or continuations of one whose beginning is given.

    Args:
        model: a trained model; half a model lacks what it takes.
        count: how many.
        how: seed, temperature and the like, for codes and samples alike.
        size: extents of each item; by default those of the model's `item.size`, or of its kind.
        labels: values of labels by name, such as `{"class": "cat"}`; the others are unknown.
        given: (rows, *size[1:], C), the beginning of every item along the first axis. Its whole rows of codes
            are kept and continued, and its samples are those of the result.
        prior: where the latents of a model with two priors come from.
        progress: called as things go on.

    Returns:
        (count, *size, C), of the item's type.

    Raises:
        LatentpressError: the model has no prior to draw from, no integer form yet, or a label does not
            condition it.
        ConfigError: the size is out of range or not the model's, or what is given does not fit it.
    """
    how, report = how or Sampling(), progress or (lambda *_: None)
    size = tuple(size or model.item.size or model.item.default_size)
    _check(model, count, size, given)
    every = _label_numbers(model, labels or {}, size[0], count)
    codes_total = count * math.prod(model.grid(size)) * len(model.alphabets)
    symbols = math.prod(size) * len(model.item.alphabets)
    model.integer.prepare(count, report)
    drawn = _counted("draw", codes_total, report)
    codes = model.sample_codes(count, size, how, labels=every, given=given, prior=prior, progress=drawn)
    run, items = max(1, _DECODED_POSITIONS // math.prod(size)), []
    decoded = _counted("decode", count * symbols, report)
    for part in np.split(np.arange(count), range(run, count, run)):
        items.append(
            model.decode(
                codes[part],
                size,
                seed=how.seed,
                numbers=part.tolist(),
                labels=None if every is None else every[part],
                sampled=True,
                temperature=how.temperature,
                given=given,
                progress=decoded if model.stochastic else None,
            )
        )
        if not model.stochastic:
            decoded(len(part) * symbols)
    result = np.concatenate(items)
    if given is not None:
        result[:, : len(given)] = given
    return result


def _check(model: Model, count: int, size: Shape, given: Samples | None) -> None:
    words, extents = model.item.words, " x ".join(map(str, size))
    if count < 1:
        raise ConfigError(f"at least one of the new {words.items} is needed, got {count}")
    if min(size) < 1 or math.prod(size) > _MAX_POSITIONS:
        raise ConfigError(
            f"cannot draw {words.items} of {extents}: each has 1 to {_MAX_POSITIONS:,} {words.position}s; "
            "give another size (--size)"
        )
    if not model.takes((*size, model.item.channels)):
        raise ConfigError(f"cannot draw {words.items} of {extents}: the model takes {model.wanted()}")
    rest = (*size[1:], model.item.channels)
    if given is not None and (given.shape[1:] != rest or not 1 <= len(given) <= size[0]):
        wanted = " x ".join([f"1 to {size[0]}", *map(str, rest)])
        raise ConfigError(f"{words.items} of {extents} begin with {wanted}, got {given.shape}")


def _label_numbers(model: Model, labels: Mapping[str, str], rows: int, count: int) -> Tensor | None:
    """The labels of every item as the model takes them, (count, L); None where there are none."""
    check_labels(model.config, labels, used_labels(model.config), "prior")
    return labels_of([model.label_numbers(labels, rows)] * count)


def _counted(stage: str, total: int, report: Progress) -> Callable[[int], None]:
    """Reports how much of a stage is done, from how much was done since the last call."""
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        report(stage, done, total)

    return add
