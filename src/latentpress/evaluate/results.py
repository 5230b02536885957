"""What an evaluation found, as frozen dataclasses that convert to JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from latentpress.evaluate.comparison import Comparison
from latentpress.evaluate.quality import Quality
from latentpress.items.base import Shape, Words
from latentpress.model.details import LatentDetails

__all__ = ["Evaluation", "ItemResult", "LossyResult", "to_json"]


@dataclass(frozen=True)
class ItemResult:
    """One item that came back other than it was, and its share of the archive in bytes.

    `measures` are those that fit it (see `latentpress.evaluate.quality`).
    """

    name: str
    size: Shape
    size_bytes: float
    psnr_db: float
    measures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LossyResult:
    """What is measured where items are restored other than they were.

    Attributes:
        quality: of all items.
        stochastic: whether the decoder draws what the latents do not say, rather than giving one best guess.
        latent_bytes: what the latents cost under the model's prior, a network being in floating point, band
            by band as archives cut large items: codes their cross-entropy, Gaussian latents their KL.
        sample_bytes: what the samples would cost given the latents, under the model's float decoder.
        details: of the latents.
        items: one result an item, in the order of the source.
    """

    quality: Quality
    stochastic: bool
    latent_bytes: float
    sample_bytes: float
    details: LatentDetails
    items: tuple[ItemResult, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model does to a set of items, through a real archive.

    Attributes:
        words: what items are called.
        positions: of all items, such as pixels.
        dims: samples of all items: positions times channels.
        file_bytes: of the files that came in; None where they were no files.
        model_bits: ideal length of what the model coded, under its integer form; None if nothing was.
        part_bytes: coded bytes by what they are of: "codes", "samples", "chain", "fallback".
        fallbacks: items that the archive holds as a conventional codec coded them.
        duplicates: items that are there once already.
        encode_seconds: wall time of compressing, without verification.
        comparisons: other codecs, at equal bytes where something is lost.
        lossy: what was lost; None of a lossless archive, whose items were compared sample by sample.
    """

    words: Words
    num_items: int
    positions: int
    dims: int
    file_bytes: int | None
    archive_bytes: int
    model_bits: float | None
    part_bytes: Mapping[str, int]
    fallbacks: int
    duplicates: int
    encode_seconds: float
    decode_seconds: float
    comparisons: tuple[Comparison, ...] = ()
    lossy: LossyResult | None = None

    @property
    def quality(self) -> Quality | None:
        """Of all items, where something was lost."""
        return None if self.lossy is None else self.lossy.quality

    @property
    def bytes_per_item(self) -> float:
        """Archive bytes an item."""
        return self.archive_bytes / self.num_items

    @property
    def bits_per_position(self) -> float:
        """Archive bits a position."""
        return 8 * self.archive_bytes / self.positions

    @property
    def bits_per_dim(self) -> float:
        """Archive bits a sample."""
        return 8 * self.archive_bytes / self.dims

    @property
    def ratio(self) -> float | None:
        """Bytes of the files that came in over those of the archive."""
        return None if self.file_bytes is None else self.file_bytes / self.archive_bytes

    @property
    def model_bits_per_dim(self) -> float | None:
        """-log2 p(x, z) a sample under the float networks: a lossless code of the samples under the model."""
        lossy = self.lossy
        return None if lossy is None else 8 * (lossy.latent_bytes + lossy.sample_bytes) / self.dims

    def gain_db(self, comparison: Comparison) -> float | None:
        """How much higher the pooled PSNR is than another codec's."""
        ours, theirs = self.quality, comparison.quality
        return None if ours is None or theirs is None else ours.psnr_db - theirs.psnr_db

    def to_json(self) -> str:
        """All of it as JSON text, with the derived figures; what is infinite becomes null."""
        derived = ("bytes_per_item", "bits_per_position", "bits_per_dim", "ratio", "model_bits_per_dim")
        tree = _tree(self) | {name: getattr(self, name) for name in derived}
        for comparison, branch in zip(self.comparisons, tree["comparisons"], strict=True):
            branch["gain_db"] = self.gain_db(comparison)
            branch["bits_per_dim"] = 8 * comparison.size_bytes / self.dims
        return to_json(tree)


def to_json(tree: Mapping[str, Any]) -> str:
    r"""A tree of figures as JSON text; what is infinite becomes null.

    >>> to_json({"psnr_db": math.inf})
    '{\n  "psnr_db": null\n}'
    """
    return json.dumps(_tree(tree), indent=2, allow_nan=False)


def _tree(value: Any) -> Any:
    if isinstance(value, LatentDetails):
        return _tree(value.values)
    if hasattr(value, "_asdict"):
        return value._asdict()
    if is_dataclass(value):
        return _tree(vars(value))
    if isinstance(value, Mapping):
        return {key: _tree(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_tree(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
