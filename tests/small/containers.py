"""A small archive that uses every mode that needs no model, and what it is made of."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from latentpress.coding import Archive, Block, Header, ItemRecord, Mode, Part, modes
from latentpress.coding.container import write_archive
from latentpress.coding.records import Stored, symbols_crc
from latentpress.items import Image

__all__ = [
    "CODES_ID",
    "COUNTS",
    "DECODER_ID",
    "ENCODER_ID",
    "HEADER",
    "ITEMS",
    "PRIOR_ID",
    "STORED",
    "TABLES",
    "coded",
    "opened",
    "small_archive",
    "written",
]

CODES_ID, PRIOR_ID, DECODER_ID, ENCODER_ID = (bytes([n]) * 16 for n in range(1, 5))
HEADER = Header(
    kind="image",
    channels=3,
    hop=(4, 4),
    code_alphabets=(512, 7),
    sample_alphabets=(256,) * 3,
    segment=1 << 17,
    content="codes",
    labels=2,
    model="test",
    ids={"codes": CODES_ID, "prior": PRIOR_ID},
    seed=2**64 - 1,
)
ITEMS = [
    *(ItemRecord(f"a/{i:03d}.png", (32, 32), (i % 3 - 1, i)) for i in range(69)),
    ItemRecord("clip", (32, 32), (-1, -1), np.arange(64).reshape(32, 2) % 5 - 1),
    ItemRecord("big.jpg", (301, 298), (-1, 2**32 - 2), attributes={"dots": 2**64 - 1, "rate_hz": 0}),
    ItemRecord("again.jpg", (301, 298), (0, 0), attributes={"dots": 1}, duplicate_of=70),
    ItemRecord("empty", (0, 7), (-1, -1), np.zeros((0, 2), np.int64)),
    ItemRecord("raw", (9, 5), (-1, -1)),
    ItemRecord("packed", (16, 16), (-1, -1)),
]
STORED = Stored(frozenset({73, 74}))
COUNTS = [np.arange(size) for size in HEADER.code_alphabets]
TABLES = [modes.normalize(count[None])[0] for count in COUNTS]


def coded(symbols: np.ndarray, mode: Mode, alphabets: Sequence[int] = HEADER.code_alphabets) -> Block:
    """A block of these symbols in a mode that needs no model."""
    payload = {
        Mode.RAW: lambda: modes.encode_raw(symbols, alphabets),
        Mode.STATIC: lambda: modes.encode_static(symbols, TABLES),
        Mode.ADAPTIVE: lambda: modes.encode_adaptive(symbols, alphabets),
        Mode.PACKED: lambda: Image().pack(symbols.reshape(16, 16, 3).astype(np.uint8)),
    }
    return Block(mode, payload[mode](), symbols_crc(symbols))


def written(
    header: Header, items: list[ItemRecord], blocks: Iterable[Block], *more: Any, **others: Any
) -> bytes:
    """The archive of these."""
    file = io.BytesIO()
    assert write_archive(file, header, items, blocks, *more, **others) == len(file.getvalue())
    return file.getvalue()


@cache
def small_archive() -> tuple[bytes, list[np.ndarray]]:
    """An archive that uses every mode that needs no model, and the symbols of its blocks."""
    rng = np.random.default_rng(0)
    symbols, blocks = [], []
    for number, block in enumerate(HEADER.layout(ITEMS, STORED)):
        shape, fallback = (block.positions, len(block.lanes)), block.part is Part.FALLBACK
        alphabets = HEADER.alphabets(block.part)
        symbols.append(np.stack([rng.integers(0, size, shape) for size in alphabets], axis=-1))
        mode = Mode(number % 3)
        if fallback:
            mode = Mode.PACKED if ITEMS[block.lanes[0].item].name == "packed" else Mode.RAW
        blocks.append(coded(symbols[-1], mode, alphabets))
    return written(HEADER, ITEMS, iter(blocks), COUNTS, STORED), symbols


def opened(data: bytes | bytearray) -> Archive:
    """An archive for reading."""
    return Archive(io.BytesIO(data))
