"""Ways of coding blocks: a coder for each part of an archive.

    codes      CodesCoder      under the prior, or without a model where that is smaller
    samples    SamplesCoder    symbols of samples under the autoregressive decoder, given the item's codes
    fallback   FallbackCoder   what the kind's own codec makes of the samples, or the samples as they are
    file       FileCoder       the file that an item was, as it is or packed by the kind

Chains are in `latentpress.press.bitsback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding import Archive, Block, BlockLayout, ItemRecord, Mode, Part, Segment, modes
from latentpress.coding.container import pack_counts
from latentpress.coding.records import symbols_crc
from latentpress.coding.tables import normalize
from latentpress.errors import ArchiveError, ItemError
from latentpress.exact.distribution import Conditioning, Stream
from latentpress.items.base import Item, Shape, Symbols
from latentpress.model import Model
from latentpress.model.integer import AnyIntegerDecoder
from latentpress.press.blocks import BandReader, Blocks, Coded, labels_in, window
from latentpress.press.reading import Items, grouped

__all__ = ["CodesCoder", "FallbackCoder", "FileCoder", "SamplesCoder"]

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

    def encode(self, blocks: Blocks, symbols: Sequence[Symbols], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`; without a prior the ideal length is that of plain bits."""
        plain = float(np.log2(self.alphabets).sum())
        under_prior = [(None, np.full(len(block.lanes), plain * block.positions)) for block in blocks]
        if (prior := self.model.integer.prior) is not None:
            streams = zip(self._streams(blocks, items.records), symbols, strict=True)
            under_prior = prior.encode([replace(stream, symbols=each) for stream, each in streams])
        for each, (payload, bits) in zip(symbols, under_prior, strict=True):
            payloads = {Mode.RAW: modes.encode_raw(each, self.alphabets)}
            payloads[Mode.ADAPTIVE] = modes.encode_adaptive(each, self.alphabets)
            payloads |= {Mode.PRIOR: payload} if payload is not None else {}
            mode = min(payloads, key=lambda mode: len(payloads[mode]))
            yield mode, payloads[mode], bits

    def decode(self, archive: Archive, numbers: Sequence[int]) -> list[Symbols | None]:
        """See `BlockCoder`."""
        coded, found = [n for n in numbers if archive.modes[n] is Mode.PRIOR], dict[int, Symbols | None]()
        if coded:
            assert self.model.integer.prior is not None, "the archive's prior is the model's"
            blocks, payloads = [archive.layout[n] for n in coded], map(archive.payload, coded)
            streams = zip(self._streams(blocks, archive.items), payloads, strict=True)
            given = [replace(stream, payload=each) for stream, each in streams]
            found = dict(zip(coded, self.model.integer.prior.decode(given), strict=True))
        return [found[n] if n in found else archive.stored_symbols(n) for n in numbers]

    def static(
        self, layout: Blocks, lengths: Sequence[int], items: Items
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
            symbols = self.expected(layout[number], items)
            for p, count in enumerate(counts):
                count += np.bincount(symbols[..., p].ravel(), minlength=len(count))
        tables = [normalize(count[None])[0] for count in counts]
        for number in numbers:
            symbols = self.expected(layout[number], items)
            payload = modes.encode_static(symbols, tables)
            if len(payload) < lengths[number]:
                smaller[number] = Block(Mode.STATIC, payload, symbols_crc(symbols))
        gain = sum(lengths[number] - len(block.payload) for number, block in smaller.items())
        return (smaller, counts) if gain > len(pack_counts(counts)) else ({}, None)

    def _streams(self, blocks: Blocks, records: Sequence[ItemRecord]) -> Iterator[Stream]:
        for block in blocks:
            labels = self.model.labels_for("prior", labels_in(records, block.lanes, self.model.hop[0]))
            yield Stream(block.shape, len(block.lanes), Conditioning(labels=labels))


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
    decoder: AnyIntegerDecoder
    codes: CodesCoder | None

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        lanes, residual = [], self.model.residual
        for lane in block.lanes:
            before = items.rows(Segment(lane.item, lane.start - 1, lane.start)) if lane.start else None
            symbols = self.model.item.to_symbols(items.rows(lane), before, residual=residual)
            lanes.append(symbols.reshape(block.positions, -1))
        return np.stack(lanes, axis=1)

    def encode(self, blocks: Blocks, symbols: Sequence[Symbols], items: Items) -> list[Coded]:
        """See `BlockCoder`."""
        streams = zip(self._streams(blocks, items.records, items.code_rows), symbols, strict=True)
        coded = self.decoder.network.encode([replace(stream, symbols=each) for stream, each in streams])
        return [(Mode.SAMPLES, *each) for each in coded]

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Sequence[Symbols | None]:
        """See `BlockCoder`."""
        blocks, read = [archive.layout[number] for number in numbers], None
        if self.codes is not None:
            items = {lane.item for block in blocks for lane in block.lanes}
            read = BandReader(archive, self.codes, Part.CODES, items).read
        payloads = [archive.payload(number) for number in numbers]
        streams = zip(self._streams(blocks, archive.items, read), payloads, strict=True)
        return self.decoder.network.decode([replace(stream, payload=each) for stream, each in streams])

    def _streams(self, blocks: Blocks, records: Sequence[ItemRecord], read: ReadCodes | None) -> list[Stream]:
        """The streams of blocks; the conditioning of bands that are alike is made together."""
        streams, local, conditioner = list[Stream](), dict[Segment, Tensor](), self.decoder.conditioner
        if conditioner is not None and read is not None:
            hop, reach = conditioner.structure.hop[0], conditioner.structure.reach
            lanes = [lane for block in blocks for lane in block.lanes]
            windows = {lane: window(lane, records[lane.item].shape, hop, reach) for lane in lanes}
            codes = read([wanted for wanted, _ in windows.values()])

            def extents(lane: Segment) -> tuple[Shape, tuple[int, int]]:
                """The size of what the codes of a lane span, and its rows therein."""
                span, shape = windows[lane][1], records[lane.item].shape
                return (span.stop - span.start, *shape[1:]), (lane.start - span.start, lane.stop - span.start)

            for (size, rows), alike in grouped(lanes, extents).items():
                stacked = np.stack([codes[windows[lane][0]] for lane in alike]).astype(np.int64)
                local |= zip(alike, conditioner(torch.from_numpy(stacked), size, rows), strict=True)
        for block in blocks:
            labels = self.model.labels_for("autoregressive", labels_in(records, block.lanes))
            maps = torch.stack([local[lane] for lane in block.lanes]) if local else None
            streams.append(Stream(block.shape, len(block.lanes), Conditioning(maps, labels)))
        return streams


@dataclass(frozen=True)
class FallbackCoder:
    """Samples as the kind's own codec packs them, or as they are where that is smaller, or does not hold."""

    item: Item

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        symbols = self.item.to_symbols(items.rows(*block.lanes), residual=False)
        return symbols.reshape(-1, 1, len(self.item.alphabets))

    def encode(self, blocks: Blocks, symbols: Sequence[Symbols], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`; the ideal length is that of the bytes."""
        for block, each in zip(blocks, symbols, strict=True):
            samples = items.rows(*block.lanes)
            mode, payload = Mode.RAW, modes.encode_raw(each, self.item.alphabets)
            with suppress(ItemError):
                packed = self.item.pack(samples)
                smaller = packed if packed is not None and len(packed) < len(payload) else None
                if smaller and np.array_equal(self.item.unpack(smaller, samples.shape), samples):
                    mode, payload = Mode.PACKED, smaller
            yield mode, payload, np.array([8.0 * len(payload)])

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[Symbols]:
        """See `BlockCoder`."""
        for number in numbers:
            if archive.modes[number] is Mode.RAW:
                yield archive.stored_symbols(number)
                continue
            shape = (*archive.layout[number].shape, self.item.channels)
            try:
                samples = self.item.unpack(archive.payload(number), shape)
            except ItemError as error:
                raise ArchiveError(f"damaged archive: block {number}: {error}") from None
            yield self.item.to_symbols(samples, residual=False).reshape(-1, 1, len(self.item.alphabets))


@dataclass(frozen=True)
class FileCoder:
    """Bytes of a file as they are, or, of a whole file, as its kind packs them where that is smaller."""

    item: Item

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        return items.file_rows(*block.lanes)[:, None]

    def encode(self, blocks: Blocks, symbols: Sequence[Symbols], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`; the ideal length is that of the bytes."""
        for block, each in zip(blocks, symbols, strict=True):
            (lane,), data, packed = block.lanes, each.tobytes(), None
            if (lane.start, lane.stop) == (0, items.files[lane.item]):
                packed = self._packed(data, items.records[lane.item].shape)
            mode, payload = (Mode.RAW, data) if packed is None else (Mode.PACKED, packed)
            yield mode, payload, np.array([8.0 * len(payload)])

    def _packed(self, data: bytes, shape: Shape) -> bytes | None:
        """A file as its kind packs it, where that is smaller and gives the same bytes back."""
        packed = self.item.pack_file(data)
        if packed is not None and len(packed) < len(data):
            with suppress(ItemError):
                return packed if self.item.unpack_file(packed, shape) == data else None
        return None

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[Symbols]:
        """See `BlockCoder`."""
        for number in numbers:
            if archive.modes[number] is Mode.RAW:
                yield archive.stored_symbols(number)
                continue
            (lane,) = archive.layout[number].lanes
            try:
                data = self.item.unpack_file(archive.payload(number), archive.items[lane.item].shape)
            except ItemError as error:
                raise ArchiveError(f"damaged archive: block {number}: {error}") from None
            yield np.frombuffer(data, np.uint8)[:, None, None]
