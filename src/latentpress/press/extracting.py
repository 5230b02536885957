"""Archives back into items: all of them or some, each block decoded once, in bounded memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.streams import prepare
from latentpress.coding.container import Archive
from latentpress.coding.inspection import ArchiveLike, open_archive
from latentpress.coding.layout import Part
from latentpress.coding.modes import Mode
from latentpress.coding.records import Header
from latentpress.errors import ArchiveError, MissingPartError, WrongModelError
from latentpress.files import open_atomic, refuse_existing, safe_path, suffix_of
from latentpress.items.image import write_png
from latentpress.items.text import write_text
from latentpress.names import check_name, output_names
from latentpress.press.blocks import decode_blocks
from latentpress.press.pixels import bands_of, decode_pixel_blocks, restore_pixels
from latentpress.press.summary import Progress, Summary

if TYPE_CHECKING:
    from latentpress.model import AnyModel

__all__ = ["decode_archive", "decompress", "verify_archive"]

_GROUP_SAMPLES = 1 << 24
"""Samples of items restored at once; one larger item is restored alone."""

Integers = NDArray[Any]
Pixels = NDArray[np.uint8]


def decompress(
    archive: ArchiveLike,
    model: AnyModel,
    out: Path | str | BinaryIO,
    *,
    only: str | Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Restores the items of an archive below a folder: images as PNG files, texts as the files they were.

    An image `a/b.jpg` becomes `a/b.png`, a text keeps its name;
    `latentpress.names.output_names` says what happens where two items would meet.

    Args:
        archive: a path, a binary stream, or the archive's bytes.
        model: the codec that made it, in evaluation mode.
        out: a folder, made if need be; or a binary stream, for one item.
        only: names of items or of folders of items; the other items are not even decoded.
        overwrite: replace files that are there.
        progress: called as things go on.

    Raises:
        ArchiveError: the archive is damaged, or holds no item of that name.
        UnsafePathError: a name would be written outside the folder; nothing is written.
        WrongModelError: another model made the archive.
        LatentpressError: a file exists and `overwrite` is False; nothing is written.
    """
    with open_archive(archive) as opened:
        chosen = _choose(opened, only)
        _check_model(opened, model, chosen)
        targets = _targets(opened, chosen, out, overwrite)
        _prepare(opened, progress)
        start = time.perf_counter()
        for done, (item, pixels) in enumerate(_restore(opened, model, chosen), start=1):
            target = targets[item]
            if isinstance(target, Path):
                target.parent.mkdir(parents=True, exist_ok=True)
            with open_atomic(target, overwrite=overwrite) as file:
                file.write(write_text(pixels) if opened.header.kind == "text" else write_png(pixels))
            if progress is not None:
                progress("decode", done, len(chosen))
        return _summary(opened, chosen, start)


def decode_archive(
    archive: ArchiveLike, model: AnyModel, *, only: str | Sequence[str] | None = None
) -> Iterator[tuple[str, Pixels]]:
    """Yields the name and the array of each item, uint8: an image's pixels (H, W, C), a text's bytes (T, 1).

    Raises as `decompress` does.
    """
    with open_archive(archive) as opened:
        chosen = _choose(opened, only)
        _check_model(opened, model, chosen)
        for item, pixels in _restore(opened, model, chosen):
            yield opened.items[item].name, pixels


def verify_archive(archive: ArchiveLike, model: AnyModel, *, progress: Progress | None = None) -> Summary:
    """Decodes every block and checks its bytes and its symbols; raises as `decompress` does."""
    with open_archive(archive) as opened:
        items = range(len(opened.items))
        _check_model(opened, model, items)
        _prepare(opened, progress)
        start = time.perf_counter()
        total = len(items) if opened.header.lossless else len(opened.layout)
        steps = (
            _restore(opened, model, items)
            if opened.header.lossless
            else decode_blocks(opened, model.exact_prior, range(total))
        )
        for done, _ in enumerate(steps, start=1):
            if progress is not None:
                progress("verify", done, total)
        return _summary(opened, items, start)


def _prepare(archive: Archive, progress: Progress | None) -> None:
    """Compiles what decoding will need where somebody is shown that it takes a while."""
    if progress is not None and {Mode.PRIOR, Mode.PIXELS, Mode.BITS_BACK}.intersection(archive.modes):
        prepare(len(archive.items), progress)


def _check_model(archive: Archive, model: AnyModel, chosen: Iterable[int]) -> None:
    """Raises unless the model is one that can decode the chosen items."""
    header, linked = archive.header, False
    modes = {archive.modes[number] for item in chosen for number in archive.blocks_of[item]}
    if modes & {Mode.PIXELS, Mode.BITS_BACK}:
        linked = Mode.BITS_BACK in modes
        if model.config.half == "encoder":
            raise MissingPartError("encoder", "decoder", "the whole model" if linked else "")
        _check_id(header, "decoder of pixels", header.pixels_id, model.pixels_id)
    if linked:
        if model.config.half is not None:
            raise MissingPartError(model.config.half, "encoder, which bits back needs", "the whole model")
        _check_id(header, "encoder", header.encoder_id, getattr(model, "encoder_id", bytes(16)))
    if not header.lossless:
        _check_id(header, "codebook", header.codebook_id, model.codebook_id)
    if modes & {Mode.PRIOR, Mode.BITS_BACK}:
        _check_id(header, "prior", header.prior_id, model.prior_id)
    if header.lossless and not modes & {Mode.PIXELS, Mode.BITS_BACK}:
        return  # all that was asked for is stored whole: any model will do
    exact = model.exact_pixels if header.lossless else None
    sizes = () if linked or (exact is not None and exact.upsampler is None) else model.sizes
    shape = (model.config.item.kind, model.config.item.channels, sizes, model.hop)
    fits = shape == (header.kind, header.channels, header.sizes, header.hop)
    if not fits or any(item.label is not None and item.label >= model.num_classes for item in archive.items):
        raise ArchiveError("damaged archive: its header does not fit the model that it names")


def _check_id(header: Header, what: str, wanted: bytes | None, given: bytes) -> None:
    """Raises `WrongModelError` unless a part of the model is the one that the archive names."""
    if wanted != given:
        needed = f"the model {header.model!r}" if header.model else "a model"
        assert wanted is not None
        raise WrongModelError(
            f"this archive needs {needed} with {what} {wanted.hex()}; "
            f"the one given has {given.hex() if any(given) else 'none'}"
        )


def _choose(archive: Archive, only: str | Sequence[str] | None) -> list[int]:
    """Returns the numbers of the items wanted, in order."""
    if only is None:
        return list(range(len(archive.items)))
    wanted = {only} if isinstance(only, str) else set(only)
    found: set[str] = set()
    chosen = []
    for number, item in enumerate(archive.items):
        matches = wanted.intersection(_item_and_folders(item.name))
        if matches:
            found |= matches
            chosen.append(number)
    if missing := sorted(wanted - found):
        raise ArchiveError(f"no item {missing[0]!r} in the archive; `latentpress inspect` lists its items")
    return chosen


def _item_and_folders(name: str) -> Iterator[str]:
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
        yield name + "/"


def _targets(
    archive: Archive, chosen: Sequence[int], out: Path | str | BinaryIO, overwrite: bool
) -> dict[int, Path | BinaryIO]:
    """Returns where each item goes, or raises before anything is written."""
    if not isinstance(out, str | Path):
        if len(chosen) != 1:
            raise ArchiveError(f"a stream takes one item, and {len(chosen)} were asked for; name one")
        return {chosen[0]: out}
    names = [item.name for item in archive.items]
    for item in chosen:
        check_name(names[item])
    outputs = output_names(names, suffix_of(archive.header.kind))
    targets: dict[int, Path | BinaryIO] = {}
    for item in chosen:
        targets[item] = path = safe_path(Path(out), outputs[item])
        refuse_existing(path, overwrite)
    return targets


def _restore(archive: Archive, model: AnyModel, chosen: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """Yields the number and the pixels of each item."""
    if archive.header.lossless:
        yield from _restore_pixels(archive, model, chosen)
        return
    lanes: dict[int, dict[int, Integers]] = {item: {} for item in chosen}  # item -> first row -> codes
    done: set[int] = set()
    for group in _groups(archive, chosen):
        needed = {number for item in group for number in archive.blocks_of[item]} - done
        for number, codes in decode_blocks(archive, model.exact_prior, sorted(needed)):
            block = archive.layout[number]
            for index, lane in enumerate(block.lanes):
                if lane.item in lanes:  # else it is not wanted
                    lanes[lane.item][lane.start] = codes[:, index].astype(np.uint16).reshape(*block.shape, -1)
        done |= needed
        yield from _decode_group(archive, model, group, lanes)


def _restore_pixels(archive: Archive, model: AnyModel, chosen: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """As `_restore`, of a lossless archive: the very pixels that were pressed."""
    bands: dict[int, dict[int, Pixels]] = {item: {} for item in chosen}
    done: set[int] = set()
    for group in _groups(archive, chosen):
        needed = {n for item in group for n in archive.blocks_of[item]} - done
        needed = {n for n in needed if archive.layout[n].part is not Part.CODES}
        for number, symbols in decode_pixel_blocks(archive, model, sorted(needed)):
            block = archive.layout[number]
            for lane, band in bands_of(block, symbols):
                if lane.item in bands:
                    bands[lane.item][lane.start] = band.astype(np.uint8)
        done |= needed
        for item in group:
            yield item, _pixels_of(archive, item, bands.pop(item))


def _pixels_of(archive: Archive, item: int, bands: dict[int, Pixels]) -> Pixels:
    if not bands:  # an empty text
        return np.zeros((0, archive.header.channels), np.uint8)
    differences = archive.header.differences and item not in archive.whole
    return restore_pixels(bands, differences=differences)


def _groups(archive: Archive, chosen: Sequence[int]) -> Iterator[list[int]]:
    group, held = [], 0
    for item in chosen:
        samples = archive.items[item].samples * archive.header.channels
        if group and held + samples > _GROUP_SAMPLES:
            yield group
            group, held = [], 0
        group.append(item)
        held += samples
    yield group


def _decode_group(
    archive: Archive, model: AnyModel, group: Sequence[int], lanes: dict[int, dict[int, Integers]]
) -> Iterator[tuple[int, Pixels]]:
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for item in group:
        by_shape.setdefault(archive.items[item].shape, []).append(item)
    from latentpress.model import DeltaVAE  # imports torch

    for (height, width), items in by_shape.items():
        codes = np.stack([np.concatenate([part for _, part in sorted(lanes.pop(i).items())]) for i in items])
        found, seed = codes.astype(np.int64), archive.header.seed
        if isinstance(model, DeltaVAE):
            pixels = model.draw(found, (height, width), seed=seed or 0, numbers=items)
        else:
            pixels = model.decode(found, size=(height, width))
        yield from zip(items, pixels, strict=True)


def _summary(archive: Archive, chosen: Sequence[int], start: float) -> Summary:
    header = archive.header
    records = [archive.items[item] for item in chosen]
    coded = [item for item in chosen if item not in archive.whole]
    return Summary(
        items=len(records),
        dims=sum(record.samples for record in records) * header.channels,
        archive_bytes=archive.size,
        symbols=sum(math.prod(header.grid(archive.items[i].shape)) for i in coded) * len(header.sizes),
        seconds=time.perf_counter() - start,
        lossless=header.lossless,
        whole=len(archive.whole.intersection(chosen)),
        kind=header.kind,
    )
