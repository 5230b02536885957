r"""Distortion between 8-bit images: squared error and PSNR, SSIM, MS-SSIM.

    PSNR = 10 log10(255^2 / MSE) dB

A set of images has two PSNRs, and papers mix them up, so both are named: `psnr_db` is the PSNR of the
*pooled* mean squared error (over all samples of all items), `mean_psnr_db` the mean of the items'
PSNRs. The second is never lower for items of one size (Jensen's inequality). SSIM (Wang et al. 2004)
and MS-SSIM (Wang et al. 2003, five scales) are torchmetrics', per item and averaged over items.

All functions take uint8 arrays (B, H, W, C) and work through bounded batches of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

__all__ = [
    "MS_SSIM_MIN_SIDE",
    "SSIM_MIN_SIDE",
    "Distortion",
    "Quality",
    "distortion",
    "distortion_each",
    "interpolate",
    "join",
    "mean_squared_error",
    "ms_ssim",
    "psnr",
    "ssim",
]

SSIM_MIN_SIDE = 11  # the Gaussian window of 11 x 11
MS_SSIM_MIN_SIDE = 176  # the same window at the coarsest of five scales, a sixteenth of the side
_BATCH_SAMPLES = 1 << 20
_LEAST_MSE = 1e-6  # of identical images where an MSE's logarithm is taken, 108 dB


@dataclass(frozen=True)
class Quality:
    """Quality of a set of restored items; `None` where the measure does not fit items so small.

    Attributes:
        psnr_db: PSNR of the mean squared error pooled over all samples; infinite for identical items.
        mean_psnr_db: mean of the items' own PSNRs.
        ssim: mean structural similarity, at most 1.
        ms_ssim: mean multi-scale structural similarity, at most 1.
    """

    psnr_db: float
    mean_psnr_db: float
    ssim: float | None
    ms_ssim: float | None


@dataclass(frozen=True)
class Distortion:
    """Per item: `samples` (B,), `mse` (B,), `ssim` (B,) and `ms_ssim` (B,), NaN where they do not apply."""

    samples: np.ndarray
    mse: np.ndarray
    ssim: np.ndarray
    ms_ssim: np.ndarray

    @property
    def psnr_db(self) -> np.ndarray:
        """PSNR of each item (B,)."""
        return psnr(self.mse)

    def take(self, places: np.ndarray) -> Distortion:
        """Returns the items at `places`, in that order."""
        return Distortion(self.samples[places], self.mse[places], self.ssim[places], self.ms_ssim[places])

    def summary(self) -> Quality:
        """Pools the items into one `Quality`."""
        return Quality(
            psnr_db=float(psnr(np.average(self.mse, weights=self.samples))),
            mean_psnr_db=float(np.mean(self.psnr_db)),
            ssim=_mean(self.ssim),
            ms_ssim=_mean(self.ms_ssim),
        )


def psnr(mse: np.ndarray | float) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of mean squared errors on the 0..255 scale.

    >>> float(psnr(255.0**2 / 1000))
    30.0
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.asarray(mse, np.float64))


def mean_squared_error(originals: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Mean squared error of each item, (B,) float64, exact in integers up to the division.

    >>> mean_squared_error(np.full((1, 4, 4, 3), 7, np.uint8), np.full((1, 4, 4, 3), 5, np.uint8))
    array([4.])
    """
    _check(originals, restored)
    error = [
        np.square(a.astype(np.int32) - b).sum(axis=(1, 2, 3), dtype=np.int64)
        for a, b in _batches(originals, restored)
    ]
    return np.concatenate(error) / np.prod(originals.shape[1:])


def ssim(originals: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Structural similarity of each item, (B,); NaN where a side is under `SSIM_MIN_SIDE`."""
    return _similarity(structural_similarity_index_measure, SSIM_MIN_SIDE, originals, restored)


def ms_ssim(originals: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Multi-scale structural similarity of each item, (B,); NaN where a side is under `MS_SSIM_MIN_SIDE`."""
    return _similarity(multiscale_structural_similarity_index_measure, MS_SSIM_MIN_SIDE, originals, restored)


def distortion(originals: np.ndarray, restored: np.ndarray) -> Distortion:
    """Measures all of it for a batch of items.

    >>> images = np.zeros((2, 32, 32, 3), np.uint8)
    >>> quality = distortion(images, images + 5).summary()
    >>> round(quality.psnr_db, 2), round(quality.mean_psnr_db, 2), quality.ms_ssim
    (34.15, 34.15, None)
    """
    return Distortion(
        samples=np.full(len(originals), np.prod(originals.shape[1:])),
        mse=mean_squared_error(originals, restored),
        ssim=ssim(originals, restored),
        ms_ssim=ms_ssim(originals, restored),
    )


def distortion_each(originals: Sequence[np.ndarray], restored: Sequence[np.ndarray]) -> Distortion:
    """Measures pairs of images (H, W, C) of any sizes; neighbours of one size go through together."""
    parts = []
    pairs = list(zip(originals, restored, strict=True))
    for _, run in groupby(pairs, key=lambda pair: pair[0].shape):
        first, second = zip(*run, strict=True)
        parts.append(distortion(np.stack(first), np.stack(second)))
    return join(parts)


def join(parts: Sequence[Distortion]) -> Distortion:
    """Puts the items of several distortions one after another."""
    return Distortion(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("samples", "mse", "ssim", "ms_ssim")
        )
    )


def interpolate(first: Distortion, second: Distortion, share: float) -> Distortion:
    """Distortion `share` of the way from `first` to `second`: linear in every item's PSNR and similarity."""

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1 - share) * a + share * b

    mse = (np.log(np.maximum(part.mse, _LEAST_MSE)) for part in (first, second))
    return Distortion(
        samples=first.samples,
        mse=np.exp(between(*mse)),
        ssim=between(first.ssim, second.ssim),
        ms_ssim=between(first.ms_ssim, second.ms_ssim),
    )


@torch.inference_mode()
def _similarity(
    function: Callable[..., Any], min_side: int, originals: np.ndarray, restored: np.ndarray
) -> np.ndarray:
    _check(originals, restored)
    if min(originals.shape[1:3]) < min_side:
        return np.full(len(originals), np.nan)
    # torchmetrics would batch the items' statistics into one tensor of 5 x B images: bounded here
    scores = [
        function(_tensor(a), _tensor(b), data_range=1.0, reduction="none").double()
        for a, b in _batches(originals, restored)
    ]
    return torch.cat(scores).numpy()


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255))


def _batches(originals: np.ndarray, restored: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    step = max(1, _BATCH_SAMPLES // max(1, int(np.prod(originals.shape[1:]))))
    for start in range(0, len(originals), step):
        yield originals[start : start + step], restored[start : start + step]


def _check(originals: np.ndarray, restored: np.ndarray) -> None:
    if originals.ndim != 4 or originals.shape != restored.shape or 0 in originals.shape:
        raise ValueError(
            f"two arrays of one shape (B, H, W, C) are compared, got {originals.shape} and {restored.shape}"
        )
    if originals.dtype != np.uint8 or restored.dtype != np.uint8:
        raise ValueError(f"pixels are uint8, got {originals.dtype} and {restored.dtype}")


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
