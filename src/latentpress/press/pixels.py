"""Pixels of lossless items, or the bytes of texts, to coded blocks and back.

    codes --exact upsampler--> context map --exact network + range coder--> differences --sums--> pixels

A block's lanes are bands of items. The map of a band comes from the codes of its whole item, so codes
are decoded first. An item stored whole needs neither: its block is its samples, or WebP or LZMA. Chains
hold pixels and latents by bits back (`latentpress.press.bitsback`).

Here "pixels" are any item's samples: those of an image, (H, W, C), or the bytes of a text, (T, 1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.network import Conditioning
from latentpress.autoregressive.streams import Stream
from latentpress.coding import modes
from latentpress.coding.container import Archive
from latentpress.coding.layout import BlockLayout, Grid, Part, Segment
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, symbols_crc
from latentpress.errors import ArchiveError, ItemError
from latentpress.items.differences import from_residuals, to_residuals
from latentpress.items.text import pack_text, read_text, unpack_text, write_text
from latentpress.items.webp import pack_webp, unpack_webp
from latentpress.press.bitsback import ChainCoder, decode_chains, split_chain
from latentpress.press.blocks import decode_blocks, decode_lanes, encode_lanes, waves

if TYPE_CHECKING:
    from latentpress.autoregressive.decoder import IntegerDecoder
    from latentpress.model import AnyModel

__all__ = [
    "TEXT_WAVE_POSITIONS",
    "WAVE_POSITIONS",
    "bands_of",
    "decode_pixel_blocks",
    "encode_pixels",
    "gather_pixels",
    "join_bands",
    "pack_whole",
    "pixel_waves",
    "restore_pixels",
]

WAVE_POSITIONS = 1 << 20
"""Positions of the lanes of images coded side by side: their context map is in memory."""

TEXT_WAVE_POSITIONS = 1 << 22
"""The same of texts: enough lanes for all processors."""

Integers = NDArray[Any]
Pixels = NDArray[np.uint8]
Codes = Mapping[int, Integers]


def gather_pixels(pixels: Any, block: BlockLayout, differences: object) -> Pixels:
    """Returns a block's symbols (T, L, C) out of the items' pixels by number.

    They are differences if these are asked for, and samples otherwise or if the item is stored whole.
    """
    if block.part is Part.CHAIN:
        joined = np.concatenate([pixels[lane.item][lane.start : lane.stop] for lane in block.lanes])
        return joined.reshape(block.positions, 1, -1)
    lanes = []
    for lane in block.lanes:
        image = pixels[lane.item]
        rows = image[lane.start : lane.stop]
        if differences and block.part is not Part.WHOLE:
            rows = to_residuals(rows, image[lane.start - 1 : lane.start] if lane.start else None)
        lanes.append(rows)
    return np.stack([rows.reshape(block.positions, -1) for rows in lanes], axis=1)


def encode_pixels(
    exact: IntegerDecoder,
    pixels: Any,
    blocks: Sequence[BlockLayout],
    shapes: Sequence[Grid],
    codes: Codes,
    differences: object,
) -> list[tuple[Block, NDArray[np.float64]]]:
    """Codes blocks of one wave.

    Args:
        exact: the distribution of pixels.
        pixels: by the number of the item.
        blocks: what to code.
        shapes: the items' extents.
        codes: (*G, P) by the number of the item, if the decoder sees codes.
        differences: whether the network's symbols are differences.

    Returns:
        Each block, and the ideal length of each of its lanes in bits.
    """
    symbols = [gather_pixels(pixels, block, differences) for block in blocks]
    told = _contexts(exact, blocks, shapes, codes)
    coded = encode_lanes(
        exact.network,
        [
            Stream(block.shape, len(block.lanes), context, symbols=own)
            for block, context, own in zip(blocks, told, symbols, strict=True)
        ],
    )
    return [
        (Block(Mode.PIXELS, payload, symbols_crc(own)), bits)
        for own, (payload, bits) in zip(symbols, coded, strict=True)
    ]


def pack_whole(pixels: Pixels) -> Block:
    """An item's own block: WebP or LZMA if smaller than its samples, and proven to restore them."""
    symbols = pixels.reshape(-1, 1, pixels.shape[-1])
    crc = symbols_crc(symbols)
    raw = Block(Mode.RAW, modes.encode_raw(symbols, (256,) * pixels.shape[-1]), crc)
    mode = Mode.WEBP if pixels.ndim == 3 else Mode.LZMA
    packed = pack_webp(pixels) if mode is Mode.WEBP else pack_text(write_text(pixels))
    if packed is None or len(packed) >= len(raw.payload):
        return raw
    same = np.array_equal(_unpacked(mode, packed, pixels.shape), pixels)
    return Block(mode, packed, crc) if same else raw


def decode_pixel_blocks(
    archive: Archive, model: AnyModel, numbers: Collection[int]
) -> Iterator[tuple[int, Integers]]:
    """Decodes blocks of pixels and yields each one's number and symbols (T, L, C), in any order.

    Raises:
        ArchiveError: a block's bytes, or those of the codes that it needs, are damaged; or the model
            has no decoder of pixels.
    """
    chains, coded = [], []
    for number in numbers:
        part = archive.layout[number].part
        if part is Part.WHOLE:
            yield number, _unpack_whole(archive, number)
        else:
            (chains if part is Part.CHAIN else coded).append(number)
    if chains:
        yield from decode_chains(archive, ChainCoder(model), chains)
    if not coded:
        return
    exact = model.exact_pixels
    if exact is None:
        raise ArchiveError("this archive needs a decoder of pixels, and the model has none")
    shapes = [item.shape for item in archive.items]
    codes = _decode_codes(archive, model, {lane.item for n in coded for lane in archive.layout[n].lanes})
    for wave in pixel_waves(archive.layout, coded):
        blocks = [archive.layout[number] for number in wave]
        told = _contexts(exact, blocks, shapes, codes)
        streams = [
            Stream(block.shape, len(block.lanes), context, archive.payload(number))
            for number, block, context in zip(wave, blocks, told, strict=True)
        ]
        for number, symbols in zip(wave, decode_lanes(exact.network, streams), strict=True):
            archive.check(number, symbols)
            yield number, symbols


def pixel_waves(layout: Sequence[BlockLayout], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Gathers blocks of pixels that are coded side by side."""
    texts = bool(numbers) and len(layout[numbers[0]].shape) == 1
    most = TEXT_WAVE_POSITIONS if texts else WAVE_POSITIONS
    yield from waves(layout, numbers, most_positions=most)


def bands_of(block: BlockLayout, symbols: Integers) -> Iterator[tuple[Segment, Integers]]:
    """Each lane of a block, and what of the block's symbols (T, L, C) is its, (rows, ..., C)."""
    if block.part is Part.CHAIN:
        yield from zip(block.lanes, split_chain(block, symbols), strict=True)
        return
    for index, lane in enumerate(block.lanes):
        yield lane, symbols[:, index].reshape(*block.shape, -1)


def join_bands(bands: Mapping[int, Integers]) -> Integers:
    """Puts the bands of an item together: {first row: (rows, ...)} to (*G, ...)."""
    return np.concatenate([band for _, band in sorted(bands.items())])


def restore_pixels(bands: Mapping[int, Pixels], *, differences: object) -> Pixels:
    """The pixels of an item from the symbols of its bands."""
    symbols = join_bands(bands)
    return from_residuals(symbols) if differences else symbols


def _decode_codes(archive: Archive, model: AnyModel, items: Collection[int]) -> dict[int, Integers]:
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
    if archive.modes[number] is Mode.RAW:
        return archive.stored_codes(number)
    shape = (*archive.layout[number].shape, archive.header.channels)
    try:
        pixels = _unpacked(archive.modes[number], archive.payload(number), shape)
    except ItemError as error:
        raise ArchiveError(f"damaged archive: block {number}: {error}") from None
    symbols = pixels.reshape(-1, 1, shape[-1])
    archive.check(number, symbols)
    return symbols


def _unpacked(mode: Mode, packed: bytes, shape: tuple[int, ...]) -> Pixels:
    """An item of that shape out of WebP or LZMA; raises `ItemError` where it is damaged."""
    if mode is Mode.LZMA:
        return read_text(unpack_text(packed, shape[0]))
    height, width, channels = shape
    return unpack_webp(packed, (height, width), channels)


def _contexts(
    exact: IntegerDecoder, blocks: Sequence[BlockLayout], shapes: Sequence[Grid], codes: Codes
) -> list[Conditioning]:
    """The context maps of the lanes of each block; those of bands that are alike are made together."""
    if exact.upsampler is None:
        return [Conditioning()] * len(blocks)
    alike: dict[tuple[Grid, int, int], list[tuple[int, int]]] = {}
    for number, block in enumerate(blocks):
        for place, lane in enumerate(block.lanes):
            alike.setdefault((shapes[lane.item], lane.start, lane.stop), []).append((number, place))
    maps: dict[int, Tensor] = {}
    for (shape, start, stop), places in alike.items():
        items = [blocks[number].lanes[place].item for number, place in places]
        stacked = np.stack([codes[item] for item in items]).astype(np.int64)
        found = exact.context(torch.from_numpy(stacked), shape, (start, stop)).map
        assert found is not None
        for own, (number, place) in zip(found, places, strict=True):
            if number not in maps:
                maps[number] = found.new_empty(len(blocks[number].lanes), *own.shape)
            maps[number][place] = own
    return [Conditioning(maps[number]) for number in range(len(blocks))]
