"""New items from a delta-VAE.

    z ~ p(z),   x ~ p(x | z),   sample by sample

The latents come from the auxiliary prior, which knows how they are really distributed, or from the
model's own, AR(1). Both are drawn in integers, so one seed gives the same items on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.streams import prepare
from latentpress.config import ImageConfig
from latentpress.errors import ConfigError, LatentpressError
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.model import DeltaVAE

__all__ = ["PriorName", "generate_delta"]

PriorName = Literal["auxiliary", "ar1"]

_MAX_SYMBOLS = 1 << 22  # an item's: one is drawn after the other
_DEFAULT_BYTES = 1024
_LATENTS = int.from_bytes(b"latents")  # keeps the latents' random numbers apart from the samples'


def generate_delta(
    model: DeltaVAE,
    n: int,
    *,
    prior: PriorName = "auxiliary",
    seed: int = 0,
    latent_seed: int | None = None,
    temperature: float = 1.0,
    size: tuple[int, ...] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> np.ndarray:
    """Draws `n` new items.

    Arguments:
        model: a trained delta-VAE.
        n: how many.
        prior: where the latents come from; without an auxiliary prior both are AR(1).
        seed: of all draws.
        latent_seed: of the latents alone; with one of the two seeds fixed, one sees what the other does.
        temperature: divides the log-probabilities of samples: below 1 for likelier items.
        size: of a text: (bytes,). Images have the model's.
        progress: called with "draw", how many symbols are drawn, and of how many.

    Returns:
        (n, *size, C), uint8.

    Raises:
        LatentpressError: the model has no exact form yet.
        ConfigError: a number is out of range.
    """
    if n < 1 or not 0.01 <= temperature <= 100:
        raise ConfigError(f"generate: n at least 1 and temperature 0.01 to 100; got {n} and {temperature}")
    _ = model.decoder  # which half a model may lack
    if model.exact_decoder is None:
        raise LatentpressError("the model has no exact decoder to draw with: it is made when training ends")
    shape = _size(model, size)
    total, done = n * math.prod(shape) * model.config.item.channels, 0

    def drawn(symbols: int) -> None:
        nonlocal done
        done += symbols
        if progress is not None:
            progress("draw", done, total)

    if progress is not None:
        prepare(n, progress)
    codes = _latents(model, n, shape[0], prior, seed if latent_seed is None else latent_seed)
    return model.draw(
        codes, shape, seed=seed, temperature=temperature, exact=model.exact_decoder, progress=drawn
    )


def _size(model: DeltaVAE, size: tuple[int, ...] | None) -> tuple[int, ...]:
    item = model.config.item
    if isinstance(item, ImageConfig):
        assert item.size is not None
        if size not in (None, item.size):
            raise ConfigError(f"this delta-VAE makes images of {item.size[0]} x {item.size[1]} and no others")
        return item.size
    wanted = size or (item.size or _DEFAULT_BYTES,)
    if len(wanted) != 1 or not 1 <= wanted[0] <= _MAX_SYMBOLS:
        raise ConfigError(f"a text has 1 to {_MAX_SYMBOLS:,} bytes: give its size as one number, such as 500")
    return wanted


def _latents(model: DeltaVAE, n: int, extent: int, prior: PriorName, seed: int) -> Tensor:
    """The codes (n, *grid, d) of the exact decoder, of which the latents are drawn."""
    steps = -(-extent // model.hop[0])
    if model.config.latents is None or model.exact_prior is None:
        return model.on_grid(_no_codes(n, steps))
    exact = model.exact_prior.with_step(1)
    if prior == "ar1":
        exact = IntegerLSTM.ar1(model.config.latents.alphas, 1)
    return model.on_grid(exact.sample(n, steps, seed ^ _LATENTS))


def _no_codes(n: int, steps: int) -> Tensor:
    return torch.zeros(n, steps, 0, dtype=torch.int64)
