"""What a stranger's files are: their kind and their sizes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentpress.data.ahead import open_ahead
from latentpress.data.sources import list_sources
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
    """

    item: Item
    counts: Mapping[str, int]
    extents: NDArray[np.int64]


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
    errors: list[ItemError] = []

    def readable() -> Iterator[Content]:
        for result in open_ahead(source.evenly(_LOOKED_AT).items):
            if isinstance(result, ItemError):
                errors.append(result)
            else:
                sizes.append(result.size)
                yield result

    contents = readable()
    item = source.item.narrowed(contents)
    deque(contents, maxlen=0)  # the sizes of those that did not matter any more
    if not sizes:
        raise errors[0]
    counts = {each.item.kind: len(each.items) for each in sources}
    return Survey(item, counts, np.array(sizes, np.int64))
