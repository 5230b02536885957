"""A model's archive beside another codec at equal bytes.

Small images of one size are compared twice: as one `mosaic`, and as `files` of their own that share a
quality setting, both with the archive's bytes in all. Photographs are compared `each`: every image
at the bytes that it takes in the archive, then averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latentpress.evaluate.codecs import Codec, Match, search_files, search_mosaic
from latentpress.evaluate.metrics import Quality, join

__all__ = ["Comparison", "RatePoint", "compare_each", "compare_files", "compare_mosaic"]

_FACTORS = (0.5, 1.0, 2.0)  # of the budget: the points of a rate-distortion curve


@dataclass(frozen=True)
class RatePoint:
    """A point of a rate-distortion curve: bytes of all items, and their pooled PSNR."""

    size_bytes: int
    psnr_db: float


@dataclass(frozen=True)
class Comparison:
    """What another codec makes of the same items.

    Attributes:
        codec: its name.
        layout: "mosaic", "files" or "each" (see the module).
        budget_bytes: bytes of the archive.
        size_bytes: bytes of the codec: the budget, or what it needs at least (more) or at best (less).
        smaller_bytes: bytes at the settings just below, between which and the ones above it is
            interpolated.
        larger_bytes: bytes at the settings just above.
        quality: of the restored items.
        curve: at half, once and twice the budget; empty for "files".
    """

    codec: str
    layout: Literal["mosaic", "files", "each"]
    budget_bytes: int
    size_bytes: int
    smaller_bytes: int
    larger_bytes: int
    quality: Quality
    curve: tuple[RatePoint, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the codec can do with the budget at all."""
        return self.size_bytes <= self.budget_bytes


def compare_mosaic(codec: Codec, images: np.ndarray, budget_bytes: int) -> Comparison:
    """Compares on one picture of all images (B, H, W, C)."""
    search = search_mosaic(codec, images)
    ladder = {factor: [search.at_bytes(round(factor * budget_bytes))] for factor in _FACTORS}
    return _comparison(codec, "mosaic", budget_bytes, ladder)


def compare_files(codec: Codec, images: Sequence[np.ndarray], budget_bytes: int) -> Comparison:
    """Compares on files of their own with one quality setting, `budget_bytes` in all."""
    ladder = {1.0: [search_files(codec, images).at_bytes(budget_bytes)]}
    return _comparison(codec, "files", budget_bytes, ladder)


def compare_each(codec: Codec, items: Iterable[tuple[np.ndarray, int]]) -> Comparison:
    """Compares every image (H, W, C) at its own budget of bytes; holds one image at a time.

    >>> from latentpress.evaluate.codecs import find_codec
    >>> image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    >>> comparison = compare_each(find_codec("jpeg"), [(image, 1000), (image, 1500)])
    >>> comparison.size_bytes, comparison.fits, comparison.quality.ms_ssim
    (2500, True, None)
    """
    ladder: dict[float, list[Match]] = {factor: [] for factor in _FACTORS}
    total = 0
    for image, budget in items:
        search = search_files(codec, [image])
        total += budget
        for factor, matches in ladder.items():
            matches.append(search.at_bytes(round(factor * budget)))
    return _comparison(codec, "each", total, ladder)


def _comparison(
    codec: Codec,
    layout: Literal["mosaic", "files", "each"],
    budget_bytes: int,
    ladder: dict[float, list[Match]],
) -> Comparison:
    points = {RatePoint(_total(matches), _quality(matches).psnr_db) for matches in ladder.values()}
    equal = ladder[1.0]
    return Comparison(
        codec=codec.name,
        layout=layout,
        budget_bytes=budget_bytes,
        size_bytes=_total(equal),
        smaller_bytes=sum(match.smaller_bytes for match in equal),
        larger_bytes=sum(match.larger_bytes for match in equal),
        quality=_quality(equal),
        curve=tuple(sorted(points, key=lambda point: point.size_bytes)) if len(ladder) > 1 else (),
    )


def _total(matches: Sequence[Match]) -> int:
    return sum(match.size_bytes for match in matches)


def _quality(matches: Sequence[Match]) -> Quality:
    return join([match.distortion for match in matches]).summary()
