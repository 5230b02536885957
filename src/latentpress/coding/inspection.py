"""What an archive says of itself, without a model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from latentpress.coding.container import Archive, Header, ItemRecord
from latentpress.coding.modes import Mode

__all__ = ["ArchiveInfo", "ArchiveLike", "ModeUse", "inspect_archive", "open_archive"]

ArchiveLike = str | Path | bytes | BinaryIO


@dataclass(frozen=True)
class ModeUse:
    """How many blocks are coded in one mode, and their bytes."""

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
        modes: the modes in use.
    """

    bytes: int
    framing_bytes: int
    header: Header
    items: tuple[ItemRecord, ...]
    modes: tuple[ModeUse, ...]

    @property
    def dims(self) -> int:
        """Samples of all items, channels counted one by one: what bits per dimension divides by."""
        return sum(item.samples for item in self.items) * self.header.channels


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
        uses = []
        for mode in Mode:
            lengths = [int(n) for n, used in zip(archive.lengths, archive.modes, strict=True) if used is mode]
            if lengths:
                uses.append(ModeUse(mode.name.lower(), len(lengths), sum(lengths)))
        framing = archive.size - int(archive.lengths.sum())
        return ArchiveInfo(archive.size, framing, archive.header, archive.items, tuple(uses))
