"""Pixels of lossless items to coded blocks and back.

    codes --exact upsampler--> context map --exact network + range coder--> differences --sums--> pixels

A block's lanes are bands of items. The map of a band comes from the codes of its whole item, so codes
are decoded first. An item stored whole needs neither: its block is its samples, or WebP.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding import modes
from latentpress.coding.container import Archive
from latentpress.coding.layout import BlockLayout, Grid, Part
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, symbols_crc
from latentpress.errors import ArchiveError, ItemError
from latentpress.grid.network import Context
from latentpress.items.differences import from_differences, to_differences
from latentpress.items.webp import pack_webp, unpack_webp
from latentpress.press.blocks import decode_blocks, decode_lanes, encode_lanes, waves

if TYPE_CHECKING:
    from latentpress.grid.decoder import ExactDecoder
    from latentpress.model import LatentModel

__all__ = [
    "WAVE_POSITIONS",
    "decode_pixel_blocks",
    "encode_pixels",
    "gather_pixels",
    "join_bands",
    "pack_whole",
    "restore_pixels",
]

WAVE_POSITIONS = 1 << 20
"""Positions of the lanes coded side by side: their context map is in memory."""

Integers = NDArray[Any]
Pixels = NDArray[np.uint8]
Codes = Mapping[int, Integers]


def gather_pixels(pixels: Any, block: BlockLayout, differences: object) -> Pixels:
    """Returns a block's symbols (T, L, C) out of the items' pixels, (H, W, C) by number.

    They are differences if these are asked for, and samples otherwise or if the item is stored whole.
    """
    lanes = []
    for lane in block.lanes:
        image = pixels[lane.item]
        rows = image[lane.start : lane.stop]
        if differences and block.part is not Part.WHOLE:
            rows = to_differences(rows, image[lane.start - 1 : lane.start] if lane.start else None)
        lanes.append(rows)
    return np.stack([rows.reshape(block.positions, -1) for rows in lanes], axis=1)


def encode_pixels(
    exact: ExactDecoder,
    pixels: Any,
    blocks: Sequence[BlockLayout],
    shapes: Sequence[Grid],
    codes: Codes,
    differences: object,
) -> list[tuple[Block, NDArray[np.float64]]]:
    """Codes blocks of one shape.

    Args:
        exact: the distribution of pixels.
        pixels: (H, W, C) by the number of the item.
        blocks: what to code.
        shapes: the items' extents.
        codes: (*G, P) by the number of the item, if the decoder sees codes.
        differences: whether the network's symbols are differences.

    Returns:
        Each block, and the ideal length of each of its lanes in bits.
    """
    symbols = [gather_pixels(pixels, block, differences) for block in blocks]
    coded = encode_lanes(exact.network, blocks[0].shape, symbols, _context(exact, blocks, shapes, codes))
    return [
        (Block(Mode.PIXELS, payload, symbols_crc(own)), bits)
        for own, (payload, bits) in zip(symbols, coded, strict=True)
    ]


def pack_whole(pixels: Pixels) -> Block:
    """An item's own block: WebP where that is smaller than its samples, and is proven to restore them."""
    symbols = pixels.reshape(-1, 1, pixels.shape[-1])
    crc = symbols_crc(symbols)
    raw = Block(Mode.RAW, modes.encode_raw(symbols, (256,) * pixels.shape[-1]), crc)
    packed = pack_webp(pixels)
    if packed is None or len(packed) >= len(raw.payload):
        return raw
    height, width, channels = pixels.shape
    same = np.array_equal(unpack_webp(packed, (height, width), channels), pixels)
    return Block(Mode.WEBP, packed, crc) if same else raw


def decode_pixel_blocks(
    archive: Archive, model: LatentModel, numbers: Collection[int]
) -> Iterator[tuple[int, Integers]]:
    """Decodes blocks of pixels and yields each one's number and symbols (T, L, C), in any order.

    Raises:
        ArchiveError: a block's bytes, or those of the codes that it needs, are damaged; or the model
            has no decoder of pixels.
    """
    coded = []
    for number in numbers:
        if archive.layout[number].part is Part.WHOLE:
            yield number, _unpack_whole(archive, number)
        else:
            coded.append(number)
    if not coded:
        return
    exact = model.exact_pixels
    if exact is None:
        raise ArchiveError("this archive needs a decoder of pixels, and the model has none")
    shapes = [item.shape for item in archive.items]
    codes = _decode_codes(archive, model, {lane.item for n in coded for lane in archive.layout[n].lanes})
    for wave in waves(archive.layout, coded, most_positions=WAVE_POSITIONS):
        blocks = [archive.layout[number] for number in wave]
        payloads = [archive.payload(number) for number in wave]
        lanes = [len(block.lanes) for block in blocks]
        context = _context(exact, blocks, shapes, codes)
        found = decode_lanes(exact.network, blocks[0].shape, payloads, lanes, context)
        for number, symbols in zip(wave, found, strict=True):
            archive.check(number, symbols)
            yield number, symbols


def join_bands(bands: Mapping[int, Integers]) -> Integers:
    """Puts the bands of an item together: {first row: (rows, ...)} to (*G, ...)."""
    return np.concatenate([band for _, band in sorted(bands.items())])


def restore_pixels(bands: Mapping[int, Pixels], *, differences: object) -> Pixels:
    """The pixels of an item from the symbols of its bands."""
    symbols = join_bands(bands)
    return from_differences(symbols) if differences else symbols


def _decode_codes(archive: Archive, model: LatentModel, items: Collection[int]) -> dict[int, Integers]:
    """The codes (*G, P) of items, by number; none in an archive without codes."""
    if not archive.header.sizes:
        return {}
    needed = {n for item in items for n in archive.blocks_of[item] if archive.layout[n].part is Part.CODES}
    found: dict[int, dict[int, Integers]] = {item: {} for item in items}
    for number, symbols in decode_blocks(archive, model.exact_prior, sorted(needed)):
        block = archive.layout[number]
        for index, lane in enumerate(block.lanes):
            if lane.item in found:
                found[lane.item][lane.start] = symbols[:, index].astype(np.uint16).reshape(*block.shape, -1)
    return {item: join_bands(bands) for item, bands in found.items()}


def _unpack_whole(archive: Archive, number: int) -> Integers:
    if archive.modes[number] is not Mode.WEBP:
        return archive.stored_codes(number)
    height, width = archive.layout[number].shape
    channels = archive.header.channels
    try:
        pixels = unpack_webp(archive.payload(number), (height, width), channels)
    except ItemError as error:
        raise ArchiveError(f"damaged archive: block {number}: {error}") from None
    symbols = pixels.reshape(-1, 1, channels)
    archive.check(number, symbols)
    return symbols


def _context(
    exact: ExactDecoder, blocks: Sequence[BlockLayout], shapes: Sequence[Grid], codes: Codes
) -> Context:
    """The context maps of all lanes of blocks of one shape, in order."""
    if exact.upsampler is None:
        return Context()
    lanes = [lane for block in blocks for lane in block.lanes]
    alike: dict[tuple[Grid, int, int], list[int]] = {}
    for place, lane in enumerate(lanes):
        alike.setdefault((shapes[lane.item], lane.start, lane.stop), []).append(place)
    maps: Tensor | None = None
    for (shape, start, stop), places in alike.items():
        stacked = np.stack([codes[lanes[place].item] for place in places]).astype(np.int64)
        found = exact.context(torch.from_numpy(stacked), shape, (start, stop)).map
        assert found is not None
        if maps is None:
            maps = found.new_empty(len(lanes), *found.shape[1:])
        maps[torch.tensor(places, device=maps.device)] = found
    return Context(maps)
