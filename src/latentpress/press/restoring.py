"""Archives back into items: all of them or some, every block decoded once, in bounded memory.

Items are decoded together as long as they have few samples. A larger one is decoded while its content is
read, some rows at a time, if it is read from the first row on; only a decoder that draws one sample after
another needs it at once (`Model.decode_reach` is None).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentpress.autoregressive.coding import prepare
from latentpress.coding import Archive, ArchiveLike, Mode, Part, Segment, open_archive
from latentpress.errors import ArchiveError, ItemError
from latentpress.files import open_atomic, refuse_existing, safe_path
from latentpress.items import Content, Samples, Shape
from latentpress.model import Model
from latentpress.names import check_name, output_names
from latentpress.press.blocks import BandReader, decoded, labels_in
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
    progress: Progress | None = None,
) -> Summary:
    """Restores the items of an archive below a folder, as files of their kind.

    An image `a/b.jpg` becomes `a/b.png`, a text keeps its name; `latentpress.names.output_names` says what
    happens where two items would meet.

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
        restorer = _Restorer(opened, model, chosen)
        targets = _targets(opened, model.item.suffix, chosen, out, overwrite)
        _prepare(opened, progress)
        start, file_bytes = time.perf_counter(), 0
        for done, (number, content) in enumerate(restorer.contents(), start=1):
            target = targets[number]
            if isinstance(target, Path):
                target.parent.mkdir(parents=True, exist_ok=True)
            with open_atomic(target, overwrite=overwrite) as file:
                model.item.write(content, file)
                file_bytes += file.tell()
            if progress is not None:
                progress("decode", done, len(chosen))
        return Summary.of(opened, model.item.words, chosen, start, file_bytes=file_bytes)


def decode_archive(
    archive: ArchiveLike, model: Model, *, only: str | Sequence[str] | None = None
) -> Iterator[tuple[str, Samples]]:
    """Yields the name and the samples (*size, C) of each item; raises as `decompress` does."""
    with open_archive(archive) as opened:
        for number, content in _Restorer(opened, model, _choose(opened, only)).contents():
            yield opened.items[number].name, content.samples


def verify_archive(archive: ArchiveLike, model: Model, *, progress: Progress | None = None) -> Summary:
    """Decodes every block and checks its bytes and its symbols; raises as `decompress` does."""
    with open_archive(archive) as opened:
        items = range(len(opened.items))
        check_model(opened, model, items)
        _prepare(opened, progress)
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
        self._archive, self._model, self._item, self._chosen = archive, model, model.item, chosen
        self._originals = grouped([archive.original(number) for number in chosen])
        self._coded = CODED[archive.header.content]
        self._coders = {part: coder_for(part, model, archive.header) for part in leaves(archive, chosen)}
        if Part.CODES in self._coders:
            model.require("parallel")
        for shape in {self._shape(number) for number in self._originals}:
            try:  # without memory for samples that nobody has
                self._item.fit(np.broadcast_to(np.zeros((), self._item.dtype), shape))
            except ItemError as error:
                raise ArchiveError(f"damaged archive: {error}") from None

    def contents(self) -> Iterator[tuple[int, Content]]:
        """The number and the content of each item, in order, but that duplicates follow their original."""
        originals, readers = list(self._originals), self._readers(self._originals)
        sizes = [math.prod(self._shape(number)) for number in originals]
        starts = (np.cumsum([0, *sizes[:-1]]) // HELD_SAMPLES).tolist()
        for places in grouped(starts).values():  # of which the last item alone may be large
            large = [originals[place] for place in places if sizes[place] > HELD_SAMPLES]
            small = [
                Segment(n, 0, self._shape(n)[0]) for n in (originals[p] for p in places) if n not in large
            ]
            samples = self._samples(small, readers)
            reads = {rows.item: Content.of(samples.pop(rows)).read for rows in small}
            reads |= {number: _Rows(partial(self._pieces, number)).read for number in large}
            for original, read in reads.items():
                for reader in readers.values():
                    reader.forget(original)
                for number in (self._chosen[place] for place in self._originals[original]):
                    yield number, Content(self._shape(number), read, self._archive.items[number].attributes)

    def _pieces(self, number: int) -> Iterator[Samples]:
        """The samples of a large item, some rows after the others."""
        shape, readers, samples = self._shape(number), self._readers([number]), None
        by_codes = self._coded is Part.CODES and number not in self._archive.fallback
        whole = by_codes and self._model.decode_reach is None
        for start, stop in [(0, shape[0])] if whole else row_ranges(shape, self._archive.header.hop[0]):
            before = None if samples is None else samples[-1:]
            [samples] = self._samples([Segment(number, start, stop)], readers, before).values()
            yield samples

    def _readers(self, items: Iterable[int]) -> dict[Part, BandReader]:
        """Readers of the blocks that items are restored from; of chains and the fallback as samples."""
        alone, plain = (
            partial(self._item.from_symbols, residual=residual)
            for residual in (self._archive.header.residual, False)
        )
        convert = {Part.CHAIN: alone, Part.FALLBACK: plain}
        return {
            part: BandReader(self._archive, coder, part, items, convert.get(part))
            for part, coder in self._coders.items()
        }

    def _samples(
        self, rows: Sequence[Segment], readers: Mapping[Part, BandReader], before: Samples | None = None
    ) -> dict[Segment, Samples]:
        """The samples of some rows of items, given the row before them if they are not the first."""
        samples = {
            each: np.zeros(self._shape(each.item), self._item.dtype) for each in rows
        }  # of empty items
        stored = [each for each in rows if each.item in self._archive.fallback]
        coded = [each for each in rows if each.stop and each not in stored]
        if stored:
            samples |= readers[Part.FALLBACK].read(stored)
        if coded and self._coded is Part.CODES:
            samples |= self._decoded(coded, readers[Part.CODES])
        elif coded:
            samples |= readers[self._coded].read(coded)
        if self._coded is Part.SAMPLES:
            restore = partial(self._item.from_symbols, before=before, residual=self._archive.header.residual)
            samples |= {each: restore(samples[each]) for each in coded}
        return samples

    def _decoded(self, rows: Sequence[Segment], reader: BandReader) -> Iterator[tuple[Segment, Samples]]:
        """The samples of rows of items that the model decodes from codes, those of one shape together."""
        hop, reach = self._archive.header.hop[0], self._model.decode_reach or 0
        windows, spans = list[Segment](), list[Segment]()
        for each in rows:
            most, first = self._shape(each.item)[0], max(0, each.start // hop - reach)
            windows.append(Segment(each.item, first, min(-(-most // hop), -(-each.stop // hop) + reach)))
            spans.append(Segment(each.item, first * hop, min(windows[-1].stop * hop, most)))
        codes = reader.read(windows)
        sizes = [(span.stop - span.start, *self._shape(span.item)[1:-1]) for span in spans]
        for size, places in grouped(sizes).items():
            samples = self._model.decode(
                np.stack([codes[windows[place]] for place in places]).astype(np.int64),
                size,
                seed=self._archive.header.seed or 0,
                numbers=[rows[place].item for place in places],
                labels=labels_in(self._archive.items, [spans[place] for place in places]),
            )
            for place, restored in zip(places, samples, strict=True):
                above = spans[place].start
                yield rows[place], restored[rows[place].start - above : rows[place].stop - above]

    def _shape(self, number: int) -> Shape:
        return (*self._archive.items[number].shape, self._archive.header.channels)


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


def _prepare(archive: Archive, progress: Progress | None) -> None:
    """Compiles what decoding will need where somebody sees that it takes a while."""
    if progress is not None and {Mode.PRIOR, Mode.SAMPLES, Mode.BITS_BACK}.intersection(archive.modes):
        prepare(len(archive.items), progress)


def _choose(archive: Archive, only: str | Sequence[str] | None) -> list[int]:
    """The numbers of the items wanted, in order."""
    if only is None:
        return list(range(len(archive.items)))
    wanted = {only} if isinstance(only, str) else set(only)
    matches = [wanted & _item_and_folders(item.name) for item in archive.items]
    if missing := sorted(wanted.difference(*matches)):
        raise ArchiveError(f"no item {missing[0]!r} in the archive; `latentpress inspect` lists its items")
    return [number for number, match in enumerate(matches) if match]


def _item_and_folders(name: str) -> set[str]:
    places = [place for place, character in enumerate(name) if character == "/"]
    return {name, *(name[:place] for place in places), *(name[: place + 1] for place in places)}


def _targets(
    archive: Archive, suffix: str | None, chosen: Sequence[int], out: Path | str | BinaryIO, overwrite: bool
) -> dict[int, Path | BinaryIO]:
    """Where each item goes; raises before anything is written."""
    if not isinstance(out, str | Path):
        if len(chosen) != 1:
            raise ArchiveError(f"a stream takes one item, and {len(chosen)} were asked for; name one")
        return {chosen[0]: out}
    names = [item.name for item in archive.items]
    for item in chosen:
        check_name(names[item])
    outputs = output_names(names, suffix)
    targets: dict[int, Path | BinaryIO] = {item: safe_path(Path(out), outputs[item]) for item in chosen}
    for path in targets.values():
        refuse_existing(path, overwrite)  # type: ignore[arg-type]
    return targets
