"""What the inputs of a model's counted contexts earn, on some of the items at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentpress.counted import CountedDecoder, CountedGrid
from latentpress.counted.earning import earnings
from latentpress.data import Dataset
from latentpress.exact.distribution import Conditioning, Stream
from latentpress.model.base import Model
from latentpress.model.labels import labels_of

__all__ = ["Inputs", "input_earnings"]

_SYMBOLS = 1 << 16  # that are coded for every input

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Inputs:
    """What a symbol costs, in bits, and by how much more without each input: see `earnings`."""

    bits: float
    without: Mapping[str, float]


def input_earnings(model: Model, dataset: Dataset, report: Report) -> dict[str, Inputs]:
    """Of the prior and of the decoder, as far as they count; `report` is called with what is measured."""
    prior, decoder, found = model.integer.prior, model.integer.decoder, dict[str, Inputs]()
    if isinstance(prior, CountedGrid):
        streams = list(_some(dataset, lambda index: _codes(model, dataset, index)))
        found["prior"] = Inputs(*earnings(prior, streams, lambda *done: report("prior's inputs", *done)))
    if isinstance(decoder, CountedDecoder):
        streams = list(_some(dataset, lambda index: _samples(model, dataset, index)))
        network = decoder.network
        found["decoder"] = Inputs(
            *earnings(network, streams, lambda *done: report("decoder's inputs", *done))
        )
    return found


def _some(dataset: Dataset, stream_of: Callable[[int], Stream]) -> Iterator[Stream]:
    """Items, each a stream, until there are symbols enough; of the last one its first rows."""
    left = _SYMBOLS
    for index in range(len(dataset)):
        stream = stream_of(index)
        assert stream.symbols is not None
        row = math.prod(stream.grid[1:]) * stream.symbols.shape[2]
        rows = min(stream.grid[0], max(1, left // max(1, row)))
        left -= rows * row
        if stream.symbols.size:
            grid = (rows, *stream.grid[1:])
            labels = stream.conditioning.labels
            own = labels[:, :rows] if labels is not None and labels.ndim == 3 else labels
            yield Stream(grid, 1, Conditioning(labels=own), symbols=stream.symbols[: math.prod(grid)])
        if left <= 0:
            return


def _codes(model: Model, dataset: Dataset, index: int) -> Stream:
    codes = model.encode(dataset[index][None])[0].numpy()
    numbers = model.label_numbers(dataset.items[index].labels, int(dataset.extents[index, 0]))
    labels = model.labels_for("prior", labels_of([numbers]))
    return Stream(codes.shape[:-1], 1, Conditioning(labels=labels), symbols=_by_position(codes))


def _samples(model: Model, dataset: Dataset, index: int) -> Stream:
    symbols = model.item.to_symbols(dataset[index], residual=False)
    return Stream(tuple(dataset.extents[index].tolist()), 1, symbols=_by_position(symbols))


def _by_position(symbols: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of one item, (*grid, P), as a stream has them."""
    return symbols.reshape(-1, 1, symbols.shape[-1]).astype(np.int64)
