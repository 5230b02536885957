"""What there is to read: files, folders, zip archives, IDX and .npz files as a list of items.

Opening a source reads names, not items (except of IDX and .npz files, which are arrays already, and the
first bytes of files whose suffix does not tell whether they are text). An item's label is the name of
the folder that holds it, or the one that comes with its array. Names are relative, with forward slashes,
unique, and safe to write below a folder on any system.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from latentpress.data.arrays import ImageArray, image_array, read_idx, read_npz
from latentpress.data.kinds import ImageKind, ItemKind, KindName, TextKind
from latentpress.errors import ItemError, UnsafePathError
from latentpress.names import check_name

__all__ = ["MAX_FILE_BYTES", "ItemRef", "Skipped", "Source", "array_source", "is_lost", "open_sources"]

MAX_FILE_BYTES = 1 << 29
"""Bound on the bytes of one file."""

_MAX_ARCHIVE_BYTES = 1 << 40  # of all that a zip archive declares: beyond it is a bomb
_HIDDEN = "hidden files and folders are left out unless they are named"


@dataclass(frozen=True)
class ItemRef:
    """One item that can be read: `read()` returns its array or raises `ItemError`.

    The array is uint8: pixels (H, W, C), or the bytes of a text, (T, 1). The error's text begins with the
    item's name.
    """

    name: str
    label: str | None
    read: Callable[[], np.ndarray]


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Items in a fixed order, their distinct labels in order, and the files that are left out."""

    items: tuple[ItemRef, ...]
    labels: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


_Head = Callable[[int], bytes]  # the first so many bytes of a file
_Found = Iterator[ItemRef | Skipped]


def open_sources(
    paths: Sequence[Path | str],
    *,
    kind: KindName = "image",
    channels: Literal[1, 3] | None = None,
    drop_alpha: bool = False,
    drop_colour: bool = False,
) -> Source:
    """Lists the items in files, folders (recursively) and zip archives; images also in IDX(.gz) and .npz.

    Args:
        paths: What to open. In folders and zip archives images are told by their suffix, and texts too,
            or by beginning as UTF-8; hidden files are left out, links are followed but no folder is
            entered twice; zip, IDX and .npz files are opened only when named here. As a text, any other
            file named here is taken whatever it holds.
        kind: What the items are: "image" or "text". What follows is of images.
        channels: 1 for grey, 3 for RGB, `None` for what each file has.
        drop_alpha: Whether to ignore alpha channels instead of refusing the images that have one.
        drop_colour: Whether to turn colours into grey, where `channels` is 1, instead of refusing the
            images that have any. RGB whose channels are all the same is grey either way.

    Returns:
        The items by path in the order given, each path's in the order of their names. An item whose
        name is taken gets a number.

    Raises:
        ItemError: A path does not exist, cannot be read, or there are no items at all.
    """
    reader = TextKind() if kind == "text" else ImageKind(channels, drop_alpha, drop_colour)
    found: list[ItemRef | Skipped] = []
    for path in map(Path, paths):
        try:
            found.extend(_open(path, reader))
        except ItemError as error:
            raise ItemError(f"{path}: {error}") from None
        except Exception as error:  # a parser of hostile bytes may raise anything
            raise ItemError(f"{path}: cannot be read: {error}") from None
    skipped = tuple(one for one in found if isinstance(one, Skipped))
    source = _source((one for one in found if isinstance(one, ItemRef)), skipped)
    if not source.items:
        where = ", ".join(map(str, paths))
        hint = f"; left out {len(skipped)}, first {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise ItemError(f"no {reader.word} in {where}{hint}")
    return source


def is_lost(skipped: Skipped, kind: str) -> bool:
    """Whether a file that was left out is an item of that kind after all, and would be missed.

    >>> is_lost(Skipped("a.txt", "its name is unsafe"), "text"), is_lost(Skipped("a.txt", "-"), "image")
    (True, False)
    """
    if kind == "text":
        return skipped.reason not in (TextKind.foreign, _HIDDEN)
    return ImageKind().takes(skipped.name.strip("'\""), lambda _: b"")


def array_source(
    images: np.ndarray,
    labels: Sequence[object] | np.ndarray | None = None,
    *,
    channels: Literal[1, 3] | None = None,
    drop_colour: bool = False,
    folder: str = "array",
) -> Source:
    """Makes a source of images in memory, uint8 (N, H, W) or (N, H, W, C), named `folder`/00000.png on.

    `channels` and `drop_colour` are those of `open_sources`.

    >>> source = array_source(np.zeros((2, 8, 8, 3), np.uint8), ["cat", "dog"])
    >>> source.items[1].name, source.items[1].label, source.labels
    ('array/00001.png', 'dog', ('cat', 'dog'))
    """
    reader = ImageKind(channels, drop_colour=drop_colour)
    return _source(_array_items(folder, image_array(images, labels), reader))


def _source(items: Iterable[ItemRef], skipped: tuple[Skipped, ...] = ()) -> Source:
    unique = tuple(_with_unique_names(items))
    labels = sorted({item.label for item in unique if item.label is not None})
    return Source(unique, tuple(labels), skipped)


def _with_unique_names(items: Iterable[ItemRef]) -> Iterator[ItemRef]:
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for item in items:
        name = item.name
        while name in taken:
            number = numbers[item.name] = numbers.get(item.name, 1) + 1
            path = PurePosixPath(item.name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        taken.add(name)
        yield item if name == item.name else dataclasses.replace(item, name=name)


def _open(path: Path, kind: ItemKind) -> _Found:
    if path.is_dir():
        return _open_folder(path, kind)
    if not path.is_file():
        raise ItemError("no such file or folder")
    with path.open("rb") as file:
        magic = file.read(4)
    if isinstance(kind, ImageKind) and path.suffix.lower() == ".npz":
        return _array_items(path.stem, read_npz(path), kind)
    if magic in (b"PK\x03\x04", b"PK\x05\x06") and kind.is_zip(path.name):
        return _open_zip(path, kind)
    if isinstance(kind, ImageKind) and magic.startswith((b"\x1f\x8b", b"\0\0\x08")):
        return _array_items(path.name.removesuffix(".gz"), read_idx(path), kind)
    return iter([_accept(path.name, _folder_name(path.parent), kind, partial(_read_file, path))])


def _open_folder(root: Path, kind: ItemKind) -> _Found:
    for path in _files(root, hidden=kind.tells_hidden):
        name = path.relative_to(root).as_posix()
        if path.name.startswith(".") and path != root:
            yield Skipped(name, _HIDDEN)
        else:
            label = _folder_name(root) if path.parent == root else path.parent.name
            yield _choose(name, label, kind, partial(_read_file, path))


def _files(root: Path, *, hidden: bool) -> Iterator[Path]:
    """Walks the files below `root` in the order of their names; a loop of links ends where it closes.

    Of what is `hidden` it gives the files and folders, without entering these, or nothing.
    """
    pending, entered = [root], set()
    while pending:
        path = pending.pop()
        if path.is_file() or (path.name.startswith(".") and path != root):
            yield path
        elif path.is_dir():
            status = path.stat()
            if (identity := (status.st_dev, status.st_ino)) not in entered:
                entered.add(identity)
                inside = (p for p in path.iterdir() if hidden or not p.name.startswith("."))
                pending += sorted(inside, reverse=True)


def _open_zip(path: Path, kind: ItemKind) -> _Found:
    archive = zipfile.ZipFile(path)  # stays open for the items' sake and closes with the last of them
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > _MAX_ARCHIVE_BYTES:
        raise ItemError("the archive declares more than a tebibyte: is it a zip bomb?")
    named = [(entry.filename.replace("\\", "/"), entry) for entry in entries if not entry.is_dir()]
    for name, entry in sorted(named, key=itemgetter(0)):
        *folders, last = name.split("/")
        if "__MACOSX" in folders[:1]:
            continue
        if any(part[:1] == "." and part != ".." for part in (*folders, last)):
            if kind.tells_hidden:
                yield Skipped(name, _HIDDEN)
            continue
        label = folders[-1] if folders else path.stem
        yield _choose(name, label, kind, partial(_read_entry, archive, entry))


def _choose(name: str, label: str, kind: ItemKind, head: _Head) -> ItemRef | Skipped:
    """What to do with a file that nobody named."""
    try:
        taken = kind.takes(name, head)
    except Exception as error:  # a zip archive's parsers may raise anything
        return Skipped(name, f"cannot be read: {error}")
    return _accept(name, label, kind, head) if taken else Skipped(name, kind.foreign)


def _accept(name: str, label: str, kind: ItemKind, head: _Head) -> ItemRef | Skipped:
    try:
        check_name(name)
    except UnsafePathError as error:
        return Skipped(ascii(name), str(error))
    return ItemRef(name, label, partial(_read, name, kind, head))


def _array_items(folder: str, array: ImageArray, kind: ImageKind) -> Iterator[ItemRef]:
    digits = max(5, len(str(len(array.images) - 1)))
    for index in range(len(array.images)):
        name = f"{folder}/{index:0{digits}d}.png"
        label = None if array.labels is None else array.labels[index]
        yield ItemRef(name, label, partial(_row, name, kind, array.images, index))


def _folder_name(folder: Path) -> str:
    return folder.resolve().name


def _read(name: str, kind: ItemKind, head: _Head) -> np.ndarray:
    try:
        data = head(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ItemError(f"the file has more than {MAX_FILE_BYTES >> 20} MiB")
        return kind.decode(data)
    except ItemError as error:
        raise ItemError(f"{name}: {error}") from None
    except Exception as error:  # a zip archive's parsers may raise anything
        raise ItemError(f"{name}: cannot be read: {error}") from None


def _row(name: str, kind: ImageKind, images: np.ndarray, index: int) -> np.ndarray:
    try:
        return kind.wanted(images[index].copy())
    except ItemError as error:
        raise ItemError(f"{name}: {error}") from None


def _read_file(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(entry) as file:
        return file.read(most)
