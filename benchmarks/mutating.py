"""Ways of damaging bytes, and of forging an archive."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable
from typing import Any

import cbor2

__all__ = ["MUTATIONS", "attack"]


def flip(data: bytes, draw: random.Random) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(data: bytes, draw: random.Random) -> bytes:
    """Keeps the start or the end."""
    cut = draw.randrange(len(data))
    return data[:cut] if draw.random() < 0.7 else data[cut:]


def splice(data: bytes, draw: random.Random) -> bytes:
    """Copies a stretch over, or into, another place."""
    start, length, to = draw.randrange(len(data)), draw.randint(1, 200), draw.randrange(len(data))
    part = data[start : start + length]
    return data[:to] + part + data[to + (len(part) if draw.random() < 0.5 else 0) :]


def lengthen(data: bytes, draw: random.Random) -> bytes:
    """Writes a hostile number over two, four or eight bytes."""
    size = draw.choice([2, 4, 8])
    value = draw.choice([0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), draw.getrandbits(8 * size)])
    to = draw.randrange(max(1, len(data) - size))
    order = draw.choice(["little", "big"])
    return data[:to] + value.to_bytes(size, order) + data[to + size :]  # type: ignore[arg-type]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, truncate, splice, lengthen)


def attack(data: bytes, draw: random.Random) -> bytes:
    """Changes a section, an entry of the header or of the index, and signs the archive again."""
    sections, position = {}, 9
    while position < len(data) - 20:
        length = int.from_bytes(data[position + 4 : position + 12], "little")
        sections[data[position : position + 4]] = data[position + 12 : position + 12 + length]
        position += 12 + length
    tag = draw.choice([b"HEAD", b"INDX"])
    plain = sections[tag] if tag == b"HEAD" else zlib.decompress(sections[tag])
    if draw.random() < 0.3:
        plain = draw.choice(MUTATIONS)(plain, draw)
    else:
        tree = cbor2.loads(plain)
        key = draw.choice(sorted(key for key in tree if not key.endswith("_id")))
        tree[key] = change(tree[key], draw)
        plain = cbor2.dumps(tree)
    sections[tag] = plain if tag == b"HEAD" else zlib.compress(plain)
    return sign(data[:9], sections, data[-4:])


def change(value: Any, draw: random.Random) -> Any:
    """Changes one entry, keeping its type most of the time."""
    if isinstance(value, bytes) and value:
        return draw.choice(MUTATIONS)(value, draw)
    if isinstance(value, list) and value:
        return [change(value[0], draw), *value[1:]]
    return draw.choice([0, 1, 1 << 31, (1 << 64) - 1, -1, None, "", b"", [], {}, 2.5, "../x"])


def sign(start: bytes, sections: dict[bytes, bytes], end: bytes) -> bytes:
    """Puts an archive together with a digest that is right."""
    digest, body = hashlib.blake2b(start, digest_size=16), start
    for tag, payload in sections.items():
        head = tag + len(payload).to_bytes(8, "little")
        digest.update(head + (b"" if tag == b"DATA" else payload))
        body += head + payload
    return body + digest.digest() + end
