r"""Distortion of restored items: squared error and PSNR, SSIM and MS-SSIM, SI-SNR.

    PSNR = 10 log10((levels - 1)^2 / MSE) dB

A set of items has two PSNRs, and papers mix them up, so both are named: `psnr_db` is the PSNR of the
*pooled* mean squared error (over all samples of all items), `mean_psnr_db` the mean of the items'
PSNRs. The second is never lower for items of one size (Jensen's inequality). What else is measured
follows from the item: SSIM (Wang et al. 2004) and MS-SSIM (Wang et al. 2003, five scales) of its
pictures, if it has any, SI-SNR (Le Roux et al., arXiv 1811.02508) of other numbers. They are torchmetrics'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_noise_ratio
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from latentpress.items.base import Item, Samples

__all__ = [
    "MEASURES",
    "Distortion",
    "Quality",
    "distortion",
    "distortion_each",
    "interpolate",
    "join",
    "psnr",
]

Floats = NDArray[np.float64]

MEASURES: Mapping[str, str] = {"ssim": "SSIM", "ms_ssim": "MS-SSIM", "si_snr_db": "SI-SNR dB"}
"""How the measures beside PSNR are written."""

SSIM_MIN_SIDE = 11  # the Gaussian window of 11 x 11
MS_SSIM_MIN_SIDE = 176  # the same window at the coarsest of five scales, a sixteenth of the side
_SIMILARITIES = {
    "ssim": (structural_similarity_index_measure, SSIM_MIN_SIDE),
    "ms_ssim": (multiscale_structural_similarity_index_measure, MS_SSIM_MIN_SIDE),
}
_BATCH_SAMPLES = 1 << 20  # torchmetrics puts five times as many into one tensor
_LEAST_MSE = 1e-6  # of identical items where an MSE's logarithm is taken, 108 dB of 8-bit samples


@dataclass(frozen=True)
class Quality:
    """Quality of a set of restored items.

    Attributes:
        psnr_db: PSNR of the mean squared error pooled over all samples; infinite for identical items.
        mean_psnr_db: mean of the items' own PSNRs.
        measures: the means of the other measures by name (see `MEASURES`): of the items that they fit,
            and left out where they fit none.
    """

    psnr_db: float
    mean_psnr_db: float
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Distortion:
    """Per item: `samples`, `mse` and other `measures` by name, (B,) each, NaN where one does not apply.

    `peak` is the largest difference that two samples can have.
    """

    peak: float
    samples: NDArray[np.int64]
    mse: Floats
    measures: Mapping[str, Floats]

    @property
    def psnr_db(self) -> Floats:
        """PSNR of each item (B,)."""
        return psnr(self.mse, self.peak)

    def summary(self) -> Quality:
        """Pools the items into one `Quality`."""
        known = {name: values[~np.isnan(values)] for name, values in self.measures.items()}
        return Quality(
            psnr_db=float(psnr(np.average(self.mse, weights=self.samples), self.peak)),
            mean_psnr_db=float(np.mean(self.psnr_db)),
            measures={name: float(values.mean()) for name, values in known.items() if len(values)},
        )


def psnr(mse: Floats | float, peak: float) -> Floats:
    """Peak signal-to-noise ratio in dB of mean squared errors.

    >>> float(psnr(255.0**2 / 1000, 255))
    30.0
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(float(peak) ** 2 / np.asarray(mse, np.float64))


def distortion(item: Item, originals: Samples, restored: Samples) -> Distortion:
    """Measures all of it for a batch of items (B, *size, C); the squared error is exact up to its division.

    >>> from latentpress.items import Image
    >>> images = np.zeros((2, 32, 32, 3), np.uint8)
    >>> quality = distortion(Image(), images, images + 5).summary()
    >>> round(quality.psnr_db, 2), round(quality.mean_psnr_db, 2), list(quality.measures)
    (34.15, 34.15, ['ssim'])
    """
    alike = originals.shape == restored.shape and originals.dtype == restored.dtype
    if not alike or originals.ndim < 3 or 0 in originals.shape or originals.dtype.kind not in "ui":
        given = " and ".join(f"{array.dtype} {array.shape}" for array in (originals, restored))
        raise ValueError(
            f"two arrays of integers (B, *size, C), of one shape and type, are compared: {given}"
        )
    run = max(1, _BATCH_SAMPLES // originals[0].size)
    if len(originals) > run:
        starts = range(0, len(originals), run)
        return join([distortion(item, originals[n : n + run], restored[n : n + run]) for n in starts])
    errors = np.square(np.subtract(originals, restored, dtype=np.int64))
    samples, mse = np.full(len(errors), errors[0].size), errors.reshape(len(errors), -1).mean(1)
    return Distortion(item.levels - 1, samples, mse, _measures(item, originals, restored))


def distortion_each(item: Item, originals: Sequence[Samples], restored: Sequence[Samples]) -> Distortion:
    """Measures pairs of items (*size, C) of any sizes; neighbours of one size go through together."""
    runs = groupby(zip(originals, restored, strict=True), key=lambda pair: pair[0].shape)
    return join([distortion(item, *map(np.stack, zip(*run, strict=True))) for _, run in runs])


def join(parts: Sequence[Distortion], order: Sequence[int] | None = None) -> Distortion:
    """Puts the items of several distortions one after another, or then in another order."""
    chosen = slice(None) if order is None else np.asarray(order)
    samples, mse = (np.concatenate([getattr(p, name) for p in parts])[chosen] for name in ("samples", "mse"))
    names = parts[0].measures
    measures = {name: np.concatenate([part.measures[name] for part in parts])[chosen] for name in names}
    return Distortion(parts[0].peak, samples, mse, measures)


def interpolate(first: Distortion, second: Distortion, share: float) -> Distortion:
    """Distortion `share` of the way from `first` to `second`: linear in every item's PSNR and measures."""

    def between(a: Floats, b: Floats) -> Floats:
        return (1 - share) * a + share * b

    logs = (np.log(np.maximum(part.mse, _LEAST_MSE)) for part in (first, second))
    measures = {name: between(values, second.measures[name]) for name, values in first.measures.items()}
    return Distortion(first.peak, first.samples, np.exp(between(*logs)), measures)


@torch.inference_mode()
def _measures(item: Item, originals: Samples, restored: Samples) -> dict[str, Floats]:
    """The mean over an item's pictures or channels; NaN of pictures that are too small, of flat channels."""
    if item.picture is None:
        return {"si_snr_db": _si_snr_db(originals, restored)} if item.ordinal else {}
    axes = [1 + axis for axis in item.picture]
    side = min(originals.shape[axis] for axis in axes)

    def pictures(samples: Samples) -> Tensor:
        scaled = (samples.astype(np.int64) - item.low) / np.float32(item.levels - 1)
        moved = np.moveaxis(scaled.astype(np.float32), [*axes, -1], [-2, -1, -3])
        return torch.from_numpy(moved.reshape(-1, *moved.shape[-3:]))

    measures = {name: np.full(len(originals), np.nan) for name in _SIMILARITIES}
    for name, (similarity, min_side) in _SIMILARITIES.items():
        if side >= min_side:
            scores: Any = similarity(
                pictures(originals), pictures(restored), data_range=1.0, reduction="none"
            )
            measures[name] = scores.double().reshape(len(originals), -1).mean(1).numpy()
    return measures


def _si_snr_db(originals: Samples, restored: Samples) -> Floats:
    signals = (torch.from_numpy(x.astype(np.float64)).movedim(-1, 1) for x in (originals, restored))
    first, second = (signal.flatten(2) for signal in signals)
    scores = scale_invariant_signal_noise_ratio(second, first)
    constant = (first == first[..., :1]).all(-1)
    return scores.masked_fill(constant, torch.nan).mean(1).numpy()
