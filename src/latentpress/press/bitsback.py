"""Chains of bands by bits back: lossless coding at the rate of -ELBO.

    coding a band     pop z under q(z | x);   push x under p(x | z);   push z under p(z)
    and its inverse   pop z under p(z);       pop x under p(x | z);    push z under q(z | x)

What the first step takes off the stack is put back by the last, so that a band costs -log p(x | z) -
log p(z) + log q(z | x): the ELBO of one draw (Townsend et al., arXiv 1901.04866). Decoding begins with the
band that was coded last, so bands are coded from the last to the first. The one coded first has nothing
on the stack to draw its latents with: its are the posterior's means, rounded to the steps of other
archives, and nothing is given back. All three networks run in integers, on both sides.

A band is an item, or some rows of one, which the networks see as an item by itself. Chains have a stack each
and are worked on side by side, band by band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive import coding
from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.coding import Archive, BlockLayout, ItemRecord, Mode, Stacks
from latentpress.errors import ArchiveError, LatentpressError
from latentpress.exact.distribution import Conditioning, Stream
from latentpress.items.base import Shape, Symbols
from latentpress.latents import IntegerLSTM
from latentpress.latents.stacked import LatentStacks, finest, rounded_means
from latentpress.model import Model
from latentpress.press.blocks import Bits, Blocks, Coded, bands_of, labels_in
from latentpress.press.reading import Items, grouped

__all__ = ["ChainCoder"]

_BATCH_POSITIONS = 1 << 18
"""Positions of bands of one shape that go through the encoder together."""

Integers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Band:
    """A band: its extents, the labels that condition the decoder, its symbols (*shape, P) once known."""

    shape: Shape
    labels: Tensor | None
    symbols: Symbols | None = None


class ChainCoder:
    """Codes chains with a delta-VAE's networks in integers; raises `LatentpressError` where one lacks."""

    def __init__(self, model: Model) -> None:
        encoder, decoder, prior = model.integer.encoder, model.integer.decoder, model.integer.prior
        if encoder is None or prior is None or not isinstance(decoder, IntegerDecoder):
            raise LatentpressError(
                "bits back needs an encoder, a prior and a decoder of Gaussian latents in integer form, as "
                "a delta-VAE with model.encoder.kind=anticausal has after training; compress without it"
            )
        assert isinstance(prior, IntegerLSTM), "who has an encoder in integer form has Gaussian latents"
        self._model, self._encoder, self._decoder = model, encoder, decoder
        self._prior, self._step = prior.with_step(1), prior.step
        self._dtype = np.min_scalar_type(max(model.item.alphabets) - 1)

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        to_symbols, residual = self._model.item.to_symbols, self._model.residual
        symbols = np.concatenate([to_symbols(items.rows(lane), residual=residual) for lane in block.lanes])
        return symbols.reshape(-1, 1, symbols.shape[-1])

    def encode(self, blocks: Blocks, symbols: Sequence[Symbols], items: Items) -> list[Coded]:
        """See `BlockCoder`."""
        chains = [self._bands(*each, items.records) for each in zip(blocks, symbols, strict=True)]
        stacks, bits = Stacks.fresh(len(chains)), [np.zeros(len(chain)) for chain in chains]
        for depth in range(max(map(len, chains))):
            rows = [row for row, chain in enumerate(chains) if len(chain) > depth]
            spent = self._push(stacks, rows, [chains[row][-1 - depth] for row in rows], drawn=depth > 0)
            for row, cost in zip(rows, spent, strict=True):
                bits[row][-1 - depth] = cost
        return [(Mode.BITS_BACK, *each) for each in zip(stacks.payloads(), bits, strict=True)]

    def decode(self, archive: Archive, numbers: Sequence[int]) -> list[Symbols]:
        """See `BlockCoder`."""
        chains = [self._bands(archive.layout[number], None, archive.items) for number in numbers]
        stacks = Stacks.from_payloads([archive.payload(number) for number in numbers])
        restored = [list[Symbols]() for _ in chains]
        for depth in reversed(range(max(map(len, chains)))):
            rows = [row for row, chain in enumerate(chains) if len(chain) > depth]
            popped = self._pop(stacks, rows, [chains[row][-1 - depth] for row in rows], drawn=depth > 0)
            for row, symbols in zip(rows, popped, strict=True):
                restored[row].append(symbols.reshape(-1, 1, symbols.shape[-1]))
        if not stacks.are_fresh().all():
            raise ArchiveError("damaged archive: what is left of a chain is no fresh stack")
        return [np.concatenate(bands) for bands in restored]

    def _push(self, stacks: Stacks, rows: Sequence[int], bands: Sequence[_Band], *, drawn: bool) -> Bits:
        """Codes a band onto each stack, its latents drawn from there, or rounded; returns the bits."""
        step, of_latents = 1 if drawn else self._step, self._of_latents(stacks, rows, bands)
        mean, scale = self._posterior(bands)
        latents, given_back = rounded_means(mean, step), np.zeros(len(rows))
        if drawn:
            latents, given_back = of_latents.pop_posterior(mean, scale)
        intervals = coding.measure(self._decoder.network, self._streams(latents, step, bands))
        coding.push(stacks, rows, intervals)
        spent = of_latents.push_prior(self._prior, latents, step)
        return np.array([each.bits for each in intervals]) + spent - given_back

    def _pop(
        self, stacks: Stacks, rows: Sequence[int], bands: Sequence[_Band], *, drawn: bool
    ) -> list[Symbols]:
        """The inverse of `_push`: the bands' symbols (*shape, P)."""
        step, of_latents = 1 if drawn else self._step, self._of_latents(stacks, rows, bands)
        latents = of_latents.pop_prior(self._prior, step, self._model.grid(bands[0].shape)[1:])
        popped = coding.pop(self._decoder.network, self._streams(latents, step, bands), stacks, rows)
        restored = []
        for band, symbols in zip(bands, popped, strict=True):
            if symbols is None:
                raise ArchiveError("damaged archive: a chain ends too early")
            restored.append(symbols.astype(self._dtype).reshape(*band.shape, -1))
        if drawn:
            bands = [replace(band, symbols=each) for band, each in zip(bands, restored, strict=True)]
            of_latents.push_posterior(*self._posterior(bands), latents)
        return restored

    def _bands(
        self, block: BlockLayout, symbols: Symbols | None, records: Sequence[ItemRecord]
    ) -> list[_Band]:
        if not self._model.takes((*block.shape, self._model.item.channels)):
            raise ArchiveError("damaged archive: an item does not fit the model that the archive names")
        shapes = [(lane.stop - lane.start, *block.shape[1:]) for lane in block.lanes]
        labels = [
            self._model.labels_for("autoregressive", labels_in(records, [lane])) for lane in block.lanes
        ]
        known = [None] * len(shapes) if symbols is None else bands_of(block, symbols).values()
        return [_Band(*each) for each in zip(shapes, labels, known, strict=True)]

    def _of_latents(self, stacks: Stacks, rows: Sequence[int], bands: Sequence[_Band]) -> LatentStacks:
        return LatentStacks(stacks, rows, [self._model.grid(band.shape)[0] for band in bands])

    def _posterior(self, bands: Sequence[_Band]) -> tuple[Integers, Integers]:
        """Means and scales of all bands, (L, N, *cells, d): zeros fill up the shorter ones."""
        grids = [self._model.grid(band.shape) for band in bands]
        shape = len(bands), max(grid[0] for grid in grids), *grids[0][1:], self._prior.channels
        mean, scale = np.zeros((2, *shape), np.int64)
        for extents, places in grouped(range(len(bands)), lambda place: bands[place].shape).items():
            together = max(1, _BATCH_POSITIONS // math.prod(extents))
            for start in range(0, len(places), together):
                part = places[start : start + together]
                symbols = np.stack([self._plain(bands[place]) for place in part]).astype(np.int64)
                posterior = self._encoder(torch.from_numpy(symbols))
                steps = posterior.mean.shape[1]
                mean[part, :steps], scale[part, :steps] = posterior.mean, posterior.scale
        return mean, scale

    def _plain(self, band: _Band) -> Symbols:
        """What the encoder sees of a band: symbols that are no residuals."""
        assert band.symbols is not None
        item, residual = self._model.item, self._model.residual
        return item.to_symbols(item.from_symbols(band.symbols, residual=residual), residual=False)

    def _streams(self, latents: Integers, step: int, bands: Sequence[_Band]) -> list[Stream]:
        """The streams of bands, given their latents (L, N, *cells, d)."""
        made: dict[int, Stream] = {}
        for shape, places in grouped(range(len(bands)), lambda place: bands[place].shape).items():
            codes = torch.from_numpy(finest(latents[places, : self._model.grid(shape)[0]], step))
            local = self._decoder.conditioning(codes, shape).local
            assert local is not None
            for place, own in zip(places, local.split(1), strict=True):
                band = bands[place]
                known = None if band.symbols is None else band.symbols.reshape(math.prod(shape), 1, -1)
                made[place] = Stream(shape, 1, Conditioning(own, band.labels), symbols=known)
        return [made[place] for place in range(len(bands))]
