"""Files as arrays in the units of their kind, and back."""

from latentpress.items.image import IMAGE_SUFFIXES, MAX_PIXELS, read_image, to_channels, write_png

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "read_image", "to_channels", "write_png"]
