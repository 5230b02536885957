"""Image files <-> pixels, uint8 (H, W, C), C = 1 (grey) or 3 (RGB), and their resolution.

What has 8 bits a channel or fewer comes out as it is: grey as one channel, colour and palettes as RGB,
turned upright as EXIF says. What would lose something on the way is refused, with one line that says
so: 16 bits a channel, CMYK and other colour spaces, several pictures in a file, and alpha channels
unless the caller converts. The bytes may be hostile: only the parsers of the five formats see them,
the size is bounded before anything is decoded, and whatever goes wrong is an `ItemError`.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ExifTags import Base as ExifTag
from PIL.ImageFile import ImageFile

from latentpress.errors import ItemError

__all__ = ["ALPHA", "MAX_PIXELS", "MAX_SIDE", "Pixels", "read_image", "write_png"]

Pixels = NDArray[np.uint8]

MAX_SIDE = 1 << 16
"""Bound on an image's height and width."""

MAX_PIXELS = 1 << 28
"""Bound on an image's height times width."""

ALPHA = "the image has an alpha channel: ignore it with --convert (convert=True)"
"""What is said of an image that is refused for its transparency."""

# The parsers themselves rather than `Image.open`: that one's bounds are global, and it warns.
_PARSERS: tuple[tuple[bytes, Callable[[BytesIO], ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
)
_PLAIN = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
_BITS_PER_SAMPLE = 258  # TIFF tag
_RESOLUTION = ("dots_per_metre_x", "dots_per_metre_y")
_METRES_PER_INCH = 0.0254
_MAX_DOTS = (1 << 31) - 1  # a metre, in a PNG file

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its complaints about files go to stderr


def read_image(data: bytes, *, convert: bool = False) -> tuple[Pixels, dict[str, int]]:
    """Decodes the bytes of a PNG, JPEG, WebP, TIFF or BMP file.

    Args:
        data: the file's bytes.
        convert: whether to ignore an alpha channel instead of refusing the image.

    Returns:
        Pixels (H, W, 1 or 3), upright; and `dots_per_metre_x` and `dots_per_metre_y`, where the file
        has them.

    Raises:
        ItemError: the file is damaged, truncated, too large, or of a kind that is not supported.
    """
    try:
        with _quiet:
            return _decode(data, convert)
    except ItemError:
        raise
    except Exception as error:  # a parser of hostile bytes may raise anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ItemError(f"damaged or truncated image: {reason}") from None


def write_png(pixels: Pixels, file: BinaryIO, attributes: Mapping[str, int] | None = None) -> None:
    r"""Writes pixels (H, W, 1 or 3) as a PNG file, with the resolution that the attributes say.

    >>> file = BytesIO()
    >>> write_png(np.zeros((2, 3, 1), np.uint8), file, {"dots_per_metre_x": 2835, "dots_per_metre_y": 2835})
    >>> file.getvalue()[:4], read_image(file.getvalue())[1]
    (b'\x89PNG', {'dots_per_metre_x': 2835, 'dots_per_metre_y': 2835})
    """
    dots = [(attributes or {}).get(name, 0) for name in _RESOLUTION]
    known = all(1 <= each <= _MAX_DOTS for each in dots)
    options = {"dpi": [each * _METRES_PER_INCH for each in dots]} if known else {}
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", **options)


def _decode(data: bytes, convert: bool) -> tuple[Pixels, dict[str, int]]:
    parse = next((parse for magic, parse in _PARSERS if data.startswith(magic)), None)
    if parse is None:
        raise ItemError("not a PNG, JPEG, WebP, TIFF or BMP image")
    with parse(BytesIO(data)) as image:
        _check(image, convert)
        turned = image.getexif().get(ExifTag.Orientation) in (5, 6, 7, 8)
        image.load()
        attributes = _resolution(image.info.get("dpi"), turned)
        image.info = {}  # else what follows would look at EXIF data again, and at transparency
        ImageOps.exif_transpose(image, in_place=True)
        plain = _PLAIN[image.mode]
        pixels = np.array(image if image.mode == plain else image.convert(plain))
    return pixels.reshape(*pixels.shape[:2], -1), attributes


def _check(image: ImageFile, convert: bool) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ItemError(
            f"{width} x {height} pixels are more than the limit: {MAX_PIXELS}, and {MAX_SIDE} a side"
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _covered(image) < width * height:
        raise ItemError("damaged image: its data covers only a part of it")
    if getattr(image, "is_animated", False):
        raise ItemError("several pictures in one file: save each as a file of its own")
    if _has_deep_samples(image):
        raise ItemError("more than 8 bits a channel: convert the image to 8 bits first")
    if image.mode not in _PLAIN:
        raise ItemError(f"{image.mode} pixels: convert the image to RGB or grey first")
    if image.has_transparency_data and not convert:
        raise ItemError(ALPHA)


def _covered(image: ImageFile) -> int:
    """Counts the pixels that a TIFF has data for: Pillow would leave the others black."""
    boxes = (tile.extents or (0, 0, 0, 0) for tile in image.tile)
    return sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)


def _has_deep_samples(image: ImageFile) -> bool:
    if image.mode.startswith(("I", "F")):
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8
    # Pillow would cut PNG's 16-bit RGB to 8 bits and not say so.
    return isinstance(image, PngImagePlugin.PngImageFile) and ";16" in str(image.tile[0].args)


def _resolution(dpi: Any, turned: bool) -> dict[str, int]:
    """The attributes of a file's dots per inch along x and y; none where they make no sense."""
    try:
        inches = [float(each) for each in dpi]
    except (TypeError, ValueError, ZeroDivisionError):
        return {}
    dots = [round(each / _METRES_PER_INCH) if math.isfinite(each) else 0 for each in inches]
    if len(dots) != 2 or not all(1 <= each <= _MAX_DOTS for each in dots):
        return {}
    return dict(zip(_RESOLUTION, reversed(dots) if turned else dots, strict=True))


class _Quiet:
    """Pillow's warnings off while any thread decodes: the filters are the process's, so threads share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.saved = warnings.catch_warnings()
                self.saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.saved.__exit__(None, None, None)


_quiet = _Quiet()
