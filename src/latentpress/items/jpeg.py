"""JPEG files <-> JPEG XL files of about five sixths of their bytes, which give back every byte of them.

libjxl codes a JPEG file's own coefficients, and what else it takes to write the same file again (ISO/IEC
18181-2, annex A: the box `jbrd`). It comes with the extra `jxl`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from latentpress.errors import ItemError, LatentpressError
from latentpress.items.base import Shape

__all__ = ["pack_jpeg", "unpack_jpeg"]

_JPEG = b"\xff\xd8\xff"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_HEAD_BYTES = 12  # of a codestream, more than its size takes
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_EXTENT_BITS = (9, 13, 18, 30)


def pack_jpeg(data: bytes) -> bytes | None:
    """The JPEG XL file of a JPEG file; None where it is no such file, or libjxl is missing or refuses it."""
    jxl = _library()
    if jxl is None or not data.startswith(_JPEG):
        return None
    encoder = jxl.Encoder(mode="RGB", lossless=True, quality=100, num_threads=0)
    try:
        return bytes(encoder(data, 0, 0, jpeg_encode=True))
    except Exception:  # libjxl refuses what is no plain JPEG with one of many kinds of errors
        return None


def unpack_jpeg(data: bytes, shape: Shape) -> bytes:
    """The JPEG file of a JPEG XL file, which may be hostile; only one of this `shape` (H, W, C) is decoded.

    Raises:
        ItemError: it is damaged, or an image of another size.
        LatentpressError: libjxl is missing.
    """
    size = _size(data)
    if size is None or size not in (tuple(shape[:2]), tuple(shape[1::-1])):  # pixels are turned upright
        raise ItemError("damaged image: it is not the JPEG XL file of an image of this size")
    jxl = _library()
    if jxl is None:
        raise LatentpressError("a JPEG file is packed as JPEG XL: pip install 'latentpress[jxl]'")
    try:
        is_jpeg, _, restored, *_ = jxl.Decoder(num_threads=0)(data)
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise ItemError(f"damaged image: its JPEG XL file cannot be read: {error}") from None
    if not is_jpeg:
        raise ItemError("damaged image: its JPEG XL file holds no JPEG file")
    return bytes(restored)


def _library() -> Any:
    """The module of libjxl, None where it is not installed."""
    return import_module("pillow_jxl") if find_spec("pillow_jxl") is not None else None


def _size(data: bytes) -> tuple[int, int] | None:
    """Height and width that the codestream of a JPEG XL file declares; None where it is none.

    They are `SizeHeader` of ISO/IEC 18181-1, least significant bits first.
    """
    position = len(_CONTAINER)
    while data.startswith(_CONTAINER) and position + 16 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind in (b"jxlc", b"jxlp"):
            start = position + (8 if kind == b"jxlc" else 12)
            return _size_header(data[start : start + _HEAD_BYTES])
        if length < 8:
            return None
        position += length
    return None


def _size_header(head: bytes) -> tuple[int, int] | None:
    if len(head) < _HEAD_BYTES or not head.startswith(_CODESTREAM):
        return None
    bits = int.from_bytes(head[2:], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def extent() -> int:
        return 8 * (take(5) + 1) if small else take(_EXTENT_BITS[take(2)]) + 1

    height = extent()
    over, under = _RATIOS[take(3)]
    return height, height * over // under if over else extent()
