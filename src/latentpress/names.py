"""Names of items: as data in an archive, and as paths that are safe to write.

A name is a relative path with forward slashes. `pack_names` turns a list of them into three columns
that compress well (frames and data sets are numbered): a name is either the one before it with its
number moved on, or spelled out after what it shares with the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from os.path import commonprefix
from pathlib import PurePosixPath
from typing import NamedTuple

from latentpress.errors import ArchiveError, UnsafePathError

__all__ = ["MAX_NAME_BYTES", "NameColumns", "check_name", "output_names", "pack_names", "unpack_names"]

MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255  # what common file systems allow
_MAX_TOTAL_BYTES = 1 << 26
_DIGITS = "0123456789"
_MAX_DIGITS = 18
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_RESERVED = re.compile(r'[\\:<>"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\.|$)", re.IGNORECASE)


class NameColumns(NamedTuple):
    """Names by column. `steps[i]` is how far the number moved on, or 0 for a name spelled out.

    The j-th name spelled out is the first `shared[j]` characters of the name before it (of the
    empty name, at the start) and then the j-th of `endings`, each of which ends in a zero byte.
    """

    steps: list[int]
    shared: list[int]
    endings: bytes


def pack_names(names: Iterable[str]) -> NameColumns:
    r"""Puts names into columns; `unpack_names` is its inverse.

    >>> pack_names(["a/07.png", "a/08.png", "a/11.png", "b/00.png"])
    NameColumns(steps=[0, 1, 3, 0], shared=[0, 0], endings=b'a/07.png\x00b/00.png\x00')
    """
    steps, shared, endings, last = [], [], [], ""
    for name in names:
        steps.append(_step(last, name))
        if not steps[-1]:
            shared.append(len(commonprefix([last, name])))  # noqa: RUF071 - characters are meant
            endings.append(name[shared[-1] :].encode() + b"\0")
        last = name
    return NameColumns(steps, shared, b"".join(endings))


def unpack_names(columns: NameColumns) -> list[str]:
    """Returns the names of hostile columns, or raises `ArchiveError`. They are not safe paths yet."""
    spelled = columns.endings.count(0)
    whole = columns.endings[-1:] in (b"", b"\0")
    if not whole or spelled != len(columns.shared) or spelled != columns.steps.count(0):
        raise ArchiveError("damaged archive: the columns of names have different lengths")
    try:
        endings = columns.endings.decode().split("\0")
    except UnicodeDecodeError:
        raise ArchiveError("damaged archive: a name is not UTF-8") from None
    spell = zip(columns.shared, endings, strict=False)
    names, last, total = [], "", 0
    for step in columns.steps:
        if step:
            last = _moved_on(last, step)
        else:
            shared, ending = next(spell)
            last = last[:shared] + ending
        total += len(last)
        if not 1 <= len(last) <= MAX_NAME_BYTES or total > _MAX_TOTAL_BYTES or _CONTROL.search(last):
            raise ArchiveError("damaged archive: a name is empty, too long, or has control characters")
        names.append(last)
    if len(set(names)) != len(names):
        raise ArchiveError("damaged archive: two items have the same name")
    return names


def _number(name: str) -> tuple[int, int]:
    """Returns where the last number before the name's suffix starts and ends; equal if there is none."""
    stem = name.rpartition(".")[0] if "." in name[name.rfind("/") + 1 :] else name
    end = max(stem.rfind(digit) for digit in _DIGITS) + 1
    return max(len(stem[:end].rstrip(_DIGITS)), end - _MAX_DIGITS), end


def _moved_on(name: str, step: int) -> str:
    start, end = _number(name)
    number = int(name[start:end] or "0") + step
    return f"{name[:start]}{number:0{end - start}d}{name[end:]}"


def _step(last: str, name: str) -> int:
    (start, end), (new_start, new_end) = _number(last), _number(name)
    if start == end or new_start == new_end:
        return 0
    step = int(name[new_start:new_end]) - int(last[start:end])
    return step if 0 < step < 1 << 32 and _moved_on(last, step) == name else 0


def check_name(name: str) -> None:
    r"""Raises `UnsafePathError` unless the name is safe to write below a folder, on any system.

    Refused are absolute paths, `..`, any of `\:<>"|?*`, device names such as `NUL`, control
    characters, parts that end in a dot or space (Windows drops those), and what is too long.
    """
    parts = name.split("/")
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        reason = f"it has none or more than {MAX_NAME_BYTES} bytes"
    elif any(len(part.encode("utf-8", "surrogatepass")) > _MAX_PART_BYTES for part in parts):
        reason = f"a part of it has more than {_MAX_PART_BYTES} bytes"
    elif _CONTROL.search(name):
        reason = "it has control characters"
    elif _RESERVED.search(name):
        reason = 'it has one of \\ : < > " | ? *'
    elif any(part in ("", ".", "..") for part in parts):
        reason = "it is absolute or has an empty part, '.' or '..'"
    elif any(part[-1] in ". " or _DEVICE.match(part) for part in parts):
        reason = "a part of it is a device, or ends in a dot or space"
    else:
        return
    raise UnsafePathError(f"unsafe name {name[:80]!a}: {reason}")


def output_names(names: Sequence[str], suffix: str | None, files: Collection[int] = ()) -> list[str]:
    """Returns the name under which each item is written: its own, with another suffix unless that is None.

    Where two would meet (letter case aside, for file systems that ignore it), or a file would stand
    where a folder must, the later one keeps its old suffix too, or gets a number. The items with the numbers
    `files` keep their suffix, and come before the others.

    >>> output_names(["a.jpg", "a.png", "b/c.webp"], ".png")
    ['a.png', 'a.png.png', 'b/c.png']
    >>> output_names(["readme.md", "README.md", "a.c"], None)
    ['readme.md', 'README-2.md', 'a.c']
    >>> output_names(["a.jpg", "a.png"], ".png", files={1})
    ['a.jpg.png', 'a.png']
    """
    taken = {parent for name in names for parent in _parents(name.casefold())}
    numbers: dict[str, int] = {}
    result = [""] * len(names)
    for number in sorted(range(len(names)), key=lambda number: number not in files):
        name, own = names[number], None if number in files else suffix
        path = PurePosixPath(name)
        start, end = (name, own) if own is not None else (str(path.with_suffix("")), path.suffix)
        new = name if own is None else str(path.with_suffix(own))
        if new.casefold() in taken:
            new = start + end
        base = new.casefold()
        while new.casefold() in taken:
            numbers[base] = numbers.get(base, 1) + 1
            new = f"{start}-{numbers[base]}{end}"
        taken.add(new.casefold())
        result[number] = new
    return result


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name
