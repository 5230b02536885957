"""New items from a model: codes drawn from its prior, then decoded.

    p(x) = sum over codes z of p(z) p(x | z):   z ~ prior,   x = mean of p(x | z)

Codes are drawn with the exact prior's integers, so one seed gives the same codes on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from latentpress.errors import ConfigError, LatentpressError
from latentpress.grid import Context, ExactGrid
from latentpress.grid.sampling import sample
from latentpress.model import LatentModel

__all__ = ["Progress", "generate"]

Progress = Callable[[str, int, int], None]
"""Called with the stage ("draw" or "decode"), how many codes are done, and of how many."""

_MAX_PIXELS = 1 << 24  # an item's: a prior draws one position after the other
_DEFAULT_SIZE = (128, 128)
_DECODED_PIXELS = 1 << 22  # from one report to the next


def generate(
    model: LatentModel,
    n: int,
    *,
    label: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Draws `n` new images.

    Arguments:
        model: a trained model with a prior.
        n: how many.
        label: the class to draw from, one of `model.config.labels`; the prior must be conditional.
        seed: the same seed gives the same codes everywhere.
        temperature: divides the log-probabilities: below 1 for likelier, above 1 for more varied items.
        size: (height, width) in pixels; by default that of `model.config.item`, else 128 x 128.
        progress: called as things go on.

    Returns:
        (n, height, width, C), uint8.

    Raises:
        LatentpressError: the model has no exact prior, or `label` is none of its classes.
        ConfigError: a number is out of range.
    """
    height, width = size or model.config.item.size or _DEFAULT_SIZE
    if n < 1 or not 0.01 <= temperature <= 100:
        raise ConfigError(f"generate: n at least 1, temperature 0.01 to 100; got {n} and {temperature}")
    if min(height, width) < 1 or height * width > _MAX_PIXELS:
        raise ConfigError(
            f"cannot draw an image of {height} x {width}: it has 1 to {_MAX_PIXELS:,} pixels; "
            "give another size (--size 256x256)"
        )
    if model.exact_prior is None:
        raise LatentpressError("the model has no prior to draw from; train one with --stage prior")
    hop = model.hop_length
    rows, columns = -(-height // hop), -(-width // hop)
    report = progress or _silent
    prior = _Watched(model.exact_prior, n * rows * columns * len(model.exact_prior.sizes), report)
    codes = sample(
        cast(ExactGrid, prior),
        n,
        (rows, columns),
        context=_context(model, n, label),
        seed=seed,
        temperature=temperature,
    )
    return _decode(model, codes, (height, width), report)


class _Watched:
    """An exact prior that reports the symbols which are drawn from it, and is otherwise the same.

    Arguments:
        exact: the prior.
        total: how many symbols there will be.
        report: called after every step.
    """

    def __init__(self, exact: ExactGrid, total: int, report: Progress) -> None:
        self._exact, self._total, self._report = exact, total, report
        self._drawn = 0

    def push(self, state: Any, symbols: Tensor) -> None:
        """Takes the next symbols (lanes,), and counts them."""
        self._exact.push(state, symbols)
        self._drawn += len(symbols)
        self._report("draw", self._drawn, self._total)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exact, name)


def _decode(model: LatentModel, codes: Tensor, size: tuple[int, int], report: Progress) -> np.ndarray:
    """(n, rows, columns, P) -> (n, height, width, C), some images at a time."""
    run = max(1, _DECODED_PIXELS // (size[0] * size[1]))
    images = []
    for start in range(0, len(codes), run):
        images.append(model.decode(codes[start : start + run], size))
        report("decode", codes[: start + run].numel(), codes.numel())
    return np.concatenate(images)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


def _context(model: LatentModel, n: int, label: str | None) -> Context | None:
    labels, prior = model.config.labels, model.config.prior
    if label is None:
        return None
    if prior is None or not prior.class_conditional:
        raise LatentpressError(
            "the model's prior knows no classes; train with --set model.prior.class_conditional=true"
        )
    if label not in labels:
        raise LatentpressError(f"no class {label!r}; the model has: {', '.join(labels)}")
    return Context(labels=torch.full((n,), labels.index(label), dtype=torch.int64, device=model.device))
