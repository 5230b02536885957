"""Codecs to compare with, bytes to bytes, and items side by side in one file.

Small images are mostly headers as files (a JPEG of 32 x 32 pixels needs some 300 bytes before its first
coefficient). A mosaic puts many of one size into one picture, so that headers cost nothing and the codec
sees as much context as it can use; for texts a tar archive does so.
"""

from __future__ import annotations

import io
import lzma
import math
import tarfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import PIL.Image
from PIL import features

from latentpress.items.base import Baseline, Joined, LossyBaseline, Samples

__all__ = ["lossless_images", "lossless_texts", "lossy_images", "mosaic", "tar"]

_MAX_SIDE = 16383  # of WebP, which a mosaic must not exceed
_JXL_PLUGIN = "pillow_jxl"
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

    def pack(name: str, pixels: Samples) -> bytes:
        return min((_encode(name, pixels, options) for options in _LOSSLESS[name]), key=len)

    return tuple(Baseline(name, partial(pack, name)) for name in _LOSSLESS if _is_installed(name))


def lossy_images() -> tuple[LossyBaseline, ...]:
    """The lossy image codecs that are installed.

    >>> image = np.zeros((8, 8, 3), np.uint8)
    >>> jpeg = lossy_images()[0]
    >>> jpeg.decode(jpeg.encode(image, 50), like=image).shape
    (8, 8, 3)
    """

    def encode(name: str, pixels: Samples, quality: int) -> bytes:
        return _encode(name, pixels, {"quality": quality, **_LOSSY[name][2]})

    return tuple(
        LossyBaseline(name, lowest, highest, partial(encode, name), partial(_decode, name))
        for name, (lowest, highest, _) in _LOSSY.items()
        if _is_installed(name)
    )


def lossless_texts() -> tuple[Baseline, ...]:
    """The lossless codecs of bytes that are installed, at their strongest."""
    codecs: dict[str, Callable[[bytes], bytes]] = {
        "xz -9e": partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME)
    }
    if find_spec("zstandard") is not None:
        codecs["zstd -19"] = import_module("zstandard").ZstdCompressor(level=19).compress
    if find_spec("brotli") is not None:
        codecs["brotli 11"] = partial(import_module("brotli").compress, quality=11, lgwin=24)

    def pack(codec: Callable[[bytes], bytes], text: Samples) -> bytes:
        return codec(text.tobytes())

    return tuple(Baseline(name, partial(pack, codec)) for name, codec in codecs.items())


def mosaic(images: Sequence[Samples]) -> Joined | None:
    """Lays images of one shape out in rows, as square as it goes; free places are mid-grey.

    >>> mosaic([np.zeros((2, 3, 1), np.uint8)] * 10).samples.shape
    (6, 12, 1)
    """
    if len({image.shape for image in images}) != 1:
        return None
    count, (height, width, channels) = len(images), images[0].shape
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    if max(rows * height, columns * width) > _MAX_SIDE:
        return None
    tiles = np.full((rows * columns, height, width, channels), 128, np.uint8)
    tiles[:count] = images
    tiles = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)

    def split(picture: Samples) -> list[Samples]:
        cut = picture.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
        return list(cut.reshape(rows * columns, height, width, channels)[:count])

    return Joined("mosaic", tiles.reshape(rows * height, columns * width, channels), split)


def tar(texts: Sequence[Samples]) -> Joined:
    """Puts texts into a tar archive.

    >>> tar([np.zeros((700, 1), np.uint8)] * 10).samples.shape
    (20480, 1)
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, text in enumerate(texts):
            about = tarfile.TarInfo(f"{number:05d}.txt")
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.tobytes()))

    def split(joined: Samples) -> list[Samples]:
        with tarfile.open(fileobj=io.BytesIO(joined.tobytes())) as archive:
            parts = [archive.extractfile(each) for each in archive]
            return [np.frombuffer(part.read(), np.uint8)[:, None] for part in parts if part is not None]

    return Joined("tar", np.frombuffer(buffer.getvalue(), np.uint8)[:, None], split)


def _is_installed(name: str) -> bool:
    if name == "jxl":
        return find_spec(_JXL_PLUGIN) is not None
    return name == "png" or bool(features.check("jpg" if name == "jpeg" else name))


def _encode(name: str, pixels: Samples, options: Mapping[str, Any]) -> bytes:
    if name == "jxl":
        import_module(_JXL_PLUGIN)  # registers its format with Pillow
    file = io.BytesIO()
    image = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(file, name.upper(), **options)
    return file.getvalue()


def _decode(name: str, data: bytes, like: Samples) -> Samples:
    if name == "jxl":
        import_module(_JXL_PLUGIN)
    with PIL.Image.open(io.BytesIO(data), formats=[name.upper()]) as image:
        pixels = np.array(image.convert("L" if like.shape[-1] == 1 else "RGB"))
    return pixels.reshape(like.shape)
