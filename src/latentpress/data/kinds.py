"""The kinds of items that files hold: which files are taken, and how their bytes become arrays."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from latentpress.errors import ItemError
from latentpress.items.image import IMAGE_SUFFIXES, read_image, to_channels
from latentpress.items.text import SNIFFED_BYTES, TEXT_SUFFIXES, looks_like_text, read_text

__all__ = ["ImageKind", "ItemKind", "KindName", "TextKind"]

KindName = Literal["image", "text"]

_HAS_COLOUR = (
    "the image has colour, and the model is grey: convert it to grey, or train a colour model "
    "(--set model.item.channels=3)"
)


class ItemKind(ABC):
    """One kind of items.

    Attributes:
        word: what messages call several items.
        foreign: why a file that is none of this kind is left out.
        tells_hidden: whether hidden files are worth telling that they are left out.
    """

    word: ClassVar[str]
    foreign: ClassVar[str]
    tells_hidden: ClassVar[bool]

    @abstractmethod
    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        """Whether a file of that name that nobody named is such an item; `head(n)` is its first n bytes."""

    @abstractmethod
    def is_zip(self, name: str) -> bool:
        """Whether a file of that name with a zip archive's first bytes is one to open."""

    @abstractmethod
    def decode(self, data: bytes) -> np.ndarray:
        """Returns the array of a file's bytes, or raises `ItemError`."""


@dataclass(frozen=True)
class ImageKind(ItemKind):
    """Images, uint8 (H, W, C): the arguments are those of `latentpress.data.sources.open_sources`."""

    channels: Literal[1, 3] | None = None
    drop_alpha: bool = False
    drop_colour: bool = False

    word = "images"
    foreign = "not the suffix of an image"
    tells_hidden = False

    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        """Images are told by their suffix."""
        return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES

    def is_zip(self, name: str) -> bool:
        """No image begins like a zip archive."""
        return True

    def decode(self, data: bytes) -> np.ndarray:
        """Decodes an image's file."""
        return self.wanted(read_image(data, drop_alpha=self.drop_alpha))

    def wanted(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels in the channels that are wanted."""
        if self.channels is None:
            return pixels
        if self.channels == 1 and not self.drop_colour and (pixels[..., 1:] != pixels[..., :1]).any():
            raise ItemError(_HAS_COLOUR)
        return to_channels(pixels, self.channels)


@dataclass(frozen=True)
class TextKind(ItemKind):
    """Texts, uint8 (T, 1): any bytes at all where they are named."""

    word = "texts"
    foreign = "neither the suffix of a text nor UTF-8"
    tells_hidden = True

    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        """Texts are told by their suffix, and of other files those that begin as UTF-8."""
        return posixpath.splitext(name)[1].lower() in TEXT_SUFFIXES or looks_like_text(head(SNIFFED_BYTES))

    def is_zip(self, name: str) -> bool:
        """A document may be a zip archive inside; that is the document's affair."""
        return posixpath.splitext(name)[1].lower() == ".zip"

    def decode(self, data: bytes) -> np.ndarray:
        """Takes the bytes as they are."""
        return read_text(data)
