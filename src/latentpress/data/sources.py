"""What there is to read: files, folders, zip archives, IDX and .npz files as a list of items.

Opening a source reads names, not pixels (except of IDX and .npz files, which are arrays already). An
item's label is the name of the folder that holds it, or the one that comes with its array. Names are
relative, with forward slashes, unique, and safe to write below a folder on any system.
"""

from __future__ import annotations

import dataclasses
import posixpath
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from latentpress.coding.names import check_name
from latentpress.data.arrays import ImageArray, image_array, read_idx, read_npz
from latentpress.errors import ItemError, UnsafePathError
from latentpress.items.image import IMAGE_SUFFIXES, read_image, to_channels

__all__ = ["MAX_FILE_BYTES", "ItemRef", "Skipped", "Source", "array_source", "open_sources"]

MAX_FILE_BYTES = 1 << 29
"""Bound on the bytes of one image file."""

_MAX_ARCHIVE_BYTES = 1 << 40  # of all that a zip archive declares: beyond it is a bomb
_NO_IMAGE = "not the suffix of an image"
_HAS_COLOUR = (
    "the image has colour, and the model is grey: convert it to grey, or train a colour model "
    "(--set model.item.channels=3)"
)


@dataclass(frozen=True)
class ItemRef:
    """One item that can be read: `read()` returns pixels, uint8 (H, W, C), or raises `ItemError`.

    The error's text begins with the item's name.
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
    """Items in a fixed order, their distinct labels in order, and the files that are not images."""

    items: tuple[ItemRef, ...]
    labels: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class _Reader(NamedTuple):
    """How pixels are wanted."""

    channels: Literal[1, 3] | None
    drop_alpha: bool
    drop_colour: bool

    def item(self, name: str, label: str | None, load: Callable[[], bytes]) -> ItemRef:
        return ItemRef(name, label, partial(self._image, name, load))

    def array_items(self, folder: str, array: ImageArray) -> Iterator[ItemRef]:
        digits = max(5, len(str(len(array.images) - 1)))
        for index in range(len(array.images)):
            name = f"{folder}/{index:0{digits}d}.png"
            label = None if array.labels is None else array.labels[index]
            yield ItemRef(name, label, partial(self._row, name, array.images, index))

    def _image(self, name: str, load: Callable[[], bytes]) -> np.ndarray:
        try:
            return self._wanted(read_image(load(), drop_alpha=self.drop_alpha))
        except ItemError as error:
            raise ItemError(f"{name}: {error}") from None
        except Exception as error:  # a zip archive's parsers may raise anything
            raise ItemError(f"{name}: cannot be read: {error}") from None

    def _row(self, name: str, images: np.ndarray, index: int) -> np.ndarray:
        try:
            return self._wanted(images[index].copy())
        except ItemError as error:
            raise ItemError(f"{name}: {error}") from None

    def _wanted(self, pixels: np.ndarray) -> np.ndarray:
        if self.channels is None:
            return pixels
        if self.channels == 1 and not self.drop_colour and (pixels[..., 1:] != pixels[..., :1]).any():
            raise ItemError(_HAS_COLOUR)
        return to_channels(pixels, self.channels)


_Found = Iterator[ItemRef | Skipped]


def open_sources(
    paths: Sequence[Path | str],
    *,
    channels: Literal[1, 3] | None = None,
    drop_alpha: bool = False,
    drop_colour: bool = False,
) -> Source:
    """Lists the images in files, folders (recursively), zip archives, IDX(.gz) and .npz files.

    Args:
        paths: What to open. In folders and zip archives images are told by their suffix, hidden files
            are left out, links are followed but no folder is entered twice; zip, IDX and .npz files
            are opened only when named here.
        channels: 1 for grey, 3 for RGB, `None` for what each file has.
        drop_alpha: Whether to ignore alpha channels instead of refusing the images that have one.
        drop_colour: Whether to turn colours into grey, where `channels` is 1, instead of refusing the
            images that have any. RGB whose channels are all the same is grey either way.

    Returns:
        The items by path in the order given, each path's in the order of their names. An item whose
        name is taken gets a number.

    Raises:
        ItemError: A path does not exist, cannot be read, or there are no images at all.
    """
    reader = _Reader(channels, drop_alpha, drop_colour)
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
        raise ItemError(f"no images in {where}{hint}")
    return source


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
    return _source(_Reader(channels, False, drop_colour).array_items(folder, image_array(images, labels)))


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


def _open(path: Path, reader: _Reader) -> _Found:
    if path.is_dir():
        return _open_folder(path, reader)
    if not path.is_file():
        raise ItemError("no such file or folder")
    with path.open("rb") as file:
        magic = file.read(4)
    if path.suffix.lower() == ".npz":
        return reader.array_items(path.stem, read_npz(path))
    if magic in (b"PK\x03\x04", b"PK\x05\x06"):
        return _open_zip(path, reader)
    if magic.startswith((b"\x1f\x8b", b"\0\0\x08")):
        return reader.array_items(path.name.removesuffix(".gz"), read_idx(path))
    return iter([_accept(path.name, _folder_name(path.parent), reader, partial(_read_file, path))])


def _open_folder(root: Path, reader: _Reader) -> _Found:
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if _is_image(name):
            label = _folder_name(root) if path.parent == root else path.parent.name
            yield _accept(name, label, reader, partial(_read_file, path))
        else:
            yield Skipped(name, _NO_IMAGE)


def _files(root: Path) -> Iterator[Path]:
    """Walks the files below `root` in the order of their names; a loop of links ends where it closes."""
    pending, entered = [root], set()
    while pending:
        path = pending.pop()
        if path.is_file():
            yield path
        elif path.is_dir():
            status = path.stat()
            if (identity := (status.st_dev, status.st_ino)) not in entered:
                entered.add(identity)
                pending += sorted((p for p in path.iterdir() if not p.name.startswith(".")), reverse=True)


def _open_zip(path: Path, reader: _Reader) -> _Found:
    archive = zipfile.ZipFile(path)  # stays open for the items' sake and closes with the last of them
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > _MAX_ARCHIVE_BYTES:
        raise ItemError("the archive declares more than a tebibyte: is it a zip bomb?")
    named = [(entry.filename.replace("\\", "/"), entry) for entry in entries if not entry.is_dir()]
    for name, entry in sorted(named, key=itemgetter(0)):
        *folders, last = name.split("/")
        if "__MACOSX" in folders[:1] or any(part[:1] == "." and part != ".." for part in (*folders, last)):
            continue
        if _is_image(last):
            label = folders[-1] if folders else path.stem
            yield _accept(name, label, reader, partial(_read_entry, archive, entry))
        else:
            yield Skipped(name, _NO_IMAGE)


def _is_image(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _accept(name: str, label: str, reader: _Reader, load: Callable[[], bytes]) -> ItemRef | Skipped:
    try:
        check_name(name)
    except UnsafePathError as error:
        return Skipped(ascii(name), str(error))
    return reader.item(name, label, load)


def _folder_name(folder: Path) -> str:
    return folder.resolve().name


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(MAX_FILE_BYTES + 1))


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return _bounded(file.read(MAX_FILE_BYTES + 1))


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise ItemError(f"the file has more than {MAX_FILE_BYTES >> 20} MiB")
    return data
