"""Image codecs to compare with, and a mosaic of images for them.

Small images are mostly headers as files (a JPEG of 32 x 32 pixels needs some 300 bytes before its first
coefficient). A mosaic puts many of one size into one picture, so that headers cost nothing and the codec
sees as much context as it can use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import PIL.features
import PIL.Image

from latentpress.items.base import Baseline, Joined, LossyBaseline, Samples
from latentpress.items.image_files import MAX_WEBP_SIDE, write_image

__all__ = ["lossless_images", "lossy_images", "mosaic"]

_LOSSLESS: dict[str, Sequence[Mapping[str, Any]]] = {
    "png": [{"optimize": True}],
    "webp": [{"lossless": True, "exact": True, "method": method} for method in (4, 6)],
    "jxl": [{"lossless": True, "effort": 9}],
}
# At equal bytes, full chroma resolution gives AVIF more PSNR over RGB than its default 4:2:0.
_LOSSY: dict[str, tuple[int, int, Mapping[str, Any]]] = {
    "jpeg": (1, 95, {"optimize": True, "progressive": True}),
    "webp": (0, 100, {"method": 6}),
    "avif": (0, 100, {"subsampling": "4:4:4"}),
    "jxl": (0, 99, {}),  # 100 would be lossless
}


def lossless_images() -> tuple[Baseline, ...]:
    """The lossless image codecs that are installed, each at the settings that make a file smallest."""

    def pack(codec: str, pixels: Samples) -> bytes:
        return min((_encode(codec, pixels, **options) for options in _LOSSLESS[codec]), key=len)

    return tuple(Baseline(codec, partial(pack, codec)) for codec in _LOSSLESS if _is_installed(codec))


def lossy_images() -> tuple[LossyBaseline, ...]:
    """The lossy image codecs that are installed.

    >>> image = np.zeros((8, 8, 3), np.uint8)
    >>> jpeg = lossy_images()[0]
    >>> jpeg.decode(jpeg.encode(image, 50), image).shape
    (8, 8, 3)
    """

    def encode(codec: str, pixels: Samples, quality: int) -> bytes:
        return _encode(codec, pixels, quality=quality, **_LOSSY[codec][2])

    return tuple(
        LossyBaseline(codec, lowest, highest, partial(encode, codec), partial(_decode, codec))
        for codec, (lowest, highest, _) in _LOSSY.items()
        if _is_installed(codec)
    )


def mosaic(items: Sequence[Samples]) -> Joined | None:
    """Lays images of one shape out in rows, as square as it goes; free places are mid-grey.

    >>> mosaic([np.zeros((2, 3, 1), np.uint8)] * 10).samples.shape
    (6, 12, 1)
    """
    if len({item.shape for item in items}) != 1:
        return None
    count, (height, width, channels) = len(items), items[0].shape
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    if max(rows * height, columns * width) > MAX_WEBP_SIDE:
        return None
    tiles = np.full((rows * columns, height, width, channels), 128, np.uint8)
    tiles[:count] = items
    tiles = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)

    def split(picture: Samples) -> list[Samples]:
        cut = picture.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
        return list(cut.reshape(rows * columns, height, width, channels)[:count])

    return Joined("mosaic", tiles.reshape(rows * height, columns * width, channels), split)


def _is_installed(codec: str) -> bool:
    if codec != "jxl":
        return codec == "png" or bool(PIL.features.check("jpg" if codec == "jpeg" else codec))
    return find_spec("pillow_jxl") is not None and bool(import_module("pillow_jxl"))  # registers its format


def _encode(codec: str, pixels: Samples, **options: Any) -> bytes:
    file = BytesIO()
    write_image(pixels, file, codec, **options)
    return file.getvalue()


def _decode(codec: str, data: bytes, like: Samples) -> Samples:
    with PIL.Image.open(BytesIO(data), formats=[codec.upper()]) as image:
        return np.array(image.convert("L" if like.shape[-1] == 1 else "RGB")).reshape(like.shape)
