"""Evaluation of a model on a set of images, through a real archive.

The images are pressed into an archive and restored from it; everything said of bytes is the size of
that file, everything said of distortion is measured on what came out of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latentpress.data.sources import ItemRef, Source
from latentpress.errors import ItemError
from latentpress.evaluate.codecs import MOSAIC_MAX_SIDE, Codec, find_codec
from latentpress.evaluate.comparison import Comparison, compare_each, compare_files, compare_mosaic
from latentpress.evaluate.metrics import Distortion, distortion, join
from latentpress.evaluate.rates import prior_nats, reconstruction_nats
from latentpress.evaluate.results import CodeStatistics, Evaluation, ItemResult
from latentpress.latents import CodeUsage
from latentpress.model import VQVAE
from latentpress.press import compress, decode_archive

__all__ = ["Progress", "evaluate"]

_SMALL_SIDE = 128  # pixels a side up to which images of one size are compared as a mosaic
_BATCH_PIXELS = 1 << 19

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many items of it are done, and how many there are."""


def evaluate(
    model: VQVAE,
    source: Source,
    *,
    against: Sequence[str] = ("jpeg", "webp", "avif"),
    progress: Progress | None = None,
) -> Evaluation:
    """Presses `source` into an archive in memory, restores it, measures both, and compares.

    Args:
        model: the model, in evaluation mode.
        source: the images.
        against: codecs to compare with at equal bytes (see `latentpress.evaluate.codecs`).
        progress: told of every step.

    Raises:
        ItemError: an image cannot be read, or there is none.
        ConfigError: a codec of `against` is not there.
    """
    codecs = [find_codec(name) for name in against]
    if not source.items:
        raise ItemError("there is no image to evaluate on; give a folder, zip archive or file with images")
    report = progress or _silent
    archive = io.BytesIO()
    compress(model, source, archive, progress=report)
    measured = _measure(model, source, archive.getvalue(), report)
    comparisons: list[Comparison] = []
    for number, codec in enumerate(codecs):
        report(f"compare with {codec.name}", number, len(codecs))
        comparisons += _compare(codec, source, measured)
    return replace(measured, comparisons=tuple(comparisons))


@dataclass(frozen=True)
class _Batch:
    """Items of one size: their places in the source, and (B, H, W, C) pixels before and after."""

    places: tuple[int, ...]
    originals: np.ndarray
    restored: np.ndarray


@dataclass(frozen=True)
class _Measured:
    """Per item of a batch (B,): place, distortion, nats; and the usage of the batch's codes."""

    places: tuple[int, ...]
    distortion: Distortion
    usage: CodeUsage
    prior_nats: Tensor
    reconstruction_nats: Tensor


def _measure(model: VQVAE, source: Source, archive: bytes, report: Progress) -> Evaluation:
    parts: list[_Measured] = []
    sizes: dict[int, tuple[int, int]] = {}
    for batch in _batches(source.items, decode_archive(archive, model)):
        parts.append(_measure_batch(model, source.items, batch))
        sizes |= dict.fromkeys(batch.places, batch.originals.shape[1:3])
        report("measure", len(sizes), len(source.items))
    order = np.argsort(np.concatenate([part.places for part in parts]))
    per_item = join([part.distortion for part in parts]).take(order)
    prior = torch.cat([part.prior_nats for part in parts]).numpy()[order]
    nats = prior.sum() + sum(float(part.reconstruction_nats.sum()) for part in parts)
    num_dims = int(per_item.samples.sum())
    shares = len(archive) * prior / prior.sum()
    return Evaluation(
        num_items=len(sizes),
        num_pixels=sum(height * width for height, width in sizes.values()),
        num_dims=num_dims,
        archive_bytes=len(archive),
        prior_bytes=float(prior.sum() / np.log(256)),
        model_bits_per_dim=float(nats / (num_dims * np.log(2))),
        quality=per_item.summary(),
        codes=CodeStatistics.of(CodeUsage(torch.stack([part.usage.counts for part in parts]).sum(0))),
        items=_results(source.items, [sizes[place] for place in range(len(sizes))], shares, per_item),
    )


def _measure_batch(model: VQVAE, refs: Sequence[ItemRef], batch: _Batch) -> _Measured:
    codes = model.encode(batch.originals)
    labels = _labels(model, [refs[place].label for place in batch.places])
    return _Measured(
        places=batch.places,
        distortion=distortion(batch.originals, batch.restored),
        usage=CodeUsage.of(codes, model.config.latents.codebook_size),
        prior_nats=prior_nats(model, codes, labels),
        reconstruction_nats=reconstruction_nats(model, batch.originals, codes),
    )


def _results(
    refs: Sequence[ItemRef], sizes: Sequence[tuple[int, int]], size_bytes: np.ndarray, measured: Distortion
) -> tuple[ItemResult, ...]:
    return tuple(
        ItemResult(
            name=ref.name,
            height=size[0],
            width=size[1],
            size_bytes=float(size_bytes[index]),
            psnr_db=float(measured.psnr_db[index]),
            ssim=_known(measured.ssim[index]),
            ms_ssim=_known(measured.ms_ssim[index]),
        )
        for index, (ref, size) in enumerate(zip(refs, sizes, strict=True))
    )


def _compare(codec: Codec, source: Source, measured: Evaluation) -> list[Comparison]:
    if not _fits_mosaic(measured):
        pairs = zip(source.items, measured.items, strict=True)
        return [compare_each(codec, ((ref.read(), max(1, round(item.size_bytes))) for ref, item in pairs))]
    images = [ref.read() for ref in source.items]
    return [
        compare_mosaic(codec, np.stack(images), measured.archive_bytes),
        compare_files(codec, images, measured.archive_bytes),
    ]


def _fits_mosaic(measured: Evaluation) -> bool:
    """Whether the images are small, of one size, and more than one, and fit into one picture."""
    sizes = {(item.height, item.width) for item in measured.items}
    side = max(max(size) for size in sizes)
    whole = side * np.ceil(np.sqrt(measured.num_items))
    return len(sizes) == 1 < measured.num_items and side <= _SMALL_SIDE and whole <= MOSAIC_MAX_SIDE


def _batches(refs: Sequence[ItemRef], restored: Iterable[tuple[str, np.ndarray]]) -> Iterator[_Batch]:
    """Puts originals beside restored items, in runs of one size and of bounded memory."""
    places = {ref.name: place for place, ref in enumerate(refs)}
    run: list[tuple[int, np.ndarray, np.ndarray]] = []
    for name, after in restored:
        rows, columns = after.shape[:2]
        if run and (run[0][2].shape != after.shape or (len(run) + 1) * rows * columns > _BATCH_PIXELS):
            yield _stack(run)
            run = []
        run.append((places[name], refs[places[name]].read(), after))
    yield _stack(run)


def _stack(run: list[tuple[int, np.ndarray, np.ndarray]]) -> _Batch:
    places, originals, restored = zip(*run, strict=True)
    return _Batch(places, np.stack(originals), np.stack(restored))


def _labels(model: VQVAE, labels: Sequence[str | None]) -> Tensor | None:
    """Returns the class indices (B,) for a class-conditional prior, -1 where unknown."""
    if model.config.prior is None or not model.config.prior.class_conditional:
        return None
    index = {label: number for number, label in enumerate(model.config.labels)}
    return torch.tensor([index.get(label or "", -1) for label in labels])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _silent(stage: str, done: int, total: int) -> None:
    pass
