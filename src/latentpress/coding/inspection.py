"""What an archive says of itself, without a model."""

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
    """How many blocks of one part ("codes", "pixels", "whole") are coded in one mode, and their bytes."""

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
        header: kind of items, channels, alphabets, hop and ids of the model.
        items: name, shape and class of each item.
        whole: in a lossless archive, how many items are stored whole.
        modes: the modes in use, part by part.
    """

    bytes: int
    framing_bytes: int
    header: Header
    items: tuple[ItemRecord, ...]
    whole: int
    modes: tuple[ModeUse, ...]

    @property
    def dims(self) -> int:
        """Samples of all items, channels counted one by one: what bits per dimension divides by."""
        return sum(item.samples for item in self.items) * self.header.channels

    @property
    def bits_per_dim(self) -> float:
        """Archive bits per sample; 0 where the items have none."""
        return 8 * self.bytes / self.dims if self.dims else 0.0


@contextmanager
def open_archive(source: ArchiveLike) -> Iterator[Archive]:
    """Opens an archive given as a path, its bytes or a binary stream; `ArchiveError` if it is none."""
    if isinstance(source, bytes):
        yield Archive(io.BytesIO(source))
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield Archive(file)
    else:
        yield Archive(source)


def inspect_archive(source: ArchiveLike) -> ArchiveInfo:
    """Reads an archive's header and index, and no block; `ArchiveError` if they are damaged."""
    with open_archive(source) as archive:
        lengths: dict[tuple[str, str], list[int]] = {}
        for length, mode, block in zip(archive.lengths, archive.modes, archive.layout, strict=True):
            lengths.setdefault((block.part.value, mode.name.lower()), []).append(int(length))
        order = [(part.value, mode.name.lower()) for part in Part for mode in Mode]
        uses = tuple(ModeUse(*use, len(lengths[use]), sum(lengths[use])) for use in order if use in lengths)
        framing = archive.size - int(archive.lengths.sum())
        whole = len(archive.whole)
        return ArchiveInfo(archive.size, framing, archive.header, archive.items, whole, uses)
