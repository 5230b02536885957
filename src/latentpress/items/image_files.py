"""Image files <-> pixels, uint8 (H, W, C), C = 1 (grey) or 3 (RGB), and their resolution.

What has 8 bits a channel or fewer comes out as it is: grey as one channel, colour and palettes as RGB,
turned upright as EXIF says. Whether a file had one bit a pixel, or a palette, is an attribute, with which
`write_png` makes such a file again. What would lose something on the way is refused, with one line that says
so: 16 bits a channel, CMYK and other colour spaces, several pictures in a file, and alpha channels
unless the caller converts. The bytes may be hostile: only the parsers of the five formats see them,
the size is bounded before anything is decoded, and whatever goes wrong is an `ItemError`.

Archives keep images as lossless WebP: not the RIFF frame of 20 bytes, but the bitstream `VP8L` in it, whose
first five bytes tell its size: 0x2F, then width - 1 and height - 1 in 14 bits each, a bit for alpha and a
version of 3 bits, least significant first. Grey is kept as RGB of equal channels, which WebP codes as one.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import PIL.features
import PIL.Image
from PIL import BmpImagePlugin, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ExifTags import Base as ExifTag
from PIL.ImageFile import ImageFile

from latentpress.errors import ItemError
from latentpress.items.base import Samples, Shape

__all__ = [
    "ALPHA",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_WEBP_SIDE",
    "metadata_of",
    "pack_webp",
    "read_image",
    "unpack_webp",
    "write_image",
    "write_png",
]

MAX_SIDE = 1 << 16  # of an image's height and width
MAX_PIXELS = 1 << 28  # of its height times width
MAX_WEBP_SIDE = 16383  # of height and width in WebP

ALPHA = "the image has an alpha channel: ignore it with --convert (convert=True)"

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
_FORMS = {"1": {"bits": 1}, "P": {"palette": 1}}
_PALETTE = 256
_RESOLUTION = ("dots_per_metre_x", "dots_per_metre_y")
_METRES_PER_INCH = 0.0254
_MAX_DOTS = (1 << 31) - 1  # a metre, in a PNG file
_RIFF_BYTES = 20
_WEBP_METHODS = (4, 6)  # the slower one is better on photographs, the other on pictures of 32 x 32

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its complaints about files go to stderr


def read_image(data: bytes, *, convert: bool = False) -> tuple[Samples, dict[str, int]]:
    """Decodes a file's bytes; with `convert` an alpha channel is ignored instead of refused.

    Returns pixels (H, W, 1 or 3), upright, and what the file has beside them: its resolution, `bits` for one
    bit a pixel, `palette` for one.

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


def metadata_of(data: bytes) -> tuple[str, ...]:
    """Names of what a readable file holds beside pixels: "EXIF", "ICC profile", "XMP", "text", "gamma"."""
    parse = next(parse for magic, parse in _PARSERS if data.startswith(magic))
    with _quiet, parse(BytesIO(data)) as image:
        info, found = image.info, []
        tags = set(image.getexif()) - {ExifTag.Orientation}
        if ("exif" in info and tags) or ExifTag.ExifOffset in tags:
            found.append("EXIF")
        if info.get("icc_profile"):
            found.append("ICC profile")
        if any("xmp" in str(key).lower() for key in info):
            found.append("XMP")
        texts = set(getattr(image, "text", {})) - {"XML:com.adobe.xmp"}
        if texts or info.get("comment"):
            found.append("text")
        if "gamma" in info or "chromaticity" in info:
            found.append("gamma")
    return tuple(found)


def write_image(pixels: Samples, file: BinaryIO, codec: str, **options: Any) -> None:
    """Writes pixels (H, W, 1 or 3) as a file of one of Pillow's codecs, such as "png"."""
    image = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, codec.upper(), **options)


def write_png(pixels: Samples, file: BinaryIO, attributes: Mapping[str, int]) -> None:
    """Writes pixels (H, W, 1 or 3) as a PNG file of the resolution and the form that the attributes say.

    A file of one bit a pixel has what is nearest; a palette takes pixels of 256 colours at most.
    """
    dots = [attributes.get(name, 0) for name in _RESOLUTION]
    known = all(1 <= each <= _MAX_DOTS for each in dots)
    image = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if attributes.get("bits") == 1 and pixels.shape[2] == 1:
        image = PIL.Image.fromarray(pixels[..., 0] > 127)
    elif attributes.get("palette") and image.mode == "RGB" and image.getcolors(_PALETTE):
        colours, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
        image = PIL.Image.fromarray(places.reshape(pixels.shape[:2]).astype(np.uint8))
        image.putpalette(colours.tobytes())
    image.save(file, "PNG", dpi=[each * _METRES_PER_INCH for each in dots] if known else None)


def pack_webp(samples: Samples) -> bytes | None:
    """The VP8L bitstream of pixels (H, W, 1 or 3); None where an image is too large for WebP."""
    if max(samples.shape[:2]) > MAX_WEBP_SIDE or not PIL.features.check("webp"):
        return None
    colour = np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))
    return min((_bitstream(colour, method) for method in _WEBP_METHODS), key=len)


def _bitstream(pixels: Samples, method: int) -> bytes:
    file = BytesIO()
    write_image(pixels, file, "webp", lossless=True, exact=True, method=method)
    data = file.getvalue()
    assert data[12:16] == b"VP8L", "a plain lossless WebP file has one chunk"
    return data[_RIFF_BYTES : _RIFF_BYTES + int.from_bytes(data[16:20], "little")]


def unpack_webp(data: bytes, shape: Shape) -> Samples:
    """The inverse of `pack_webp`; the bytes may be hostile, and only an image of this `shape` is decoded.

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


def _decode(data: bytes, convert: bool) -> tuple[Samples, dict[str, int]]:
    parse = next((parse for magic, parse in _PARSERS if data.startswith(magic)), None)
    if parse is None:
        raise ItemError("not a PNG, JPEG, WebP, TIFF or BMP image")
    with parse(BytesIO(data)) as image:
        _check(image, convert)
        turned = image.getexif().get(ExifTag.Orientation) in (5, 6, 7, 8)
        image.load()
        attributes = _resolution(image.info.get("dpi"), turned) | _FORMS.get(image.mode, {})
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
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8
    # Pillow would cut PNG's 16-bit RGB to 8 bits and not say so.
    return isinstance(image, PngImagePlugin.PngImageFile) and ";16" in str(image.tile[0].args)


def _resolution(dpi: Any, turned: bool) -> dict[str, int]:
    """The attributes of a file's dots per inch along x and y; none where they make no sense."""
    try:
        x, y = (round(float(each) / _METRES_PER_INCH) for each in dpi)
    except (TypeError, ValueError, ArithmeticError):
        return {}
    if not 1 <= min(x, y) <= max(x, y) <= _MAX_DOTS:
        return {}
    return dict(zip(_RESOLUTION, (y, x) if turned else (x, y), strict=True))


class _Quiet:
    """While any thread decodes, Pillow's warnings are off, and its bound on pixels is ours.

    Both are the process's, so threads share.
    """

    def __init__(self) -> None:
        self.lock, self.users, self.filters = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.filters.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self.filters.callback(setattr, PIL.Image, "MAX_IMAGE_PIXELS", PIL.Image.MAX_IMAGE_PIXELS)
                PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # `_check` bounds them before anything is decoded

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.filters.close()


_quiet = _Quiet()
