"""Kinds of items: a file's bytes <-> samples <-> symbols, and what is known of each kind.

A new kind is a file here, with the methods of `Item`, and a line in `AnyItem`.
"""

from typing import get_args

from latentpress.items.base import Attributes, Content, Item, Samples, Shape, residuals_are_cheaper
from latentpress.items.image import Image
from latentpress.items.text import Text

AnyItem = Image | Text

ITEM_KINDS: tuple[type[AnyItem], ...] = get_args(AnyItem)
"""All kinds, for who looks at files to find out which one they are."""

__all__ = [
    "ITEM_KINDS",
    "AnyItem",
    "Attributes",
    "Content",
    "Image",
    "Item",
    "Samples",
    "Shape",
    "Text",
    "residuals_are_cheaper",
]
