"""Files that appear whole or not at all, and only where they may."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from latentpress.errors import LatentpressError, UnsafePathError
from latentpress.names import check_path, shown

__all__ = ["is_special", "open_atomic", "refuse_existing", "safe_path", "write_atomically"]


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `LatentpressError` if something is at `path` and must not, or cannot, be replaced."""
    if os.path.lexists(path) and (not overwrite or (path.is_dir() and not path.is_symlink())):
        raise LatentpressError(
            f"{shown(str(path))} exists already; allow overwriting (-f) or choose another name"
        )


def is_special(path: Path) -> bool:
    """Whether at `path`, or where a link there leads, is a device, a pipe or a socket."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def open_atomic(out: str | Path | BinaryIO, *, overwrite: bool, durable: bool = True) -> Iterator[BinaryIO]:
    """Gives a file to write and read back, which becomes `out` only if the block ends without an error.

    For a path it is in the same folder under a temporary name and is renamed; for a stream, and for a path
    at which there is a device or a pipe, which is written into, it is in memory. A `durable` file is on the
    disk before it gets its name, and so whole even if the machine fails.
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
    if not path.parent.is_dir():
        raise LatentpressError(f"{path.parent}: no such folder, for {path.name}")
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        refuse_existing(path, overwrite)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
