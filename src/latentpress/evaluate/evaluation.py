"""Evaluation of a model on a set of items, through a real archive.

The items are compressed into an archive and restored from it; everything said of bytes is the size of
that file, everything said of distortion is measured on what came out of it. Of a lossless archive every
sample is compared. No item is stored as the file that it was: what codecs make of samples is measured.
"""

from __future__ import annotations

import io
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.coding.container import Archive
from latentpress.coding.inspection import inspect_archive
from latentpress.data import ItemRef, Source
from latentpress.errors import ConfigError, ItemError
from latentpress.evaluate.comparison import choose, compare_at_bytes, compare_lossless
from latentpress.evaluate.latents import as_tensor, light, pooled
from latentpress.evaluate.quality import Distortion, distortion, join
from latentpress.evaluate.results import Evaluation, ItemResult, LossyResult
from latentpress.items.base import Baseline, Samples
from latentpress.model.base import Model
from latentpress.model.details import LatentDetails
from latentpress.model.labels import labels_of
from latentpress.model.latents import Latents
from latentpress.names import shown
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
    training: Source | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compresses `source` into an archive in memory, restores it, measures both, and compares.

    Args:
        model: the model, in evaluation mode.
        source: the items.
        lossless: measure a lossless archive; kinds that may not change have no other.
        bits_back: measure a lossless archive coded by bits back.
        against: names of codecs to compare with, of the item's baselines; by default all that are installed.
        training: what the model has learned from, for lossless codecs that can know it too; it must not
            hold the items of `source`.
        progress: called with every step.

    Raises:
        ItemError: an item cannot be read, there is none, all are empty, or one came back other than it was
            from a lossless archive.
        ConfigError: a codec of `against` is not there, or none can know `training`.
        MissingPartError: this is half a model.
        LatentpressError: the model cannot make such an archive.
    """
    for part in ("encoder", "parallel"):
        model.require(part)
    item, report = model.item, progress or (lambda *_: None)
    lossless = lossless or bits_back or not item.lossy
    primed = () if training is None else _primed_baselines(training, source, lossless)
    exact = choose((*item.lossless_baselines(), *primed), against) if lossless else ()
    others = () if lossless else choose(item.lossy_baselines(), against)
    words, file = item.words, io.BytesIO()
    if not source.items:
        raise ItemError(f"there are no {words.items} to evaluate on; give files, folders or a zip archive")
    source = replace(source, items=tuple(replace(ref, file=None) for ref in source.items))
    summary = compress(
        model, source, file, lossless=lossless, bits_back=bits_back, verify=False, progress=report
    )
    archive = file.getvalue()
    info = inspect_archive(archive)
    if not info.dims:
        raise ItemError(f"all {words.items} are empty: there is no {words.position} to measure on")
    measuring = _Measuring(model, source.items, report)
    measuring.restore(archive, lossless)
    parts: Counter[str] = Counter()
    for use in info.modes:
        parts[use.part] += use.bytes

    def items() -> Iterator[Samples]:
        return (ref.read() for ref in source.items)

    def comparing(name: str, done: int) -> None:
        report(f"compare with {name}", done, len(exact or others))

    if lossless:
        lossy, comparisons = None, compare_lossless(item, exact, items, comparing)
    else:
        lossy = measuring.result(archive)
        shares = [each.size_bytes for each in lossy.items]
        comparisons = compare_at_bytes(item, others, items, shares, len(archive), comparing)
    return Evaluation(
        words=words,
        num_items=len(source.items),
        positions=info.dims // item.channels,
        dims=info.dims,
        file_bytes=summary.file_bytes,
        archive_bytes=len(archive),
        model_bits=summary.model_bits,
        part_bytes=parts,
        fallbacks=info.fallback,
        duplicates=info.duplicates,
        encode_seconds=summary.seconds,
        decode_seconds=measuring.seconds,
        comparisons=comparisons,
        lossy=lossy,
    )


def _primed_baselines(training: Source, source: Source, lossless: bool) -> tuple[Baseline, ...]:
    """The codecs that know the training items; an error where there are none."""
    item = source.item
    primed = (
        item.primed_baselines(lambda: (ref.open() for ref in training.items), len(source.items))
        if lossless
        else ()
    )
    if not primed:
        loss = "" if lossless else " that lose something"
        raise ConfigError(
            f"no codec of {item.words.items}{loss} can be primed with training data; leave them out; "
            "latentpress[bench] installs all there are"
        )
    return primed


class _Measuring:
    """What is found of the items that come out of an archive; `distortions` are in the order of `places`."""

    def __init__(self, model: Model, refs: Sequence[ItemRef], report: Progress) -> None:
        self.model, self.refs, self.report = model, refs, report
        self.seconds = self.sample_nats = 0.0
        self.places: list[int] = []
        self.distortions: list[Distortion] = []
        self.latents: list[Latents] = []
        self.latent_nats: dict[int, float] = {}

    def restore(self, archive: bytes, lossless: bool) -> None:
        """Restores the items, and compares or measures them in runs of one size and of bounded memory."""
        places = {ref.name: place for place, ref in enumerate(self.refs)}
        run: list[tuple[int, Samples, Samples]] = []
        start = time.perf_counter()
        for done, (name, after) in enumerate(decode_archive(archive, self.model), start=1):
            self.seconds += time.perf_counter() - start
            before, positions = self.refs[places[name]].read(), math.prod(after.shape[:-1])
            if lossless and not np.array_equal(before, after):
                raise ItemError(
                    f"{shown(name)}: the archive does not give back its samples; please report this"
                )
            if run and (run[0][2].shape != after.shape or (len(run) + 1) * positions > _BATCH_POSITIONS):
                self.measure(run)
                run = []
            if not lossless and positions:
                run.append((places[name], before, after))
            self.report("restore", done, len(places))
            start = time.perf_counter()
        if run:
            self.measure(run)

    def measure(self, run: Sequence[tuple[int, Samples, Samples]]) -> None:
        """Measures items of one size."""
        places, originals, restored = zip(*run, strict=True)
        before, shape = np.stack(originals), originals[0].shape
        self.places += places
        self.distortions.append(distortion(self.model.item, before, np.stack(restored)))
        if not self.model.takes(shape):
            return  # the archive has them as a conventional codec coded them
        samples, generator = as_tensor(before), torch.Generator().manual_seed(places[0])
        labels = labels_of([self.model.label_numbers(self.refs[n].labels, shape[0]) for n in places])
        latents = self.model.infer(samples, generator=generator)
        self.latents.append(light(latents))
        nats = self.model.latent_nats(latents, labels)
        self.latent_nats |= dict(zip(places, nats.tolist(), strict=True))
        self.sample_nats += float(self.model.sample_nats(samples, latents, labels).sum())

    def result(self, archive: bytes) -> LossyResult:
        """All of it together."""
        model, opened = self.model, Archive(io.BytesIO(archive))
        shares = _shares(opened, self.latent_nats)
        measured = join(self.distortions, np.argsort(self.places).tolist())
        all_latents = pooled(self.latents).to(model.device) if self.latents else None
        items = []
        for index, place in enumerate(sorted(self.places)):
            values = {name: float(column[index]) for name, column in measured.measures.items()}
            known = {name: value for name, value in values.items() if not math.isnan(value)}
            record, psnr_db = opened.items[place], float(measured.psnr_db[index])
            items.append(ItemResult(record.name, record.shape, float(shares[place]), psnr_db, known))
        return LossyResult(
            quality=measured.summary(),
            stochastic=model.stochastic,
            latent_bytes=sum(self.latent_nats.values()) / math.log(256),
            sample_bytes=self.sample_nats / math.log(256),
            details=model.details(all_latents) if all_latents is not None else LatentDetails(),
            items=tuple(items),
        )


def _shares(archive: Archive, nats: Mapping[int, float]) -> NDArray[np.float64]:
    """Bytes of each item in an archive: its share of its blocks, by what its latents cost if that is known.

    What is no block, such as the index, is spread evenly.
    """
    shares = np.zeros(len(archive.items))
    for block, length in zip(archive.layout, archive.lengths, strict=True):
        owners = [lane.item for lane in block.lanes]
        weights = np.array([nats.get(item, 1.0) / max(1, archive.items[item].shape[0]) for item in owners])
        weights *= [lane.stop - lane.start for lane in block.lanes]
        part = weights / weights.sum() if weights.sum() > 0 else 1 / len(owners)
        np.add.at(shares, owners, length * part)
    return shares + (archive.size - shares.sum()) / len(shares)
