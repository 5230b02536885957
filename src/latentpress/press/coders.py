"""Ways of coding blocks: a coder for each part of an archive.

    codes      CodesCoder      under the prior, or without a model where that is smaller
    samples    SamplesCoder    symbols of samples under the autoregressive decoder, given the item's codes
    chain      ChainCoder      samples and latents by bits back (`latentpress.press.bitsback`)
    fallback   FallbackCoder   what the kind's own codec makes of the samples, or the samples as they are
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.conditioner import ConditionerStructure
from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.coding import modes
from latentpress.coding.container import Archive
from latentpress.coding.layout import BlockLayout, Part, Segment
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, ItemRecord, symbols_crc
from latentpress.errors import ArchiveError, ItemError
from latentpress.exact.distribution import Conditioning
from latentpress.items.base import Item, Shape, Symbols
from latentpress.model.base import Model
from latentpress.press.blocks import (
    BandReader,
    Bits,
    Coded,
    batches,
    decode_streams,
    grouped,
    labels_in,
    streams_of,
)
from latentpress.press.reading import Items

__all__ = ["CodesCoder", "FallbackCoder", "SamplesCoder"]

ReadCodes = Callable[[Sequence[Segment]], Mapping[Segment, Symbols]]


@dataclass(frozen=True)
class CodesCoder:
    """Codes of a model's latents, each block in the mode that makes it smallest."""

    model: Model
    alphabets: tuple[int, ...]

    def encode(self, blocks: Sequence[BlockLayout], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`; without a prior the ideal length is that of plain bits."""
        prior, plain = self.model.integer.prior, float(np.log2(self.alphabets).sum())
        for batch in batches(blocks, range(len(blocks))):
            chosen = [blocks[place] for place in batch]
            symbols = [self.expected(block, items) for block in chosen]
            coded: list[tuple[bytes | None, Bits]]
            coded = [(None, np.full(len(block.lanes), plain * block.positions)) for block in chosen]
            if prior is not None:
                labels = self._conditionings(chosen, items.records)
                coded = [*prior.encode(streams_of(chosen, labels, symbols=symbols))]
            for place, block, (payload, bits) in zip(batch, symbols, coded, strict=True):
                yield place, self._smallest(block, payload), bits

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """See `BlockCoder`."""
        coded = [number for number in numbers if archive.modes[number] is Mode.PRIOR]
        yield from ((n, archive.stored_symbols(n)) for n in numbers if archive.modes[n] is not Mode.PRIOR)
        for batch in batches(archive.layout, coded):
            prior = self.model.integer.prior
            assert prior is not None, "the archive's prior is the model's"
            labels = self._conditionings([archive.layout[number] for number in batch], archive.items)
            yield from decode_streams(archive, prior, batch, labels)

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        lanes = [items.codes[lane.item][lane.start : lane.stop] for lane in block.lanes]
        return np.stack([lane.reshape(block.positions, -1) for lane in lanes], axis=1)

    def _conditionings(
        self, blocks: Sequence[BlockLayout], records: Sequence[ItemRecord]
    ) -> list[Conditioning]:
        hop = self.model.hop[0]
        labels = (labels_in(records, block.lanes, hop) for block in blocks)
        return [Conditioning(labels=self.model.labels_for("prior", each)) for each in labels]

    def _smallest(self, symbols: Symbols, under_prior: bytes | None) -> Block:
        payloads = {
            Mode.RAW: modes.encode_raw(symbols, self.alphabets),
            Mode.ADAPTIVE: modes.encode_adaptive(symbols, self.alphabets),
        }
        if under_prior is not None:
            payloads[Mode.PRIOR] = under_prior
        mode = min(payloads, key=lambda mode: len(payloads[mode]))
        return Block(mode, payloads[mode], symbols_crc(symbols))


@dataclass(frozen=True)
class SamplesCoder:
    """Symbols of samples under a model's autoregressive decoder.

    The conditioning of a band is made of its item's codes around it, so these are decoded first.

    Args:
        model: the codec.
        decoder: the integer form of its autoregressive decoder.
        codes: the coder of the items' codes, or None where the decoder does without.
    """

    model: Model
    decoder: IntegerDecoder
    codes: CodesCoder | None

    def encode(self, blocks: Sequence[BlockLayout], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`."""
        for batch in batches(blocks, range(len(blocks))):
            chosen = [blocks[place] for place in batch]
            symbols = [self.expected(block, items) for block in chosen]
            conditionings = self._conditionings(chosen, items.records, items.read_codes)
            coded = self.decoder.network.encode(streams_of(chosen, conditionings, symbols=symbols))
            for place, block, (payload, bits) in zip(batch, symbols, coded, strict=True):
                yield place, Block(Mode.SAMPLES, payload, symbols_crc(block)), bits

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """See `BlockCoder`."""
        for batch in batches(archive.layout, numbers):
            blocks = [archive.layout[number] for number in batch]
            read = BandReader(archive, self.codes, Part.CODES).read if self.codes is not None else None
            conditionings = self._conditionings(blocks, archive.items, read)
            yield from decode_streams(archive, self.decoder.network, batch, conditionings)

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        lanes, residual = [], self.model.residual
        for lane in block.lanes:
            rows = items.samples.rows(lane.item, lane.start, lane.stop)
            before = items.samples.rows(lane.item, lane.start - 1, lane.start) if lane.start else None
            lanes.append(self.model.item.to_symbols(rows, before, residual=residual))
        return np.stack([lane.reshape(block.positions, -1) for lane in lanes], axis=1)

    def _conditionings(
        self, blocks: Sequence[BlockLayout], records: Sequence[ItemRecord], read: ReadCodes | None
    ) -> list[Conditioning]:
        """The conditioning of the lanes of each block; that of bands that are alike is made together."""
        labels = [self.model.labels_for("autoregressive", labels_in(records, b.lanes)) for b in blocks]
        conditioner = self.decoder.conditioner
        if conditioner is None or read is None:
            return [Conditioning(labels=each) for each in labels]
        lanes = [lane for block in blocks for lane in block.lanes]
        windows = [_window(conditioner.structure, lane, records[lane.item].shape) for lane in lanes]
        codes, local = read([window.codes for window in windows]), dict[int, Tensor]()
        for (size, rows), places in grouped([(window.size, window.rows) for window in windows]).items():
            stacked = np.stack([codes[windows[place].codes] for place in places]).astype(np.int64)
            made = self.decoder.conditioning(torch.from_numpy(stacked), size, rows).local
            assert made is not None
            local |= zip(places, made, strict=True)
        ends = np.cumsum([0, *(len(block.lanes) for block in blocks)]).tolist()
        maps = (torch.stack([local[place] for place in range(*ends[n : n + 2])]) for n in range(len(blocks)))
        return [Conditioning(*parts) for parts in zip(maps, labels, strict=True)]


class _Window(NamedTuple):
    """The rows of codes that a band's conditioning depends on; the samples that they span; the band in these."""

    codes: Segment
    size: Shape
    rows: tuple[int, int]


def _window(structure: ConditionerStructure, band: Segment, shape: Shape) -> _Window:
    hop = structure.hop[0]
    first = max(0, band.start // hop - structure.before)
    last = min(-(-shape[0] // hop), -(-band.stop // hop) + structure.after)
    above, below = first * hop, min(shape[0], last * hop)
    rows = band.start - above, band.stop - above
    return _Window(Segment(band.item, first, last), (below - above, *shape[1:]), rows)


@dataclass(frozen=True)
class FallbackCoder:
    """Samples as the kind's own codec packs them, or as they are where that is smaller, or does not hold."""

    item: Item

    def encode(self, blocks: Sequence[BlockLayout], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`; the ideal length is that of the bytes."""
        for place, block in enumerate(blocks):
            coded = self._coded(block, items)
            yield place, coded, np.array([8.0 * len(coded.payload)])

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """See `BlockCoder`."""
        for number in numbers:
            if archive.modes[number] is Mode.RAW:
                yield number, archive.stored_symbols(number)
                continue
            shape = (*archive.layout[number].shape, self.item.channels)
            try:
                symbols = self._symbols(self.item.unpack(archive.payload(number), shape))
            except ItemError as error:
                raise ArchiveError(f"damaged archive: block {number}: {error}") from None
            archive.check(number, symbols)
            yield number, symbols

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        return self._symbols(self._samples(block, items))

    def _coded(self, block: BlockLayout, items: Items) -> Block:
        samples = self._samples(block, items)
        symbols = self._symbols(samples)
        crc, raw = symbols_crc(symbols), modes.encode_raw(symbols, self.item.alphabets)
        packed = self.item.pack(samples)
        if packed is None or len(packed) >= len(raw):
            return Block(Mode.RAW, raw, crc)
        holds = np.array_equal(self.item.unpack(packed, samples.shape), samples)
        return Block(Mode.PACKED, packed, crc) if holds else Block(Mode.RAW, raw, crc)

    def _samples(self, block: BlockLayout, items: Items) -> Symbols:
        [lane] = block.lanes
        return items.samples.rows(lane.item, lane.start, lane.stop)

    def _symbols(self, samples: Symbols) -> Symbols:
        symbols = self.item.to_symbols(samples, residual=False)
        return symbols.reshape(-1, 1, symbols.shape[-1])


