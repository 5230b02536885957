"""Decoders and priors that learn by counting: one pass over the training items, without gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.config import CountedDecoderConfig
from latentpress.counted import CountedBytes, CountedDecoder, CountedGrid, CountedPictures
from latentpress.data import Dataset, evenly_spaced
from latentpress.exact.distribution import Stream
from latentpress.model import VQVAE, Model
from latentpress.model.integer import IntegerForms
from latentpress.train.counting_codes import counted_prior, prior_bits
from latentpress.train.plan import StageName

__all__ = ["count_stage", "counted_decoder", "held_out_bits"]

_JUDGED_SAMPLES = 1 << 20  # of held-out items, at most
_LEAST_ROWS = 64  # of a picture, or all it has
_GOLDEN = 0.6180339887498949


def count_stage(
    model: Model, name: StageName, dataset: Dataset, seconds: float | None, report: Callable[[float], None]
) -> IntegerForms:
    """The model's integer forms, that of a stage which counts made anew.

    With a limit in seconds it begins no other item of a decoder once they are over. `report` is called with
    the share that is done; what it raises ends all.
    """
    forms = model.integer
    if name == "prior":
        assert isinstance(model, VQVAE)
        network = forms.prior.network if isinstance(forms.prior, CountedGrid) else forms.prior
        assert network is None or isinstance(network, IntegerNetwork)
        network = None if model.prior is None else network
        return replace(forms, prior=counted_prior(model, dataset, network, report))
    return replace(forms, decoder=counted_decoder(model, dataset, seconds, report))


def counted_decoder(
    model: Model, dataset: Dataset, seconds: float | None, report: Callable[[float], None]
) -> CountedDecoder:
    """Codes the training items once, in their order; of more than the configuration says some.

    With a limit in seconds it begins no other item once they are over. `report` is called with the share that
    is done; what it raises ends all.
    """
    config = model.config.autoregressive
    assert isinstance(config, CountedDecoderConfig)
    choose = _rows_of_pictures if model.item.picture else _starts_of_texts
    chosen = choose(dataset, config.training_bytes)
    total = sum((stop - start) * _row_samples(dataset, index) for index, start, stop in chosen)
    done, begun = 0, time.monotonic()

    def items() -> Iterator[NDArray[np.uint8]]:
        for index, start, stop in chosen:
            if seconds is not None and time.monotonic() - begun > seconds:
                return
            yield dataset.rows(index, start, stop)

    def progress(count: int) -> None:
        nonlocal done
        done += count
        report(done / max(1, total))

    if model.item.picture:
        return CountedDecoder(CountedPictures.primed_by(items(), model.item.channels, total, progress))
    texts = (rows[:, 0] for rows in items())
    return CountedDecoder(CountedBytes.primed_by(texts, total, progress))


Rows = list[tuple[int, int, int]]
"""Of some items their number and the rows that are learned from, from the first to before the last."""


def _row_samples(dataset: Dataset, index: int) -> int:
    return int(np.prod(dataset.extents[index, 1:])) * dataset.item.channels


def _starts_of_texts(dataset: Dataset, most: int) -> Rows:
    """Whole texts, evenly chosen, and of the last one as much as there is room for."""
    lengths = dataset.extents[:, 0]
    share = min(1.0, most / max(1, int(lengths.sum())))
    chosen = evenly_spaced(len(lengths), max(1, int(len(lengths) * share)))
    before = np.cumsum(lengths[chosen]) - lengths[chosen]
    stops = np.minimum(lengths[chosen], np.maximum(0, most - before))
    return [(index, 0, stop) for index, stop in zip(chosen.tolist(), stops.tolist(), strict=True)]


def _rows_of_pictures(dataset: Dataset, most: int) -> Rows:
    """The same share of every picture's rows, here and there; where they would be few, more rows of fewer."""
    heights, samples = dataset.extents[:, 0], dataset.extents.prod(axis=1) * dataset.item.channels
    share = min(1.0, most / max(1, int(samples.sum())))
    rows = np.maximum(np.ceil(heights * share).astype(int), np.minimum(heights, _LEAST_ROWS))
    wanted = rows * (samples // heights)
    count = max(1, int(len(rows) * min(1.0, most / max(1, int(wanted.sum())))))
    chosen, room = Rows(), most
    for number, index in enumerate(evenly_spaced(len(rows), count).tolist()):
        kept = min(int(rows[index]), room // _row_samples(dataset, index))
        start = int((number * _GOLDEN) % 1.0 * (int(heights[index]) - kept + 1))
        if kept:
            chosen.append((index, start, start + kept))
        room -= kept * _row_samples(dataset, index)
    return chosen


def held_out_bits(model: Model, name: StageName, held_out: Dataset | None) -> dict[str, float]:
    """What a sample or a code of held-out items costs, if there are any."""
    if name == "prior":
        return prior_bits(model, held_out) if isinstance(model, VQVAE) else {}
    decoder = model.integer.decoder
    if held_out is None or not isinstance(decoder, CountedDecoder):
        return {}
    streams, room = list[Stream](), _JUDGED_SAMPLES
    for index, size in enumerate(held_out.extents.tolist()):
        count = min(size[0], room // _row_samples(held_out, index))
        room -= count * _row_samples(held_out, index)
        if count:
            rows = held_out.rows(index, 0, count)
            symbols = rows.reshape(-1, 1, model.item.channels)
            streams.append(Stream(rows.shape[:-1], 1, symbols=symbols))
    bits = sum(float(each.sum()) for _, each in decoder.network.encode(streams))
    return {"autoregressive_bits_per_dim": bits / max(1, _JUDGED_SAMPLES - room)}
