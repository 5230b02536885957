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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive import coding
from latentpress.autoregressive.integer.encoder import IntegerPosterior
from latentpress.coding.ans import Stacks
from latentpress.coding.container import Archive
from latentpress.coding.layout import BlockLayout
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, ItemRecord, symbols_crc
from latentpress.errors import ArchiveError, LatentpressError
from latentpress.exact.distribution import Conditioning, Stream
from latentpress.items.base import Samples, Shape, Symbols
from latentpress.latents import IntegerLSTM
from latentpress.latents.stacked import (
    Sequences,
    finest,
    pop_posterior,
    pop_prior,
    push_posterior,
    push_prior,
    rounded_means,
)
from latentpress.model.base import Model
from latentpress.press.blocks import Bits, Coded, grouped, labels_in
from latentpress.press.reading import Items, SampleStore

__all__ = ["Band", "ChainCoder"]

_MAX_CHAINS = 128
"""Chains worked on side by side."""

_BATCH_POSITIONS = 1 << 18
"""Positions of bands of one shape that go through the encoder together."""

Integers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Band:
    """A band of a chain.

    Args:
        shape: its extents, without the channels.
        labels: those that condition the decoder, (1, L) or (1, rows, L); None where nothing does.
        samples: (*shape, C), for coding.
    """

    shape: Shape
    labels: Tensor | None = None
    samples: Samples | None = None


class ChainCoder:
    """Codes chains with a delta-VAE's networks in integers.

    Raises:
        LatentpressError: the model lacks one of them.
    """

    def __init__(self, model: Model) -> None:
        encoder, decoder, prior = model.integer.encoder, model.integer.decoder, model.integer.prior
        conditioned = decoder is not None and decoder.conditioner is not None
        if encoder is None or not conditioned or not isinstance(prior, IntegerLSTM):
            raise LatentpressError(
                "bits back needs an encoder, a prior and a decoder of Gaussian latents, all in integer form, as "
                "a delta-VAE with an anti-causal encoder (--set model.encoder.kind=anticausal) has them when it "
                "is trained to the end; compress losslessly without it"
            )
        self._model, self._encoder, self._decoder = model, encoder, decoder
        self._prior, self._step = prior.with_step(1), prior.step
        self._dtype = np.min_scalar_type(max(model.item.alphabets) - 1)

    def encode(self, blocks: Sequence[BlockLayout], items: Items) -> Iterator[Coded]:
        """See `BlockCoder`."""
        for batch in _batches(blocks):
            chains = [self._bands(blocks[place], items.records, items.samples) for place in batch]
            for place, (payload, bits) in zip(batch, self.code(chains), strict=True):
                crc = symbols_crc(self.expected(blocks[place], items))
                yield place, Block(Mode.BITS_BACK, payload, crc), bits

    def decode(self, archive: Archive, numbers: Sequence[int]) -> Iterator[tuple[int, Symbols]]:
        """See `BlockCoder`."""
        layout = [archive.layout[number] for number in numbers]
        for batch in _batches(layout):
            chains = [self._bands(layout[place], archive.items) for place in batch]
            payloads = [archive.payload(numbers[place]) for place in batch]
            for place, bands in zip(batch, self.restore(payloads, chains), strict=True):
                symbols = np.concatenate(bands).reshape(layout[place].positions, 1, -1)
                archive.check(numbers[place], symbols)
                yield numbers[place], symbols

    def expected(self, block: BlockLayout, items: Items) -> Symbols:
        """See `BlockCoder`."""
        bands = self._bands(block, items.records, items.samples)
        return np.concatenate([self._symbols(band) for band in bands]).reshape(block.positions, 1, -1)

    def code(self, chains: Sequence[Sequence[Band]]) -> list[tuple[bytes, Bits]]:
        """Codes chains of bands, each of at least one, in the order in which they are decoded.

        Returns:
            Each chain's bytes, and what each of its bands costs in bits.
        """
        stacks, bits = Stacks.fresh(len(chains)), [np.zeros(len(chain)) for chain in chains]
        for depth in range(max(map(len, chains))):
            rows = _rows(chains, depth)
            spent = self._push(stacks, rows, [chains[row][-1 - depth] for row in rows], drawn=depth > 0)
            for row, cost in zip(rows, spent, strict=True):
                bits[row][-1 - depth] = cost
        return list(zip(stacks.payloads(), bits, strict=True))

    def restore(self, payloads: Sequence[bytes], chains: Sequence[Sequence[Band]]) -> list[list[Symbols]]:
        """The inverse of `code`: the symbols (*shape, P) of the bands of each chain.

        Raises:
            ArchiveError: a chain is damaged, or was coded with other networks.
        """
        stacks = Stacks.from_payloads(payloads)
        restored: list[list[Symbols]] = [[] for _ in chains]
        for depth in reversed(range(max(map(len, chains)))):
            rows = _rows(chains, depth)
            popped = self._pop(stacks, rows, [chains[row][-1 - depth] for row in rows], drawn=depth > 0)
            for row, symbols in zip(rows, popped, strict=True):
                restored[row].append(symbols)
        if not stacks.are_fresh().all():
            raise ArchiveError("damaged archive: what is left of a chain is no fresh stack")
        return restored

    def _push(self, stacks: Stacks, rows: Sequence[int], bands: Sequence[Band], *, drawn: bool) -> Bits:
        """Codes a band onto each stack, its latents drawn from there, or rounded; returns the bits."""
        step, sequences = 1 if drawn else self._step, self._sequences(rows, bands)
        posterior = self._posterior(bands)
        latents, given_back = rounded_means(posterior.mean, step), np.zeros(len(rows))
        if drawn:
            latents, given_back = pop_posterior(stacks, sequences, posterior.mean, posterior.scale)
        symbols = [self._symbols(band).reshape(-1, 1, len(self._model.item.alphabets)) for band in bands]
        intervals = coding.measure(self._decoder.network, self._streams(finest(latents, step), bands, symbols))
        coding.push(stacks, rows, intervals)
        spent = push_prior(stacks, sequences, self._prior, latents, step)
        return np.array([each.bits for each in intervals]) + spent - given_back

    def _pop(
        self, stacks: Stacks, rows: Sequence[int], bands: Sequence[Band], *, drawn: bool
    ) -> list[Symbols]:
        """The inverse of `_push`: the bands' symbols (*shape, P)."""
        step, sequences = 1 if drawn else self._step, self._sequences(rows, bands)
        cells = self._model.grid(bands[0].shape)[1:]
        latents = pop_prior(stacks, sequences, self._prior, step, cells)
        streams = self._streams(finest(latents, step), bands)
        restored = []
        for band, symbols in zip(bands, coding.pop(self._decoder.network, streams, stacks, rows), strict=True):
            if symbols is None:
                raise ArchiveError("damaged archive: a chain ends too early")
            restored.append(symbols.astype(self._dtype).reshape(*band.shape, -1))
        if drawn:
            item, residual = self._model.item, self._model.residual
            known = [item.from_symbols(symbols, residual=residual) for symbols in restored]
            bands = [replace(band, samples=samples) for band, samples in zip(bands, known, strict=True)]
            posterior = self._posterior(bands)
            push_posterior(stacks, sequences, posterior.mean, posterior.scale, latents)
        return restored

    def _bands(
        self, block: BlockLayout, records: Sequence[ItemRecord], samples: SampleStore | None = None
    ) -> list[Band]:
        if not self._model.takes((*block.shape, self._model.item.channels)):
            raise ArchiveError("damaged archive: an item does not fit the model that the archive names")
        bands = []
        for lane in block.lanes:
            labels = self._model.labels_for("autoregressive", labels_in(records, [lane]))
            known = None if samples is None else samples.rows(lane.item, lane.start, lane.stop)
            bands.append(Band((lane.stop - lane.start, *block.shape[1:]), labels, known))
        return bands

    def _symbols(self, band: Band) -> Symbols:
        """What the decoder predicts of a band, (*shape, P)."""
        assert band.samples is not None
        return self._model.item.to_symbols(band.samples, residual=self._model.residual)

    def _sequences(self, rows: Sequence[int], bands: Sequence[Band]) -> Sequences:
        return Sequences.of(rows, [self._model.grid(band.shape)[0] for band in bands])

    def _posterior(self, bands: Sequence[Band]) -> IntegerPosterior:
        """Of all bands, (L, N, *cells, d): zeros fill up the shorter ones."""
        item = self._model.item
        grids = [self._model.grid(band.shape) for band in bands]
        shape = len(bands), max(grid[0] for grid in grids), *grids[0][1:], self._prior.channels
        joint = IntegerPosterior(*np.zeros((2, *shape), np.int64))
        for extents, places in grouped([band.shape for band in bands]).items():
            run = max(1, _BATCH_POSITIONS // math.prod(extents))
            for start in range(0, len(places), run):
                part = places[start : start + run]
                plain = (item.to_symbols(bands[place].samples, residual=False) for place in part)
                each = self._encoder(torch.from_numpy(np.stack([*plain]).astype(np.int64)))
                joint.mean[part, : each.mean.shape[1]] = each.mean
                joint.scale[part, : each.scale.shape[1]] = each.scale
        return joint

    def _streams(
        self, latents: Integers, bands: Sequence[Band], symbols: Sequence[Symbols] | None = None
    ) -> list[Stream]:
        """The streams of bands, given their latents (L, N, *cells, d), and their symbols if these are known."""
        conditionings: dict[int, Conditioning] = {}
        for shape, places in grouped([band.shape for band in bands]).items():
            codes = torch.from_numpy(latents[places, : self._model.grid(shape)[0]])
            local = self._decoder.conditioning(codes, shape).local
            assert local is not None
            for row, place in enumerate(places):
                conditionings[place] = Conditioning(local[row : row + 1], bands[place].labels)
        given = symbols if symbols is not None else [None] * len(bands)
        return [
            Stream(band.shape, 1, conditionings[place], symbols=given[place])
            for place, band in enumerate(bands)
        ]


def _batches(blocks: Sequence[BlockLayout]) -> Iterator[list[int]]:
    """The places of the chains that are worked on side by side: those of one width, and not too many."""
    for places in grouped([block.shape[1:] for block in blocks]).values():
        for start in range(0, len(places), _MAX_CHAINS):
            yield places[start : start + _MAX_CHAINS]


def _rows(chains: Sequence[Sequence[Band]], depth: int) -> list[int]:
    """The chains that have more than `depth` bands."""
    return [row for row, chain in enumerate(chains) if len(chain) > depth]
