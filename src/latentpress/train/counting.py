"""Decoders that learn by counting: one pass over the training items, without gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from latentpress.config import AnyModelConfig, CountedDecoderConfig
from latentpress.counted import CountedBytes, CountedDecoder
from latentpress.data import Dataset, evenly_spaced
from latentpress.exact.distribution import Stream
from latentpress.model import Model
from latentpress.train.plan import StageName

__all__ = ["counted_decoder", "counts", "held_out_bits"]

_JUDGED_BYTES = 1 << 20  # of held-out items, at most


def counts(config: AnyModelConfig, name: StageName) -> bool:
    """Whether a stage counts instead of following a gradient."""
    return name in ("codec", "decoder") and isinstance(config.autoregressive, CountedDecoderConfig)


def counted_decoder(
    model: Model, dataset: Dataset, seconds: float | None, report: Callable[[float], None]
) -> CountedDecoder:
    """Codes the training items once, in their order; of more bytes than the configuration says some of them.

    With a limit in seconds it begins no other item once they are over. `report` is called with the share that
    is done; what it raises ends all.
    """
    config, lengths = model.config.autoregressive, dataset.extents[:, 0]
    assert isinstance(config, CountedDecoderConfig)
    share = min(1.0, config.training_bytes / max(1, int(lengths.sum())))
    chosen = evenly_spaced(len(lengths), max(1, int(len(lengths) * share)))
    before = np.cumsum(lengths[chosen]) - lengths[chosen]
    stops = np.minimum(lengths[chosen], np.maximum(0, config.training_bytes - before))
    total, done, start = int(stops.sum()), 0, time.monotonic()

    def texts() -> Iterator[NDArray[np.uint8]]:
        for index, stop in zip(chosen.tolist(), stops.tolist(), strict=True):
            if seconds is not None and time.monotonic() - start > seconds:
                return
            yield dataset.rows(index, 0, stop)[:, 0]

    def progress(count: int) -> None:
        nonlocal done
        done += count
        report(done / max(1, total))

    return CountedDecoder(CountedBytes.primed_by(texts(), total, progress))


def held_out_bits(model: Model, held_out: Dataset | None) -> dict[str, float]:
    """What a byte of held-out items costs, if there are any."""
    decoder = model.integer.decoder
    if held_out is None or not isinstance(decoder, CountedDecoder):
        return {}
    streams, total = list[Stream](), 0
    for index, length in enumerate(held_out.extents[:, 0].tolist()):
        rows = held_out.rows(index, 0, min(length, _JUDGED_BYTES - total))
        if len(rows):
            streams.append(Stream((len(rows),), 1, symbols=rows[:, None]))
            total += len(rows)
    bits = sum(float(each.sum()) for _, each in decoder.network.encode(streams))
    return {"autoregressive_bits_per_dim": bits / max(1, total)}
