"""Images: PNG, JPEG, WebP, TIFF and BMP files as pixels, uint8 (H, W, C), C = 1 (grey) or 3 (RGB).

Their prediction residuals are the errors of continuing the plane through three neighbours, with RGB as
(G, R - G, B - G):

    d[i, j] = x[i, j] - x[i, j - 1] - x[i - 1, j] + x[i - 1, j - 1]    (mod 256; outside counts as 0)

All of it is modulo 256, so nothing is lost, and the inverse is a sum along rows and one along columns.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ItemError
from latentpress.items import image_codecs, image_files, jpeg
from latentpress.items.base import Baseline, Content, Samples, Shape, Symbols, Words, read_whole
from latentpress.items.image_files import ALPHA, MAX_PIXELS, MAX_SIDE
from latentpress.strict import Strict, require

__all__ = ["Image"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".bmp")
_COLOUR = (
    "the image has colour, and the model is grey: convert it with --convert (convert=True), or train a "
    "colour model (--set model.item.channels=3)"
)
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # of ITU-R BT.601 as in Pillow, in 65536ths
_SMALL_SIDE = 48
_FEW_PIXELS = 1 << 21


@dataclass(frozen=True, kw_only=True)
class Image(Strict):
    """Images with so many `channels`; new ones have the `size` (height, width).

    >>> image = Image(channels=1)
    >>> image.to_symbols(np.array([[[10], [12]], [[11], [15]]], np.uint8), residual=True)[..., 0].tolist()
    [[10, 2], [1, 2]]
    """

    kind: Literal["image"] = "image"
    channels: Literal[1, 3] = 3
    size: tuple[int, int] | None = None

    low = 0
    levels = 256
    dtype = np.dtype(np.uint8)
    axes: ClassVar[tuple[str, ...]] = ("row", "column")
    words: ClassVar[Words] = Words("image", "images", "pixel")
    suffix: ClassVar[str | None] = ".png"
    new_suffix: ClassVar[str] = ".png"
    default_size: ClassVar[Shape] = (128, 128)
    ordinal: ClassVar[bool] = True
    lossy: ClassVar[bool] = True
    epoch: ClassVar[Literal["item", "sample"]] = "item"
    picture: ClassVar[tuple[int, int] | None] = (0, 1)
    mirror: ClassVar[int | None] = 1
    segment: ClassVar[int] = 1 << 17
    foreign: ClassVar[str] = "not the suffix of an image"
    tells_hidden: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.size or self.default_size
        fits = min(size) >= 1 and max(size) <= MAX_SIDE and size[0] * size[1] <= MAX_PIXELS
        require(fits, f"size: 1 to {MAX_SIDE} a side, {MAX_PIXELS} pixels at most, got {size}")

    @property
    def alphabets(self) -> tuple[int, ...]:
        """One symbol a channel."""
        return (256,) * self.channels

    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        """Images are known by their suffix."""
        return posixpath.splitext(name)[1].lower() in _SUFFIXES

    def opens_zip(self, name: str) -> bool:
        """No image begins like a zip archive."""
        return True

    def open(self, file: BinaryIO, *, convert: bool = False) -> Content:
        """Decodes a file whole; `convert` drops alpha, and makes grey of colour for one channel.

        Channels that differ from the kind's and lost nothing are an attribute, to be written again.
        """
        data = read_whole(file)
        pixels, attributes = image_files.read_image(data, convert=convert)
        channels = pixels.shape[-1]
        if channels != self.channels and (channels == 1 or not _has_colour(pixels)):
            attributes["channels"] = channels
        besides = image_files.metadata_of(data)
        return Content.of(self.fit(pixels, convert=convert), attributes, besides)

    def fit(self, samples: Samples, *, convert: bool = False) -> Samples:
        """Pixels (H, W, 1 to 4) in this item's channels; the last of 2 or of 4 is alpha, as in `open`."""
        fits = samples.dtype == np.uint8 and samples.ndim == 3 and 1 <= samples.shape[-1] <= 4
        if not fits or 0 in samples.shape:
            raise ItemError(f"images are uint8 (H, W, 1 or 3), got {samples.dtype} {samples.shape}")
        if max(samples.shape) > MAX_SIDE or samples.shape[0] * samples.shape[1] > MAX_PIXELS:
            raise ItemError(
                f"images have at most {MAX_PIXELS} pixels, {MAX_SIDE} a side, got {samples.shape}"
            )
        if samples.shape[-1] in (2, 4):
            if not convert:
                raise ItemError(ALPHA)
            samples = samples[..., :-1]
        if samples.shape[-1] == self.channels:
            return samples
        if self.channels == 3:
            return np.repeat(samples, 3, axis=-1)
        if not convert and _has_colour(samples):
            raise ItemError(_COLOUR)
        return _luma(samples)

    def is_lossy(self, head: bytes) -> bool:
        """JPEG and lossy WebP files do."""
        return head.startswith(b"\xff\xd8\xff") or head[8:16] == b"WEBPVP8 "

    def narrowed(self, contents: Iterable[Content]) -> Image:
        """Grey where all images are."""
        colour = any(_has_colour(content.samples) for content in contents)
        return self if colour else replace(self, channels=1)

    def write(self, content: Content, file: BinaryIO) -> None:
        """Writes a PNG file, with the resolution, and grey, of one bit or with a palette, as the file was."""
        pixels, channels = self.fit(content.samples), content.attributes.get("channels")
        if channels == 1 < self.channels:
            pixels = _luma(pixels)
        elif channels == 3 > self.channels:
            pixels = np.repeat(pixels, 3, axis=-1)
        image_files.write_png(pixels, file, content.attributes)

    def to_symbols(self, samples: Samples, before: Samples | None = None, *, residual: bool) -> Symbols:
        """The pixels, or their residuals."""
        if not residual:
            return samples
        rows = samples if before is None else np.concatenate([before[-1:], samples])
        across = np.diff(_decorrelated(rows), axis=1, prepend=np.uint8(0))
        return np.diff(across, axis=0, prepend=np.uint8(0))[len(rows) - len(samples) :]

    def from_symbols(self, symbols: Symbols, before: Samples | None = None, *, residual: bool) -> Samples:
        """The inverse of `to_symbols`."""
        if not residual:
            return symbols
        across = symbols.cumsum(axis=0, dtype=np.uint8)
        if before is not None:
            across += np.diff(_decorrelated(before[-1:]), axis=1, prepend=np.uint8(0))
        planes = across.cumsum(axis=1, dtype=np.uint8)
        if planes.shape[2] == 1:
            return planes
        green, red, blue = (planes[..., c] for c in range(3))
        return np.stack([red + green, green, blue + green], axis=2)

    def preset(self, extents: NDArray[np.int64]) -> tuple[str, str]:
        """By the median of the longer sides, and by how many pixels there are."""
        side = int(np.median(extents.max(axis=1)))
        if side <= _SMALL_SIDE:
            return "images-small", f"the images are about {side} pixels a side"
        if extents.prod(axis=1).sum() < _FEW_PIXELS:
            return "tiny", f"there are few pixels to learn from ({len(extents)} images)"
        return "photos", f"the images are about {side} pixels a side"

    pack = staticmethod(image_files.pack_webp)
    unpack = staticmethod(image_files.unpack_webp)
    pack_file = staticmethod(jpeg.pack_jpeg)
    unpack_file = staticmethod(jpeg.unpack_jpeg)
    lossless_baselines = staticmethod(image_codecs.lossless_images)

    def primed_baselines(self, training: Callable[[], Iterable[Content]], count: int) -> tuple[Baseline, ...]:
        """None: no image codec takes other images to know."""
        return ()

    lossy_baselines = staticmethod(image_codecs.lossy_images)
    join = staticmethod(image_codecs.mosaic)


def _has_colour(pixels: Samples) -> bool:
    return bool((pixels[..., 1:] != pixels[..., :1]).any())


def _luma(pixels: Samples) -> Samples:
    """Grey of RGB; of equal channels what each of them is."""
    return ((pixels.astype(np.uint32) @ _LUMA + 0x8000) >> 16).astype(np.uint8)[..., None]


def _decorrelated(pixels: Samples) -> Samples:
    """RGB as (G, R - G, B - G); grey as it is."""
    if pixels.shape[2] == 1:
        return pixels
    red, green, blue = (pixels[..., c] for c in range(3))
    return np.stack([green, red - green, blue - green], axis=2)
