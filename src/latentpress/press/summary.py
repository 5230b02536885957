"""What came of pressing or restoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Summary"]

Progress = Callable[[str, int, int], None]
"""Called with the stage ("encode", "code", "compare", "verify", "decode"), what is done, of how many."""


@dataclass(frozen=True)
class Summary:
    """Figures of one run over items of an archive.

    Attributes:
        items: how many were handled.
        dims: their samples (pixels times channels, or bytes), each a byte before compression.
        archive_bytes: the whole archive.
        symbols: codes of these items.
        seconds: wall time.
        model_bits: ideal length of the codes under the model, in bits: the exact prior's
            cross-entropy, or the raw codes' bits without a prior; None where it was not computed.
            In a lossless archive that of the pixels too, and the bytes of items that are stored whole.
        lossless: whether the archive gives back every pixel.
        whole: in a lossless archive, how many of the items are stored whole: dearer under the model.
        kind: of the items, "image" or "text".
    """

    items: int
    dims: int
    archive_bytes: int
    symbols: int
    seconds: float
    model_bits: float | None = None
    lossless: bool = False
    whole: int = 0
    kind: str = "image"

    @property
    def bits_per_dim(self) -> float:
        """Archive bits per sample of these items; 0 where they have none."""
        return 8 * self.archive_bytes / self.dims if self.dims else 0.0
