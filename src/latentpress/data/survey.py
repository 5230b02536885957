"""What a stranger's files are: their kind, their sizes, their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentpress.data.ahead import open_ahead
from latentpress.data.labels import Numbers
from latentpress.data.sources import ItemRef, Source, list_sources
from latentpress.errors import ItemError
from latentpress.items import ITEM_KINDS, Content, Item, Shape

__all__ = ["Survey", "survey"]

_LOOKED_AT = 200


@dataclass(frozen=True, eq=False)
class Survey:
    """What there is to train on.

    Attributes:
        item: the kind that most files are of, with no more channels than items of a sample have.
        counts: how many files each kind takes, by the kind's name.
        extents: (M, rank), the sizes of a sample of M items, 200 at most.
        source: all items of the kind, with their labels.
    """

    item: Item
    counts: Mapping[str, int]
    extents: Numbers
    source: Source

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The distinct values of every label."""
        return self.source.labels


def survey(
    paths: Sequence[Path | str], *, convert: bool = False, kinds: Sequence[Item] | None = None
) -> Survey:
    """Looks at files, folders and archives.

    Args:
        paths: as `open_sources` takes them.
        convert: see `open_sources`.
        kinds: those to choose from; the first of them wins a draw.

    Raises:
        ItemError: a path cannot be read, no file is of any kind, or no item of the sample can be read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.txt").write_text("some words")
    10
    >>> survey([folder]).item.kind
    'text'
    """
    kinds = kinds or [kind() for kind in ITEM_KINDS]
    sources = [list_sources(paths, kind, convert=convert, choosy=True) for kind in kinds]
    source = max(sources, key=lambda source: len(source.items))
    if not source.items:
        skipped = f": {source.skipped[0].name}, {source.skipped[0].reason}" if source.skipped else ""
        raise ItemError(f"nothing to train on in {', '.join(map(str, paths))}{skipped}")
    sizes: list[Shape] = []
    contents = _readable(source.evenly(_LOOKED_AT).items, sizes)
    item = source.item.narrowed(contents)
    for _ in contents:  # those that did not matter any more
        pass
    if item != source.item:
        source = list_sources(paths, item, convert=convert, choosy=True)
    counts = {each.item.kind: len(each.items) for each in sources}
    return Survey(item, counts, np.array(sizes, np.int64), source)


def _readable(items: Sequence[ItemRef], sizes: list[Shape]) -> Iterator[Content]:
    """The contents of items, whose sizes it adds to `sizes`; raises where it can read none."""
    errors = []
    for result in open_ahead(items):
        if isinstance(result, Content):
            sizes.append(result.size)
            yield result
        else:
            errors.append(result)
    if not sizes:
        raise errors[0]
