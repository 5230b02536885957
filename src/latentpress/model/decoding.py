"""From latents to samples, and what samples cost given latents: both decoders, in bounded memory.

Large items go through the parallel decoder in tiles that overlap by its margin, and are measured under the
autoregressive one in bands of whole rows, each as a grid of its own, as a lossless archive codes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.conditioner import LatentInput
from latentpress.autoregressive.decoder import AutoregressiveDecoder
from latentpress.exact.distribution import Conditioning, IntegerDistribution, Sampling
from latentpress.items.base import Item, Samples
from latentpress.nn.conv import ConvEncoder
from latentpress.nn.parallel import ParallelDecoder
from latentpress.nn.signal import from_signal, to_signal
from latentpress.nn.tiling import Tile, slices, tiles

__all__ = [
    "decode_autoregressive",
    "decode_parallel",
    "parallel_nats",
    "symbol_nats",
    "symbols_of",
    "tile_sides",
    "tiles_of",
]

_TILE_SAMPLES = 18  # logarithm of a tile's samples, before its margins
_BATCH_SAMPLES = 1 << 19  # that go through the encoder or the parallel decoder at once
_BAND_POSITIONS = 1 << 15  # whose logits are in memory at once


def tile_sides(hop: Sequence[int]) -> tuple[int, ...]:
    """Latent positions along each axis of a tile, for networks of that hop.

    >>> tile_sides((8, 8)), tile_sides((320,))
    ((64, 64), (819,))
    """
    side = 1 << _TILE_SAMPLES // len(hop)
    return tuple(max(1, side // h) for h in hop)


def tiles_of(
    network: ConvEncoder | ParallelDecoder, count: int, grid: Sequence[int]
) -> Iterator[tuple[slice, Tile]]:
    """Which of `count` items, and which tile of them, go through the network together."""
    sides = tile_sides(network.hop)
    samples = math.prod(min(s, g) * h for s, g, h in zip(sides, grid, network.hop, strict=True))
    run = max(1, _BATCH_SAMPLES // samples)
    for start in range(0, count, run):
        for tile in tiles(grid, sides, network.margin):
            yield slice(start, start + run), tile


def _label_rows(labels: Tensor | None, items: slice, tile: Tile, hop: Sequence[int]) -> Tensor | None:
    if labels is None:
        return None
    own = labels[items]
    return own[:, slices(tile.outer, hop)[0]] if own.ndim == 3 else own


@torch.inference_mode()
def decode_parallel(
    decoder: ParallelDecoder,
    vectors: Callable[[Tensor], Tensor],
    codes: Tensor,
    size: Sequence[int],
    item: Item,
    labels: Tensor | None = None,
) -> Samples:
    """The items (B, *size, C) of codes (B, *grid, P), whose vectors `vectors` gives for any box of them."""
    out = np.empty((len(codes), *size, item.channels), item.dtype)
    for items, tile in tiles_of(decoder, len(codes), codes.shape[1:-1]):
        piece = codes[(items, *slices(tile.outer))]
        signal = decoder.mean(vectors(piece), _label_rows(labels, items, tile, decoder.hop))
        room = out[(items, *slices(tile.inner, decoder.hop))]
        starts = (start * h for (start, _), h in zip(tile.crop, decoder.hop, strict=True))
        crop = tuple(slice(s, s + side) for s, side in zip(starts, room.shape[1:-1], strict=True))
        room[:] = from_signal(signal, item.low, item.levels)[(slice(None), *crop)].cpu().numpy()
    return out


@torch.inference_mode()
def parallel_nats(
    decoder: ParallelDecoder,
    samples: Tensor,
    vectors: Tensor,
    item: Item,
    labels: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """-log p(samples | vectors) under the parallel decoder, (B,) float64 on the CPU."""
    nats = torch.zeros(len(samples), dtype=torch.float64)
    device = vectors.device
    for items, tile in tiles_of(decoder, len(samples), vectors.shape[2:]):
        outer = (items, *slices(tile.outer, decoder.hop))
        piece = samples[outer]
        wanted = torch.zeros(piece.shape[:-1], dtype=torch.bool)
        inner = slices(tile.crop, decoder.hop)
        wanted[(slice(None), *inner)] = True
        if mask is not None:
            wanted &= mask[outer].cpu()
        nats[items] += (
            decoder.nats(
                to_signal(piece.to(device), item.low, item.levels),
                vectors[(items, slice(None), *slices(tile.outer))],
                _label_rows(labels, items, tile, decoder.hop),
                wanted.to(device),
            )
            .double()
            .cpu()
        )
    return nats


def symbols_of(item: Item, samples: Tensor, residual: bool) -> Tensor:
    """Symbols (B, *size, P) int64 of whole items (B, *size, C), on the CPU."""
    arrays = samples.cpu().numpy().astype(item.dtype)
    return torch.from_numpy(
        np.stack([item.to_symbols(array, residual=residual) for array in arrays]).astype(np.int64)
    )


@torch.inference_mode()
def symbol_nats(
    decoder: AutoregressiveDecoder,
    samples: Tensor,
    latents: LatentInput,
    item: Item,
    residual: bool,
    labels: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """-log p(symbols | latents) under the autoregressive decoder, (B,) float64 on the CPU."""
    size = tuple(samples.shape[1:-1])
    device = next(decoder.parameters()).device
    row = max(1, math.prod(size[1:]))
    rows = max(1, min(size[0], _BAND_POSITIONS // row))
    run = max(1, _BAND_POSITIONS // (rows * row))
    nats = torch.zeros(len(samples), dtype=torch.float64)
    for start in range(0, len(samples), run):
        items = slice(start, start + run)
        own = LatentInput(latents.vectors[items], None if latents.codes is None else latents.codes[items])
        conditioning = decoder.conditioning(own, size, None if labels is None else labels[items].to(device))
        symbols = symbols_of(item, samples[items], residual)
        for first in range(0, size[0], rows):
            band = slice(first, first + rows)
            part = symbols[:, band].to(device)
            seen = None if mask is None else mask[items, band].to(device)
            nats[items] += decoder.network.nats(part, _band(conditioning, band), seen).double().cpu()
    return nats


def _band(conditioning: Conditioning, band: slice) -> Conditioning:
    local, labels = conditioning.local, conditioning.labels
    return Conditioning(
        None if local is None else local[:, :, band],
        labels[:, band] if labels is not None and labels.ndim == 3 else labels,
    )


def decode_autoregressive(
    network: IntegerDistribution,
    item: Item,
    residual: bool,
    count: int,
    size: Sequence[int],
    conditioning: Conditioning,
    how: Sampling,
    numbers: Sequence[int] | None = None,
    given: Samples | None = None,
    progress: Callable[[int], None] | None = None,
) -> Samples:
    """Items (count, *size, C) drawn symbol by symbol; the arguments are those of `Model.decode`."""
    prefix = None
    if given is not None and len(given):
        known = item.to_symbols(given, residual=residual).reshape(1, -1, len(item.alphabets))
        prefix = torch.from_numpy(known.astype(np.int64)).expand(count, -1, -1)
    symbols = network.sample(
        count,
        tuple(size),
        how,
        conditioning=conditioning,
        prefix=prefix,
        numbers=numbers,
        progress=progress,
    )
    small = symbols.numpy().astype(np.uint8 if max(item.alphabets) <= 256 else np.uint16)
    return np.stack([item.from_symbols(each, residual=residual) for each in small])
