"""Chains of items by bits back: lossless coding at the rate of -ELBO.

    coding an item    pop z under q(z | x);   push x under p(x | z);   push z under p(z)
    and its inverse   pop z under p(z);       pop x under p(x | z);    push z under q(z | x)

What the first step takes off the stack is put back by the last, so that an item costs -log p(x | z) -
log p(z) + log q(z | x): the ELBO of one draw (Townsend et al., arXiv 1901.04866). Decoding begins with the
item that was coded last, so items are coded from the last to the first. The one coded first finds nothing
on the stack to draw its latents with: its are the posterior's means, rounded to the steps of two-part
archives, and nothing is given back. All three networks run in integers, on both sides.

Chains have a stack each and are worked on side by side, item by item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.autoregressive import stacks as grid_stacks
from latentpress.autoregressive.integer.encoder import IntegerPosterior
from latentpress.autoregressive.network import Conditioning
from latentpress.autoregressive.streams import Stream
from latentpress.coding.ans import Stacks
from latentpress.coding.container import Archive
from latentpress.coding.layout import BlockLayout, Grid
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, symbols_crc
from latentpress.errors import ArchiveError, LatentpressError, MissingPartError
from latentpress.latents.stacked import (
    Sequences,
    finest,
    pop_posterior,
    pop_prior,
    push_posterior,
    push_prior,
    rounded_means,
)

if TYPE_CHECKING:
    from latentpress.model import AnyModel

__all__ = ["ChainCoder", "decode_chains", "encode_chains", "split_chain"]

_WAVE_CHAINS = 128
"""Chains side by side: so many times `coding.chains.CHAIN` samples are in memory."""

_BATCH = 256
"""Items of one shape that go through the encoder together."""

Integers = NDArray[Any]
Samples = NDArray[np.uint8]


class ChainCoder:
    """Codes chains of items with a delta-VAE's exact networks.

    Raises:
        LatentpressError: the model lacks one of them.
    """

    def __init__(self, model: AnyModel) -> None:
        from latentpress.model import DeltaVAE  # imports torch

        if model.config.half is not None:
            raise MissingPartError(model.config.half, "other half, which bits back needs", "the whole model")
        if not isinstance(model, DeltaVAE) or model.config.latents is None:
            raise LatentpressError("bits back needs the latents of a delta-VAE; press losslessly without it")
        if model.config.encoder.kind != "anticausal":
            raise LatentpressError(
                "bits back needs an exact encoder, which a recurrent one has not: press losslessly without "
                "it, or train with model.encoder.kind=anticausal"
            )
        encoder, decoder, prior = model.exact_encoder, model.exact_decoder, model.exact_prior
        if encoder is None or decoder is None or prior is None:
            raise LatentpressError(
                "the model has not all exact forms that bits back needs: they are made when training ends"
            )
        self.encoder, self.decoder = encoder, decoder
        self.prior, self.step = prior.with_step(1), prior.step

    def fits(self, width: Grid) -> bool:
        """Whether the networks take items of these extents but the first."""
        hop = self.decoder.upsampler.structure.hop if self.decoder.upsampler is not None else ()
        return width == hop[1:]

    def encode(self, chains: Sequence[Sequence[Samples]]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """Codes chains of items (*size, C), each of at least one, in the order in which they are decoded.

        Returns:
            Each chain's bytes, and what each of its items costs in bits.
        """
        stacks, bits = Stacks.fresh(len(chains)), [np.zeros(len(chain)) for chain in chains]
        told = self._posteriors([item for chain in chains for item in chain])
        ends = np.cumsum([*map(len, chains)])
        for depth in range(max(map(len, chains))):
            rows = _rows(chains, depth)
            items = [chains[row][-1 - depth] for row in rows]
            own = _side_by_side([told[ends[row] - 1 - depth] for row in rows])
            cost = self._push(stacks, rows, items, own, drawn=depth > 0)
            for row, spent in zip(rows, cost, strict=True):
                bits[row][-1 - depth] = spent
        return list(zip(stacks.payloads(), bits, strict=True))

    def decode(self, payloads: Sequence[bytes], shapes: Sequence[Sequence[Grid]]) -> list[list[Samples]]:
        """The inverse of `encode`, given the extents of every chain's items.

        Raises:
            ArchiveError: a chain is damaged, or was coded with other networks.
        """
        stacks = Stacks.from_payloads(payloads)
        found: list[list[Samples]] = [[] for _ in shapes]
        for depth in reversed(range(max(map(len, shapes)))):
            rows = _rows(shapes, depth)
            extents = [shapes[row][-1 - depth] for row in rows]
            items = self._pop(stacks, rows, extents, drawn=depth > 0)
            for row, item in zip(rows, items, strict=True):
                found[row].append(item)
        if not stacks.are_fresh().all():
            raise ArchiveError(
                "a chain is damaged, or of another model: what is left of it is no fresh stack"
            )
        return found

    def _push(
        self,
        stacks: Stacks,
        rows: Sequence[int],
        items: Sequence[Samples],
        told: IntegerPosterior,
        *,
        drawn: bool,
    ) -> NDArray[np.float64]:
        """Codes an item onto each stack, its latents drawn from there, or rounded; returns the bits."""
        extents, step = [item.shape[:-1] for item in items], 1 if drawn else self.step
        own = self._sequences(rows, extents)
        symbols, given_back = rounded_means(told.mean, step), np.zeros(len(rows))
        if drawn:
            symbols, given_back = pop_posterior(stacks, own, told.mean, told.scale)
        streams = self._streams(finest(symbols, step), own, extents, items)
        intervals = grid_stacks.measure(self.decoder.network, streams)
        grid_stacks.push(stacks, rows, intervals)
        latents = push_prior(stacks, own, self.prior, symbols, step)
        return np.array([one.bits for one in intervals]) + latents - given_back

    def _pop(
        self, stacks: Stacks, rows: Sequence[int], extents: Sequence[Grid], *, drawn: bool
    ) -> list[Samples]:
        """The inverse of `_push`."""
        step, own = 1 if drawn else self.step, self._sequences(rows, extents)
        symbols = pop_prior(stacks, own, self.prior, step)
        streams = self._streams(finest(symbols, step), own, extents)
        items = []
        for shape, samples in zip(
            extents, grid_stacks.pop(self.decoder.network, streams, stacks, rows), strict=True
        ):
            if samples is None:
                raise ArchiveError("a chain is damaged: it ends too early")
            items.append(samples.astype(np.uint8).reshape(*shape, -1))
        if drawn:
            told = _side_by_side(self._posteriors(items))
            push_posterior(stacks, own, told.mean, told.scale, symbols)
        return items

    def _sequences(self, rows: Sequence[int], extents: Sequence[Grid]) -> Sequences:
        stride = self.encoder.shape.stride
        return Sequences.of(rows, [-(-shape[0] // stride) for shape in extents])

    def _posteriors(self, items: Sequence[Samples]) -> list[IntegerPosterior]:
        """Of each item, (n, d)."""
        found: dict[int, IntegerPosterior] = {}
        for _, places in _alike([item.shape for item in items]):
            for start in range(0, len(places), _BATCH):
                part = places[start : start + _BATCH]
                batch = torch.from_numpy(np.stack([items[place] for place in part]).astype(np.int64))
                told = self.encoder(batch)
                found |= {
                    p: IntegerPosterior(*own) for p, *own in zip(part, told.mean, told.scale, strict=True)
                }
        return [found[place] for place in range(len(items))]

    def _streams(
        self,
        latents: Integers,
        own: Sequences,
        extents: Sequence[Grid],
        items: Sequence[Samples] | None = None,
    ) -> list[Stream]:
        """What the decoder is told of each item, and its samples if they are known."""
        contexts: dict[int, Conditioning] = {}
        for shape, places in _alike(extents):
            steps = int(own.steps[places[0]])
            codes = torch.from_numpy(latents[places, :steps])
            on_grid = codes.view(len(places), steps, *[1] * (len(shape) - 1), codes.shape[-1])
            told = self.decoder.context(on_grid, shape).map
            assert told is not None
            contexts |= {place: Conditioning(told[i : i + 1]) for i, place in enumerate(places)}
        samples = [None] * len(extents) if items is None else [_as_stream(item) for item in items]
        return [
            Stream(shape, 1, contexts[place], symbols=samples[place]) for place, shape in enumerate(extents)
        ]


def encode_chains(
    coder: ChainCoder, pixels: Any, blocks: Sequence[BlockLayout]
) -> Iterator[tuple[list[int], list[tuple[Block, NDArray[np.float64]]]]]:
    """Codes chains, some at a time.

    Args:
        coder: of the model.
        pixels: (*size, C) by the number of the item.
        blocks: the chains.

    Yields:
        Which of the blocks they are, and each one coded, with what each of its lanes costs in bits.
    """
    for wave in _waves(blocks):
        chains = [[pixels[lane.item][lane.start : lane.stop] for lane in blocks[n].lanes] for n in wave]
        coded = []
        for chain, (payload, bits) in zip(chains, coder.encode(chains), strict=True):
            coded.append((Block(Mode.BITS_BACK, payload, symbols_crc(np.concatenate(chain))), bits))
        yield wave, coded


def decode_chains(
    archive: Archive, coder: ChainCoder, numbers: Sequence[int]
) -> Iterator[tuple[int, Integers]]:
    """Decodes chains and yields each one's number and symbols (T, 1, C), in any order.

    Raises:
        ArchiveError: a chain's bytes are damaged, or its symbols are not those that were coded.
    """
    blocks = [archive.layout[number] for number in numbers]
    if not all(coder.fits(block.shape[1:]) for block in blocks):
        raise ArchiveError("damaged archive: an item does not fit the model that the archive names")
    for wave in _waves(blocks):
        shapes = [_extents(blocks[n]) for n in wave]
        payloads = [archive.payload(numbers[n]) for n in wave]
        for n, items in zip(wave, coder.decode(payloads, shapes), strict=True):
            symbols = np.concatenate(items).reshape(blocks[n].positions, 1, -1)
            archive.check(numbers[n], symbols)
            yield numbers[n], symbols


def split_chain(block: BlockLayout, symbols: Integers) -> list[Integers]:
    """Cuts a chain's symbols (T, 1, C) into those of its lanes, (rows, ..., C)."""
    ends = np.cumsum([lane.stop - lane.start for lane in block.lanes])
    return np.split(symbols.reshape(*block.shape, -1), ends[:-1])


def _extents(block: BlockLayout) -> list[Grid]:
    return [(lane.stop - lane.start, *block.shape[1:]) for lane in block.lanes]


def _waves(blocks: Sequence[BlockLayout]) -> Iterator[list[int]]:
    """Numbers of the chains that are worked on side by side: those of one width, and not too many."""
    alike = _alike([block.shape[1:] for block in blocks])
    for _, same in alike:
        for start in range(0, len(same), _WAVE_CHAINS):
            yield same[start : start + _WAVE_CHAINS]


def _alike(shapes: Sequence[Grid]) -> list[tuple[Grid, list[int]]]:
    """Each shape that there is, and where it is found."""
    found: dict[Grid, list[int]] = {}
    for place, shape in enumerate(shapes):
        found.setdefault(shape, []).append(place)
    return list(found.items())


def _rows(chains: Sequence[Sequence[Any]], depth: int) -> list[int]:
    """The chains that have more than `depth` items."""
    return [row for row, chain in enumerate(chains) if len(chain) > depth]


def _side_by_side(told: Sequence[IntegerPosterior]) -> IntegerPosterior:
    """(L, N, d) out of several (n, d), zeros filling up the shorter ones."""
    most, channels = max(len(own.mean) for own in told), told[0].mean.shape[1]
    whole = IntegerPosterior(*np.zeros((2, len(told), most, channels), np.int64))
    for row, own in enumerate(told):
        whole.mean[row, : len(own.mean)], whole.scale[row, : len(own.mean)] = own.mean, own.scale
    return whole


def _as_stream(item: Samples) -> Integers:
    """(positions, 1, C) int32."""
    return item.reshape(-1, 1, item.shape[-1]).astype(np.int32)
