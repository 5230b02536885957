"""Files, on disk or in a zip archive, opened as items.

Small ones are read at once, so that no file stays open for their sake. Large ones stay where they are:
they are read by ranges, and close with the last use of their content. Entries of zip archives are
unpacked first, large ones into a temporary file.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from latentpress.errors import ItemError
from latentpress.items import Content, Item, Samples

__all__ = ["MAX_ENTRY_BYTES", "DiskFile", "File", "ZipEntry", "content_of", "named"]

MAX_ENTRY_BYTES = 1 << 34
"""Bound on what one entry of a zip archive may unpack to."""

_SMALL_BYTES = 1 << 20


@dataclass(frozen=True)
class DiskFile:
    """A file on disk."""

    path: Path

    def head(self, most: int) -> bytes:
        """The first bytes."""
        with self.path.open("rb") as file:
            return file.read(most)

    def open(self) -> BinaryIO:
        """In memory if it is small."""
        file = self.path.open("rb")
        start = file.read(_SMALL_BYTES + 1)
        if len(start) <= _SMALL_BYTES:
            file.close()
            return BytesIO(start)
        file.seek(0)
        return file


@dataclass(frozen=True)
class ZipEntry:
    """An entry of a zip archive, which stays open for its entries' sake and closes with the last of them."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def head(self, most: int) -> bytes:
        """The first bytes."""
        with self.archive.open(self.info) as file:
            return file.read(most)

    def open(self) -> BinaryIO:
        """Unpacks it whole; what it unpacks to is never more than it declares."""
        if self.info.file_size > MAX_ENTRY_BYTES:
            raise ItemError(f"the entry has more than {MAX_ENTRY_BYTES >> 20} MiB")
        spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(_SMALL_BYTES))  # noqa: SIM115
        try:
            with self.archive.open(self.info) as file:
                shutil.copyfileobj(file, spool)
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return spool


File = DiskFile | ZipEntry
"""Something that can be opened for reading, again and again."""


def content_of(item: Item, file: File, convert: bool, name: str) -> Content:
    """Opens a file as an item; every error, in reading too, is an `ItemError` that begins with `name`."""
    with named(name):
        opened = file.open()
        try:
            content = item.open(opened, convert=convert)
        except BaseException:
            opened.close()
            raise
    read = partial(_read, name, content.read)
    weakref.finalize(read, opened.close)
    return replace(content, read=read)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns errors into `ItemError`, one line that begins with `name`."""
    try:
        yield
    except ItemError as error:
        raise ItemError(f"{name}: {error}") from None
    except Exception as error:  # a parser of hostile bytes may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ItemError(f"{name}: cannot be read: {reason}") from None


def _read(name: str, read: Callable[[int, int], Samples], start: int, stop: int) -> Samples:
    with named(name):
        return read(start, stop)
