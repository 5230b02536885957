"""What there is to read: files, folders, zip archives, IDX and .npz files as a list of items.

Opening a source reads names, not items (except of IDX and .npz files, which are arrays already, and the
first bytes of files whose suffix does not tell what they are). The label "class" of an item is the name of
the folder that holds it; items of arrays have the labels that come with these. Names are the files' own,
relative, with forward slashes, unique, and such that an archive can hold them (`latentpress.names`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from latentpress.data import readers
from latentpress.data.readers import File, ItemArray, Label, named
from latentpress.errors import ItemError
from latentpress.items import Attributes, Content, Item, Samples
from latentpress.names import shown, unfit, with_suffix

__all__ = ["ItemRef", "Skipped", "Source", "array_source", "evenly_spaced", "list_sources", "open_sources"]

Labels = Mapping[str, Label]
_MAX_ARCHIVE_BYTES = 1 << 40  # of all that a zip archive declares: beyond it is a bomb
_ZIP_UTF8, _ZIP_UNIX = 1 << 11, 3
_HIDDEN = "hidden files and folders are left out unless they are named"


@dataclass(frozen=True, eq=False)
class ItemRef:
    """One item that can be read.

    Args:
        name: see the module.
        labels: by name; a tuple has a value for each row along the item's first axis.
        open: gives the item's content, or raises `ItemError`; so may reading the content. The error's
            text begins with the item's name.
        file_bytes: of the item's file, None where it has none; the first item of a file of arrays has the
            whole file's, the others 0.
        file: opens the file that is the item, and nothing else, to read its bytes; None where there is none.

    >>> ItemRef.of("a.txt", np.zeros((5, 1), np.uint8), {"class": "zeros"}).open().read(1, 4).shape
    (3, 1)
    """

    name: str
    labels: Labels
    open: Callable[[], Content]
    file_bytes: int | None = None
    file: Callable[[], BinaryIO] | None = None

    @classmethod
    def of(
        cls, name: str, samples: Samples, labels: Labels | None = None, attributes: Attributes | None = None
    ) -> ItemRef:
        """An item in memory, (*size, C)."""
        return cls(name, labels or {}, partial(Content.of, samples, attributes))

    def read(self) -> Samples:
        """All samples (*size, C); raises `ItemError`."""
        return self.open().samples

    def part(self, start: int, stop: int) -> ItemRef:
        """The item that rows start to stop - 1 along the first axis are."""
        labels = {n: v[start:stop] if isinstance(v, tuple) else v for n, v in self.labels.items()}

        def opened() -> Content:
            content = self.open()
            shape = (stop - start, *content.shape[1:])
            return Content(shape, lambda i, j: content.read(start + i, start + j), content.attributes)

        return ItemRef(self.name, labels, opened)


class Skipped(NamedTuple):
    """A file that is left out, and why; `lost` if it is an item after all, and would be missed."""

    name: str
    reason: str
    lost: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """Items of one kind in a fixed order, files that were left out, and the `paths` where all that was."""

    item: Item
    items: tuple[ItemRef, ...]
    skipped: tuple[Skipped, ...] = ()
    paths: tuple[Path, ...] = ()

    def reads(self, path: Path) -> bool:
        """Whether a file is one of those that the items came from, or could be read as one of them."""
        if not path.is_file():
            return False
        real, head = path.resolve(), partial(_head, path)
        return any(
            real.is_relative_to(place.resolve()) and self.item.takes(path.name, head)
            if place.is_dir()
            else place.exists() and place.samefile(path)
            for place in self.paths
        )

    def evenly(self, most: int) -> Source:
        """The same source with at most so many items, evenly spaced."""
        return replace(self, items=tuple(self.items[i] for i in evenly_spaced(len(self.items), most)))


def open_sources(paths: Sequence[Path | str], item: Item, *, convert: bool = False) -> Source:
    """Lists the items in files, folders (recursively), zip archives, IDX(.gz) and .npz files.

    Args:
        paths: what to open. In folders and zip archives the kind says which files are its items; hidden
            files are left out, links are followed but no folder is entered twice; what is no file but is
            called like an item, such as a link to nothing, is left out as `lost`; zip, IDX and .npz files
            are opened only when named here, and if the kind does not take them for items. Any other file
            named here is an item, whatever it holds.
        item: their kind.
        convert: whether to take items that lose something on the way (see `Item.open`).

    Returns:
        The items by path in the order given, each path's in the order of their names. An item whose
        name is taken gets a number.

    Raises:
        ItemError: a path does not exist, cannot be read, or there are no items at all.
    """
    source = list_sources(paths, item, convert=convert)
    if not source.items:
        skipped = source.skipped
        hint = f"; left out {len(skipped)}, first {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise ItemError(f"no {item.words.items} in {', '.join(map(str, paths))}{hint}")
    return source


def list_sources(
    paths: Sequence[Path | str], item: Item, *, convert: bool = False, choosy: bool = False
) -> Source:
    """As `open_sources`, but no items at all are no error; with `choosy` all files are chosen by kind."""
    lister = _Lister(item, convert, choosy)
    listed: list[ItemRef | Skipped] = []
    for path in map(Path, paths):
        with named(str(path)):
            listed.extend(lister.path(path))
    refs = _uniquely_named(each for each in listed if isinstance(each, ItemRef))
    skipped = tuple(each for each in listed if isinstance(each, Skipped))
    return Source(item, refs, skipped, tuple(map(Path, paths)))


def _head(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def array_source(
    samples: Samples | Sequence[Samples],
    item: Item,
    labels: Mapping[str, Sequence[Any]] | Sequence[Any] | np.ndarray | None = None,
    *,
    convert: bool = False,
) -> Source:
    """Makes a source of items in memory, named array/00000.png (or the like) on.

    Args:
        samples: (N, *size) or (N, *size, C), or N arrays (*size, C) of various sizes.
        item: their kind.
        labels: by name, or those called "class" alone: one value an item, or one a row of each item.
        convert: see `open_sources`.

    >>> from latentpress.items import Image
    >>> source = array_source(np.zeros((2, 8, 8, 3), np.uint8), Image(), ["cat", "dog"])
    >>> source.items[1].name, source.items[1].labels
    ('array/00001.png', {'class': 'dog'})
    """
    if isinstance(samples, np.ndarray):
        samples = readers.item_array(samples, item)
    by_name = {} if labels is None else labels if isinstance(labels, Mapping) else {"class": labels}
    values = {name: readers.label_values(each, len(samples), name) for name, each in by_name.items()}
    return Source(item, _uniquely_named(_rows("array", ItemArray(samples, values, {}), item, convert)))


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers 0..count-1, evenly spaced.

    >>> evenly_spaced(10, 4).tolist(), evenly_spaced(3, 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    taken = min(count, most)
    return np.arange(taken) * count // max(1, taken)


@dataclass(frozen=True)
class _Lister:
    """Lists what is at a path, under names that need not be unique; see `list_sources`."""

    item: Item
    convert: bool
    choosy: bool

    def path(self, path: Path) -> Iterable[ItemRef | Skipped]:
        if path.is_dir():
            return self.files(_files_below(path), path.resolve().name)
        if not path.is_file():
            raise ItemError("no such file or folder")
        file = _on_disk(path, path.name)
        magic = file.head(4)
        if self.item.opens_zip(path.name):
            if path.suffix.lower() == ".npz":
                return self.arrays(path.stem, readers.read_npz(path, self.item), file.size)
            if magic in (b"PK\x03\x04", b"PK\x05\x06"):
                return self.files(_entries(path), path.stem)
            if magic.startswith((b"\x1f\x8b", b"\0\0\x08")):
                return self.arrays(
                    path.name.removesuffix(".gz"), readers.read_idx(path, self.item), file.size
                )
        return [self.file(file, path.parent.resolve().name, chosen=not self.choosy)]

    def files(self, files: Iterable[File | Skipped], root: str) -> Iterator[ItemRef | Skipped]:
        """Those below a folder or in a zip archive called `root`."""
        for file in files:
            folders = file.name.split("/")[:-1]
            hidden = _is_hidden(file.name)
            if isinstance(file, Skipped) and not hidden:
                lost = file.lost and self.item.takes(file.name, lambda _: b"\0")  # by its name alone
                yield Skipped(shown(file.name), file.reason, lost)
            elif isinstance(file, File) and not hidden:
                yield self.file(file, folders[-1] if folders else root)
            elif self.item.tells_hidden:
                yield Skipped(shown(file.name), _HIDDEN)

    def arrays(self, folder: str, array: ItemArray, size: int) -> Iterator[ItemRef | Skipped]:
        yield from (Skipped(shown(f"{folder}/{name}"), reason) for name, reason in array.left_out.items())
        for index, ref in enumerate(_rows(folder, array, self.item, self.convert)):
            yield replace(ref, file_bytes=0 if index else size)

    def file(self, file: File, folder: str, *, chosen: bool = False) -> ItemRef | Skipped:
        """What to do with a file, which somebody has `chosen` or the kind may take for an item."""
        try:
            if not chosen and not self.item.takes(file.name, file.head):
                return Skipped(shown(file.name), self.item.foreign)
        except Exception as error:  # a zip archive's parsers may raise anything
            return Skipped(shown(file.name), f"cannot be read: {readers.reason_of(error)}", lost=True)
        if reason := unfit(file.name) or unfit(with_suffix(file.name, self.item.suffix)):
            return Skipped(shown(file.name), f"a name that no archive can hold: {reason}", lost=True)
        opened = partial(file.open, self.item, self.convert)
        return ItemRef(file.name, {"class": folder}, opened, file.size, file.seekable)


def _rows(folder: str, array: ItemArray, item: Item, convert: bool) -> Iterator[ItemRef]:
    digits = max(5, len(str(len(array.samples) - 1)))
    for index in range(len(array.samples)):
        name = f"{folder}/{index:0{digits}d}{item.new_suffix}"
        labels = {label: column[index] for label, column in array.labels.items()}
        yield ItemRef(name, labels, partial(_open_row, item, array.samples, index, convert))


def _uniquely_named(refs: Iterable[ItemRef]) -> tuple[ItemRef, ...]:
    """The items under unique names, with which their errors begin."""
    unique: dict[str, ItemRef] = {}
    numbers: dict[str, int] = {}
    for ref in refs:
        name = ref.name
        while name in unique:
            path = PurePosixPath(ref.name)
            number = numbers[ref.name] = numbers.get(ref.name, 1) + 1
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        unique[name] = replace(ref, name=name, open=partial(readers.open_named, name, ref.open))
    return tuple(unique.values())


def _on_disk(path: Path, name: str) -> File:
    return File(name, partial(path.open, "rb"), path.stat().st_size)


def _files_below(root: Path) -> Iterator[File | Skipped]:
    """Files in the order of their names, hidden folders among them; a loop of links ends where it closes.

    What is neither file nor folder, and a folder that a link enters again, is given as left out.
    """
    pending, entered = [root], dict[tuple[int, int], str]()
    while pending:
        path = pending.pop()
        name = path.relative_to(root).as_posix()
        if path.is_file() or (path != root and _is_hidden(path.name) and path.is_dir()):
            yield _on_disk(path, name)
        elif path.is_dir():
            status = path.stat()
            if (identity := (status.st_dev, status.st_ino)) in entered:
                yield Skipped(name, f"the same folder as {shown(entered[identity])}")
            else:
                entered[identity] = name
                pending += sorted(path.iterdir(), reverse=True)
        else:
            link, there = path.is_symlink(), path.exists()
            kind = "pipe, device or socket" if there else "link to nothing" if link else "file that is gone"
            yield Skipped(name, f"a {kind}", lost=True)


def _entries(path: Path) -> Iterator[File]:
    """Files of a zip archive in the order of their names."""
    archive = zipfile.ZipFile(path)
    entries = [(_entry_name(entry), entry) for entry in archive.infolist() if not entry.is_dir()]
    if sum(entry.file_size for _, entry in entries) > _MAX_ARCHIVE_BYTES:
        raise ItemError("the archive declares more than a tebibyte: is it a zip bomb?")
    for name, entry in sorted(entries, key=itemgetter(0)):
        if not name.startswith("__MACOSX/"):
            yield File(name, partial(archive.open, entry), entry.file_size)


def _entry_name(entry: zipfile.ZipInfo) -> str:
    """Its name: UTF-8 if it says so or is, else code page 437; backslashes part it unless Unix made it."""
    name = entry.filename
    if not entry.flag_bits & _ZIP_UTF8:
        with suppress(UnicodeError):  # it has a name of another field, or is of code page 437 indeed
            name = name.encode("cp437").decode()
    return name if entry.create_system == _ZIP_UNIX else name.replace("\\", "/")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def _open_row(item: Item, samples: Samples | Sequence[Samples], index: int, convert: bool) -> Content:
    return Content.of(np.array(item.fit(samples[index], convert=convert)))
