"""Names of items: as data in an archive, and as paths that a system can write.

A name is a relative path with forward slashes. It is the file's own, whatever another system makes of it;
bytes of it that are no UTF-8 are the code points U+DC80 to U+DCFF, as `os.fsdecode` gives them. What a system
cannot write is decided where it is to be written: `written_name`.

`pack_names` turns a list of names into three columns that compress well (frames and data sets are numbered):
a name is either the one before it with its number moved on, or spelled out after what it shares with the one
before it.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from os.path import commonprefix
from typing import NamedTuple

from latentpress.errors import ArchiveError, UnsafePathError

__all__ = ["MAX_NAME_BYTES", "NameColumns", "check_name", "check_path", "output_names", "pack_names", "shown"]
__all__ += ["unfit", "unpack_names", "with_suffix", "written_name"]

MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255  # what common file systems allow
_MAX_TOTAL_BYTES = 1 << 26
_DIGITS = "0123456789"
_MAX_DIGITS = 18
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])[ ]*(?:\.|\Z)"
_UNWRITABLE = {  # what a system cannot have in a part of a path, by its name in `sys.platform`
    "darwin": re.compile(r"[\udc80-\udcff]"),
    "win32": re.compile(rf'[\udc80-\udcff\x00-\x1f"*:<>?\\|]|[. ]\Z|\A(?={_DEVICE})[a-z]', re.IGNORECASE),
}
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
_PERCENT = re.compile(r"%(?=[0-9A-F]{2})")


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
            endings.append(_encoded(name[shared[-1] :]) + b"\0")
        last = name
    return NameColumns(steps, shared, b"".join(endings))


def unpack_names(columns: NameColumns) -> list[str]:
    """Returns the names of hostile columns, or raises `ArchiveError`. They are not safe paths yet."""
    spelled = columns.endings.count(0)
    whole = columns.endings[-1:] in (b"", b"\0")
    if not whole or spelled != len(columns.shared) or spelled != columns.steps.count(0):
        raise ArchiveError("damaged archive: the columns of names have different lengths")
    endings = _decoded(columns.endings).split("\0")
    spell = zip(columns.shared, endings, strict=False)
    names, last, total = [], "", 0
    for step in columns.steps:
        if step:
            last = _moved_on(last, step)
        else:
            shared, ending = next(spell)
            last = last[:shared] + ending
        total += len(last)
        if not 1 <= len(last) <= MAX_NAME_BYTES or total > _MAX_TOTAL_BYTES or not _is_whole(last):
            raise ArchiveError("damaged archive: a name is empty, too long, or put together wrongly")
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


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _is_whole(name: str) -> bool:
    """Whether bytes decode to this name: it has no other surrogates, and none that together are UTF-8."""
    if name.isascii():
        return True
    try:
        return _decoded(_encoded(name)) == name
    except UnicodeEncodeError:
        return False


def shown(name: str) -> str:
    r"""Returns a name for a message or a list: itself, or in quotes and ASCII if it is not printable.

    >>> print(shown("a b.txt"), shown("a\nb\udcff.txt"))
    a b.txt 'a\nb\udcff.txt'
    """
    return name if name.isprintable() else ascii(name)


def unfit(name: str) -> str | None:
    """Says why no archive can hold an item of this name, which then is no path below a folder; else None.

    Refused are the empty name, empty parts (and so absolute paths), the parts `.` and `..`, zero bytes, parts
    of more than 255 bytes and names of more than 1024. All else is some system's: control characters too.

    >>> unfit("a/../b")
    "it is absolute or has an empty part, '.' or '..'"
    """
    if not _is_whole(name):
        return "it has half a character"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "it is absolute or has an empty part, '.' or '..'"
    if "\0" in name:
        return "it has a zero byte"
    if len(_encoded(name)) > MAX_NAME_BYTES:
        return f"it has more than {MAX_NAME_BYTES} bytes"
    if max(map(len, _encoded(name).split(b"/"))) > _MAX_PART_BYTES:
        return f"a part of it has more than {_MAX_PART_BYTES} bytes"
    return None


def check_name(name: str, platform: str = sys.platform) -> None:
    """Raises `UnsafePathError` for a name that leads elsewhere than below a folder.

    That is one that no archive can hold (`unfit`); and on Windows (the `platform` "win32", one of the words
    of `sys.platform`) one with a drive, or that is absolute or has `..` if backslashes separate its parts.
    """
    reason = unfit(name)
    if reason is None and platform == "win32":
        parts = name.replace("\\", "/").split("/")
        if _DRIVE.match(name) or not parts[0] or ".." in parts:
            reason = "it has a drive, or is absolute or has '..' on this system"
    if reason is not None:
        raise UnsafePathError(f"unsafe name {name[:80]!a}: {reason}")


def check_path(name: str, platform: str = sys.platform) -> None:
    """Raises `UnsafePathError` for a name that `check_name` refuses, or a system cannot write as it is."""
    check_name(name, platform)
    unwritable = _UNWRITABLE.get(platform)
    if unwritable is not None and any(map(unwritable.search, name.split("/"))):
        raise UnsafePathError(f"unsafe name {name[:80]!a}: this system keeps it for itself, or reads another")


def written_name(name: str, platform: str = sys.platform) -> str:
    r"""Returns the name under which a system can write an item: its own, or one with `%XX` for some bytes.

    On Windows these are reserved and control characters, a dot or space that ends a part, and the first
    letter of a device; there and on macOS they are bytes that are no UTF-8; elsewhere there are none. A part
    that has such, or reads as if it were written so, has `%25` for each `%` before two hexadecimal digits. So
    no two names are written alike: a part was escaped if escaping what its `%XX` stand for gives it again.

    >>> written_name("aux/12:30 call?.txt", "win32"), written_name("12:30 call?.txt", "linux")
    ('%61ux/12%3A30 call%3F.txt', '12:30 call?.txt')
    >>> written_name("a%20b/a%3Fb", "win32")
    'a%20b/a%253Fb'
    """
    unwritable = _UNWRITABLE.get(platform)
    if unwritable is None:
        return name
    return "/".join(_written_part(part, unwritable) for part in name.split("/"))


def _written_part(part: str, unwritable: re.Pattern[str]) -> str:
    meant = _decoded(_ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), _encoded(part)))
    needed = unwritable.search(part) or _escaped(meant, unwritable) == part
    return _escaped(part, unwritable) if needed else part


def _escaped(part: str, unwritable: re.Pattern[str]) -> str:
    return unwritable.sub(lambda match: f"%{_encoded(match[0])[0]:02X}", _PERCENT.sub("%25", part))


def with_suffix(name: str, suffix: str | None) -> str:
    """Returns a name with another suffix, which is what follows the last dot of a part; itself if it is None.

    >>> with_suffix("a.b/c.jpg", ".png"), with_suffix("a.b/.c", ".png")
    ('a.b/c.png', 'a.b/.c.png')
    """
    return name if suffix is None else _stem(name) + suffix


def _stem(name: str) -> str:
    start, dot = name.rfind("/") + 1, name.rfind(".")
    return name[:dot] if start < dot < len(name) - 1 else name


def output_names(
    names: Sequence[str],
    suffix: str | None,
    files: Collection[int] = (),
    platform: str = sys.platform,
) -> list[str]:
    """Returns the name under which each item is written: its own, with another suffix unless that is None.

    What the system cannot write is escaped (`written_name`). Where two would meet (letter case and normal
    forms of Unicode aside, for file systems that ignore them), or a file would stand where a folder must, the
    later one keeps its old suffix too, or gets a number. The items with the numbers `files` keep their
    suffix, and come before the others.

    >>> output_names(["a.jpg", "a.png", "b/c.webp"], ".png")
    ['a.png', 'a.png.png', 'b/c.png']
    >>> output_names(["readme.md", "README.md", "a.c"], None)
    ['readme.md', 'README-2.md', 'a.c']
    >>> output_names(["a.jpg", "a.png"], ".png", files={1})
    ['a.jpg.png', 'a.png']
    """
    taken = {parent for name in names for parent in _parents(_folded(written_name(name, platform)))}
    numbers: dict[str, int] = {}
    result = [""] * len(names)
    for number in sorted(range(len(names)), key=lambda number: number not in files):
        name, own = names[number], None if number in files else suffix
        start, end = (name, own) if own is not None else (_stem(name), name[len(_stem(name)) :])
        new = written_name(with_suffix(name, own), platform)
        if _folded(new) in taken:
            new = written_name(start + end, platform)
        base = _folded(new)
        while _folded(new) in taken:
            numbers[base] = numbers.get(base, 1) + 1
            new = written_name(f"{start}-{numbers[base]}{end}", platform)
        taken.add(_folded(new))
        result[number] = new
    return result


def _folded(name: str) -> str:
    """What names have in common that a file system may take for one."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name
