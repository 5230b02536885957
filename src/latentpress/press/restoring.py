"""Archives back into items: all of them or some, every block decoded once, in bounded memory.

Items are decoded together as long as they have few samples. A larger one is decoded while its content is
read, some rows at a time, if it is read from the first row on; only a decoder that draws one sample after
another needs it at once (`Model.decode_reach` is None).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentpress.coding import Archive, ArchiveLike, Mode, Part, Segment, open_archive
from latentpress.data.readers import named
from latentpress.errors import ArchiveError, ItemError, LatentpressError
from latentpress.files import is_special, open_atomic, refuse_existing, safe_path
from latentpress.items import Content, Samples, Shape
from latentpress.items.base import write_bytes
from latentpress.model import Model
from latentpress.names import check_name, output_names, shown, with_suffix
from latentpress.press.blocks import BandReader, decoded, labels_in, window
from latentpress.press.matching import CODED, check_model, coder_for, leaves
from latentpress.press.reading import HELD_SAMPLES, grouped, row_ranges
from latentpress.press.summary import Progress, Summary

__all__ = ["decode_archive", "decompress", "verify_archive"]


def decompress(
    archive: ArchiveLike,
    model: Model,
    out: Path | str | BinaryIO,
    *,
    only: str | Sequence[str] | None = None,
    overwrite: bool = False,
    max_samples: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Restores the items of an archive below a folder, as files of their kind.

    No file is half there, whenever the process is killed. When the call returns the operating system has all
    of them, which it writes to the disk in its own time: keep the archive until then.

    An image `a/b.jpg` becomes `a/b.png`, a text keeps its name, and so does what is stored as the file that
    it was; `latentpress.names.output_names` says what becomes of names that this system cannot write, and of
    two that would meet.

    Args:
        archive: a path, a binary stream, or the archive's bytes.
        model: the codec that made it, in evaluation mode.
        out: a folder, made if need be; or a binary stream, for one item.
        only: names of items or of folders of items; the other items are not even decoded.
        overwrite: replace files that are there.
        max_samples: of all items of the archive together, if it is a stranger's.
        progress: called as things go on.

    Raises:
        ArchiveError: the archive is damaged, has too many samples, or holds no item of that name.
        UnsafePathError: a name would be written outside the folder; nothing is written.
        WrongModelError: another model made the archive.
        LatentpressError: a file exists and `overwrite` is False; nothing is written.
    """
    with open_archive(archive, max_samples) as opened:
        chosen = _choose(opened, only)
        restorer = _Restorer(opened, model, chosen)
        targets, renamed = _targets(opened, model.item.suffix, chosen, out, overwrite)
        _prepare(opened, model, progress)
        start, file_bytes, folders = time.perf_counter(), 0, set[Path]()
        for done, (number, content) in enumerate(restorer.contents(), start=1):
            target, is_file = targets[number], opened.original(number) in opened.stored.files
            if isinstance(target, Path) and target.parent not in folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                folders.add(target.parent)
            with open_atomic(target, overwrite=overwrite, durable=False) as file:
                (write_bytes if is_file else model.item.write)(content, file)
                file_bytes += file.tell()
            if progress is not None:
                progress("decode", done, len(chosen))
        more = {"file_bytes": file_bytes, "renamed": renamed}
        return Summary.of(opened, model.item.words, chosen, start, **more)


def decode_archive(
    archive: ArchiveLike, model: Model, *, only: str | Sequence[str] | None = None
) -> Iterator[tuple[str, Samples]]:
    """Yields the name and the samples (*size, C) of each item; raises as `decompress` does.

    Raises:
        ItemError: an item is kept as its file, and is none of the kind.
    """
    with open_archive(archive) as opened:
        for number, content in _Restorer(opened, model, _choose(opened, only)).contents():
            name = opened.items[number].name
            if opened.original(number) in opened.stored.files:
                with named(name):
                    file = BytesIO(content.samples.tobytes())
                    yield name, model.item.open(file, convert=True).samples
            else:
                yield name, content.samples


def verify_archive(
    archive: ArchiveLike,
    model: Model,
    *,
    max_samples: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Decodes every block and checks its bytes and its symbols; raises as `decompress` does."""
    with open_archive(archive, max_samples) as opened:
        items = range(len(opened.items))
        check_model(opened, model, items)
        _prepare(opened, model, progress)
        start, done, blocks = time.perf_counter(), 0, leaves(opened, items)
        for part, numbers in blocks.items():
            for _ in decoded(opened, coder_for(part, model, opened.header), numbers):
                done += 1
                if progress is not None:
                    progress("verify", done, sum(map(len, blocks.values())))
        return Summary.of(opened, model.item.words, items, start)


class _Restorer:
    """Restores some items of an archive; raises as `decompress` does where the model cannot."""

    def __init__(self, archive: Archive, model: Model, chosen: Sequence[int]) -> None:
        check_model(archive, model, chosen)
        self._archive, self._header, self._model, self._item = archive, archive.header, model, model.item
        self._coded = CODED[archive.header.content]
        self._originals = grouped(chosen, archive.original)
        self._files = archive.stored.files
        shapes = {n: (*archive.items[n].shape, archive.header.channels) for n in self._originals}
        self._shapes = {n: (self._files[n], 1) if n in self._files else shape for n, shape in shapes.items()}
        self._coders = {part: coder_for(part, model, archive.header) for part in leaves(archive, chosen)}
        if Part.CODES in self._coders:
            model.require("parallel")
        for shape in {shape for n, shape in shapes.items() if n not in self._files}:
            try:  # without memory for samples that nobody has
                self._item.fit(np.broadcast_to(np.zeros((), self._item.dtype), shape))
            except ItemError as error:
                raise ArchiveError(f"damaged archive: {error}") from None

    def contents(self) -> Iterator[tuple[int, Content]]:
        """The number and the content of each item, in order, but that duplicates follow their original.

        The content of items that are stored as files is the bytes of these, uint8 (T, 1).
        """
        sizes = {number: math.prod(shape) for number, shape in self._shapes.items()}
        ends = dict(zip(sizes, itertools.accumulate(sizes.values()), strict=True))
        readers = self._readers(sizes)
        for group in grouped(sizes, lambda number: (ends[number] - sizes[number]) // HELD_SAMPLES).values():
            small = [n for n in group if sizes[n] <= HELD_SAMPLES]  # all but the last, at least
            samples = self._samples([Segment(n, 0, self._shapes[n][0]) for n in small], readers)
            for original in group:
                for reader in readers.values():
                    reader.forget(original)
                if original in samples:
                    read = Content.of(samples[original]).read
                else:
                    read = _Rows(partial(self._pieces, original)).read
                for number in self._originals[original]:
                    attributes = self._archive.items[number].attributes
                    yield number, Content(self._shapes[original], read, attributes)

    def _pieces(self, number: int) -> Iterator[Samples]:
        """The samples of a large item, some rows after the others."""
        shape, readers, before = self._shapes[number], self._readers([number]), None
        by_codes = self._coded is Part.CODES and number not in self._archive.stored.numbers
        whole = by_codes and self._model.decode_reach is None
        for start, stop in [(0, shape[0])] if whole else row_ranges(shape, self._header.hop[0]):
            samples = self._samples([Segment(number, start, stop)], readers, before)[number]
            yield samples
            before = samples[-1:]

    def _readers(self, items: Iterable[int]) -> dict[Part, BandReader]:
        """Readers of the blocks that items are restored from; of chains and the fallback as samples."""
        restore, residual = self._item.from_symbols, self._header.residual
        convert = {Part.CHAIN: partial(restore, residual=residual)}
        convert[Part.FALLBACK] = partial(restore, residual=False)
        read = partial(BandReader, self._archive, items=items)
        return {part: read(coder, part, convert=convert.get(part)) for part, coder in self._coders.items()}

    def _samples(
        self, rows: Sequence[Segment], readers: Mapping[Part, BandReader], before: Samples | None = None
    ) -> dict[int, Samples]:
        """The samples of rows of items, by number, given the row before them if they are not the first."""
        empty = [each.item for each in rows if not each.stop]
        samples = {number: np.zeros(self._shapes[number], self._item.dtype) for number in empty}
        there = [each for each in rows if each.stop]
        for part, some in grouped(there, self._part).items():
            if part is Part.CODES:
                samples |= self._decoded(some, readers[part])
                continue
            for each, read in readers[part].read(some).items():
                if part is Part.SAMPLES:
                    read = self._item.from_symbols(read, before, residual=self._header.residual)
                samples[each.item] = read
        return samples

    def _part(self, rows: Segment) -> Part:
        """The blocks that rows of an item are restored from."""
        stored = self._archive.stored
        other = Part.FILE if rows.item in stored.files else Part.FALLBACK
        return other if rows.item in stored.numbers else self._coded

    def _decoded(self, rows: Sequence[Segment], reader: BandReader) -> Iterator[tuple[int, Samples]]:
        """The samples of rows of items that the model decodes from codes, those of one shape together."""
        hop, reach = self._header.hop[0], self._model.decode_reach or 0
        windows = {each: window(each, self._shapes[each.item], hop, (reach, reach)) for each in rows}
        codes = reader.read([wanted for wanted, _ in windows.values()])

        def size(rows: Segment) -> Shape:
            span = windows[rows][1]
            return span.stop - span.start, *self._shapes[rows.item][1:-1]

        for extents, alike in grouped(rows, size).items():
            samples = self._model.decode(
                np.stack([codes[windows[each][0]] for each in alike]).astype(np.int64),
                extents,
                seed=self._header.seed or 0,
                numbers=[each.item for each in alike],
                labels=labels_in(self._archive.items, [windows[each][1] for each in alike]),
            )
            for each, restored in zip(alike, samples, strict=True):
                above = windows[each][1].start
                yield each.item, restored[each.start - above : each.stop - above]


class _Rows:
    """Rows of a large item, decoded as they are read; to read rows before the last ones starts anew."""

    def __init__(self, pieces: Callable[[], Iterator[Samples]]) -> None:
        self._decode = pieces
        self._start()

    def _start(self) -> None:
        self._pieces, self._held, self._first, self._end = self._decode(), list[Samples](), 0, 0

    def read(self, start: int, stop: int) -> Samples:
        """Rows start to stop - 1."""
        if start < self._first:
            self._start()
        while self._end < stop or not self._held:
            self._held.append(next(self._pieces))
            self._end += len(self._held[-1])
            while self._first + len(self._held[0]) <= min(start, self._end - 1):
                self._first += len(self._held.pop(0))
        return np.concatenate(self._held)[start - self._first : stop - self._first]


def _prepare(archive: Archive, model: Model, progress: Progress | None) -> None:
    """Compiles what decoding will need where somebody sees that it takes a while."""
    if progress is not None and {Mode.PRIOR, Mode.SAMPLES, Mode.BITS_BACK}.intersection(archive.modes):
        model.integer.prepare(len(archive.items), progress)


def _choose(archive: Archive, only: str | Sequence[str] | None) -> list[int]:
    """The numbers of the items wanted, in order."""
    if only is None:
        return list(range(len(archive.items)))
    wanted = {only} if isinstance(only, str) else set(only)
    paths = [[*itertools.accumulate(item.name.split("/"), "{}/{}".format)] for item in archive.items]
    matches = [wanted.intersection([*path, *(f"{folder}/" for folder in path[:-1])]) for path in paths]
    if missing := sorted(wanted.difference(*matches)):
        raise ArchiveError(f"no item {missing[0]!r} in the archive; `latentpress inspect` lists its items")
    return [number for number, match in enumerate(matches) if match]


def _targets(
    archive: Archive, suffix: str | None, chosen: Sequence[int], out: Path | str | BinaryIO, overwrite: bool
) -> tuple[dict[int, Path | BinaryIO], int]:
    """Where each item goes, and how many under another name; raises before anything is written."""
    if not isinstance(out, str | Path):
        if len(chosen) != 1:
            raise ArchiveError(f"a stream takes one item, and {len(chosen)} were asked for; name one")
        return {chosen[0]: out}, 0
    names, targets = [item.name for item in archive.items], dict[int, Path | BinaryIO]()
    files = {number for number in range(len(names)) if archive.original(number) in archive.stored.files}
    outputs = output_names(names, suffix, files)
    for number in chosen:
        check_name(names[number])
        targets[number] = path = safe_path(Path(out), outputs[number])
        refuse_existing(path, overwrite)
        if is_special(path):
            raise LatentpressError(
                f"{shown(str(path))} is a device or a pipe; items are restored as files only"
            )
    same = (outputs[number] in (names[number], with_suffix(names[number], suffix)) for number in chosen)
    return targets, len(chosen) - sum(same)
