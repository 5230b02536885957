"""Items into a lossless archive: every pixel or byte, each item in the smallest form.

All items are coded by the model first: codes under the prior, pixels given the codes; or both at once, by
bits back. What an item cost, its lanes' share of their blocks, is compared with its samples and with
lossless WebP, or LZMA of texts. Items that are smaller so are stored whole and taken out of their blocks,
of which only those are coded again. Then the archive is decoded and compared, and items of blocks that
fail are stored whole as well.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.container import Archive, write_archive
from latentpress.coding.layout import BlockLayout, Part, Segment
from latentpress.coding.records import Block, Header, ItemRecord
from latentpress.data.sources import ItemRef
from latentpress.errors import ArchiveError, LatentpressError, MissingPartError
from latentpress.press.bitsback import ChainCoder, encode_chains
from latentpress.press.blocks import BlockEncoder, gather, waves
from latentpress.press.pixels import (
    decode_pixel_blocks,
    encode_pixels,
    gather_pixels,
    pack_whole,
    pixel_waves,
)
from latentpress.press.reading import PixelStore, misfits, read_items
from latentpress.press.summary import Progress, Summary

if TYPE_CHECKING:
    from latentpress.autoregressive.decoder import IntegerDecoder
    from latentpress.model import AnyModel

__all__ = ["compress_lossless"]

_VERIFIED_POSITIONS = 1 << 22
"""Positions of blocks verified together: their codes are in memory."""

_LEAST_BITS = 2.0**-20  # of an item: a draw of its latents may give back more than it costs

Integers = NDArray[Any]


def compress_lossless(
    model: AnyModel,
    items: Sequence[ItemRef],
    file: BinaryIO,
    header: Header,
    report: Progress,
    *,
    start: float,
    verify: bool,
    bits_back: bool = False,
) -> Summary:
    """Writes the lossless archive of `items` into an empty file; see `latentpress.press.compress`.

    Args:
        model: a codec with a decoder of pixels, in evaluation mode.
        items: what to press.
        file: may be written, read and truncated.
        header: that of a lossy archive of this model.
        report: called as things go on.
        start: when the work began, by `time.perf_counter`.
        verify: decode the archive as `decompress` would, and compare.
        bits_back: code by bits back.
    """
    chains = ChainCoder(model) if bits_back else None
    exact = model.exact_pixels
    if exact is None and model.config.half == "encoder":
        raise MissingPartError("encoder", "decoder, which lossless pressing needs", "the whole model")
    if exact is None:
        raise LatentpressError(
            "the model has no decoder of pixels to press losslessly with; train one with --stage decoder"
        )
    header = replace(header, pixels_id=model.pixels_id, differences=int(model.differences))
    if exact.upsampler is None:
        header = replace(header, sizes=(), prior_id=bytes(16))
    if chains is not None:
        header = replace(header, sizes=(), encoder_id=chains.encoder.id)
    records, codes = read_items(model, items, header, report, codes=bool(header.sizes), any_size=True)
    coding = _Coding(model, exact, header, records, codes, PixelStore(items, header), chains)
    coding.code(report)
    coding.store_whole(report)
    size = coding.write(file)
    if verify and (failing := coding.failing(file, report)):
        coding.take_out(failing)
        size = coding.write(file)
        if coding.failing(file, report):
            raise ArchiveError("the archive does not decode to what was coded; please report this")
    return Summary(
        items=len(records),
        dims=sum(record.samples for record in records) * header.channels,
        archive_bytes=size,
        symbols=sum(item.size for number, item in enumerate(codes) if number not in coding.whole),
        seconds=time.perf_counter() - start,
        model_bits=coding.bits,
        kind=header.kind,
        lossless=True,
        whole=len(coding.whole),
    )


@dataclass(frozen=True)
class _Coded:
    """A block, and its ideal length."""

    block: Block
    bits: float


class _Coding:
    """Items on their way into a lossless archive; `whole` are the blocks of those stored whole."""

    def __init__(
        self,
        model: AnyModel,
        exact: IntegerDecoder,
        header: Header,
        records: list[ItemRecord],
        codes: list[Integers],
        pixels: PixelStore,
        chains: ChainCoder | None = None,
    ) -> None:
        self.model, self.exact, self.header, self.records = model, exact, header, records
        self.codes, self.pixels, self.chains = codes, pixels, chains
        self.shapes = [record.shape for record in records]
        self.labels = [record.label for record in records]
        self.whole: dict[int, Block] = {}
        self.cost = np.zeros(len(records))  # bytes of each item's share of the blocks
        self._coded: dict[tuple[Part, tuple[Segment, ...]], _Coded] = {}

    @property
    def bits(self) -> float:
        """Ideal length of what was written."""
        stored = sum(8 * len(block.payload) for block in self.whole.values())
        return stored + sum(coded.bits for coded in self._coded.values())

    def layout(self) -> list[BlockLayout]:
        """The blocks as they are now."""
        return self.header.layout(self.shapes, self.whole)

    def code(self, report: Progress) -> None:
        """Codes all items by the model, and notes what each costs."""
        if self.chains is not None:  # which take items of one width
            self.take_out([n for n, s in enumerate(self.shapes) if s[0] and not self.chains.fits(s[1:])])
        elif self.header.sizes:
            self.take_out([n for n, shape in enumerate(self.shapes) if misfits(self.model, shape)])
        layout, done = self.layout(), 0
        for numbers, found in self._encoded(layout, range(len(layout))):
            for number, (block, bits) in zip(numbers, found, strict=True):
                lanes = layout[number].lanes
                items = [lane.item for lane in lanes]
                shares = np.maximum(bits, _LEAST_BITS)
                np.add.at(self.cost, items, len(block.payload) * shares / shares.sum())
                self._coded[layout[number].part, lanes] = _Coded(block, float(bits.sum()))
            done += len(numbers)
            report("code", done, len(layout))

    def store_whole(self, report: Progress) -> None:
        """Stores whole what is smaller so."""
        for number in range(len(self.records)):
            block = pack_whole(self.pixels[number])
            if number not in self.whole and len(block.payload) < self.cost[number]:
                self.whole[number] = block
            report("compare", number + 1, len(self.records))

    def take_out(self, numbers: Collection[int]) -> None:
        """Stores these items whole as well."""
        self.whole |= {number: pack_whole(self.pixels[number]) for number in numbers}

    def write(self, file: BinaryIO) -> int:
        """Writes the archive and returns its bytes; blocks that lost a lane are coded again."""
        layout = self.layout()
        own = [block for block in layout if block.part is not Part.WHOLE]
        kept = {key: self._coded[key] for block in own if (key := (block.part, block.lanes)) in self._coded}
        missing = [n for n, block in enumerate(own) if (block.part, block.lanes) not in kept]
        for numbers, coded in self._encoded(own, missing):
            for number, (block, bits) in zip(numbers, coded, strict=True):
                kept[own[number].part, own[number].lanes] = _Coded(block, float(bits.sum()))
        self._coded = kept
        blocks = [
            self.whole[found.lanes[0].item]
            if found.part is Part.WHOLE
            else kept[found.part, found.lanes].block
            for found in layout
        ]
        file.seek(0)
        file.truncate()
        return write_archive(file, self.header, self.records, blocks, whole=self.whole)

    def failing(self, file: BinaryIO, report: Progress) -> set[int]:
        """Returns the items of blocks of pixels that do not decode to what was coded."""
        archive = Archive(file)
        same = archive.header == self.header and list(archive.items) == self.records
        if not same or archive.whole != set(self.whole):
            raise ArchiveError("the archive's index does not read as it was written; please report this")
        numbers = [n for n, block in enumerate(archive.layout) if block.part is not Part.CODES]
        done, failing = 0, set()
        for group in _groups(archive.layout, numbers):
            failing |= {n for n in self._failing_of(archive, group) if self._failing_of(archive, [n])}
            done += len(group)
            report("verify", done, len(numbers))
        return {lane.item for number in failing for lane in archive.layout[number].lanes}

    def _failing_of(self, archive: Archive, numbers: Collection[int]) -> set[int]:
        failing = set(numbers)  # one failing block ends the decoding of those beside it
        with suppress(ArchiveError):
            for number, symbols in decode_pixel_blocks(archive, self.model, numbers):
                expected = gather_pixels(self.pixels, archive.layout[number], archive.header.differences)
                if np.array_equal(symbols, expected):
                    failing.discard(number)
        return failing

    def _encoded(
        self, layout: Sequence[BlockLayout], numbers: Iterable[int]
    ) -> Iterator[tuple[list[int], list[tuple[Block, NDArray[np.float64]]]]]:
        """Codes blocks, some at a time: their numbers, and each block with its lanes' ideal bits."""
        wanted = list(numbers)
        encoder = BlockEncoder(self.header.sizes, self.model.exact_prior)
        if self.chains is not None:
            linked = [n for n in wanted if layout[n].part is Part.CHAIN]
            for places, found in encode_chains(self.chains, self.pixels, [layout[n] for n in linked]):
                yield [linked[place] for place in places], found
            return
        for wave in waves(layout, [n for n in wanted if layout[n].part is Part.CODES]):
            blocks = [layout[number] for number in wave]
            symbols = [gather(self.codes, block) for block in blocks]
            yield wave, encoder.encode(symbols, blocks, self.labels)
        codes = dict(enumerate(self.codes))
        pixels = [n for n in wanted if layout[n].part is Part.PIXELS]
        for wave in pixel_waves(layout, pixels):
            given = (self.exact, self.pixels, [layout[number] for number in wave], self.shapes, codes)
            yield wave, encode_pixels(*given, differences=self.header.differences)


def _groups(layout: Sequence[BlockLayout], numbers: Iterable[int]) -> Iterator[list[int]]:
    """Cuts blocks into runs that are verified together."""
    group: list[int] = []
    held = 0
    for number in numbers:
        positions = layout[number].positions * len(layout[number].lanes)
        if group and held + positions > _VERIFIED_POSITIONS:
            yield group
            group, held = [], 0
        group.append(number)
        held += positions
    if group:
        yield group
