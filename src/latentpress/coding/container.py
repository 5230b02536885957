"""The archive file, `.lpz`: sections, items, blocks, checks. `docs/archive.md` defines every byte.

    magic and version | HEAD | TABL | DATA: the blocks | INDX: items and blocks | digest, end mark

`Archive` takes every byte as hostile: lengths are checked against the file before anything is allocated, and
whatever is wrong raises `ArchiveError`. Blocks in modes that need a model are decoded by those who have it.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentpress.coding import metadata, modes
from latentpress.coding.index import pack_head, pack_index, read_blocks, read_head, read_items, read_stored
from latentpress.coding.layout import Part, Segment
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, Header, ItemRecord, Stored, symbols_crc
from latentpress.coding.tables import normalize
from latentpress.errors import ArchiveError
from latentpress.names import shown

__all__ = ["Archive", "pack_counts", "write_archive"]

MAGIC = b"\x89LPZ\r\n\x1a\n"
VERSION = 1
END = b"LPZ\n"
_MAX_INDEX = 1 << 26
_LONGEST = {b"HEAD": 1 << 16, b"TABL": _MAX_INDEX, b"INDX": _MAX_INDEX}
_MAX_SECTIONS = 64
_DIGEST_BYTES = 16
_CHUNK = 1 << 20
_MODES = {
    Part.CODES: {Mode.RAW, Mode.STATIC, Mode.ADAPTIVE, Mode.PRIOR},
    Part.SAMPLES: {Mode.SAMPLES},
    Part.CHAIN: {Mode.BITS_BACK},
    Part.FALLBACK: {Mode.RAW, Mode.PACKED},
    Part.FILE: {Mode.RAW, Mode.PACKED},
}

Integers = NDArray[Any]


def write_archive(
    file: BinaryIO,
    header: Header,
    items: Sequence[ItemRecord],
    blocks: Iterable[Block],
    counts: Sequence[Integers] | None = None,
    stored: Stored | None = None,
) -> int:
    """Writes an archive and returns its length in bytes.

    Args:
        file: where to, from its position on; it must be seekable.
        header: of the archive as a whole.
        items: in the order that laid out the blocks.
        blocks: one for each of the header's `layout`, in that order; each is written as it comes.
        counts: for the static mode, how often each symbol (code_alphabets[p],) of each component p comes.
        stored: the items that the model does not code.

    Raises:
        ArchiveError: the header is one that no archive can have.
    """
    start = file.tell()
    head = MAGIC + bytes([VERSION]) + _section(b"HEAD", pack_head(header))
    if counts is not None:
        head += _section(b"TABL", pack_counts(counts))
    file.write(head + b"DATA" + bytes(8))
    rows = []
    for block in blocks:
        file.write(block.payload)
        rows.append((len(block.payload), zlib.crc32(block.payload), block.symbols_crc, block.mode))
    length = sum(row[0] for row in rows).to_bytes(8, "little")
    tail = _section(b"INDX", zlib.compress(pack_index(items, rows, stored or Stored()), 9))
    digest = hashlib.blake2b(head + b"DATA" + length + tail, digest_size=_DIGEST_BYTES).digest()
    file.write(tail + digest + END)
    end = file.tell()
    file.seek(start + len(head) + 4)
    file.write(length)
    file.seek(end)
    return end - start


def pack_counts(counts: Sequence[Integers]) -> bytes:
    """Returns the payload of the section that holds the static tables, as counts (code_alphabets[p],)."""
    return zlib.compress(metadata.pack(np.concatenate(counts)), 9)


def _section(tag: bytes, payload: bytes) -> bytes:
    return tag + len(payload).to_bytes(8, "little") + payload


class Archive:
    """An archive opened for reading; a block's bytes are read when asked for.

    Attributes:
        header, items: of the archive as a whole, and of each item.
        stored: the items that the model does not code.
        tables: of the static mode, one a component of the codes.
        layout, modes, lengths: what each block holds, its mode, and its bytes.
        size: bytes of the whole file.

    Args:
        file: to read from.
        max_samples: of all items together, if there is a bound; it is looked at before anything is made of
            them.

    Raises:
        ArchiveError: the file is damaged, truncated, of another format or of a later version, or its items
            have more samples.
    """

    def __init__(self, file: BinaryIO, max_samples: int | None = None) -> None:
        self._file = file if file.seekable() else io.BytesIO(file.read())
        self.size = self._file.seek(0, os.SEEK_END)
        sections, start, length = self._read_sections()
        self.header = read_head(sections[b"HEAD"])
        self.tables = _read_tables(sections.get(b"TABL"), self.header.code_alphabets)
        index = metadata.load(metadata.inflate(sections[b"INDX"], _MAX_INDEX))
        self.lengths, self._payload_crcs, self._symbols_crcs, modes = read_blocks(index)
        if 0 in self.lengths or sum(self.lengths) != length:
            raise ArchiveError("damaged archive: the blocks' lengths do not sum to what is there")
        self.items = read_items(index, self.header, max_samples)
        self.stored = read_stored(index, self.items)
        self._starts = np.cumsum([start, *self.lengths]).tolist()
        # No more work from here on than there are blocks, each of which has a byte at least.
        self.layout = self.header.layout(self.items, self.stored, max_blocks=len(self.lengths))
        self.modes = self._checked_modes(modes)

    @cached_property
    def blocks_of(self) -> list[list[int]]:
        """The blocks that hold each item, or its original, in order: of its codes, then of its samples."""
        return [list(dict.fromkeys(number for number, _ in places)) for places in self._places]

    def blocks_of_rows(self, item: int, part: Part, start: int, stop: int) -> list[int]:
        """The blocks of one part that hold rows `start` to `stop` - 1 of an item, or of its original.

        Rows are along the first axis: of the grid of codes in `Part.CODES`, of the item itself in others.
        """
        lanes = ((n, lane) for n, lane in self._places[item] if self.layout[n].part is part)
        return list(dict.fromkeys(n for n, lane in lanes if lane.start < stop and start < lane.stop))

    def original(self, item: int) -> int:
        """The number of the item that this one is a duplicate of; `item` itself where it is none."""
        original = self.items[item].duplicate_of
        return item if original is None else original

    def payload(self, number: int) -> bytes:
        """Returns the bytes of block `number`, or raises `ArchiveError` if they are damaged."""
        payload = self._read_at(self._starts[number], self.lengths[number])
        if zlib.crc32(payload) != self._payload_crcs[number]:
            raise ArchiveError(f"damaged archive: {self._where(number)} has other bytes than were written")
        return payload

    def stored_symbols(self, number: int) -> Integers:
        """Returns the symbols (T, L, P) of block `number`, whose mode is raw, static or adaptive."""
        block, payload, mode = self.layout[number], self.payload(number), self.modes[number]
        shape, alphabets = (block.positions, len(block.lanes)), self.header.alphabets(block.part)
        if mode is Mode.STATIC:
            symbols = modes.decode_static(payload, shape, self.tables)
        else:
            decode = {Mode.RAW: modes.decode_raw, Mode.ADAPTIVE: modes.decode_adaptive}[mode]
            symbols = decode(payload, shape, alphabets)
        self.check(number, symbols)
        return symbols

    def check(self, number: int, symbols: Integers) -> None:
        """Raises `ArchiveError` unless symbols (T, L, P) are those that were coded in block `number`."""
        if symbols_crc(symbols) != self._symbols_crcs[number]:
            raise ArchiveError(f"damaged archive: {self._where(number)} has other symbols than were coded")

    @cached_property
    def _places(self) -> list[list[tuple[int, Segment]]]:
        """Each item's segments, and the block that each is in."""
        places: list[list[tuple[int, Segment]]] = [[] for _ in self.items]
        for number, block in enumerate(self.layout):
            for segment in block.lanes:
                places[segment.item].append((number, segment))
        return [places[self.original(item)] for item in range(len(self.items))]

    def _where(self, number: int) -> str:
        lanes = self.layout[number].lanes
        first, last = (shown(self.items[lanes[place].item].name) for place in (0, -1))
        return f"block {number} ({first}{f' ... {last}' if last != first else ''})"

    def _read_sections(self) -> tuple[dict[bytes, bytes], int, int]:
        """Returns the payloads of all sections but DATA, and where that one's starts and how long it is."""
        start = self._read_at(0, len(MAGIC) + 1)
        if start[1:4] == MAGIC[1:4] and start[: len(MAGIC)] != MAGIC:
            raise ArchiveError("damaged archive: changed on the way like a text; transfer it in binary mode")
        if start[: len(MAGIC)] != MAGIC:
            raise ArchiveError("not a Latentpress archive")
        if start[-1] != VERSION:
            raise ArchiveError(f"archive of format version {start[-1]}; this release reads version {VERSION}")
        end = self.size - _DIGEST_BYTES - len(END)
        trailer = self._read_at(max(end, len(start)), _DIGEST_BYTES + len(END))
        if trailer[_DIGEST_BYTES:] != END:
            raise ArchiveError("truncated archive: its end is missing, or something was appended")
        digest = hashlib.blake2b(start, digest_size=_DIGEST_BYTES)
        sections: dict[bytes, bytes] = {}
        data, data_length, position = 0, 0, len(start)
        while position < end:
            head = self._read_at(position, 12)
            tag, length = head[:4], int.from_bytes(head[4:], "little")
            position += 12
            if length > end - position or tag in sections or len(sections) == _MAX_SECTIONS:
                raise ArchiveError("damaged archive: a section is longer than the file, or there twice")
            digest.update(head)
            sections[tag] = b""
            if tag == b"DATA":
                data, data_length = position, length
            elif tag in _LONGEST:
                if length > _LONGEST[tag]:
                    raise ArchiveError("damaged archive: a section is too long")
                sections[tag] = self._read_at(position, length)
                digest.update(sections[tag])
            elif tag[0] & 0x20:  # lower case: may be ignored
                for chunk in range(position, position + length, _CHUNK):
                    digest.update(self._read_at(chunk, min(_CHUNK, position + length - chunk)))
            else:
                raise ArchiveError(f"archive with a section {tag!a} that this release does not know")
            position += length
        if digest.digest() != trailer[:_DIGEST_BYTES]:
            raise ArchiveError("damaged archive: its header or index does not match its digest")
        if not {b"HEAD", b"DATA", b"INDX"} <= set(sections):
            raise ArchiveError("damaged archive: a section is missing")
        return sections, data, data_length

    def _read_at(self, position: int, length: int) -> bytes:
        self._file.seek(position)
        data = self._file.read(length)
        if len(data) != length:
            raise ArchiveError("truncated archive: it ends too early")
        return data

    def _checked_modes(self, numbers: Sequence[int]) -> list[Mode]:
        """Each block's mode, which must be one for what it holds."""
        if len(self.layout) != len(numbers):
            raise ArchiveError("damaged archive: the items need fewer blocks than there are")
        if any(mode not in _MODES[block.part] for mode, block in zip(numbers, self.layout, strict=True)):
            raise ArchiveError("damaged archive: a block has a mode that is not for what it holds")
        if Mode.STATIC in numbers and not self.tables:
            raise ArchiveError("damaged archive: a block without the tables that it needs")
        if Mode.PRIOR in numbers and "prior" not in self.header.ids:
            raise ArchiveError("damaged archive: its header does not name the prior that a block needs")
        return [Mode(number) for number in numbers]


def _read_tables(data: bytes | None, alphabets: Sequence[int]) -> list[Integers]:
    if data is None:
        return []
    counts = metadata.unpack(metadata.inflate(data, 4 * sum(alphabets)), sum(alphabets))
    components = np.split(counts, np.cumsum(alphabets)[:-1])
    if any(component.sum() == 0 for component in components):
        raise ArchiveError("damaged archive: a static table is empty")
    return [normalize(component[None])[0] for component in components]
