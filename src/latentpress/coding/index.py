"""The two maps of an archive's metadata: `HEAD`, of the archive as a whole, and `INDX`, of items and blocks.

What is read may be hostile: whatever is out of range raises `ArchiveError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding import metadata
from latentpress.coding.layout import Grid
from latentpress.coding.metadata import get
from latentpress.coding.records import MAX_ITEMS, Header, ItemRecord, Stored, shape_fits
from latentpress.errors import ArchiveError
from latentpress.names import NameColumns, pack_names, unpack_names

__all__ = ["pack_head", "pack_index", "read_blocks", "read_head", "read_items", "read_stored"]

_FIELDS: dict[str, type[Any]] = {
    **dict.fromkeys(("kind", "content", "model"), str),
    **dict.fromkeys(("channels", "segment", "labels", "residual"), int),
    **dict.fromkeys(("hop", "code_alphabets", "sample_alphabets"), list),
}
_BLOCKS = {"lengths": 8, "payload_crcs": 4, "symbols_crcs": 4}  # columns, and bytes of their integers
_IDS = ("codes", "decoder", "encoder", "prior")
_NEEDED = {"codes": {"codes"}, "samples": {"decoder"}, "chains": {"decoder", "encoder", "prior"}}
_CODE_COMPONENTS = {"codes": range(1, 65), "samples": range(65), "chains": range(1)}
_KIND = re.compile(r"[a-z0-9_-]{1,32}")
_ATTRIBUTE = re.compile(r"[a-z_]{1,64}")
_MAX_FILE = 1 << 40

Integers = NDArray[Any]
Tree = dict[str, Any]


def pack_head(header: Header) -> bytes:
    """Returns a header as CBOR; `ArchiveError` for one that `read_head` would refuse."""
    _check(header)
    tree = {name: getattr(header, name) for name in _FIELDS}
    tree |= {f"{name}_id": id for name, id in header.ids.items()}
    return metadata.dump(tree if header.seed is None else tree | {"seed": header.seed})


def read_head(data: bytes) -> Header:
    """Inverse of `pack_head`."""
    tree = metadata.load(data)
    fields: Tree = {name: get(tree, name, kind) for name, kind in _FIELDS.items()}
    fields |= {name: tuple(fields[name]) for name, kind in _FIELDS.items() if kind is list}
    if fields["content"] not in _NEEDED or fields["residual"] > 1:
        raise ArchiveError("archive with a content that this release does not know")
    fields |= {"residual": bool(fields["residual"])}
    ids = {name: get(tree, f"{name}_id", bytes) for name in _IDS if f"{name}_id" in tree}
    header = Header(**fields, ids=ids, seed=get(tree, "seed", int) if "seed" in tree else None)
    _check(header)
    return header


def _check(header: Header) -> None:
    fits = {
        "kind": _KIND.fullmatch(header.kind),
        "number of channels": 1 <= header.channels <= 64,
        "hop": _in_range(header.hop, range(1, 4), least=1),
        "alphabet of codes": _in_range(header.code_alphabets, _CODE_COMPONENTS[header.content], least=2),
        "alphabet of samples": _in_range(header.sample_alphabets, range(1, 65), least=2),
        "segment": 1 << 6 <= header.segment <= 1 << 20,
        "residual": not header.residual or header.lossless,
        "number of labels": 0 <= header.labels <= 64,
        "model's name": header.model.isprintable(),
        "set of ids": _NEEDED[header.content] <= set(header.ids) <= set(_IDS),
        "length of an id": all(len(id) == 16 for id in header.ids.values()),
        "seed": header.seed is None or (not header.lossless and 0 <= header.seed < 1 << 64),
    }
    for what, fit in fits.items():
        if not fit:
            raise ArchiveError(f"damaged archive: its header has a {what} that it cannot have")


def _in_range(values: Sequence[Any], number: range, least: int) -> bool:
    return len(values) in number and all(type(v) is int and least <= v <= 1 << 16 for v in values)


def pack_index(items: Sequence[ItemRecord], blocks: Sequence[tuple[int, ...]], stored: Stored) -> bytes:
    """Returns the index as CBOR, given each block's length, CRC-32 of its bytes and its symbols, and mode."""
    steps, shared, endings = pack_names(item.name for item in items)
    tree: Tree = {"steps": metadata.pack(steps), "shared": metadata.pack(shared), "endings": endings}
    tree["extents"] = [metadata.pack(axis, 8) for axis in zip(*(item.shape for item in items), strict=True)]
    *columns, modes = np.array(blocks, np.uint64).reshape(-1, 4).T
    tree["modes"] = modes.astype(np.uint8).tobytes()
    for (key, width), column in zip(_BLOCKS.items(), columns, strict=True):
        tree[key] = metadata.pack(column, width)
    if any(item.labels for item in items):
        columns = zip(*(item.labels for item in items), strict=True)
        tree["labels"] = [metadata.pack([label + 1 for label in column]) for column in columns]
    if tracks := [item.tracks for item in items if item.tracks is not None]:
        tree["tracked"] = bytes(item.tracks is not None for item in items)
        tree["tracks"] = [metadata.pack(column + 1) for column in np.concatenate(tracks).T]
    if names := sorted({name for item in items for name in item.attributes}):
        tree["attributes"] = names
        tree["attributed"] = [bytes(name in item.attributes for item in items) for name in names]
        values = ([i.attributes[name] for i in items if name in i.attributes] for name in names)
        tree["values"] = [metadata.pack(column, 8) for column in values]
    if any(item.duplicate_of is not None for item in items):
        originals = [0 if item.duplicate_of is None else item.duplicate_of + 1 for item in items]
        tree["originals"] = metadata.pack(originals)
    if stored.fallback:
        tree["fallback"] = bytes(number in stored.fallback for number in range(len(items)))
    if stored.files:
        tree["files"] = metadata.pack([stored.files.get(number, -1) + 1 for number in range(len(items))], 8)
    return metadata.dump(tree)


def read_blocks(tree: Tree) -> list[list[int]]:
    """The lengths, both CRC-32s and the modes of all blocks."""
    modes = get(tree, "modes", bytes)
    columns = [metadata.unpack(tree.get(key), len(modes), width).tolist() for key, width in _BLOCKS.items()]
    return [*columns, list(modes)]


def read_items(tree: Tree, header: Header, max_samples: int | None = None) -> tuple[ItemRecord, ...]:
    """The items of an index, which have so many samples at most, if that is given."""
    steps = metadata.unpack(get(tree, "steps", bytes))
    count = len(steps)
    if not 1 <= count <= MAX_ITEMS:
        raise ArchiveError(f"archive of {count} items; this release reads 1 to {MAX_ITEMS}")
    columns = _columns(tree, "extents", header.rank, count, 8)
    sizes = np.prod([column.astype(np.float64) for column in columns], axis=0)
    if max_samples is not None and (samples := header.channels * float(sizes.sum())) > max_samples:
        raise ArchiveError(f"archive of {samples:,.0f} samples; {max_samples:,} are allowed (--max-samples)")
    shared = metadata.unpack(get(tree, "shared", bytes))
    if len(shared) > count:
        raise ArchiveError("damaged archive: there are more names than items")
    names = unpack_names(NameColumns(steps.tolist(), shared.tolist(), get(tree, "endings", bytes)))
    shapes = _rows(columns)
    if not all(map(shape_fits, set(shapes))):
        raise ArchiveError("archive with an item that is empty or too large for this release")
    labels = [(-1,) * header.labels] * count
    if "labels" in tree and header.labels:
        labels = _rows([column - 1 for column in _columns(tree, "labels", header.labels, count)])
    tracks, attributes = _read_tracks(tree, header, shapes), _read_attributes(tree, count)
    originals = _read_originals(tree, shapes)
    return tuple(
        ItemRecord(name, shapes[n], labels[n], tracks.get(n), attributes.get(n, {}), originals.get(n))
        for n, name in enumerate(names)
    )


def _read_tracks(tree: Tree, header: Header, shapes: Sequence[Grid]) -> dict[int, Integers]:
    if "tracked" not in tree:
        return {}
    if not header.labels:
        raise ArchiveError("damaged archive: there are tracks of labels that its header does not know")
    tracked = _flagged(tree["tracked"], len(shapes))
    ends = np.cumsum([0, *(shapes[n][0] for n in tracked)]).tolist()  # 2^20 items of 2^40 rows, at most
    rows = np.stack(_columns(tree, "tracks", header.labels, ends[-1]), axis=1)
    rows -= 1
    return {n: rows[start:stop] for n, start, stop in zip(tracked, ends, ends[1:], strict=False)}


def _read_attributes(tree: Tree, count: int) -> dict[int, dict[str, int]]:
    if "attributes" not in tree:
        return {}
    names, flags, values = (get(tree, key, list) for key in ("attributes", "attributed", "values"))
    sound = all(isinstance(name, str) and _ATTRIBUTE.fullmatch(name) for name in names)
    if not sound or not len(set(names)) == len(names) == len(flags) == len(values):
        raise ArchiveError("damaged archive: its index has attributes that it cannot have")
    attributes: dict[int, dict[str, int]] = {}
    for name, flag, column in zip(names, flags, values, strict=True):
        items = _flagged(flag, count)
        for item, value in zip(items, metadata.unpack(column, len(items), 8).tolist(), strict=True):
            attributes.setdefault(item, {})[name] = value
    return attributes


def _read_originals(tree: Tree, shapes: Sequence[Grid]) -> dict[int, int]:
    if "originals" not in tree:
        return {}
    column = metadata.unpack(tree["originals"], len(shapes)) - 1
    originals = {n: original for n, original in enumerate(column.tolist()) if original >= 0}
    for number, original in originals.items():
        if original >= number or original in originals or shapes[original] != shapes[number]:
            raise ArchiveError("damaged archive: an item is a duplicate of one that it cannot be")
    return originals


def read_stored(tree: Tree, items: Sequence[ItemRecord]) -> Stored:
    """The items that the model does not code."""
    fallback = _flagged(tree["fallback"], len(items)) if "fallback" in tree else []
    if any(not items[n].positions or items[n].duplicate_of is not None for n in fallback):
        raise ArchiveError("damaged archive: the fallback codec stores an item that has nothing to store")
    column = metadata.unpack(tree["files"], len(items), 8).tolist() if "files" in tree else []
    files = {n: length - 1 for n, length in enumerate(column) if length}
    if any(items[n].duplicate_of is not None or n in fallback for n in files):
        raise ArchiveError("damaged archive: the file of an item is there that is stored already")
    if max(files.values(), default=0) > _MAX_FILE:
        raise ArchiveError("archive with a file that is too large for this release")
    return Stored(frozenset(fallback), files)


def _flagged(flags: Any, count: int) -> list[int]:
    """The numbers of the items whose flag is 1."""
    if not isinstance(flags, bytes) or len(flags) != count or flags.count(0) + flags.count(1) != count:
        raise ArchiveError("damaged archive: a column of flags has the wrong length, or other numbers")
    return np.flatnonzero(np.frombuffer(flags, np.uint8)).tolist()


def _columns(tree: Tree, key: str, number: int, count: int, width: int = 4) -> list[Integers]:
    columns = get(tree, key, list)
    if len(columns) != number:
        raise ArchiveError(f"damaged archive: its index has not {number} columns of {key}")
    return [metadata.unpack(column, count, width) for column in columns]


def _rows(columns: Sequence[Integers]) -> list[Grid]:
    return list(zip(*(column.tolist() for column in columns), strict=True))
