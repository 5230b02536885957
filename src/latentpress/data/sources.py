"""What there is to read: files, folders, zip archives, IDX and .npz files as a list of items.

Opening a source reads names, not items (except of IDX and .npz files, which are arrays already, and the
first bytes of files whose suffix does not tell what they are). The label "class" of an item is the name of
the folder that holds it; items of arrays have the labels that come with these. Names are relative, with
forward slashes, unique, and safe to write below a folder on any system.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from latentpress.data.arrays import ItemArray, Label, item_array, label_values, read_idx, read_npz
from latentpress.data.readers import content_of, named, open_entry, open_path, read_head, reason_of
from latentpress.errors import ItemError, UnsafePathError
from latentpress.items import Attributes, Content, Item, Samples
from latentpress.names import check_name

__all__ = ["ItemRef", "Skipped", "Source", "array_source", "evenly_spaced", "list_sources", "open_sources"]

_MAX_ARCHIVE_BYTES = 1 << 40  # of all that a zip archive declares: beyond it is a bomb
_HIDDEN = "hidden files and folders are left out unless they are named"
_Opener = Callable[[], BinaryIO]
_Head = Callable[[int], bytes]  # the first so many bytes


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

    >>> ItemRef.of("a.txt", np.zeros((5, 1), np.uint8), {"class": "zeros"}).open().read(1, 4).shape
    (3, 1)
    """

    name: str
    labels: Mapping[str, Label]
    open: Callable[[], Content]
    file_bytes: int | None = None

    @classmethod
    def of(
        cls,
        name: str,
        samples: Samples,
        labels: Mapping[str, Label] | None = None,
        attributes: Attributes | None = None,
    ) -> ItemRef:
        """An item in memory, (*size, C)."""
        return cls(name, labels or {}, partial(Content.of, samples, attributes))

    def read(self) -> Samples:
        """All samples (*size, C); raises `ItemError`."""
        return self.open().samples

    def part(self, start: int, stop: int) -> ItemRef:
        """The item that rows start to stop - 1 along the first axis are."""
        labels = {
            n: value[start:stop] if isinstance(value, tuple) else value for n, value in self.labels.items()
        }
        return ItemRef(self.name, labels, partial(_open_part, self, start, stop))


class Skipped(NamedTuple):
    """A file that is left out, and why; `lost` if it is an item after all, and would be missed."""

    name: str
    reason: str
    lost: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """Items of one kind in a fixed order.

    Attributes:
        item: the kind.
        items: what can be read.
        labels: the distinct values of every label, in order.
        skipped: files left out.
    """

    item: Item
    items: tuple[ItemRef, ...]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of(cls, item: Item, items: Iterable[ItemRef], skipped: Iterable[Skipped] = ()) -> Source:
        """A source of these items, with the values that their labels have."""
        items = tuple(items)
        values: dict[str, set[str]] = {}
        for ref in items:
            for name, value in ref.labels.items():
                values.setdefault(name, set()).update(value if isinstance(value, tuple) else (value,))
        labels = {name: tuple(sorted(distinct)) for name, distinct in values.items()}
        return cls(item, items, labels, tuple(skipped))

    def evenly(self, most: int) -> Source:
        """The same source with at most so many items, evenly spaced."""
        chosen = tuple(self.items[number] for number in evenly_spaced(len(self.items), most))
        return dataclasses.replace(self, items=chosen)


def open_sources(paths: Sequence[Path | str], item: Item, *, convert: bool = False) -> Source:
    """Lists the items in files, folders (recursively), zip archives, IDX(.gz) and .npz files.

    Args:
        paths: what to open. In folders and zip archives the kind says which files are its items; hidden
            files are left out, links are followed but no folder is entered twice; zip, IDX and .npz files
            are opened only when named here, and if the kind does not take them for items. Any other file
            named here is an item, whatever it holds.
        item: the kind of the items.
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
    listed: list[_Entry | Skipped] = []
    for path in map(Path, paths):
        with named(str(path)):
            listed.extend(lister.path(path))
    skipped = (entry for entry in listed if isinstance(entry, Skipped))
    return Source.of(item, _uniquely_named(e for e in listed if isinstance(e, _Entry)), skipped)


def array_source(
    samples: Samples | Sequence[Samples],
    item: Item,
    labels: Mapping[str, Sequence[Any]] | Sequence[Any] | np.ndarray | None = None,
    *,
    convert: bool = False,
    folder: str = "array",
) -> Source:
    """Makes a source of items in memory, named `folder`/00000.png (or the like) on.

    Args:
        samples: (N, *size) or (N, *size, C), or N arrays (*size, C) of various sizes.
        item: their kind.
        labels: by name, or those called "class" alone: one value an item, or one a row of each item.
        convert: see `open_sources`.
        folder: begins the names.

    >>> from latentpress.items import Image
    >>> source = array_source(np.zeros((2, 8, 8, 3), np.uint8), Image(), ["cat", "dog"])
    >>> source.items[1].name, source.items[1].labels, source.labels
    ('array/00001.png', {'class': 'dog'}, {'class': ('cat', 'dog')})
    """
    if isinstance(samples, np.ndarray):
        samples = item_array(samples, item)
    by_name = {} if labels is None else labels if isinstance(labels, Mapping) else {"class": labels}
    values = {name: label_values(each, len(samples), name) for name, each in by_name.items()}
    return Source.of(item, _uniquely_named(_rows(folder, samples, values, item, convert)))


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers 0..count-1, evenly spaced.

    >>> evenly_spaced(10, 4).tolist(), evenly_spaced(3, 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    taken = min(count, most)
    return np.arange(taken) * count // max(1, taken)


class _Entry(NamedTuple):
    """An item before its name is known to be unique; `open` takes the name that it gets."""

    name: str
    labels: Mapping[str, Label]
    open: Callable[[str], Content]
    file_bytes: int | None = None


@dataclass(frozen=True)
class _Lister:
    """Lists what is below a path; see `list_sources`."""

    item: Item
    convert: bool
    choosy: bool

    def path(self, path: Path) -> Iterator[_Entry | Skipped]:
        if path.is_dir():
            return self.folder(path)
        if not path.is_file():
            raise ItemError("no such file or folder")
        head = partial(read_head, partial(path.open, "rb"))
        magic = head(4)
        if self.item.opens_zip(path.name):
            if path.suffix.lower() == ".npz":
                return self.arrays(path.stem, read_npz(path, self.item), path)
            if magic in (b"PK\x03\x04", b"PK\x05\x06"):
                return self.archive(path)
            if magic.startswith((b"\x1f\x8b", b"\0\0\x08")):
                return self.arrays(path.name.removesuffix(".gz"), read_idx(path, self.item), path)
        place = path.name, _folder_name(path.parent), partial(open_path, path), path.stat().st_size
        return iter([self.choose(*place, head) if self.choosy else self.accept(*place)])

    def folder(self, root: Path) -> Iterator[_Entry | Skipped]:
        for path in _files(root, hidden=self.item.tells_hidden):
            name = path.relative_to(root).as_posix()
            if path.name.startswith(".") and path != root:
                yield Skipped(_shown(name), _HIDDEN)
            else:
                folder = _folder_name(root) if path.parent == root else path.parent.name
                head = partial(read_head, partial(path.open, "rb"))
                yield self.choose(name, folder, partial(open_path, path), path.stat().st_size, head)

    def archive(self, path: Path) -> Iterator[_Entry | Skipped]:
        archive = zipfile.ZipFile(path)
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _MAX_ARCHIVE_BYTES:
            raise ItemError("the archive declares more than a tebibyte: is it a zip bomb?")
        files = [(entry.filename.replace("\\", "/"), entry) for entry in entries if not entry.is_dir()]
        for name, entry in sorted(files, key=itemgetter(0)):
            *folders, last = name.split("/")
            if "__MACOSX" in folders[:1]:
                continue
            if any(part[:1] == "." and part != ".." for part in (*folders, last)):
                if self.item.tells_hidden:
                    yield Skipped(_shown(name), _HIDDEN)
                continue
            folder, head = folders[-1] if folders else path.stem, partial(archive.open, entry)
            opener = partial(open_entry, archive, entry)
            yield self.choose(name, folder, opener, entry.file_size, partial(read_head, head))

    def arrays(self, folder: str, array: ItemArray, path: Path) -> Iterator[_Entry | Skipped]:
        yield from (Skipped(_shown(f"{folder}/{name}"), reason) for name, reason in array.left_out.items())
        rows = _rows(folder, array.samples, array.labels, self.item, self.convert)
        for index, row in enumerate(rows):
            yield row._replace(file_bytes=0 if index else path.stat().st_size)

    def choose(self, name: str, folder: str, file: _Opener, file_bytes: int, head: _Head) -> _Entry | Skipped:
        """What to do with a file that nobody named."""
        try:
            taken = self.item.takes(name, head)
        except Exception as error:  # a zip archive's parsers may raise anything
            return Skipped(_shown(name), f"cannot be read: {reason_of(error)}", lost=True)
        return (
            self.accept(name, folder, file, file_bytes) if taken else Skipped(_shown(name), self.item.foreign)
        )

    def accept(self, name: str, folder: str, file: _Opener, file_bytes: int) -> _Entry | Skipped:
        try:
            check_name(name)
        except UnsafePathError as error:
            return Skipped(ascii(name), str(error), lost=True)
        return _Entry(name, {"class": folder}, partial(content_of, self.item, file, self.convert), file_bytes)


def _rows(
    folder: str,
    samples: Samples | Sequence[Samples],
    labels: Mapping[str, Sequence[Label]],
    item: Item,
    convert: bool,
) -> Iterator[_Entry]:
    digits = max(5, len(str(len(samples) - 1)))
    for index in range(len(samples)):
        name = f"{folder}/{index:0{digits}d}{item.new_suffix}"
        values = {label: column[index] for label, column in labels.items()}
        yield _Entry(name, values, partial(_open_row, item, samples, index, convert))


def _uniquely_named(entries: Iterable[_Entry]) -> Iterator[ItemRef]:
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for entry in entries:
        name = entry.name
        while name in taken:
            number = numbers[entry.name] = numbers.get(entry.name, 1) + 1
            path = PurePosixPath(entry.name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        taken.add(name)
        yield ItemRef(name, entry.labels, partial(entry.open, name), entry.file_bytes)


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


def _folder_name(folder: Path) -> str:
    return folder.resolve().name


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _open_row(
    item: Item, samples: Samples | Sequence[Samples], index: int, convert: bool, name: str
) -> Content:
    with named(name):
        return Content.of(np.array(item.fit(samples[index], convert=convert)))


def _open_part(ref: ItemRef, start: int, stop: int) -> Content:
    content = ref.open()
    shape = (stop - start, *content.shape[1:])
    return Content(shape, lambda first, last: content.read(start + first, start + last), content.attributes)
