"""Other image codecs at equal bytes: JPEG, WebP and AVIF through Pillow, JPEG XL through its plugin.

A codec has one integer quality setting. For a budget of bytes, `Search.at_bytes` finds by bisection
the two neighbouring settings whose sizes enclose the budget and interpolates between them, linearly
in the logarithm of the bytes: rate-distortion curves are close to straight lines there. Pictures that
are searched together share the setting, and the budget is their total.

Small images are mostly headers as files (a JPEG of 32 x 32 pixels needs some 300 bytes before its
first coefficient). `mosaic` puts many of one size into one picture, so that headers cost nothing and the
codec sees as much context as it can use; the distortion is measured on the tiles.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, features

from latentpress.errors import ConfigError
from latentpress.evaluate.metrics import Distortion, distortion, distortion_each, interpolate

__all__ = [
    "MOSAIC_MAX_SIDE",
    "Codec",
    "Match",
    "Search",
    "available",
    "find_codec",
    "mosaic",
    "search_files",
    "search_mosaic",
    "unmosaic",
]

MOSAIC_MAX_SIDE = 16383  # WebP's largest side


@dataclass(frozen=True)
class Codec:
    """A lossy codec of quality `lowest`..`highest`; `plugin` is a module that Pillow needs for it."""

    name: str
    lowest: int
    highest: int
    options: Mapping[str, Any] = field(default_factory=dict)
    plugin: str | None = None

    def is_available(self) -> bool:
        """Whether this machine's Pillow (or its plugin) has it."""
        if self.plugin is not None:
            return find_spec(self.plugin) is not None
        return bool(features.check("jpg" if self.name == "jpeg" else self.name))

    def encode(self, pixels: np.ndarray, quality: int) -> bytes:
        """Compresses (H, W, C) uint8 pixels, C = 1 or 3, into one file's bytes."""
        self._load()
        stream = io.BytesIO()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        image.save(stream, self.name.upper(), quality=quality, **self.options)
        return stream.getvalue()

    def decode(self, data: bytes, channels: int) -> np.ndarray:
        """Restores (H, W, channels) uint8 pixels from `encode`'s bytes."""
        self._load()
        with Image.open(io.BytesIO(data), formats=[self.name.upper()]) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        return pixels[..., None] if channels == 1 else pixels

    def _load(self) -> None:
        if self.plugin is not None:
            import_module(self.plugin)  # registers its format with Pillow


# At equal bytes, full chroma resolution gives AVIF more PSNR over RGB than its default 4:2:0.
_CODECS = (
    Codec("jpeg", 1, 95, {"optimize": True, "progressive": True}),
    Codec("webp", 0, 100, {"method": 6}),
    Codec("avif", 0, 100, {"subsampling": "4:4:4"}),
    Codec("jxl", 0, 99, plugin="pillow_jxl"),  # 100 would be lossless
)


def available() -> tuple[str, ...]:
    """Names of the codecs that can be used here.

    >>> "jpeg" in available()
    True
    """
    return tuple(codec.name for codec in _CODECS if codec.is_available())


def find_codec(name: str) -> Codec:
    """Returns the codec of that name; raises `ConfigError` where there is none or it is not installed.

    >>> image = np.zeros((8, 8, 3), np.uint8)
    >>> codec = find_codec("jpeg")
    >>> codec.decode(codec.encode(image, quality=50), channels=3).shape
    (8, 8, 3)
    """
    for codec in _CODECS:
        if codec.name == name and codec.is_available():
            return codec
        if codec.name == name == "jxl":
            raise ConfigError("jxl: install latentpress[bench] to compare with JPEG XL")
    raise ConfigError(f"no codec {name!r} here; there are: {', '.join(available())}")


@dataclass(frozen=True)
class Match:
    """A codec's result for a budget of bytes.

    Attributes:
        size_bytes: the budget where two settings enclose it, otherwise the size at the nearest setting.
        smaller_bytes: size at the setting just below (equal to `size_bytes` without interpolation).
        larger_bytes: size at the setting just above.
        distortion: per item, interpolated.
    """

    size_bytes: int
    smaller_bytes: int
    larger_bytes: int
    distortion: Distortion


class Search:
    """Finds what a codec makes of some pictures at given budgets, remembering what was encoded.

    Args:
        codec: the codec.
        pictures: (H, W, C) uint8 arrays, coded with one common setting.
        measure: compares the restored pictures with what they should be.
    """

    def __init__(
        self,
        codec: Codec,
        pictures: Sequence[np.ndarray],
        measure: Callable[[list[np.ndarray]], Distortion],
    ) -> None:
        self._codec = codec
        self._pictures = pictures
        self._measure = measure
        self._files: dict[int, list[bytes]] = {}
        self._distortions: dict[int, Distortion] = {}

    def size(self, quality: int) -> int:
        """Total bytes of the pictures' files at a setting."""
        if quality not in self._files:
            self._files[quality] = [self._codec.encode(picture, quality) for picture in self._pictures]
        return sum(map(len, self._files[quality]))

    def distortion(self, quality: int) -> Distortion:
        """Distortion at a setting."""
        if quality not in self._distortions:
            self.size(quality)
            pairs = zip(self._files[quality], self._pictures, strict=True)
            restored = [self._codec.decode(data, picture.shape[-1]) for data, picture in pairs]
            self._distortions[quality] = self._measure(restored)
        return self._distortions[quality]

    def at_bytes(self, budget: int) -> Match:
        """Result at `budget` bytes in all, interpolated between the two settings around it.

        Every item's PSNR and similarity are taken linearly in log(bytes). A budget under the lowest
        setting's size gives that setting, one over the highest setting's size gives that one.
        """
        below, above = self._codec.lowest, self._codec.highest
        if self.size(below) >= budget:
            return self._at(below)
        if self.size(above) <= budget:
            return self._at(above)
        while above - below > 1:  # size(below) < budget <= size(above), even where sizes are not monotone
            middle = (below + above) // 2
            below, above = (middle, above) if self.size(middle) < budget else (below, middle)
        smaller, larger = self.size(below), self.size(above)
        share = math.log(budget / smaller) / math.log(larger / smaller)
        between = interpolate(self.distortion(below), self.distortion(above), share)
        return Match(budget, smaller, larger, between)

    def _at(self, quality: int) -> Match:
        size = self.size(quality)
        return Match(size, size, size, self.distortion(quality))


def search_files(codec: Codec, images: Sequence[np.ndarray]) -> Search:
    """Searches over images that are each a file of their own: (H, W, C) uint8, any sizes.

    >>> image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    >>> match = search_files(find_codec("jpeg"), [image]).at_bytes(1500)
    >>> match.smaller_bytes <= match.size_bytes == 1500 <= match.larger_bytes
    True
    """
    return Search(codec, images, lambda restored: distortion_each(images, restored))


def search_mosaic(codec: Codec, images: np.ndarray) -> Search:
    """Searches over one picture of all images (B, H, W, C); distortion is measured on the images."""
    count, height, width, _ = images.shape

    def measure(restored: list[np.ndarray]) -> Distortion:
        return distortion(images, unmosaic(restored[0], count, (height, width)))

    return Search(codec, [mosaic(images)], measure)


def mosaic(images: np.ndarray) -> np.ndarray:
    """Lays images (B, H, W, C) out in rows, as square as it goes; free places are mid-grey.

    >>> mosaic(np.zeros((10, 2, 3, 1), np.uint8)).shape
    (6, 12, 1)
    """
    count, height, width, channels = images.shape
    rows, columns = _layout(count)
    tiles = np.full((rows * columns, height, width, channels), 128, np.uint8)
    tiles[:count] = images
    tiles = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return tiles.reshape(rows * height, columns * width, channels)


def unmosaic(picture: np.ndarray, count: int, size: tuple[int, int]) -> np.ndarray:
    """Cuts the first `count` images of `size` = (height, width) out of `mosaic`'s picture."""
    rows, columns = _layout(count)
    height, width = size
    tiles = picture.reshape(rows, height, columns, width, -1).swapaxes(1, 2)
    return tiles.reshape(rows * columns, height, width, -1)[:count]


def _layout(count: int) -> tuple[int, int]:
    columns = math.isqrt(count - 1) + 1
    return -(-count // columns), columns
