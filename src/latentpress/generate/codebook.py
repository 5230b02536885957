"""New items from a model: codes drawn from its prior, then decoded.

    p(x) = sum over codes z of p(z) p(x | z):   z ~ prior,   x = mean of p(x | z)

Codes are drawn with the exact prior's integers, so one seed gives the same codes on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive import Conditioning
from latentpress.autoregressive.sampling import sample
from latentpress.autoregressive.streams import prepare
from latentpress.errors import ConfigError, LatentpressError
from latentpress.model import VQVAE

__all__ = ["Progress", "generate"]

Progress = Callable[[str, int, int], None]
"""Called with the stage ("draw" or "decode"), how many codes are done, and of how many."""

_MAX_PIXELS = 1 << 24  # an item's: a prior draws one position after the other
_DEFAULT_SIZE = (128, 128)
_DECODED_PIXELS = 1 << 22  # from one report to the next


def generate(
    model: VQVAE,
    n: int,
    *,
    label: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    size: tuple[int, int] | None = None,
    given: np.ndarray | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Draws `n` new images, or `n` completions of one whose upper part is given.

    Arguments:
        model: a trained model with a prior.
        n: how many.
        label: the class to draw from, one of `model.config.labels`; the prior must be conditional.
        seed: the same seed gives the same codes everywhere.
        temperature: divides the log-probabilities: below 1 for likelier, above 1 for more varied items.
        top_k: draw each code from so many of the likeliest only, 0 for all.
        top_p: draw each code from the fewest likeliest that have this probability together.
        size: (height, width) in pixels; by default that of `model.config.item`, else 128 x 128.
        given: (rows, width, C), uint8, the upper part of every image. Its whole rows of codes are kept and
            continued, and its pixels stand in the result as they are.
        progress: called as things go on.

    Returns:
        (n, height, width, C), uint8.

    Raises:
        LatentpressError: the model has no exact prior, or `label` is none of its classes.
        ConfigError: a number is out of range, or what is given does not fit the size.
    """
    if n < 1 or not 0.01 <= temperature <= 100 or top_k < 0 or not 0 < top_p <= 1:
        raise ConfigError(
            "generate: n at least 1, temperature 0.01 to 100, top_k not negative and top_p up to 1; "
            f"got {n}, {temperature}, {top_k} and {top_p}"
        )
    if model.exact_prior is None:
        raise LatentpressError("the model has no prior to draw from; train one with --stage prior")
    _ = model.decoder  # which half a model may lack: said before anything is drawn
    size = size or model.config.item.size or _DEFAULT_SIZE
    _check_size(size, given, model.config.item.channels)
    hop, report = model.hop_length, progress or _silent
    grid = (-(-size[0] // hop), -(-size[1] // hop))
    total, done = n * grid[0] * grid[1] * len(model.exact_prior.sizes), 0

    def drawn(symbols: int) -> None:
        nonlocal done
        done += symbols
        report("draw", done, total)

    prepare(n, report)
    codes = sample(
        model.exact_prior,
        n,
        grid,
        context=_context(model, n, label),
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        prefix=None if given is None else _known_codes(model, given, n),
        progress=drawn,
    )
    images = _decode(model, codes, size, report)
    if given is not None:
        images[:, : len(given)] = given
    return images


def _check_size(size: tuple[int, int], given: np.ndarray | None, channels: int) -> None:
    height, width = size
    if min(size) < 1 or height * width > _MAX_PIXELS:
        raise ConfigError(
            f"cannot draw an image of {height} x {width}: it has 1 to {_MAX_PIXELS:,} pixels; "
            "give another size (--size 256x256)"
        )
    if given is not None and (given.shape[1:] != (width, channels) or not 1 <= len(given) <= height):
        raise ConfigError(
            f"an image of {height} x {width} cannot begin with pixels of shape {given.shape}: "
            f"1 to {height} rows of {width} pixels with {channels} channels are needed"
        )


def _known_codes(model: VQVAE, given: np.ndarray, n: int) -> Tensor:
    """(n, positions, P): the codes of the rows of positions that lie wholly within what is given."""
    rows = len(given) // model.hop_length
    codes = model.encode(given[None])[:, :rows]
    return codes.flatten(1, 2).expand(n, -1, -1)


def _decode(model: VQVAE, codes: Tensor, size: tuple[int, int], report: Progress) -> np.ndarray:
    """(n, rows, columns, P) -> (n, height, width, C), some images at a time."""
    run = max(1, _DECODED_PIXELS // (size[0] * size[1]))
    images = []
    for start in range(0, len(codes), run):
        images.append(model.decode(codes[start : start + run], size))
        report("decode", codes[: start + run].numel(), codes.numel())
    return np.concatenate(images)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


def _context(model: VQVAE, n: int, label: str | None) -> Conditioning | None:
    labels, prior = model.config.labels, model.config.prior
    if label is None:
        return None
    if prior is None or not prior.class_conditional:
        raise LatentpressError(
            "the model's prior knows no classes; train with --set model.prior.class_conditional=true"
        )
    if label not in labels:
        raise LatentpressError(f"no class {label!r}; the model has: {', '.join(labels)}")
    return Conditioning(labels=torch.full((n,), labels.index(label), dtype=torch.int64, device=model.device))
