"""What came of compressing or restoring."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latentpress.coding import Archive
from latentpress.items.base import Words

__all__ = ["Progress", "Summary"]

Progress = Callable[[str, int, int], None]
"""Called with a stage (compile, encode, pack, code, compare, verify, decode), what of it is done, and all."""


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
        file_bytes: of the files that came in, or were written; None where they are not known.
        model_bits: ideal length of what the archive holds: codes under the prior (plain without one), samples
            given them, and the bytes that the fallback stores; None where it was not computed.
        lossless: whether the archive gives back every sample of every item.
        fallback: how many items the codec of their kind stores: the model does not take them, or is dearer.
        files: how many items are stored as the files that they were.
        kept: those of them that could not be stored otherwise, by name, and why.
        besides: what was in files besides samples and is not in the archive, and in how many.
        duplicates: how many items are stored as a reference to an equal one.
        renamed: how many files have another name than their item, their kind's suffix aside: one that this
            system can write, or that is not taken.
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
    files: int = 0
    kept: Mapping[str, str] = field(default_factory=dict)
    besides: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    renamed: int = 0

    @classmethod
    def of(cls, archive: Archive, words: Words, chosen: Sequence[int], start: float, **more: Any) -> Summary:
        """Figures of some items of an archive; `start` is when the work began, by `time.perf_counter`."""
        header, records = archive.header, [archive.items[number] for number in chosen]
        coded = {archive.original(number) for number in chosen} - archive.stored.numbers
        positions = sum(math.prod(header.grid(archive.items[number].shape)) for number in coded)
        return cls(
            words=words,
            items=len(records),
            dims=sum(record.positions for record in records) * header.channels,
            archive_bytes=archive.size,
            symbols=positions * len(header.code_alphabets),
            seconds=time.perf_counter() - start,
            lossless=header.lossless,
            fallback=len(archive.stored.fallback.intersection(chosen)),
            files=len(archive.stored.files.keys() & chosen),
            duplicates=sum(record.duplicate_of is not None for record in records),
            **more,
        )

    @property
    def bits_per_dim(self) -> float:
        """Archive bits per sample of these items; 0 where they have none."""
        return 8 * self.archive_bytes / self.dims if self.dims else 0.0
