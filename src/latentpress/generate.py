"""New items from a model: codes drawn from its prior, then decoded.

    p(x) = sum over codes z of p(z) p(x | z):   z ~ prior,   x = mean of p(x | z)

Codes are drawn with the exact prior's integers, so one seed gives the same codes on every machine.
"""

from __future__ import annotations

import numpy as np
import torch

from latentpress.errors import LatentpressError
from latentpress.grid import Context
from latentpress.grid.sampling import sample
from latentpress.model import LatentModel

__all__ = ["generate"]

_MAX_PIXELS = 1 << 24  # an item's: a prior draws one position after the other


def generate(
    model: LatentModel,
    n: int,
    *,
    label: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draws `n` new images.

    Arguments:
        model: a trained model with a prior.
        n: how many.
        label: the class to draw from, one of `model.config.labels`; the prior must be conditional.
        seed: the same seed gives the same codes everywhere.
        temperature: divides the log-probabilities: below 1 for likelier, above 1 for more varied items.
        size: (height, width) in pixels; by default the size that the model was trained on.

    Returns:
        (n, height, width, C), uint8.

    Raises:
        LatentpressError: the model has no exact prior, or `label` is none of its classes.
        ValueError: a number is out of range.
    """
    height, width = size or model.config.item.size or (128, 128)
    if n < 1 or not 0.01 <= temperature <= 100:
        raise ValueError(f"generate: n at least 1, temperature 0.01 to 100; got {n} and {temperature}")
    if min(height, width) < 1 or height * width > _MAX_PIXELS:
        raise ValueError(f"generate: cannot make an image of {height} x {width}")
    if model.exact_prior is None:
        raise LatentpressError("the model has no prior to draw from; train one with --stage prior")
    hop = model.hop_length
    codes = sample(
        model.exact_prior,
        n,
        (-(-height // hop), -(-width // hop)),
        context=_context(model, n, label),
        seed=seed,
        temperature=temperature,
    )
    return model.decode(codes, (height, width))


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
