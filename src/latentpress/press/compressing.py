"""Items into an archive: encode, lay out, code, write, and prove before the file gets its name."""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.streams import prepare
from latentpress.coding.container import Archive, write_archive
from latentpress.coding.layout import BlockLayout, lay_out
from latentpress.coding.records import MAX_ITEMS, Block, Header, ItemRecord
from latentpress.data.sources import ItemRef, Skipped, Source, is_lost, open_sources
from latentpress.errors import ArchiveError, ItemError, LatentpressError
from latentpress.files import open_atomic, suffix_of
from latentpress.names import check_name, output_names
from latentpress.press.blocks import BlockEncoder, add_static, decode_blocks, gather, waves
from latentpress.press.lossless import compress_lossless
from latentpress.press.reading import read_items
from latentpress.press.summary import Progress, Summary

if TYPE_CHECKING:
    from latentpress.model import AnyModel
    from latentpress.press.blocks import ExactPrior

__all__ = ["compress", "encode_archive"]

Integers = NDArray[Any]
Pixels = NDArray[np.uint8]


def compress(
    model: AnyModel,
    sources: Source | Sequence[Path | str],
    out: Path | str | BinaryIO,
    *,
    lossless: bool = False,
    bits_back: bool = False,
    verify: bool = True,
    overwrite: bool = False,
    model_name: str = "",
    seed: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Presses images, or texts, into one archive.

    Args:
        model: the codec, in evaluation mode.
        sources: files, folders, zip, IDX or .npz files, or a `Source` of items already opened.
        out: the archive's path, or a binary stream.
        lossless: keep every pixel: code the codes, then the pixels given them, each item in the
            smallest of this form, lossless WebP and plain samples. Texts are kept byte for byte in any
            case, each in the smallest of this form, LZMA and its plain bytes.
        bits_back: in a lossless archive of a delta-VAE, code chains of items by bits back: smaller where
            there are many, but a whole chain has to be decoded for one of its items.
        verify: decode the finished archive as `decompress` would and compare, before it gets its name.
        overwrite: replace an archive that is there.
        model_name: what messages call the model.
        seed: with which a delta-VAE's decoder draws what the latents do not say, in an archive that is
            not lossless.
        progress: called as things go on.

    Raises:
        ItemError: an item is damaged, or one was left out of the source; nothing is written.
        UnsafePathError: an item's name cannot be restored everywhere; nothing is written.
        ArchiveError: verification failed; nothing is written.
        LatentpressError: `out` exists and `overwrite` is False, or `lossless` with a model that has no
            decoder of pixels.

    >>> import io
    >>> import numpy as np
    >>> from latentpress.config import ConvConfig, VQVAEConfig
    >>> from latentpress.data.sources import ItemRef, Source
    >>> from latentpress.model import build
    >>> small = ConvConfig(width=32, depths=(0, 1))
    >>> model = build(VQVAEConfig(encoder=small, decoder=small, prior=None)).eval()
    >>> item = ItemRef("grey.png", None, lambda: np.full((20, 30, 3), 128, np.uint8))
    >>> compress(model, Source((item,)), io.BytesIO()).symbols
    40
    """
    report = progress or _silent
    if not isinstance(sources, Source):
        item = model.config.item
        sources = open_sources(sources, kind=item.kind, channels=item.channels)
    lossless = lossless or model.config.item.kind == "text"
    if bits_back and not lossless:
        raise LatentpressError("bits back is a way to press losslessly; ask for that too")
    header = _header(model, model_name, None if lossless or not model.draws else seed)
    _check_skipped(sources.skipped, header.kind)
    _check_names([item.name for item in sources.items], header.kind)
    if lossless or model.exact_prior is not None:
        prepare(len(sources.items), report)
    start = time.perf_counter()
    with open_atomic(out, overwrite=overwrite) as file:
        if lossless:
            how = {"start": start, "verify": verify, "bits_back": bits_back}
            return compress_lossless(model, sources.items, file, header, report, **how)
        coding = _Coding(header, *read_items(model, sources.items, header, report))
        encoder, everything = BlockEncoder(coding.header.sizes, model.exact_prior), range(len(coding.layout))
        blocks, model_bits = coding.blocks(encoder, everything, report)
        size = coding.write(file, blocks)
        failing = coding.failing(file, model.exact_prior, report) if verify else ()
        if failing:
            without = BlockEncoder(coding.header.sizes, None)
            blocks |= coding.blocks(without, failing, _silent)[0]
            size = coding.write(file, blocks)
            if coding.failing(file, model.exact_prior, report):
                raise ArchiveError("the archive does not decode to what was coded; please report this")
    return Summary(
        items=len(coding.records),
        dims=sum(record.samples for record in coding.records) * coding.header.channels,
        archive_bytes=size,
        symbols=sum(item.size for item in coding.codes),
        seconds=time.perf_counter() - start,
        model_bits=model_bits,
        kind=header.kind,
    )


def encode_archive(
    model: AnyModel,
    images: Mapping[str, Pixels],
    *,
    lossless: bool = False,
    bits_back: bool = False,
    verify: bool = True,
) -> bytes:
    """Presses items in memory, arrays by name, and returns the archive; see `compress`."""
    buffer = io.BytesIO()
    source = Source(tuple(ItemRef(name, None, partial(_same, pixels)) for name, pixels in images.items()))
    compress(model, source, buffer, lossless=lossless, bits_back=bits_back, verify=verify)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Coding:
    """Items' codes on their way into an archive."""

    header: Header
    records: list[ItemRecord]
    codes: list[Integers]

    @cached_property
    def layout(self) -> list[BlockLayout]:
        return lay_out((self.header.grid(record.shape) for record in self.records), len(self.header.sizes))

    @cached_property
    def labels(self) -> list[int | None]:
        return [record.label for record in self.records]

    def blocks(
        self, encoder: BlockEncoder, numbers: Collection[int], report: Progress
    ) -> tuple[dict[int, Block], float]:
        """Returns the blocks of these numbers, and their symbols' ideal length in bits."""
        blocks: dict[int, Block] = {}
        total = 0.0
        for wave in waves(self.layout, numbers):
            layouts = [self.layout[number] for number in wave]
            symbols = [gather(self.codes, layout) for layout in layouts]
            for number, (block, bits) in zip(
                wave, encoder.encode(symbols, layouts, self.labels), strict=True
            ):
                blocks[number] = block
                total += float(bits.sum())
            report("code", len(blocks), len(numbers))
        return blocks, total

    def write(self, file: BinaryIO, blocks: Mapping[int, Block]) -> int:
        ordered = [blocks[number] for number in range(len(self.layout))]
        chosen, counts = add_static(ordered, self.codes, self.layout, self.header.sizes)
        file.seek(0)
        file.truncate()
        return write_archive(file, self.header, self.records, chosen, counts)

    def failing(self, file: BinaryIO, exact: ExactPrior | None, report: Progress) -> set[int]:
        """Returns the blocks of the archive in `file` that do not decode to these codes."""
        archive = Archive(file)
        if archive.header != self.header or list(archive.items) != self.records:
            raise ArchiveError("the archive's index does not read as it was written; please report this")
        failing = self._failing_of(archive, exact, range(len(self.layout)), report)
        return {number for number in failing if self._failing_of(archive, exact, [number], _silent)}

    def _failing_of(
        self, archive: Archive, exact: ExactPrior | None, numbers: Collection[int], report: Progress
    ) -> set[int]:
        failing = set(numbers)  # one failing block ends the decoding of those beside it
        with suppress(ArchiveError):
            for number, symbols in decode_blocks(archive, exact, numbers):
                if np.array_equal(symbols, gather(self.codes, self.layout[number])):
                    failing.discard(number)
                report("verify", len(numbers) - len(failing), len(numbers))
        return failing


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


def _same(pixels: Pixels) -> Pixels:
    return pixels


def _check_skipped(skipped: Sequence[Skipped], kind: str) -> None:
    for one in skipped:
        if is_lost(one, kind):
            raise ItemError(f"{one.name} would be left out ({one.reason}); rename it or take it away")


def _check_names(names: Sequence[str], kind: str) -> None:
    if not 1 <= len(names) <= MAX_ITEMS:
        raise ItemError(f"an archive holds 1 to {MAX_ITEMS} items, got {len(names)}")
    if len(set(names)) != len(names):
        raise ItemError("two items have the same name; compress them into two archives")
    for name in names:
        check_name(name)
    for name in output_names(names, suffix_of(kind)):
        check_name(name)


def _header(model: AnyModel, name: str, seed: int | None) -> Header:
    item = model.config.item
    return Header(
        kind=item.kind,
        channels=item.channels,
        sizes=model.sizes,
        hop=model.hop,
        model="".join(char for char in name if char.isprintable()),
        prior_id=model.prior_id,
        codebook_id=model.codebook_id,
        seed=seed,
    )
