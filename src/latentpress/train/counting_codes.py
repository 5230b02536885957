"""Priors that count: one pass over the codes of training items, in blocks as an archive's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.coding.layout import CODE_SEGMENT, Part, Plan, Segment, lay_out
from latentpress.coding.records import CODE_BLOCK
from latentpress.config import CountedPriorConfig
from latentpress.counted import CountedGrid
from latentpress.counted.grids.order import alike
from latentpress.counted.grids.pieces import Piece
from latentpress.data import Dataset, evenly_spaced
from latentpress.exact.distribution import Stream
from latentpress.model import VQVAE
from latentpress.model.labels import labels_of

__all__ = ["counted_prior", "pieces_of_items", "prior_bits"]

_ENCODED = 1 << 22  # samples that are encoded at once
_JUDGED_CODES = 1 << 16  # of held-out items, at most


def counted_prior(
    model: VQVAE, dataset: Dataset, network: IntegerNetwork | None, report: Callable[[float], None]
) -> CountedGrid:
    """Codes the codes of training items once; of more than the configuration says those of some.

    `report` is called with the share that is done; what it raises ends all.
    """
    config = model.config.prior
    assert isinstance(config, CountedPriorConfig)
    work, done = list(_chosen(model, dataset, config.training_codes)), 0
    total = sum(_symbols(model, grid) for _, grid in work)

    def progress(count: int) -> None:
        nonlocal done
        done += count
        report(done / max(1, 2 * total))

    pieces = list(_pieces(model, dataset, work, progress))
    order = [alike(book) for book in model.latents.codebook.detach().cpu().numpy()]
    return CountedGrid.primed_by(order, pieces, network, progress)


def prior_bits(model: VQVAE, held_out: Dataset | None) -> dict[str, float]:
    """What a code of held-out items costs, if there are any."""
    prior = model.integer.prior
    if held_out is None or not isinstance(prior, CountedGrid):
        return {}
    streams, count = list[Stream](), 0
    for piece in pieces_of_items(model, held_out, _JUDGED_CODES):
        assert piece.symbols is not None
        streams.append(Stream(piece.grid, len(piece.labels), piece.conditioning, symbols=piece.symbols))
        count += piece.symbols.size
    bits = sum(float(each.sum()) for _, each in prior.encode(streams))
    return {"bits_per_code": bits / max(1, count)}


def pieces_of_items(model: VQVAE, dataset: Dataset, most: int) -> Iterator[Piece]:
    """The codes of items, or of some, `most` at most, in the blocks of an archive of them."""
    return _pieces(model, dataset, list(_chosen(model, dataset, most)), lambda _: None)


Grids = list[tuple[int, tuple[int, ...]]]
Codes = NDArray[np.int32]
"""Of an item, (*grid, P)."""


def _symbols(model: VQVAE, grid: tuple[int, ...]) -> int:
    return math.prod(grid) * len(model.alphabets)


def _chosen(model: VQVAE, dataset: Dataset, most: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Items, evenly chosen, and the grids of their codes: of one that is too large its first rows."""
    grids = [model.grid(size) for size in dataset.extents.tolist()]
    counts = np.array([_symbols(model, grid) for grid in grids])
    share = min(1.0, most / max(1, int(counts.sum())))
    for index in evenly_spaced(len(grids), max(1, int(len(grids) * share))).tolist():
        grid = grids[index]
        row = _symbols(model, (1, *grid[1:]))
        rows = min(grid[0], most // row) if row else 0
        if rows:
            most -= rows * row
            yield index, (rows, *grid[1:])


def _pieces(model: VQVAE, dataset: Dataset, work: Grids, progress: Callable[[int], None]) -> Iterator[Piece]:
    """The codes of items in the blocks of an archive of them."""
    codes = _encoded(model, dataset, work, progress)
    places = [index for index, _ in work]
    grids = enumerate(grid for _, grid in work)
    for block in lay_out(grids, Plan(Part.CODES, len(model.alphabets), CODE_SEGMENT, CODE_BLOCK)):
        rows = [codes[lane.item][lane.start : lane.stop] for lane in block.lanes]
        symbols = np.stack([each.reshape(-1, each.shape[-1]) for each in rows], axis=1)
        labels = [_labels(model, dataset, places[lane.item], lane) for lane in block.lanes]
        yield Piece(block.shape, np.stack(labels), symbols)


def _encoded(model: VQVAE, dataset: Dataset, work: Grids, progress: Callable[[int], None]) -> list[Codes]:
    """The codes of items; those of one size are encoded together."""
    sizes = []
    for index, grid in work:
        rows, *rest = dataset.extents[index].tolist()
        sizes.append((min(rows, grid[0] * model.hop[0]), *rest))
    found = dict[int, Codes]()
    for size in dict.fromkeys(sizes):
        alike = [number for number, each in enumerate(sizes) if each == size]
        together = max(1, _ENCODED // math.prod(size))
        for first in range(0, len(alike), together):
            some = alike[first : first + together]
            codes = model.encode(np.stack([dataset.rows(work[n][0], 0, size[0]) for n in some]))
            found |= zip(some, codes.int().numpy(), strict=True)
            progress(codes.numel())
    return [found[number] for number in range(len(work))]


def _labels(model: VQVAE, dataset: Dataset, index: int, lane: Segment) -> NDArray[np.int32]:
    """The labels of a band of codes that condition the prior, (1 or rows, L)."""
    rows = int(dataset.extents[index, 0])
    numbers = model.label_numbers(dataset.items[index].labels, rows)
    labels = model.labels_for("prior", labels_of([numbers]))
    if labels is None:
        return np.zeros((1, 0), np.int32)
    own = labels[0].reshape(-1, labels.shape[-1]).numpy().astype(np.int32)
    return own[lane.start : lane.stop] if labels.ndim == 3 else own
