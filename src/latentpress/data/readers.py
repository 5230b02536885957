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
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO, cast

from latentpress.errors import ItemError
from latentpress.items import Content, Item, Samples

__all__ = ["MAX_ENTRY_BYTES", "content_of", "named", "open_entry", "open_path", "read_head", "reason_of"]

MAX_ENTRY_BYTES = 1 << 34
"""Bound on what one entry of a zip archive may unpack to."""

_SMALL_BYTES = 1 << 20


def content_of(item: Item, open_file: Callable[[], BinaryIO], convert: bool, name: str) -> Content:
    """Opens a file as an item; every error, in reading too, is an `ItemError` that begins with `name`."""
    with named(name):
        file = open_file()
        try:
            content = item.open(file, convert=convert)
        except BaseException:
            file.close()
            raise
    read = partial(_read, name, content.read)
    weakref.finalize(read, file.close)
    return replace(content, read=read)


def open_path(path: Path) -> BinaryIO:
    """Opens a file, in memory if it is small."""
    file = path.open("rb")
    start = file.read(_SMALL_BYTES + 1)
    if len(start) <= _SMALL_BYTES:
        file.close()
        return BytesIO(start)
    file.seek(0)
    return file


def open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    """Unpacks an entry whole; what it unpacks to is never more than it declares."""
    if entry.file_size > MAX_ENTRY_BYTES:
        raise ItemError(f"the entry has more than {MAX_ENTRY_BYTES >> 20} MiB")
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(_SMALL_BYTES))  # noqa: SIM115
    try:
        with archive.open(entry) as file:
            shutil.copyfileobj(file, spool)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool


def read_head(open_file: Callable[[], IO[bytes]], most: int) -> bytes:
    """The first bytes of a file, so many at most."""
    with open_file() as file:
        return file.read(most)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns errors into `ItemError`, one line that begins with `name`."""
    try:
        yield
    except ItemError as error:
        raise ItemError(f"{name}: {error}") from None
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"{name}: cannot be read: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _read(name: str, read: Callable[[int, int], Samples], start: int, stop: int) -> Samples:
    with named(name):
        return read(start, stop)
