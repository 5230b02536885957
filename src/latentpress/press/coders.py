"""Ways of coding blocks: a coder for each part of an archive.

    codes      CodesCoder      under the prior, or without a model where that is smaller
    samples    SamplesCoder    symbols of samples under the autoregressive decoder, given the item's codes
    fallback   FallbackCoder   what the kind's own codec makes of the samples, or the samples as they are

Chains are in `latentpress.press.bitsback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.conditioner import ConditionerStructure
from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.coding import Archive, Block, BlockLayout, ItemRecord, Mode, Part, Segment, modes
from latentpress.coding.container import pack_counts
from latentpress.coding.records import symbols_crc
from latentpress.coding.tables import normalize
from latentpress.errors import ArchiveError, ItemError
from latentpress.exact.distribution import Conditioning
from latentpress.items.base import Item, Samples, Shape, Symbols
from latentpress.model import Model
from latentpress.press.blocks import BandReader, Coded, labels_in, streams
from latentpress.press.reading import Items, grouped

__all__ = ["CodesCoder", "FallbackCoder", "SamplesCoder"]

ReadCodes = Callable[[Sequence[Segment]], Mapping[Segment, Symbols]]


@dataclass(frozen=True)
class CodesCoder:
    """Codes of a model's latents, each block in the mode that makes it smallest."""

    model: Model
    alphabets: tuple[int, ...]

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        codes = items.code_rows(block.lanes)
        return np.stack([codes[lane].reshape(block.positions, -1) for lane in block.lanes], axis=1)

    def encode(
        self, blocks: Sequence[BlockLayout], symbols: Sequence[Symbols], items: Items
    ) -> Iterator[Coded]:
        """See `BlockCoder`; without a prior the ideal length is that of plain bits."""
        plain = float(np.log2(self.alphabets).sum())
        under_prior = [(None, np.full(len(block.lanes), plain * block.positions)) for block in blocks]
        if (prior := self.model.integer.prior) is not None:
            conditionings = self._conditionings(blocks, items.records)
            under_prior = prior.encode(streams(blocks, conditionings, symbols=symbols))
        for each, (payload, bits) in zip(symbols, under_prior, strict=True):
            payloads = {Mode.RAW: modes.encode_raw(each, self.alphabets)}
            payloads[Mode.ADAPTIVE] = modes.encode_adaptive(each, self.alphabets)
            payloads |= {Mode.PRIOR: payload} if payload is not None else {}
            mode = min(payloads, key=lambda mode: len(payloads[mode]))
            yield mode, payloads[mode], bits

    def decode(self, archive: Archive, numbers: Sequence[int]) -> list[Symbols | None]:
        """See `BlockCoder`."""
        coded, prior = [n for n in numbers if archive.modes[n] is Mode.PRIOR], self.model.integer.prior
        found: dict[int, Symbols | None] = {}
        if coded:
            assert prior is not None, "the archive's prior is the model's"
            blocks, payloads = [archive.layout[n] for n in coded], [archive.payload(n) for n in coded]
            conditionings = self._conditionings(blocks, archive.items)
            found = dict(
                zip(coded, prior.decode(streams(blocks, conditionings, payload=payloads)), strict=True)
            )
        return [found[n] if n in found else archive.stored_symbols(n) for n in numbers]

    def static(
        self, layout: Sequence[BlockLayout], lengths: Sequence[int], items: Items
    ) -> tuple[dict[int, Block], list[NDArray[np.int64]] | None]:
        """Blocks that tables for the whole archive make smaller, and the counts that these are made of.

        There are none where all blocks together do not gain what the counts cost.

        Args:
            layout: of the archive.
            lengths: the bytes of each block so far.
            items: what it holds.
        """
        numbers = [number for number, block in enumerate(layout) if block.part is Part.CODES]
        if not numbers:
            return {}, None
        counts, smaller = [np.zeros(size, np.int64) for size in self.alphabets], dict[int, Block]()
        for number in numbers:
            for count, component in zip(
                counts, np.moveaxis(self.expected(layout[number], items), -1, 0), strict=True
            ):
                count += np.bincount(component.ravel(), minlength=len(count))
        tables = [normalize(count[None])[0] for count in counts]
        for number in numbers:
            symbols = self.expected(layout[number], items)
            payload = modes.encode_static(symbols, tables)
            if len(payload) < lengths[number]:
                smaller[number] = Block(Mode.STATIC, payload, symbols_crc(symbols))
        gain = sum(lengths[number] - len(block.payload) for number, block in smaller.items())
        return (smaller, counts) if gain > len(pack_counts(counts)) else ({}, None)

    def _conditionings(
        self, blocks: Sequence[BlockLayout], records: Sequence[ItemRecord]
    ) -> list[Conditioning]:
        labels = (labels_in(records, block.lanes, self.model.hop[0]) for block in blocks)
        return [Conditioning(labels=self.model.labels_for("prior", each)) for each in labels]


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

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        lanes, residual = [], self.model.residual
        for lane in block.lanes:
            before = items.rows(Segment(lane.item, lane.start - 1, lane.start)) if lane.start else None
            symbols = self.model.item.to_symbols(items.rows(lane), before, residual=residual)
            lanes.append(symbols.reshape(block.positions, -1))
        return np.stack(lanes, axis=1)

    def encode(self, blocks: Sequence[BlockLayout], symbols: Sequence[Symbols], items: Items) -> list[Coded]:
        """See `BlockCoder`."""
        conditionings = self._conditionings(blocks, items.records, items.code_rows)
        coded = self.decoder.network.encode(streams(blocks, conditionings, symbols=symbols))
        return [(Mode.SAMPLES, payload, bits) for payload, bits in coded]

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Sequence[Symbols | None]:
        """See `BlockCoder`."""
        blocks, read = [archive.layout[number] for number in numbers], None
        if self.codes is not None:
            items = {lane.item for block in blocks for lane in block.lanes}
            read = BandReader(archive, self.codes, Part.CODES, items).read
        conditionings = self._conditionings(blocks, archive.items, read)
        payloads = [archive.payload(number) for number in numbers]
        return self.decoder.network.decode(streams(blocks, conditionings, payload=payloads))

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
        wanted, spans = [window for window, _ in windows], [span for _, span in windows]
        codes, local = read(wanted), dict[int, Tensor]()
        for (size, rows), places in grouped(spans).items():
            stacked = np.stack([codes[wanted[place]] for place in places]).astype(np.int64)
            local |= zip(places, conditioner(torch.from_numpy(stacked), size, rows), strict=True)
        ends = np.cumsum([0, *(len(block.lanes) for block in blocks)]).tolist()
        maps = (torch.stack([local[place] for place in range(*ends[n : n + 2])]) for n in range(len(blocks)))
        return [Conditioning(*parts) for parts in zip(maps, labels, strict=True)]


def _window(
    structure: ConditionerStructure, band: Segment, shape: Shape
) -> tuple[Segment, tuple[Shape, tuple[int, int]]]:
    """The codes that a band's conditioning depends on; the size of what they span, and its rows therein."""
    hop = structure.hop[0]
    first = max(0, band.start // hop - structure.before)
    last = min(-(-shape[0] // hop), -(-band.stop // hop) + structure.after)
    above, below = first * hop, min(shape[0], last * hop)
    size = below - above, *shape[1:]
    return Segment(band.item, first, last), (size, (band.start - above, band.stop - above))


@dataclass(frozen=True)
class FallbackCoder:
    """Samples as the kind's own codec packs them, or as they are where that is smaller, or does not hold."""

    item: Item

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        [samples] = map(items.rows, block.lanes)
        return self._symbols(samples)

    def encode(
        self, blocks: Sequence[BlockLayout], symbols: Sequence[Symbols], items: Items
    ) -> Iterator[Coded]:
        """See `BlockCoder`; the ideal length is that of the bytes."""
        for block, each in zip(blocks, symbols, strict=True):
            [samples] = map(items.rows, block.lanes)
            mode, payload = Mode.RAW, modes.encode_raw(each, self.item.alphabets)
            packed = self.item.pack(samples)
            if packed is not None and len(packed) < len(payload):
                holds = np.array_equal(self.item.unpack(packed, samples.shape), samples)
                mode, payload = (Mode.PACKED, packed) if holds else (mode, payload)
            yield mode, payload, np.array([8.0 * len(payload)])

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[Symbols]:
        """See `BlockCoder`."""
        for number in numbers:
            if archive.modes[number] is Mode.RAW:
                yield archive.stored_symbols(number)
                continue
            shape = (*archive.layout[number].shape, self.item.channels)
            try:
                yield self._symbols(self.item.unpack(archive.payload(number), shape))
            except ItemError as error:
                raise ArchiveError(f"damaged archive: block {number}: {error}") from None

    def _symbols(self, samples: Samples) -> Symbols:
        symbols = self.item.to_symbols(samples, residual=False)
        return symbols.reshape(-1, 1, symbols.shape[-1])
