"""The archive file, `.lpz`: sections, items, blocks, checks. `docs/archive.md` defines every byte.

    magic and version | HEAD | TABL | DATA: the blocks | INDX: items and blocks | digest, end mark

`write_archive` writes it; `Archive` reads it, taking every byte as hostile: lengths are checked
against the file before anything is allocated, and whatever is wrong raises `ArchiveError`. Nothing
here knows of models: codes of blocks in the prior's mode are decoded by who has the prior.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import zlib
from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentpress.coding import metadata, modes
from latentpress.coding.layout import Part
from latentpress.coding.modes import Mode
from latentpress.coding.records import (
    MAX_ITEMS,
    MAX_SAMPLES,
    MAX_SIDE,
    Block,
    Header,
    ItemRecord,
    symbols_crc,
)
from latentpress.coding.tables import normalize
from latentpress.errors import ArchiveError
from latentpress.names import NameColumns, pack_names, unpack_names

__all__ = ["Archive", "pack_counts", "write_archive"]

MAGIC = b"\x89LPZ\r\n\x1a\n"
VERSION = 1
END = b"LPZ\n"
_MAX_HEAD = 1 << 16
_ID_BYTES = 16
_MAX_INDEX = 1 << 26
_MAX_SECTIONS = 64
_DIGEST_BYTES = 16
_CHUNK = 1 << 20
_MODES = {
    Part.CODES: {Mode.RAW, Mode.STATIC, Mode.ADAPTIVE, Mode.PRIOR},
    Part.PIXELS: {Mode.PIXELS},
    Part.CHAIN: {Mode.BITS_BACK},
}
_WHOLE_MODES = {"image": {Mode.RAW, Mode.WEBP}, "text": {Mode.RAW, Mode.LZMA}}

Integers = NDArray[Any]


def write_archive(
    file: BinaryIO,
    header: Header,
    items: Sequence[ItemRecord],
    blocks: Sequence[Block],
    counts: Sequence[Integers] | None = None,
    whole: Collection[int] = (),
) -> int:
    """Writes an archive and returns its length in bytes.

    Args:
        file: where to; only its `write` is used.
        header: the archive's own record.
        items: in the order that laid out the blocks.
        blocks: one for each of the header's `layout`, in that order.
        counts: for the static mode, how often each symbol (sizes[p],) of each member p comes.
        whole: in a lossless archive, the numbers of the items that are stored whole.
    """
    fields = {name: value for name, value in asdict(header).items() if value is not None}
    head = MAGIC + bytes([VERSION]) + _section(b"HEAD", metadata.dump(fields))
    if counts is not None:
        head += _section(b"TABL", pack_counts(counts))
    length = sum(len(block.payload) for block in blocks)
    head += b"DATA" + length.to_bytes(8, "little")
    tail = _section(b"INDX", zlib.compress(_pack_index(header, items, blocks, whole), 9))
    digest = hashlib.blake2b(head + tail, digest_size=_DIGEST_BYTES).digest()
    for part in (head, *(block.payload for block in blocks), tail, digest, END):
        file.write(part)
    return len(head) + length + len(tail) + len(digest) + len(END)


def pack_counts(counts: Sequence[Integers]) -> bytes:
    """Returns the payload of the section that holds the static tables, here as counts (sizes[p],)."""
    return zlib.compress(metadata.pack(np.concatenate(counts)), 9)


def _section(tag: bytes, payload: bytes) -> bytes:
    return tag + len(payload).to_bytes(8, "little") + payload


def _pack_index(
    header: Header, items: Sequence[ItemRecord], blocks: Sequence[Block], whole: Collection[int]
) -> bytes:
    steps, shared, endings = pack_names(item.name for item in items)
    index: dict[str, Any] = {
        "steps": metadata.pack(steps),
        "shared": metadata.pack(shared),
        "endings": endings,
        "shape": [metadata.pack(axis) for axis in zip(*(item.shape for item in items), strict=True)],
        "modes": bytes(block.mode for block in blocks),
        "lengths": metadata.pack([len(block.payload) for block in blocks]),
        "payload_crcs": metadata.pack([zlib.crc32(block.payload) for block in blocks]),
        "symbols_crcs": metadata.pack([block.symbols_crc for block in blocks]),
    }
    if any(item.label is not None for item in items):
        index["labels"] = metadata.pack([0 if item.label is None else item.label + 1 for item in items])
    if header.lossless:
        index["whole"] = bytes(number in whole for number in range(len(items)))
    return metadata.dump(index)


class Archive:
    """An archive opened for reading; a block's bytes are read when asked for.

    Attributes:
        header: the `Header`.
        items: the `ItemRecord`s, in order.
        whole: numbers of the items that are stored whole; only a lossless archive has any.
        layout: what of the items each block holds.
        modes: the mode of each block.
        lengths: int64, bytes of each block.
        size: bytes of the whole file.

    Raises:
        ArchiveError: the file is damaged, truncated, of another format or of a later version.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file if file.seekable() else io.BytesIO(file.read())
        self.size = self._file.seek(0, os.SEEK_END)
        sections, self._data = self._read_sections()
        self.header = _read_header(sections[b"HEAD"])
        self.tables = _read_tables(sections.get(b"TABL"), self.header.sizes)
        index = metadata.load(metadata.inflate(sections[b"INDX"], _MAX_INDEX))
        self.items = _read_items(index, len(self.header.hop))
        self.whole = _read_whole(index, self.header, len(self.items))
        if any(not self.items[number].samples for number in self.whole):
            raise ArchiveError("damaged archive: an item without a sample is stored whole")
        self._read_blocks(index)
        shapes = [item.shape for item in self.items]
        self.layout = self.header.layout(shapes, self.whole, max_blocks=len(self.modes))
        if len(self.layout) != len(self.modes):
            raise ArchiveError("damaged archive: the items need fewer blocks than there are")
        allowed = {**_MODES, Part.WHOLE: _WHOLE_MODES[self.header.kind]}
        if any(mode not in allowed[b.part] for mode, b in zip(self.modes, self.layout, strict=True)):
            raise ArchiveError("damaged archive: a block has a mode that is not for what it holds")

    @cached_property
    def blocks_of(self) -> list[list[int]]:
        """The blocks that hold each item's segments: those of its codes, then of its pixels, in order."""
        blocks: list[list[int]] = [[] for _ in self.items]
        for number, block in enumerate(self.layout):
            for lane in block.lanes:
                blocks[lane.item].append(number)
        return blocks

    def payload(self, number: int) -> bytes:
        """Returns the bytes of block `number`, or raises `ArchiveError` if they are damaged."""
        self._file.seek(self._data + int(self._offsets[number]))
        payload = self._file.read(int(self.lengths[number]))
        if zlib.crc32(payload) != self._payload_crcs[number]:
            raise ArchiveError(f"damaged archive: {self._where(number)} has other bytes than were written")
        return payload

    def stored_codes(self, number: int) -> NDArray[np.int32]:
        """Returns the symbols (T, L, P) of block `number`, whose mode needs no model and no other format."""
        block, payload, mode = self.layout[number], self.payload(number), self.modes[number]
        shape = block.positions, len(block.lanes)
        sizes = self.header.sizes if block.part is Part.CODES else self.header.pixel_sizes
        if mode is Mode.RAW:
            codes = modes.decode_raw(payload, shape, sizes)
        elif mode is Mode.STATIC:
            codes = modes.decode_static(payload, shape, self.tables)
        else:
            assert mode is Mode.ADAPTIVE
            codes = modes.decode_adaptive(payload, shape, sizes)
        self.check(number, codes)
        return codes

    def check(self, number: int, codes: Integers) -> None:
        """Raises `ArchiveError` unless codes (T, L, P) are those that were coded in block `number`."""
        if symbols_crc(codes) != self._symbols_crcs[number]:
            raise ArchiveError(f"damaged archive: {self._where(number)} has other symbols than were coded")

    def _where(self, number: int) -> str:
        lanes = self.layout[number].lanes
        first, last = self.items[lanes[0].item].name, self.items[lanes[-1].item].name
        return f"block {number} ({first}{f' ... {last}' if last != first else ''})"

    def _read_sections(self) -> tuple[dict[bytes, bytes], int]:
        """Returns the payloads of all sections but DATA, and where that one's starts."""
        start = self._read_at(0, len(MAGIC) + 1)
        if start[: len(MAGIC)] != MAGIC:
            raise ArchiveError(_other_format(start))
        if start[-1] != VERSION:
            raise ArchiveError(f"archive of format version {start[-1]}; this release reads version {VERSION}")
        end = self.size - _DIGEST_BYTES - len(END)
        trailer = self._read_at(max(end, len(start)), _DIGEST_BYTES + len(END))
        if trailer[_DIGEST_BYTES:] != END:
            raise ArchiveError("truncated archive: its end is missing, or something was appended")
        digest = hashlib.blake2b(start, digest_size=_DIGEST_BYTES)
        sections: dict[bytes, bytes] = {}
        data, position = 0, len(start)
        while position < end:
            head = self._read_at(position, 12)
            tag, length = head[:4], int.from_bytes(head[4:], "little")
            position += 12
            if length > end - position or tag in sections or len(sections) == _MAX_SECTIONS:
                raise ArchiveError("damaged archive: a section is longer than the file, or there twice")
            digest.update(head)
            sections[tag] = b""
            if tag == b"DATA":
                data, self._data_length = position, length
            elif tag in (b"HEAD", b"TABL", b"INDX"):
                if length > _MAX_INDEX:
                    raise ArchiveError("damaged archive: a section is too long")
                sections[tag] = self._read_at(position, length)
                digest.update(sections[tag])
            elif tag[0] & 0x20:  # lower case: may be ignored
                self._hash_range(digest, position, length)
            else:
                raise ArchiveError(f"archive with a section {tag!a} that this release does not know")
            position += length
        if digest.digest() != trailer[:_DIGEST_BYTES]:
            raise ArchiveError("damaged archive: its header or index does not match its digest")
        if not {b"HEAD", b"DATA", b"INDX"} <= set(sections):
            raise ArchiveError("damaged archive: a section is missing")
        return sections, data

    def _read_at(self, position: int, length: int) -> bytes:
        self._file.seek(position)
        data = self._file.read(length)
        if len(data) != length:
            raise ArchiveError("truncated archive: it ends too early")
        return data

    def _hash_range(self, digest: Any, position: int, length: int) -> None:
        for start in range(position, position + length, _CHUNK):
            digest.update(self._read_at(start, min(_CHUNK, position + length - start)))

    def _read_blocks(self, index: dict[str, Any]) -> None:
        numbers = metadata.get(index, "modes", bytes)
        count = len(numbers)
        self.lengths = metadata.unpack(metadata.get(index, "lengths", bytes), count)
        self._payload_crcs = metadata.unpack(metadata.get(index, "payload_crcs", bytes), count)
        self._symbols_crcs = metadata.unpack(metadata.get(index, "symbols_crcs", bytes), count)
        self._offsets = np.cumsum(self.lengths) - self.lengths
        if np.any(self.lengths == 0) or self.lengths.sum() != self._data_length:
            raise ArchiveError("damaged archive: the blocks' lengths do not sum to what is there")
        if not set(numbers) <= set(Mode) or (Mode.STATIC in numbers and not self.tables):
            raise ArchiveError("damaged archive: a block of an unknown mode, or without its table")
        self.modes = [Mode(number) for number in numbers]  # no more than there are bytes in DATA


def _other_format(start: bytes) -> str:
    if start[1:4] == MAGIC[1:4]:
        return "damaged archive: it was changed on the way as if it were text; transfer it in binary mode"
    return "not a Latentpress archive"


def _read_header(data: bytes) -> Header:
    if len(data) > _MAX_HEAD:
        raise ArchiveError("damaged archive: its header is too long")
    tree = metadata.load(data)
    header = Header(
        kind=metadata.get(tree, "kind", str),
        channels=metadata.get(tree, "channels", int),
        sizes=tuple(metadata.get(tree, "sizes", list)),
        hop=tuple(metadata.get(tree, "hop", list)),
        model=metadata.get(tree, "model", str),
        prior_id=metadata.get(tree, "prior_id", bytes),
        codebook_id=metadata.get(tree, "codebook_id", bytes),
        pixels_id=metadata.get(tree, "pixels_id", bytes) if "pixels_id" in tree else None,
        differences=metadata.get(tree, "differences", int) if "pixels_id" in tree else None,
        seed=metadata.get(tree, "seed", int) if "seed" in tree else None,
        encoder_id=metadata.get(tree, "encoder_id", bytes) if "encoder_id" in tree else None,
    )
    fewest = 0 if header.lossless else 1
    for values, least, few, many in ((header.sizes, 2, fewest, 64), (header.hop, 1, 1, 3)):
        whole = all(type(value) is int and least <= value <= 65536 for value in values)
        if not whole or not few <= len(values) <= many:
            raise ArchiveError("damaged archive: a size in its header is out of range")
    if header.seed is not None and (header.lossless or not 0 <= header.seed < 1 << 64):
        raise ArchiveError("damaged archive: its header has a seed that it cannot have")
    if header.differences not in (None, 0, 1):
        raise ArchiveError("damaged archive: its header says neither pixels nor differences")
    _check_kind(header)
    if not header.model.isprintable():
        raise ArchiveError("damaged archive: its header is out of range")
    if header.encoder_id is not None and (not header.lossless or header.sizes or header.differences):
        raise ArchiveError("damaged archive: its header says bits back, and does not fit that")
    ids = [header.prior_id, header.codebook_id, header.pixels_id, header.encoder_id]
    if {len(id) for id in ids if id is not None} != {_ID_BYTES}:
        raise ArchiveError(f"damaged archive: an id in its header has not {_ID_BYTES} bytes")
    return header


def _check_kind(header: Header) -> None:
    if header.kind == "image":
        fits = len(header.hop) == 2 and header.channels in (1, 3)
    elif header.kind == "text":
        fits = len(header.hop) == 1 and header.channels == 1 and header.differences == 0
    else:
        raise ArchiveError("archive of items of a kind that this release does not know")
    if not fits:
        raise ArchiveError(f"damaged archive: its header is not one of {header.kind}s")


def _read_tables(data: bytes | None, sizes: Sequence[int]) -> list[Integers]:
    if data is None:
        return []
    counts = metadata.unpack(metadata.inflate(data, 4 * sum(sizes)), sum(sizes))
    members = np.split(counts, np.cumsum(sizes)[:-1])
    if any(member.sum() == 0 for member in members):
        raise ArchiveError("damaged archive: a static table is empty")
    return [normalize(member[None])[0] for member in members]


def _read_whole(index: dict[str, Any], header: Header, count: int) -> frozenset[int]:
    if ("whole" in index) != header.lossless:
        raise ArchiveError("damaged archive: its header and its index differ about being lossless")
    if not header.lossless:
        return frozenset()
    flags = metadata.get(index, "whole", bytes)
    if len(flags) != count or not set(flags) <= {0, 1}:
        raise ArchiveError("damaged archive: its index does not say which items are stored whole")
    return frozenset(number for number, flag in enumerate(flags) if flag)


def _fits(shape: tuple[int, ...]) -> bool:
    """Whether an item may have these extents: texts, which have one, may be long, or empty."""
    if len(shape) == 1:
        return shape[0] <= MAX_SAMPLES
    return 1 <= math.prod(shape) <= MAX_SAMPLES and max(shape) <= MAX_SIDE


def _read_items(index: dict[str, Any], dims: int) -> tuple[ItemRecord, ...]:
    steps = metadata.unpack(metadata.get(index, "steps", bytes))
    count = len(steps)
    if not 1 <= count <= MAX_ITEMS:
        raise ArchiveError(f"archive of {count} items; this release reads 1 to {MAX_ITEMS}")
    shared = metadata.unpack(metadata.get(index, "shared", bytes))
    if len(shared) > count:
        raise ArchiveError("damaged archive: there are more names than items")
    names = unpack_names(NameColumns(steps.tolist(), shared.tolist(), metadata.get(index, "endings", bytes)))
    axes = metadata.get(index, "shape", list)
    if len(axes) != dims or not all(isinstance(axis, bytes) for axis in axes):
        raise ArchiveError("damaged archive: the items' shapes do not fit its header")
    shapes = list(zip(*(metadata.unpack(axis, count).tolist() for axis in axes), strict=True))
    if not all(map(_fits, set(shapes))):
        raise ArchiveError("archive with an item that is empty or too large for this release")
    labels: list[int] = [0] * count
    if "labels" in index:
        labels = metadata.unpack(metadata.get(index, "labels", bytes), count).tolist()
    return tuple(
        ItemRecord(name, shape, label - 1 if label else None)
        for name, shape, label in zip(names, shapes, labels, strict=True)
    )
