"""Pixels as differences from their neighbours, reversibly: what pixels are coded as losslessly.

With RGB as (G, R - G, B - G), every channel becomes

    d[i, j] = x[i, j] - x[i, j - 1] - x[i - 1, j] + x[i - 1, j - 1]    (mod 256; outside counts as 0)

the error of continuing the plane through the three neighbours. All of it is modulo 256, so nothing is
lost, and the inverse is a sum along rows and then along columns. A network learns the distribution of d
an order of magnitude sooner than that of x: nearly all of it lies about 0, wherever x lies.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_residuals", "simpler", "to_residuals"]

Pixels = NDArray[np.uint8]


def to_residuals(pixels: Pixels, above: Pixels | None = None) -> Pixels:
    """Differences of pixels, uint8 (H, W, C), C = 1 or 3.

    Args:
        pixels: rows of an image.
        above: the row before them, (1, W, C), if they are not the image's first.

    >>> to_residuals(np.array([[[10], [12]], [[11], [15]]], np.uint8))[..., 0].tolist()
    [[10, 2], [1, 2]]
    """
    rows = pixels if above is None else np.concatenate([above, pixels])
    planes = rows if rows.shape[2] == 1 else np.stack(_apart(rows), axis=2)
    across = np.diff(planes, axis=1, prepend=np.uint8(0))
    return np.diff(across, axis=0, prepend=np.uint8(0))[len(rows) - len(pixels) :]


def from_residuals(differences: Pixels) -> Pixels:
    """The inverse of `to_residuals`, of whole images.

    >>> pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    >>> np.array_equal(from_residuals(to_residuals(pixels)), pixels)
    True
    """
    planes = differences.cumsum(axis=0, dtype=np.uint8).cumsum(axis=1, dtype=np.uint8)
    if planes.shape[2] == 1:
        return planes
    green, red, blue = (planes[..., c] for c in range(3))
    return np.stack([red + green, green, blue + green], axis=2)


def simpler(images: Iterable[Pixels]) -> bool:
    """Whether differences are easier to code than the pixels: by the entropy of their frequencies.

    >>> simpler([np.arange(64, dtype=np.uint8).reshape(8, 8, 1)])
    True
    """
    counts = np.zeros((2, 256), np.int64)
    for pixels in images:
        for row, symbols in enumerate((pixels, to_residuals(pixels))):
            counts[row] += np.bincount(symbols.ravel(), minlength=256)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    bits = -(shares * np.log2(shares, where=shares > 0, out=np.zeros_like(shares))).sum(axis=1)
    return bool(bits[1] < bits[0])


def _apart(pixels: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    red, green, blue = (pixels[..., c] for c in range(3))
    return green, red - green, blue - green
