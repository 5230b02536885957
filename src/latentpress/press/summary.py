"""What came of compressing or restoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentpress.items.base import Words

__all__ = ["Progress", "Summary"]

Progress = Callable[[str, int, int], None]
"""Called with the stage ("compile", "encode", "code", "compare", "verify", "decode"), what is done, of how many."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of one run over items of an archive.

    Attributes:
        words: what the items are called.
        items: how many were handled.
        dims: their samples, channels counted one by one.
        archive_bytes: the whole archive.
        symbols: codes that the archive holds of these items.
        seconds: wall time.
        file_bytes: bytes of the items' files, those that came in or those that were written; None where
            that is not known.
        model_bits: ideal length of what the archive holds, in bits: codes under the prior (as plain bits
            without one), samples given them, and the bytes of items that are stored by the fallback.
            None where it was not computed.
        lossless: whether the archive gives back every sample of every item.
        fallback: how many of the items are stored by the kind's own codec: the model does not take them, or
            makes more bytes of them.
        duplicates: how many of the items are stored as a reference to an equal one.
    """

    words: Words
    items: int
    dims: int
    archive_bytes: int
    symbols: int
    seconds: float
    file_bytes: int | None = None
    model_bits: float | None = None
    lossless: bool = False
    fallback: int = 0
    duplicates: int = 0

    @property
    def bits_per_dim(self) -> float:
        """Archive bits per sample of these items; 0 where they have none."""
        return 8 * self.archive_bytes / self.dims if self.dims else 0.0
