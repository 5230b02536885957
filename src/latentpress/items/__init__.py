"""Files as arrays in the units of their kind, and back."""

from latentpress.items.image import IMAGE_SUFFIXES, MAX_PIXELS, read_image, to_channels, write_png
from latentpress.items.text import MAX_TEXT_BYTES, TEXT_SUFFIXES, read_text, write_text

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_TEXT_BYTES",
    "TEXT_SUFFIXES",
    "read_image",
    "read_text",
    "to_channels",
    "write_png",
    "write_text",
]
