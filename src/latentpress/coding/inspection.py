"""What an archive holds, without a model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from latentpress.coding.container import Archive
from latentpress.coding.layout import Part
from latentpress.coding.modes import Mode
from latentpress.coding.records import Header, ItemRecord

__all__ = ["ArchiveInfo", "ArchiveLike", "ModeUse", "inspect_archive", "open_archive"]

ArchiveLike = str | Path | bytes | BinaryIO


@dataclass(frozen=True)
class ModeUse:
    """How many blocks of one part ("codes", "samples", ...) are coded in one mode, and their bytes."""

    part: str
    mode: str
    blocks: int
    bytes: int


@dataclass(frozen=True)
class ArchiveInfo:
    """An archive's contents.

    Attributes:
        bytes: of the whole file.
        framing_bytes: what of them is not coded symbols: header, tables, index, checks.
        header, items: what the archive records of itself, and of each item.
        fallback, files, duplicates: how many items the fallback codec stores, how many are stored as the
            files that they were, and how many equal an earlier one.
        modes: the modes in use, part by part.
    """

    bytes: int
    framing_bytes: int
    header: Header
    items: tuple[ItemRecord, ...]
    fallback: int
    files: int
    duplicates: int
    modes: tuple[ModeUse, ...]

    @property
    def dims(self) -> int:
        """Samples of all items, channels counted one by one: what bits per dimension divides by."""
        return sum(item.positions for item in self.items) * self.header.channels

    @property
    def bits_per_dim(self) -> float:
        """Archive bits per sample; 0 where the items have none."""
        return 8 * self.bytes / self.dims if self.dims else 0.0


@contextmanager
def open_archive(source: ArchiveLike, max_samples: int | None = None) -> Iterator[Archive]:
    """Opens an archive given as a path, its bytes or a binary stream; `ArchiveError` if it is none.

    `max_samples` as for `Archive`.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield Archive(file, max_samples)
    else:
        yield Archive(io.BytesIO(source) if isinstance(source, bytes) else source, max_samples)


def inspect_archive(source: ArchiveLike) -> ArchiveInfo:
    """Reads an archive's header and index, and no block; `ArchiveError` if they are damaged."""
    with open_archive(source) as archive:
        uses = {(part.value, mode.name.lower()): list[int]() for part in Part for mode in Mode}
        for length, mode, block in zip(archive.lengths, archive.modes, archive.layout, strict=True):
            uses[block.part.value, mode.name.lower()].append(length)
        return ArchiveInfo(
            bytes=archive.size,
            framing_bytes=archive.size - sum(archive.lengths),
            header=archive.header,
            items=archive.items,
            fallback=len(archive.stored.fallback),
            files=len(archive.stored.files),
            duplicates=sum(item.duplicate_of is not None for item in archive.items),
            modes=tuple(
                ModeUse(*use, len(lengths), sum(lengths)) for use, lengths in uses.items() if lengths
            ),
        )
