"""Archives with changed fields whose checks are right: the work of an attacker."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import cbor2

from latentpress.coding.metadata import pack, unpack

__all__ = ["REMOVED", "forged", "sections", "signed"]

REMOVED = object()
"""In place of a field's value: the field is taken out."""


def sections(data: bytes) -> dict[bytes, bytes]:
    """The payloads of an archive's sections by tag."""
    position, found = 9, {}
    while position < len(data) - 20:
        length = int.from_bytes(data[position + 4 : position + 12], "little")
        found[data[position : position + 4]] = data[position + 12 : position + 12 + length]
        position += 12 + length
    return found


def signed(parts: dict[bytes, bytes], start: bytes = b"\x89LPZ\r\n\x1a\n\x01") -> bytes:
    """An archive of these sections whose digest is right."""
    data, digest = start, hashlib.blake2b(start, digest_size=16)
    for tag, payload in parts.items():
        head = tag + len(payload).to_bytes(8, "little")
        digest.update(head + (b"" if tag == b"DATA" else payload))
        data += head + payload
    return data + digest.digest() + b"LPZ\n"


def forged(
    data: bytes,
    *,
    head: dict[str, Any] | None = None,
    index: dict[str, Any] | None = None,
    payloads: dict[int, bytes] | None = None,
) -> bytes:
    """An archive with other fields in its header and index, or other payloads of blocks by their numbers."""
    parts = sections(data)
    tree = cbor2.loads(zlib.decompress(parts[b"INDX"]))
    if payloads:
        lengths = unpack(tree["lengths"], width=8).tolist()
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        blocks = [parts[b"DATA"][a : a + length] for a, length in zip(starts, lengths, strict=True)]
        blocks = [payloads.get(number, block) for number, block in enumerate(blocks)]
        parts[b"DATA"] = b"".join(blocks)
        tree["lengths"] = pack([len(block) for block in blocks], 8)
        tree["payload_crcs"] = pack([zlib.crc32(block) for block in blocks])
    parts[b"HEAD"] = cbor2.dumps(_changed(cbor2.loads(parts[b"HEAD"]), head or {}))
    parts[b"INDX"] = zlib.compress(cbor2.dumps(_changed(tree, index or {})))
    return signed(parts)


def _changed(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (tree | changes).items() if value is not REMOVED}
