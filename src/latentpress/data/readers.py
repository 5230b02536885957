"""Files, on disk or in a zip archive, opened as items.

Small ones are read at once, so that no file stays open for their sake. Large ones stay where they are:
they are read by ranges, and close with the last use of their content. Entries of zip archives are
unpacked first, large ones into a temporary file.
"""

from __future__ import annotations

import shutil
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, BinaryIO, NamedTuple, cast

from latentpress.errors import ItemError
from latentpress.items import Content, Item

__all__ = ["MAX_ENTRY_BYTES", "File", "named", "open_named", "reason_of"]

MAX_ENTRY_BYTES = 1 << 34
"""Bound on what one entry of a zip archive may unpack to."""

_SMALL_BYTES = 1 << 20


class File(NamedTuple):
    """A file of `size` bytes, on disk or in a zip archive; `stream` opens it to be read once."""

    name: str
    stream: Callable[[], IO[bytes]]
    size: int

    def head(self, most: int) -> bytes:
        """The first bytes, so many at most."""
        with self.stream() as file:
            return file.read(most)

    def open(self, item: Item, convert: bool) -> Content:
        """Opens it as an item; it closes when the content can no longer be read."""
        with ExitStack() as stack:
            content = item.open(stack.enter_context(self._open_seekable()), convert=convert)
            weakref.finalize(content.read, stack.pop_all().close)
        return content

    def _open_seekable(self) -> BinaryIO:
        with ExitStack() as stack:
            file = stack.enter_context(self.stream())
            start = file.read(_SMALL_BYTES + 1)
            if len(start) <= _SMALL_BYTES:
                return BytesIO(start)
            if isinstance(file, zipfile.ZipExtFile):  # never gives more than the archive declares
                if self.size > MAX_ENTRY_BYTES:
                    raise ItemError(f"the entry has more than {MAX_ENTRY_BYTES >> 20} MiB")
                entry, file = file, stack.enter_context(TemporaryFile())
                file.write(start)
                shutil.copyfileobj(entry, file)
            file.seek(0)
            stack.pop_all()
        return cast(BinaryIO, file)


def open_named(name: str, open_item: Callable[[], Content]) -> Content:
    """Opens an item; errors, in reading it too, are `named`."""
    content = named(name)(open_item)()
    return replace(content, read=named(name)(content.read))


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns errors into `ItemError`, one line that begins with `name`; a decorator too."""
    try:
        yield
    except ItemError as error:
        raise ItemError(f"{name}: {error}") from None
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"{name}: cannot be read: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__
