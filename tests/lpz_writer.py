"""A writer of .lpz archives made from docs/archive.md alone: no model, every item by the fallback codec."""

from __future__ import annotations

import hashlib
import io
import lzma
import zlib
from collections.abc import Mapping, Sequence

import cbor2
from PIL import Image

__all__ = ["pack_image", "pack_text", "write"]

MAGIC, VERSION, END = bytes.fromhex("894C505A0D0A1A0A"), b"\1", bytes.fromhex("4C505A0A")
RAW, PACKED = 0, 5


def column(numbers: Sequence[int], width: int = 4) -> bytes:
    """All lowest bytes, all second bytes, ..."""
    return bytes(number >> 8 * plane & 0xFF for plane in range(width) for number in numbers)


def pack_text(samples: bytes, extents: Sequence[int]) -> bytes:
    """A raw LZMA stream."""
    settings = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 23, "lc": 3, "lp": 0, "pb": 0}
    return lzma.compress(samples, lzma.FORMAT_RAW, filters=[settings])


def pack_image(samples: bytes, extents: Sequence[int]) -> bytes:
    """The payload of the VP8L chunk of a WebP file of red, green and blue."""
    file = io.BytesIO()
    Image.frombytes("RGB", tuple(reversed(extents)), samples).save(file, "WEBP", lossless=True, exact=True)
    data = file.getvalue()
    assert data[12:16] == b"VP8L"
    return data[20 : 20 + int.from_bytes(data[16:20], "little")]


def write(
    kind: str,
    channels: int,
    items: Mapping[bytes, tuple[Sequence[int], bytes]],
    packed: Mapping[bytes, bytes],
    more: Mapping[str, object] | None = None,
) -> bytes:
    """An archive of items: extents and samples by name; `packed` are the payloads of those that are packed.

    `more` are further keys of the header.
    """
    names, rank = list(items), len(next(iter(items.values()))[0])
    header = {
        **{"kind": kind, "channels": channels, "hop": [1] * rank, "code_alphabets": []},
        **{"sample_alphabets": [256] * channels, "segment": 1 << 14, "content": "samples", "residual": 0},
        **{"labels": 0, "model": "", "decoder_id": bytes(16), **(more or {})},
    }
    full = [name for name in names if items[name][0][0]]
    payloads = [packed.get(name, by_component(items[name][1], channels)) for name in full]
    symbols = [b"".join(bytes([sample, 0]) for sample in items[name][1]) for name in full]
    index = {
        "steps": column([0] * len(names)),
        "shared": column([0] * len(names)),
        "endings": b"".join(name + b"\0" for name in names),
        "extents": [column([items[name][0][axis] for name in names], 8) for axis in range(rank)],
        "fallback": bytes(name in full for name in names),
        "modes": bytes(PACKED if name in packed else RAW for name in full),
        "lengths": column([len(payload) for payload in payloads], 8),
        "payload_crcs": column([zlib.crc32(payload) for payload in payloads]),
        "symbols_crcs": column([zlib.crc32(each) for each in symbols]),
    }
    head = MAGIC + VERSION + section(b"HEAD", cbor2.dumps(header))
    data, tail = b"".join(payloads), section(b"INDX", zlib.compress(cbor2.dumps(index)))
    data_head = b"DATA" + len(data).to_bytes(8, "little")
    digest = hashlib.blake2b(head + data_head + tail, digest_size=16).digest()
    return head + data_head + data + tail + digest + END


def by_component(samples: bytes, channels: int) -> bytes:
    """All of the first component, all of the second, ..."""
    return b"".join(samples[component::channels] for component in range(channels))


def section(tag: bytes, payload: bytes) -> bytes:
    """A tag, a length and so many bytes."""
    return tag + len(payload).to_bytes(8, "little") + payload
