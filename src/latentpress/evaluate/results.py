"""Results of an evaluation, as frozen dataclasses that convert to JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from latentpress.evaluate.comparison import Comparison
from latentpress.evaluate.metrics import Quality
from latentpress.latents import CodeUsage

__all__ = ["CodeStatistics", "Evaluation", "ItemResult"]


@dataclass(frozen=True)
class ItemResult:
    """One item: `size_bytes` is its share of the archive, in proportion to what its codes cost."""

    name: str
    height: int
    width: int
    size_bytes: float
    psnr_db: float
    ssim: float | None
    ms_ssim: float | None


@dataclass(frozen=True)
class CodeStatistics:
    """Use of the codes over the whole set.

    Attributes:
        codebook_size: codes in each partition.
        num_codebooks: codes a position.
        usage: share of the codes that occur at all.
        perplexity: exp of the entropy of the codes' frequencies, mean over the partitions; the codebook
            size when all are used alike.
        counts: how often each code occurs, one row a partition.
        warning: what to do, where the codebook has collapsed.
    """

    codebook_size: int
    num_codebooks: int
    usage: float
    perplexity: float
    counts: tuple[tuple[int, ...], ...]
    warning: str | None = None

    @classmethod
    def of(cls, usage: CodeUsage) -> CodeStatistics:
        """Takes over the figures of counted codes.

        >>> import torch
        >>> CodeStatistics.of(CodeUsage(torch.tensor([[5, 5, 0, 0]]))).usage
        0.5
        """
        return cls(
            codebook_size=usage.counts.shape[1],
            num_codebooks=usage.counts.shape[0],
            usage=usage.usage,
            perplexity=usage.perplexity,
            counts=tuple(tuple(row) for row in usage.counts.tolist()),
            warning=usage.warning,
        )


@dataclass(frozen=True)
class Evaluation:
    """What a model does to a set of images.

    Attributes:
        num_items: images.
        num_pixels: pixels of all images.
        num_dims: samples of all images: pixels times channels.
        archive_bytes: size of the archive file with everything in it.
        prior_bytes: the float prior's cross-entropy of all codes, band by band as the archive cuts large
            images: what an ideal coder of the same blocks would need. What the cuts cost is in it.
        model_bits_per_dim: -log2 p(x, z) a sample: a lossless code of the pixels under the model.
        quality: of the images that came out of the archive.
        codes: use of the codebook.
        items: one result an image, in the order of the source.
        comparisons: other codecs at equal bytes.
    """

    num_items: int
    num_pixels: int
    num_dims: int
    archive_bytes: int
    prior_bytes: float
    model_bits_per_dim: float
    quality: Quality
    codes: CodeStatistics
    items: tuple[ItemResult, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def bytes_per_item(self) -> float:
        """Archive bytes an image."""
        return self.archive_bytes / self.num_items

    @property
    def bits_per_pixel(self) -> float:
        """Archive bits a pixel."""
        return 8 * self.archive_bytes / self.num_pixels

    @property
    def bits_per_dim(self) -> float:
        """Archive bits a sample (a third of the bits a pixel for RGB)."""
        return 8 * self.archive_bytes / self.num_dims

    @property
    def overhead(self) -> float:
        """Archive bytes over `prior_bytes`: 1 is ideal.

        It holds what the integers, the coder and the framing add to the float prior's cross-entropy,
        and not what is lost by cutting images of more than 4096 positions into bands, since both
        sides see the same bands.
        """
        return self.archive_bytes / self.prior_bytes

    def gain_db(self, comparison: Comparison) -> float:
        """How much higher the pooled PSNR is than the other codec's."""
        return self.quality.psnr_db - comparison.quality.psnr_db

    def to_json(self) -> str:
        """All of it as JSON text, with the derived figures beside; what is infinite becomes null."""
        tree = asdict(self)
        for name in ("bytes_per_item", "bits_per_pixel", "bits_per_dim", "overhead"):
            tree[name] = getattr(self, name)
        for comparison, branch in zip(self.comparisons, tree["comparisons"], strict=True):
            branch["gain_db"] = self.gain_db(comparison)
        return json.dumps(_finite(tree), indent=2, allow_nan=False)


def _finite(tree: Any) -> Any:
    match tree:
        case dict():
            return {key: _finite(value) for key, value in tree.items()}
        case list() | tuple():
            return [_finite(value) for value in tree]
        case float() if not math.isfinite(tree):
            return None
    return tree
