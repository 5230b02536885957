"""Items on their way into an archive: their pixels, records and codes, few at a time.

Here "pixels" are any item's samples: those of an image, (H, W, C), or the bytes of a text, (T, 1).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.records import MAX_SAMPLES, MAX_SIDE, Header, ItemRecord
from latentpress.config import DeltaVAEConfig, ImageConfig
from latentpress.data.sources import ItemRef
from latentpress.errors import ItemError
from latentpress.press.summary import Progress

if TYPE_CHECKING:
    from latentpress.model import AnyModel

__all__ = ["PixelStore", "misfits", "read_items"]

_GROUP_SAMPLES = 1 << 24
"""Samples of items held at once; one larger item is held alone."""

Integers = NDArray[Any]
Pixels = NDArray[np.uint8]


class PixelStore:
    """The pixels of items by their numbers; those asked for last are kept, the others read again."""

    def __init__(self, items: Sequence[ItemRef], header: Header) -> None:
        self._items, self._header = items, header
        self._kept: OrderedDict[int, Pixels] = OrderedDict()
        self._held = 0
        self._shapes: dict[int, tuple[int, ...]] = {}

    def __getitem__(self, number: int) -> Pixels:
        """The pixels of an item, uint8."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        item = self._items[number]
        pixels = item.read()
        _check_pixels(item.name, pixels, self._header)
        if self._shapes.setdefault(number, pixels.shape) != pixels.shape:
            raise ItemError(f"{item.name}: the file changed while it was being pressed")
        self._kept[number] = pixels
        self._held += pixels.size
        while len(self._kept) > 1 and self._held > _GROUP_SAMPLES:
            self._held -= self._kept.popitem(last=False)[1].size
        return pixels


def misfits(model: AnyModel, shape: tuple[int, ...]) -> bool:
    """Whether the encoder, a delta-VAE's of images, knows one size, and items of `shape` have another."""
    return shape != (_one_size(model) or shape)


def read_items(
    model: AnyModel,
    items: Sequence[ItemRef],
    header: Header,
    report: Progress,
    *,
    codes: bool = True,
    any_size: bool = False,
) -> tuple[list[ItemRecord], list[Integers]]:
    """Returns each item's record and, if wanted, codes (*G, P), uint16, holding few pixels at a time.

    An item that `misfits` the model is an error or, with `any_size`, has codes that are all 0.
    """
    records: list[ItemRecord] = []
    found: list[Integers] = []
    for group in _groups(items, header):
        records += [ItemRecord(item.name, pixels.shape[:-1], _label(model, item)) for item, pixels in group]
        if codes:
            if not any_size:
                _check_sizes(model, group)
            found += _encode_group(model, [pixels for _, pixels in group], header)
        report("encode", len(records), len(items))
    return records, found


def _groups(items: Iterable[ItemRef], header: Header) -> Iterator[list[tuple[ItemRef, Pixels]]]:
    group: list[tuple[ItemRef, Pixels]] = []
    held = 0
    for item in items:
        pixels = item.read()
        _check_pixels(item.name, pixels, header)
        if group and held + pixels.size > _GROUP_SAMPLES:
            yield group
            group, held = [], 0
        group.append((item, pixels))
        held += pixels.size
    yield group


def _check_pixels(name: str, pixels: Pixels, header: Header) -> None:
    channels = header.channels
    if header.kind == "text":
        if pixels.ndim != 2 or pixels.shape[1] != channels or len(pixels) > MAX_SAMPLES:
            raise ItemError(f"{name}: a text is an array (T, 1) of at most {MAX_SAMPLES} bytes")
        return
    if pixels.ndim != 3 or pixels.shape[2] != channels:
        raise ItemError(f"{name}: the model takes {channels} channels a pixel")
    if not 1 <= pixels.shape[0] * pixels.shape[1] <= MAX_SAMPLES:
        raise ItemError(f"{name}: an item has 1 to {MAX_SAMPLES} pixels")
    if max(pixels.shape[:2]) > MAX_SIDE:
        raise ItemError(f"{name}: a side has more than {MAX_SIDE} pixels; cut the image into parts")


def _check_sizes(model: AnyModel, group: Iterable[tuple[ItemRef, Pixels]]) -> None:
    for item, pixels in group:
        if (size := _one_size(model)) is not None and pixels.shape[:-1] != size:
            own, wanted = (" x ".join(map(str, extents)) for extents in (pixels.shape[:-1], size))
            raise ItemError(
                f"{item.name}: {own} pixels, and the model takes images of {wanted}; scale it, leave it out, "
                "or press losslessly"
            )


def _one_size(model: AnyModel) -> tuple[int, ...] | None:
    """The only size of items that the encoder takes, or None where it takes any."""
    config = model.config
    if not isinstance(config, DeltaVAEConfig) or not isinstance(config.item, ImageConfig):
        return None
    return config.item.size if config.latents is not None else None


def _encode_group(model: AnyModel, images: Sequence[Pixels], header: Header) -> list[Integers]:
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, pixels in enumerate(images):
        by_shape.setdefault(pixels.shape, []).append(index)
    codes: dict[int, Integers] = {}
    for shape, indices in by_shape.items():
        if not shape[0] or misfits(model, shape[:-1]):  # an empty text, or an image that is stored whole
            none = np.zeros((*header.grid(shape[:-1]), len(header.sizes)), np.uint16)
            codes.update(dict.fromkeys(indices, none))
            continue
        batch = model.encode(np.stack([images[index] for index in indices]))
        codes.update(zip(indices, batch.numpy().astype(np.uint16), strict=True))
    return [codes[index] for index in range(len(images))]


def _label(model: AnyModel, item: ItemRef) -> int | None:
    labels = model.config.labels
    if not model.num_classes or item.label not in labels:
        return None
    return labels.index(item.label)
