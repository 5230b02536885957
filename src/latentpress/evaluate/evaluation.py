"""Evaluation of a model on a set of items, through a real archive.

The items are compressed into an archive and restored from it; everything said of bytes is the size of
that file, everything said of distortion is measured on what came out of it. Of a lossless archive every
sample is compared.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding.container import Archive
from latentpress.coding.inspection import inspect_archive
from latentpress.data import ItemRef, Source
from latentpress.errors import ItemError
from latentpress.evaluate.comparison import Comparison, choose, compare_at_bytes, compare_lossless
from latentpress.evaluate.latents import as_tensor, light, pooled
from latentpress.evaluate.quality import Distortion, distortion, join
from latentpress.evaluate.results import Evaluation, ItemResult, LossyResult
from latentpress.items.base import Baseline, LossyBaseline, Samples, Shape
from latentpress.model.base import Model
from latentpress.model.details import NoDetails
from latentpress.model.labels import labels_of
from latentpress.model.latents import Latents
from latentpress.press import compress, decode_archive

__all__ = ["Progress", "evaluate"]

_BATCH_POSITIONS = 1 << 19

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many items of it are done, and how many there are."""


def evaluate(
    model: Model,
    source: Source,
    *,
    lossless: bool = False,
    bits_back: bool = False,
    against: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compresses `source` into an archive in memory, restores it, measures both, and compares.

    Args:
        model: the model, in evaluation mode.
        source: the items.
        lossless: measure a lossless archive; kinds that may not change have no other.
        bits_back: measure a lossless archive coded by bits back.
        against: names of codecs to compare with, of the item's baselines; by default all that are installed.
        progress: called with every step.

    Raises:
        ItemError: an item cannot be read, there is none, all are empty, or one came back other than it was
            from a lossless archive.
        ConfigError: a codec of `against` is not there.
        LatentpressError: the model cannot make such an archive.
    """
    item, report = model.item, progress or _silent
    lossless = lossless or bits_back or not item.lossy
    exact = choose(item.lossless_baselines() if lossless else (), against if lossless else ())
    others = choose(() if lossless else item.lossy_baselines(), () if lossless else against)
    if not source.items:
        raise ItemError(
            f"there are no {item.words.items} to evaluate on; give files, a folder or a zip archive with some"
        )
    file = io.BytesIO()
    how = {"lossless": lossless, "bits_back": bits_back, "verify": False}
    summary = compress(model, source, file, **how, progress=report)
    archive = file.getvalue()
    found = _restore(model, source, archive, lossless, report)
    if not found.positions:
        raise ItemError(
            f"all of the {item.words.items} are empty: there is no {item.words.position} to measure on"
        )
    result = None if lossless else found.lossy(archive)
    return Evaluation(
        words=item.words,
        num_items=len(source.items),
        positions=found.positions,
        dims=found.positions * item.channels,
        file_bytes=summary.file_bytes,
        archive_bytes=len(archive),
        model_bits=summary.model_bits,
        part_bytes=_part_bytes(archive),
        fallbacks=summary.fallback,
        duplicates=summary.duplicates,
        encode_seconds=summary.seconds,
        decode_seconds=found.seconds,
        comparisons=_compare(model, source, exact, others, result, len(archive), report),
        lossy=result,
    )


def _part_bytes(archive: bytes) -> dict[str, int]:
    parts: dict[str, int] = {}
    for use in inspect_archive(archive).modes:
        parts[use.part] = parts.get(use.part, 0) + use.bytes
    return parts


def _compare(
    model: Model,
    source: Source,
    exact: Sequence[Baseline],
    others: Sequence[LossyBaseline],
    lossy: LossyResult | None,
    archive_bytes: int,
    report: Progress,
) -> tuple[Comparison, ...]:
    def counted() -> Iterator[Samples]:
        for done, ref in enumerate(source.items, start=1):
            yield ref.read()
            report("compare", done, len(source.items))

    if lossy is None:
        return compare_lossless(model.item, exact, counted)
    shares = [each.size_bytes for each in lossy.items]
    return compare_at_bytes(
        model.item,
        others,
        lambda: (ref.read() for ref in source.items),
        shares,
        archive_bytes,
        lambda name, done: report(f"compare with {name}", done, len(others)),
    )


@dataclass
class _Restored:
    """What was found of the items that came out of an archive; per item in the order of `places`."""

    model: Model
    refs: Sequence[ItemRef]
    positions: int = 0
    seconds: float = 0.0
    places: list[int] = field(default_factory=list)
    sizes: dict[int, Shape] = field(default_factory=dict)
    distortions: list[Distortion] = field(default_factory=list)
    latents: list[Latents] = field(default_factory=list)
    latent_nats: dict[int, float] = field(default_factory=dict)
    sample_nats: float = 0.0

    def add(self, places: Sequence[int], originals: Samples, restored: Samples) -> None:
        """Measures items of one size."""
        self.places += places
        self.sizes |= dict.fromkeys(places, originals.shape[1:-1])
        self.distortions.append(distortion(self.model.item, originals, restored))
        if not self.model.takes(originals.shape[1:]):
            return  # the archive has them as a conventional codec coded them
        samples, labels = as_tensor(originals), self._labels(places, originals.shape[1])
        generator = torch.Generator().manual_seed(places[0])
        latents = self.model.infer(samples, generator=generator)
        self.latents.append(light(latents))
        nats = self.model.latent_nats(latents, labels)
        self.latent_nats |= dict(zip(places, nats.tolist(), strict=True))
        self.sample_nats += float(self.model.sample_nats(samples, latents, labels).sum())

    def _labels(self, places: Sequence[int], rows: int) -> Tensor | None:
        return labels_of([self.model.label_numbers(self.refs[place].labels, rows) for place in places])

    def lossy(self, archive: bytes) -> LossyResult:
        """All of it together."""
        order = np.argsort(self.places)
        measured = join(self.distortions).take(order)
        shares = _shares(archive, self.latent_nats)
        names = [self.refs[place].name for place in sorted(self.places)]
        items = []
        for index, (place, name) in enumerate(zip(sorted(self.places), names, strict=True)):
            measures = {key: float(values[index]) for key, values in measured.measures.items()}
            known = {key: value for key, value in measures.items() if not math.isnan(value)}
            psnr_db = float(measured.psnr_db[index])
            items.append(ItemResult(name, self.sizes[place], shares[place], psnr_db, known))
        return LossyResult(
            quality=measured.summary(),
            stochastic=self.model.stochastic,
            latent_bytes=sum(self.latent_nats.values()) / math.log(256),
            sample_bytes=self.sample_nats / math.log(256),
            details=self.model.details(pooled(self.latents).to(self.model.device))
            if self.latents
            else NoDetails(),
            items=tuple(items),
        )


def _restore(model: Model, source: Source, archive: bytes, lossless: bool, report: Progress) -> _Restored:
    """Restores the items, and compares or measures them in runs of one size and of bounded memory."""
    found = _Restored(model, source.items)
    places = {ref.name: place for place, ref in enumerate(source.items)}
    run: list[tuple[int, Samples, Samples]] = []
    start = time.perf_counter()
    for done, (name, after) in enumerate(decode_archive(archive, model), start=1):
        found.seconds += time.perf_counter() - start
        before, positions = source.items[places[name]].read(), math.prod(after.shape[:-1])
        if lossless and not np.array_equal(before, after):
            raise ItemError(f"{name}: the archive does not give back its samples; please report this")
        found.positions += positions
        if not lossless and positions:
            if run and (run[0][2].shape != after.shape or (len(run) + 1) * positions > _BATCH_POSITIONS):
                found.add(*_stacked(run))
                run = []
            run.append((places[name], before, after))
        report("restore", done, len(places))
        start = time.perf_counter()
    if run:
        found.add(*_stacked(run))
    return found


def _stacked(run: Sequence[tuple[int, Samples, Samples]]) -> tuple[Sequence[int], Samples, Samples]:
    places, originals, restored = zip(*run, strict=True)
    return places, np.stack(originals), np.stack(restored)


def _shares(archive: bytes, nats: Mapping[int, float]) -> NDArray[np.float64]:
    """Bytes of each item in an archive: its share of its blocks, by what its latents cost if that is known.

    What is no block, such as the index, is spread evenly.
    """
    opened = Archive(io.BytesIO(archive))
    shares = np.zeros(len(opened.items))
    for block, length in zip(opened.layout, opened.lengths, strict=True):
        rows = {item: 0 for item in (lane.item for lane in block.lanes)}
        for lane in block.lanes:
            rows[lane.item] += lane.stop - lane.start
        extents = {item: max(1, opened.items[item].shape[0]) for item in rows}
        weights = {item: nats.get(item, 1.0) * rows[item] / extents[item] for item in rows}
        total = sum(weights.values())
        for item, weight in weights.items():
            shares[item] += length * (weight / total if total else 1 / len(weights))
    return shares + (len(archive) - shares.sum()) / len(shares)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""
