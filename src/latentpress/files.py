"""Files that appear whole or not at all, and only where they may."""

from __future__ import annotations

import functools
import io
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from latentpress.errors import LatentpressError, UnsafePathError
from latentpress.names import check_path, shown

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

__all__ = ["is_special", "open_atomic", "refuse_existing", "safe_path", "write_atomically"]

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part")
_YOUNG = 60.0  # seconds


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `LatentpressError` if something is at `path` and must not, or cannot, be replaced."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not overwrite or stat.S_ISDIR(mode):
        raise LatentpressError(
            f"{shown(str(path))} exists already; allow overwriting (-f) or choose another name"
        )


def is_special(path: Path) -> bool:
    """Whether at `path`, or where a link there leads, is a device, a pipe or a socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def open_atomic(out: str | Path | BinaryIO, *, overwrite: bool, durable: bool = True) -> Iterator[BinaryIO]:
    """Gives a file to write and read back, which becomes `out` only if the block ends without an error.

    For a path it is in the same folder under a temporary name and is renamed; for a stream, and for a path
    at which there is a device or a pipe, which is written into, it is in memory. A `durable` file is on the
    disk before it gets its name, and so whole even if the machine fails. What killed processes have left of
    theirs in that folder is removed.
    """
    if not isinstance(out, str | Path):
        buffer = io.BytesIO()
        yield buffer
        out.write(buffer.getvalue())
        return
    path = Path(out)
    refuse_existing(path, overwrite)
    if is_special(path):
        with path.open("wb") as special, open_atomic(special, overwrite=True) as file:
            yield file
        return
    _sweep(path.parent)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        opened = temporary.open("x+b")
    except (FileNotFoundError, NotADirectoryError):
        raise LatentpressError(f"{path.parent}: no such folder, for {path.name}") from None
    try:
        with opened as file:
            _lock(file)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        refuse_existing(path, overwrite)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@functools.cache
def _sweep(folder: Path) -> None:
    """Removes, once a process, the temporary files that killed processes have left in a folder.

    They are older than a minute, and nobody holds their lock (on Windows nobody has them open).
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            with suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(about.st_mode) or time.time() - about.st_mtime < _YOUNG:
                    continue
                if fcntl is None:
                    os.unlink(entry.path)
                    continue
                with open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _lock(file: BinaryIO) -> None:
    """Says that a process is at work on a temporary file; where locks are not to be had its age says it."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file, or replaces one: readers see all of it or none."""
    with open_atomic(path, overwrite=True) as file:
        file.write(data)


def safe_path(folder: Path, name: str) -> Path:
    """Returns the path of what is to be written below `folder` as `name`, and makes nothing.

    Raises:
        UnsafePathError: the name is unsafe on this system, or a folder on the way is a link.
        LatentpressError: a folder on the way is a file.
    """
    check_path(name)
    path = folder
    for part in name.split("/")[:-1]:
        path = path / part
        if path.is_symlink():
            raise UnsafePathError(f"unsafe name {name!a}: {shown(str(path))} is a link")
        if path.exists() and not path.is_dir():
            raise LatentpressError(f"{shown(str(path))} is in the way: a folder must stand there")
    return folder / name
