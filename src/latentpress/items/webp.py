"""Pixels as lossless WebP, without the file around it.

A lossless WebP file is a RIFF frame of 20 bytes around one bitstream, `VP8L`, whose first five bytes
tell its size: 0x2F, then width - 1 and height - 1 in 14 bits each, a bit for alpha and a version of 3
bits, least significant first. Only that bitstream is kept. Grey is kept as RGB of equal channels, which
WebP codes as one.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image
from PIL import features

from latentpress.errors import ItemError
from latentpress.items.image_files import Pixels, read_image

__all__ = ["MAX_WEBP_SIDE", "pack_webp", "unpack_webp"]

MAX_WEBP_SIDE = 16383
_RIFF_BYTES = 20
_METHODS = (4, 6)  # the slower one is better on photographs, the other on pictures of 32 x 32


def pack_webp(pixels: Pixels) -> bytes | None:
    """The VP8L bitstream of pixels (H, W, 1 or 3); None where an image is too large for WebP.

    >>> pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    >>> np.array_equal(unpack_webp(pack_webp(pixels), (4, 5, 3)), pixels)
    True
    """
    if max(pixels.shape[:2]) > MAX_WEBP_SIDE or not features.check("webp"):
        return None
    image = PIL.Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    return min((_bitstream(image, method) for method in _METHODS), key=len)


def _bitstream(image: PIL.Image.Image, method: int) -> bytes:
    file = BytesIO()
    image.save(file, "WEBP", lossless=True, exact=True, method=method)
    data = file.getvalue()
    assert data[12:16] == b"VP8L", "a plain lossless WebP file has one chunk"
    return data[_RIFF_BYTES : _RIFF_BYTES + int.from_bytes(data[16:20], "little")]


def unpack_webp(data: bytes, shape: tuple[int, ...]) -> Pixels:
    """The inverse of `pack_webp`; the bytes may be hostile.

    Args:
        data: the bitstream.
        shape: (H, W, 1 or 3) that the image must have: nothing else is decoded.

    Raises:
        ItemError: the bytes are damaged, or an image of another size.
    """
    head = int.from_bytes(data[1:5], "little")
    size = (head >> 14 & 0x3FFF) + 1, (head & 0x3FFF) + 1
    if len(data) < 5 or data[0] != 0x2F or head >> 28 or size != tuple(shape[:2]):
        raise ItemError("damaged image: it is not the WebP bitstream of an image of this size")
    padding = b"\0" * (len(data) % 2)
    riff = b"RIFF" + (12 + len(data) + len(padding)).to_bytes(4, "little") + b"WEBPVP8L"
    pixels, _ = read_image(riff + len(data).to_bytes(4, "little") + data + padding)
    if pixels.shape != (*size, 3):
        raise ItemError("damaged image: it has another size than it says")
    return pixels[..., : shape[2]]
