"""Images: a file's bytes <-> uint8 array (H, W, C), C = 1 (grey) or 3 (RGB).

What has 8 bits a channel or fewer comes out as it is: grey as one channel, colour and palettes as RGB,
turned upright as EXIF says. What would lose something on the way is refused, with one line that says
so: 16 bits a channel, CMYK and other colour spaces, several pictures in a file, and alpha channels
unless the caller drops them. The bytes may be hostile: only the five formats' own parsers see them,
the size is bounded before anything is decoded, and whatever goes wrong is an `ItemError`.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from latentpress.errors import ItemError

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "read_image", "to_channels", "write_png"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".bmp"})
"""Suffixes, in lower case, of files that are taken for images where nobody named them one by one."""

MAX_PIXELS = 200_000_000
"""Default bound on an image's height times width."""

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
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # in 65536ths
_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE = 258  # TIFF tag

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its complaints about files go to stderr


def read_image(
    data: bytes,
    *,
    channels: Literal[1, 3] | None = None,
    drop_alpha: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decodes the bytes of a PNG, JPEG, WebP, TIFF or BMP file.

    Args:
        data: The file's bytes.
        channels: 1 for grey, 3 for RGB, `None` for what the file has.
        drop_alpha: Whether to ignore an alpha channel instead of refusing the image.
        max_pixels: Bound on height times width.

    Returns:
        Pixels, uint8 (H, W, C), upright.

    Raises:
        ItemError: The file is damaged, truncated, too large, or of a kind that is not supported.

    >>> read_image(write_png(np.zeros((2, 3, 1), np.uint8)), channels=3).shape
    (2, 3, 3)
    """
    try:
        with _quiet:
            pixels = _decode(data, drop_alpha, max_pixels)
    except ItemError:
        raise
    except Exception as error:  # a parser of hostile bytes may raise anything
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ItemError(f"damaged or truncated image: {reason}") from None
    return pixels if channels is None else to_channels(pixels, channels)


def write_png(pixels: np.ndarray) -> bytes:
    r"""Encodes pixels, uint8 (H, W, 1 or 3), as a PNG file.

    >>> write_png(np.zeros((2, 3, 3), np.uint8))[:4]
    b'\x89PNG'
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise ItemError(f"pixels are uint8 (H, W, 1 or 3), got {pixels.dtype} {pixels.shape}")
    file = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def to_channels(pixels: np.ndarray, channels: Literal[1, 3]) -> np.ndarray:
    """Converts pixels (..., 1 or 3) to grey or RGB; grey is the luma of ITU-R BT.601, as in Pillow.

    >>> to_channels(np.array([[[255, 0, 0]]], np.uint8), 1)
    array([[[76]]], dtype=uint8)
    """
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    luma = pixels.astype(np.uint32) @ _LUMA
    return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]


def _decode(data: bytes, drop_alpha: bool, max_pixels: int) -> np.ndarray:
    parse = next((parse for magic, parse in _PARSERS if data.startswith(magic)), None)
    if parse is None:
        raise ItemError("not a PNG, JPEG, WebP, TIFF or BMP image")
    with parse(BytesIO(data)) as image:
        _check(image, drop_alpha, max_pixels)
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        image.info.pop("transparency", None)  # else the conversion would look at it
        plain = _PLAIN[image.mode]
        pixels = np.array(image if image.mode == plain else image.convert(plain))
    return np.ascontiguousarray(_upright(pixels.reshape(*pixels.shape[:2], -1), orientation))


def _check(image: ImageFile, drop_alpha: bool, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ItemError(f"{width} x {height} pixels are more than the limit of {max_pixels}")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _covered(image) < width * height:
        raise ItemError("damaged image: its data covers only a part of it")
    if getattr(image, "is_animated", False):
        raise ItemError("several pictures in one file: save each as a file of its own")
    if _has_deep_samples(image):
        raise ItemError("more than 8 bits a channel: convert the image to 8 bits first")
    if image.mode not in _PLAIN:
        raise ItemError(f"{image.mode} pixels: convert the image to RGB or grey first")
    if image.has_transparency_data and not drop_alpha:
        raise ItemError("the image has an alpha channel: ignore it with --drop-alpha (drop_alpha=True)")


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


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes EXIF's orientation: from 5 on rows and columns are swapped, then either may be mirrored."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


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
