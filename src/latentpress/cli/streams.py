"""The process's own streams, any of which may be missing, closed, or unable to spell a name."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import BinaryIO, TextIO

import click

from latentpress.errors import LatentpressError

__all__ = [
    "drop_stdout",
    "escaped",
    "flush_all",
    "prepare_streams",
    "say_plainly",
    "show",
    "stdin_bytes",
    "stdout_bytes",
]


def escaped(text: str) -> str:
    r"""Text as it may go to a terminal: what moves its cursor, or cannot be printed, becomes an escape.

    >>> escaped("a\x1b[2J\u202eb\tc\n")
    'a\\x1b[2J\\u202eb    c\n'
    """
    plain = text.replace("\t", "    ")
    if all(line.isprintable() for line in plain.split("\n")):
        return plain
    kept = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in plain)
    return "".join(kept)


def show(text: str) -> None:
    """Prints data to stdout; raises `LatentpressError` where that is closed."""
    if sys.stdout is None:
        raise LatentpressError("there is no stdout to print to: it is closed")
    click.echo(escaped(text))


def say_plainly(text: str) -> None:
    """Prints a line to stderr, if there is somebody who reads it."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            click.echo(escaped(text), err=True)


def stdout_bytes() -> BinaryIO:
    """Stdout for bytes; raises `LatentpressError` where it is closed."""
    return _bytes(sys.stdout, "stdout")


def stdin_bytes() -> BinaryIO:
    """Stdin for bytes; raises `LatentpressError` where it is closed."""
    return _bytes(sys.stdin, "stdin")


def _bytes(stream: TextIO | None, name: str) -> BinaryIO:
    if stream is None:
        raise LatentpressError(f"- is {name}, and that is closed")
    return stream.buffer  # type: ignore[return-value]


def prepare_streams() -> None:
    """Lets stdout and stderr escape what their encoding has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_all() -> None:
    """Writes what is left in stdout; raises `BrokenPipeError` where nobody reads it any longer.

    Python would say so when it ends, in lines of its own: then the rest goes nowhere instead.
    """
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
        raise


def drop_stdout() -> None:
    """Sends what is left in stdout nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
