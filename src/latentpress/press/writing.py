"""Items into an archive: read, lay out, code, write, and prove before the file gets its name.

    items --read_items--> records, codes --layout, coders--> blocks --write--> archive --decode--> the same?

An item that the model does not take is stored by the fallback, which is the codec of its kind, and so is, in
a lossless archive, an item that is smaller that way. Any item is stored as the file that it was where this is
the smallest: its share of the blocks that it is in is compared, it is taken out of them, and only these are
coded again. In the end the archive is decoded, and items of blocks that do not give back what was coded are
stored by the fallback as well.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from latentpress.coding import MAX_ITEMS, Archive, Block, BlockLayout, Header, Mode, Part, Segment, Stored
from latentpress.coding.container import write_archive
from latentpress.coding.records import Content, symbols_crc
from latentpress.data import ItemRef, Source, open_sources
from latentpress.errors import ArchiveError, ItemError, LatentpressError, UnsafePathError
from latentpress.files import open_atomic
from latentpress.items import Samples
from latentpress.model import Model
from latentpress.names import output_names, shown, unfit
from latentpress.press.blocks import Bits, BlockCoder, Blocks, batches, decoded
from latentpress.press.coders import CodesCoder
from latentpress.press.matching import CODED, check_half, coder_for, header_for, leaves
from latentpress.press.reading import Items
from latentpress.press.summary import Progress, Summary

__all__ = ["compress", "encode_archive"]

_SPOOL_BYTES = 1 << 26  # of coded blocks that are in memory rather than in a temporary file
_MOST_NAMED = 100  # of the files that would be left out
_LARGE = 1 << 14  # positions of an item whose lossy file is stored without a try of anything else
_LEAST_PACKED = 0.5  # of a file: what packs one reversibly does not halve it
_LEAST_BITS = 2.0**-20  # of an item, which by bits back may give back more than it costs


def compress(
    model: Model,
    sources: Source | Sequence[Path | str],
    out: Path | str | BinaryIO,
    *,
    lossless: bool = False,
    bits_back: bool = False,
    verify: bool = True,
    overwrite: bool = False,
    convert: bool = False,
    skip: bool = False,
    model_name: str = "",
    seed: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Compresses items into one archive.

    Args:
        model: the codec, in evaluation mode.
        sources: files, folders, zip, IDX or .npz files, or a `Source` of items already opened.
        out: the archive's path, or a binary stream.
        lossless: keep every sample, as kinds that are not lossy do in any case: code the codes and then the
            samples given them, or what the codec of the kind makes of an item, if that is smaller.
        bits_back: in a lossless archive of a delta-VAE, code chains of items by bits back: smaller where
            there are many, but a whole chain has to be decoded for one of its items.
        verify: decode the archive as `decompress` would and compare, before it gets its name.
        overwrite: replace an archive that is there.
        convert: take items that lose something on the way to samples; see `Item.open`.
        skip: accept that the source left out what would be missed, which it lists as `lost`.
        model_name: what messages call the model.
        seed: of the draws of decoders that draw samples, in archives that are not lossless.
        progress: called as things go on.

    Raises:
        ItemError: an item is damaged (a file that its kind takes by its name is kept as it is instead), it
            changed, or one was left out of the source without `skip`; nothing is written.
        UnsafePathError: no archive can hold an item's name (`latentpress.names.unfit`); nothing is written.
        ArchiveError: verification failed; nothing is written.
        LatentpressError: `out` is one of the inputs, or exists and `overwrite` is False, or the model lacks
            something.

    >>> from latentpress.config import ConvConfig, ParallelDecoderConfig, VQVAEConfig
    >>> from latentpress.model import build
    >>> small = ConvConfig(width=32, depths=(0, 1))
    >>> parallel = ParallelDecoderConfig(network=small)
    >>> model = build(VQVAEConfig(encoder=small, parallel=parallel, prior=None)).eval()
    >>> item = ItemRef.of("grey.png", np.full((20, 30, 3), 128, np.uint8))
    >>> compress(model, Source(model.item, (item,)), io.BytesIO()).symbols
    40
    """
    report = progress or _silent
    if bits_back and not lossless and model.item.lossy:
        raise LatentpressError("bits back is a way to compress losslessly; ask for that too")
    content: Content = "chains" if bits_back else "samples" if lossless or not model.item.lossy else "codes"
    check_half(model, content, restoring=False)
    source = sources if isinstance(sources, Source) else open_sources(sources, model.item, convert=convert)
    _check_source(source, skip)
    if isinstance(out, str | Path) and source.reads(Path(out)):
        raise LatentpressError(f"{shown(str(out))} is one of the inputs; choose another name for the output")
    header = header_for(model, content, model_name, seed)
    parts = (*([Part.CODES] if header.code_alphabets else []), CODED[content], Part.FALLBACK, Part.FILE)
    coders = {part: coder_for(part, model, header) for part in parts}
    if header.lossless or model.integer.prior is not None:
        model.integer.prepare(len(source.items), report)
    start = time.perf_counter()
    with open_atomic(out, overwrite=overwrite) as file, tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        items = Items(model, source.items, header, report)
        writer = _Writer(header, items, coders, spool)
        kept = {number: length for number, length in items.files.items() if number in items.kept}
        coded = writer.packed(report) if header.lossless else {}
        files = kept | {lanes[0].item: lanes[0].stop for _, lanes in coded}
        stored = Stored(frozenset(items.untaken.difference(files)), files)
        coded = writer.code(stored, coded, report)
        stored = writer.smallest(stored, coded, report)
        for again in (False, True):
            coded = writer.code(stored, coded, _silent)
            archive = writer.write(file, stored, coded)
            failing = writer.failing(archive, stored, report) if verify else frozenset[int]()
            if not failing:
                break
            items.check_unchanged(stored.files)
            if again or failing & stored.numbers:
                raise ArchiveError("the archive does not decode to what was coded; please report this")
            stored = replace(stored, fallback=stored.fallback | failing)
        items.check_unchanged(stored.files)
        sizes = [ref.file_bytes for ref in source.items if ref.file_bytes is not None]
        bits = float(sum(each.bits.sum() for each in coded.values()))
        file_bytes = sum(sizes) if len(sizes) == len(source.items) else None
        chosen = range(len(source.items))
        kept = {shown(source.items[number].name): reason for number, reason in items.kept.items()}
        besides = Counter(
            word
            for number, words in items.besides.items()
            if archive.original(number) not in stored.files
            for word in words
        )
        more = {"file_bytes": file_bytes, "model_bits": bits, "kept": kept, "besides": besides}
        return Summary.of(archive, model.item.words, chosen, start, **more)


def encode_archive(model: Model, samples: Mapping[str, Samples], **options: Any) -> bytes:
    """Compresses items in memory, arrays by name, and returns the archive; `options` are of `compress`."""
    buffer = io.BytesIO()
    source = Source(model.item, tuple(ItemRef.of(name, array) for name, array in samples.items()))
    compress(model, source, buffer, **options)
    return buffer.getvalue()


class _Coded(NamedTuple):
    """A coded block: where its bytes are in the spool, and the ideal length of each of its lanes in bits."""

    mode: Mode
    symbols_crc: int
    start: int
    length: int
    bits: Bits


_Blocks = dict[tuple[Part, tuple[Segment, ...]], _Coded]


@dataclass(frozen=True, eq=False)
class _Writer:
    """What does not change while an archive is made; `spool` holds the bytes of coded blocks."""

    header: Header
    items: Items
    coders: Mapping[Part, BlockCoder]
    spool: IO[bytes]

    def code(self, stored: Stored, known: _Blocks, report: Progress) -> _Blocks:
        """All blocks, with these items stored otherwise; those that are not `known` are coded."""
        layout = self.header.layout(self.items.records, stored)
        coded = {key: known[key] for block in layout if (key := (block.part, block.lanes)) in known}
        missing = [n for n, block in enumerate(layout) if (block.part, block.lanes) not in coded]
        for numbers in batches(layout, missing):
            coded |= self._encoded([layout[number] for number in numbers])
            report("code", len(coded), len(layout))
        return coded

    def packed(self, report: Progress) -> _Blocks:
        """The blocks of files that their kind packs, and of large ones that a lossy codec made.

        To code exactly what such a file decodes to takes more than the file.
        """
        packed, items = _Blocks(), self.items
        layout = self.header.layout(items.records, Stored(files=items.files))
        layout = [block for block in layout if block.part is Part.FILE]
        for done, block in enumerate(layout, start=1):
            end, item = self.spool.seek(0, io.SEEK_END), block.lanes[0].item
            trial, large = self._encoded([block]), items.records[item].positions >= _LARGE
            if Mode.PACKED in (each.mode for each in trial.values()) or (large and items.is_lossy(item)):
                packed |= trial
            else:
                self.spool.truncate(end)
            report("pack", done, len(layout))
        return packed

    def smallest(self, stored: Stored, coded: _Blocks, report: Progress) -> Stored:
        """What is stored otherwise where every item takes its smallest form; adds those blocks to `coded`."""
        costs = np.zeros(len(self.items.records))  # bytes of every item: its lanes' shares of their blocks
        for (_, lanes), block in coded.items():
            shares = np.maximum(block.bits, _LEAST_BITS)
            np.add.at(costs, [lane.item for lane in lanes], block.length * shares / shares.sum())
        present = sorted({lane.item for _, lanes in coded for lane in lanes}.difference(stored.files))
        others = self._other_forms(present, stored)
        forms = {item: Part.FALLBACK for item in stored.fallback}
        for done, (item, parts) in enumerate(others.items(), start=1):
            for part, blocks in parts.items():
                if part is Part.FILE and _LEAST_PACKED * blocks[-1].lanes[0].stop >= costs[item]:
                    continue
                end = self.spool.seek(0, io.SEEK_END)
                trial = self._encoded(blocks)
                if sum(block.length for block in trial.values()) >= costs[item]:
                    self.spool.truncate(end)
                    continue
                coded |= trial
                forms[item], costs[item] = part, sum(block.length for block in trial.values())
            report("compare", done, len(others))
        fallback = frozenset(item for item, part in forms.items() if part is Part.FALLBACK)
        chosen = {n: length for n, length in self.items.files.items() if forms.get(n) is Part.FILE}
        return Stored(fallback, {**stored.files, **chosen})

    def _other_forms(self, items: Sequence[int], stored: Stored) -> dict[int, dict[Part, list[BlockLayout]]]:
        """The blocks of the other forms that items may take, the file's first; empty for no other form."""
        present = frozenset(items)
        fallback = present.difference(stored.fallback) if self.header.lossless else frozenset[int]()
        files = {n: length for n, length in self.items.files.items() if length and n in present}
        forms: dict[int, dict[Part, list[BlockLayout]]] = {}
        for block in reversed(self.header.layout(self.items.records, Stored(fallback, files))):
            if block.part in (Part.FALLBACK, Part.FILE):
                forms.setdefault(block.lanes[0].item, {}).setdefault(block.part, []).insert(0, block)
        return forms

    def write(self, file: BinaryIO, stored: Stored, coded: _Blocks) -> Archive:
        """Writes the archive, and opens it."""
        layout = self.header.layout(self.items.records, stored)
        found = [coded[block.part, block.lanes] for block in layout]
        static, counts = dict[int, Block](), None
        if isinstance(codes := self.coders.get(Part.CODES), CodesCoder):
            lengths = [each.length for each in found]
            static, counts = codes.static(layout, lengths, self.items)
        file.seek(0)
        file.truncate()
        blocks = (static.get(number) or self._block(each) for number, each in enumerate(found))
        write_archive(file, self.header, self.items.records, blocks, counts, stored)
        return Archive(file)

    def failing(self, archive: Archive, stored: Stored, report: Progress) -> frozenset[int]:
        """The items of blocks that do not decode to what was coded."""
        same = archive.header == self.header and list(archive.items) == self.items.records
        if not same or archive.stored != stored:
            raise ArchiveError("the archive's index does not read as it was written; please report this")
        numbers = [n for part in leaves(archive, range(len(archive.items))).values() for n in part]
        failing, done = set[int](), 0
        for batch in batches(archive.layout, numbers):
            proven = self._proven(archive, batch)
            if len(proven) < len(batch):  # one failing block ends the decoding of those beside it
                proven = [number for number in batch if self._proven(archive, [number])]
            failing.update(set(batch) - set(proven))
            report("verify", done := done + len(batch), len(numbers))
        return frozenset(lane.item for number in failing for lane in archive.layout[number].lanes)

    def _proven(self, archive: Archive, numbers: Sequence[int]) -> list[int]:
        """Those blocks of one part that decode to what was coded."""
        coder, proven = self.coders[archive.layout[numbers[0]].part], []
        with suppress(ArchiveError):
            for number, symbols in decoded(archive, coder, numbers):
                if np.array_equal(symbols, coder.expected(archive.layout[number], self.items)):
                    proven.append(number)
        return proven

    def _encoded(self, blocks: Blocks) -> _Blocks:
        """Codes blocks of one part; their bytes are in the spool."""
        coder, coded = self.coders[blocks[0].part], _Blocks()
        symbols = [coder.expected(block, self.items) for block in blocks]
        encoded = coder.encode(blocks, symbols, self.items)
        for block, each, (mode, payload, bits) in zip(blocks, symbols, encoded, strict=True):
            start = self.spool.seek(0, io.SEEK_END)
            self.spool.write(payload)
            coded[block.part, block.lanes] = _Coded(mode, symbols_crc(each), start, len(payload), bits)
        return coded

    def _block(self, coded: _Coded) -> Block:
        self.spool.seek(coded.start)
        return Block(coded.mode, self.spool.read(coded.length), coded.symbols_crc)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


def _check_source(source: Source, skip: bool) -> None:
    names = [ref.name for ref in source.items]
    lost = [f"{skipped.name} ({skipped.reason})" for skipped in source.skipped if skipped.lost and not skip]
    if lost:
        raise ItemError(f"would be left out: {_listed(lost)}; rename it, take it away, or skip it (--skip)")
    if not 1 <= len(names) <= MAX_ITEMS:
        raise ItemError(f"an archive holds 1 to {MAX_ITEMS} items, got {len(names)}")
    if len(set(names)) != len(names):
        raise ItemError("two items have the same name; compress them into two archives")
    unfits = {name: reason for name in names if (reason := unfit(name))}
    unfits = unfits or {n: reason for n in output_names(names, source.item.suffix) if (reason := unfit(n))}
    if unfits:
        listed = _listed([f"{name[:80]!a}: {reason}" for name, reason in unfits.items()])
        raise UnsafePathError(f"no archive can hold these names: {listed}")


def _listed(reasons: Sequence[str]) -> str:
    more = f" and {len(reasons) - _MOST_NAMED} more" if len(reasons) > _MOST_NAMED else ""
    return ", ".join(reasons[:_MOST_NAMED]) + more
