"""Items and blocks of .lpz archives made from docs/archive.md alone: no code is shared with the package."""

import math
from dataclasses import dataclass

# Metadata


def column(data, width=4):
    n = len(data) // width
    assert len(data) == n * width
    return [sum(data[plane * n + i] << 8 * plane for plane in range(width)) for i in range(n)]


def flagged(data):
    assert set(data) <= {0, 1}
    return [i for i, flag in enumerate(data) if flag]


def move_on(name, step):
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".") if "." in last else (last, "", "")
    stem = folder + slash + stem
    end = max(i for i, char in enumerate(stem) if char in "0123456789") + 1
    start = end
    while start and stem[start - 1] in "0123456789" and end - start < 18:
        start -= 1
    number = str(int(stem[start:end]) + step).zfill(end - start)
    return stem[:start] + number + stem[end:] + dot + suffix


def names_of(index):
    endings = iter(index["endings"].decode("utf-8", "surrogateescape").split("\0"))
    shared = iter(column(index["shared"]))
    name, names = "", []
    for step in column(index["steps"]):
        name = move_on(name, step) if step else name[: next(shared)] + next(endings)
        names.append(name)
        assert name == name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return names


@dataclass
class Item:
    name: str
    extents: tuple
    labels: tuple = ()
    tracks: list | None = None  # a tuple of labels for each row
    attributes: dict | None = None
    original: int | None = None
    stored: bool = False  # by the fallback codec
    file: int | None = None  # bytes of the file that is stored


def items_of(head, index):
    extents = zip(*(column(axis, 8) for axis in index["extents"]), strict=True)
    items = [Item(name, own, attributes={}) for name, own in zip(names_of(index), extents, strict=True)]
    columns = index.get("labels", [bytes(4 * len(items))] * head["labels"])
    for item, *labels in zip(items, *map(column, columns), strict=True):
        item.labels = tuple(label - 1 for label in labels)
    rows = zip(*(column(track) for track in index.get("tracks", [])), strict=True)
    for i in flagged(index.get("tracked", b"")):
        items[i].tracks = [tuple(x - 1 for x in next(rows)) for _ in range(items[i].extents[0])]
    assert next(rows, None) is None
    keys = (index.get(key, []) for key in ("attributes", "attributed", "values"))
    for name, flags, values in zip(*keys, strict=True):
        for i, value in zip(flagged(flags), column(values, 8), strict=True):
            items[i].attributes[name] = value
    for i, original in enumerate(column(index.get("originals", b""))):
        if original:
            items[i].original = original - 1
    for i in flagged(index.get("fallback", b"")):
        items[i].stored = True
    for i, length in enumerate(column(index.get("files", b""), 8)):
        if length:
            items[i].file = length - 1
    return items


# What is in which block


def bands_of(grid, most):
    """Returns [(first row, last row + 1), ...]."""
    rows, row = grid[0], math.prod(grid[1:])
    height = rows
    if rows * row > most:
        height = math.ceil(rows / math.ceil(rows / max(1, most // row)))
    return [(first, min(rows, first + height)) for first in range(0, rows, height)]


def blocks_of(grids, components, most, full, stored=(), chained=False):
    """Returns [(shape, [(item, first row, last row + 1), ...]), ...] of {item: grid}."""
    closed, still_open = [], {}
    for item, grid in grids.items():
        if not grid[0] or (item in stored and math.prod(grid) > most):
            continue
        for first, last in bands_of(grid, most):
            shape = (last - first, *grid[1:])
            key = shape[1:] if chained else shape
            lanes = still_open.setdefault(key, [])
            lanes.append((item, first, last))
            rows = sum(last - first for _, first, last in lanes)
            if rows * math.prod(grid[1:]) * (1 if chained else components) >= full:
                closed.append((key, still_open.pop(key)))
    blocks = []
    for key, lanes in closed + list(still_open.items()):
        kept = [lane for lane in lanes if lane[0] not in stored]
        if chained:
            kept.sort(key=lambda lane: lane[2] - lane[1])
            key = (sum(last - first for _, first, last in kept), *key)
        if kept:
            blocks.append((key, kept))
    return blocks


def layout_of(head, items):
    """Returns [(what, shape, lanes), ...]."""
    extents = {i: item.extents for i, item in enumerate(items) if item.original is None}
    stored = {i for i, item in enumerate(items) if item.stored}
    files = {i: item.file for i, item in enumerate(items) if item.file is not None}
    absent = stored | set(files)
    blocks, components, segment = [], len(head["sample_alphabets"]), head["segment"]
    if head["code_alphabets"]:
        grids = {
            i: tuple(math.ceil(e / h) for e, h in zip(own, head["hop"], strict=True))
            for i, own in extents.items()
        }
        found = blocks_of(grids, len(head["code_alphabets"]), 4096, 4096, absent)
        blocks += [("codes", *block) for block in found]
    if head["content"] == "samples":
        found = blocks_of(extents, components, segment, min(1 << 16, 4 * segment), absent)
        blocks += [("samples", *block) for block in found]
    if head["content"] == "chains":
        found = blocks_of(extents, 1, segment, min(1 << 18, 16 * segment), absent, chained=True)
        blocks += [("chain", *block) for block in found]
    for i in sorted(stored):
        for first, last in bands_of(items[i].extents, 1 << 26):
            blocks.append(("fallback", (last - first, *items[i].extents[1:]), [(i, first, last)]))
    for i, length in files.items():
        for first, last in bands_of((length,), 1 << 26) if length else ():
            blocks.append(("file", (last - first,), [(i, first, last)]))
    return blocks
