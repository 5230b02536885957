"""Codes of items to coded blocks and back, with a model's exact prior.

Blocks of one shape, and those of texts, which differ in length alone, are coded side by side, by the step
engine (`grid.streams`): one step of the exact grid serves the lanes of many blocks, and each block has its
own range coder. On a GPU encoding takes the parallel pass instead, which gives the same bytes. Codes and
the pixels of lossless archives go through the same two functions, `encode_lanes` and `decode_lanes`, and so
do the quantised latents of a delta-VAE, whose prior is no grid (`latents.exact_auxiliary`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.autoregressive import streams
from latentpress.autoregressive.network import Conditioning
from latentpress.autoregressive.streams import Stream
from latentpress.coding import modes
from latentpress.coding.coder import RangeEncoder
from latentpress.coding.container import Archive, pack_counts
from latentpress.coding.layout import BlockLayout, Grid
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, symbols_crc
from latentpress.coding.tables import TOTAL_BITS, frequencies, normalize
from latentpress.errors import ArchiveError
from latentpress.latents.integer_lstm import IntegerLSTM

if TYPE_CHECKING:
    from latentpress.autoregressive.integer.network import IntegerNetwork

    ExactPrior = IntegerNetwork | IntegerLSTM

__all__ = [
    "WAVE_LANES",
    "BlockEncoder",
    "add_static",
    "decode_blocks",
    "decode_lanes",
    "encode_lanes",
    "gather",
    "waves",
]

WAVE_LANES = 1024
"""Lanes decoded side by side: enough to hide what a step costs apart from its arithmetic."""

_CHUNK = 1 << 22
"""Entries of tables that are held at once."""

Integers = NDArray[Any]
Labels = Sequence[int | None]


def gather(codes: Sequence[Integers], block: BlockLayout) -> Integers:
    """Returns a block's symbols (T, L, P) out of the items' codes (*G, P)."""
    lanes = [codes[lane.item][lane.start : lane.stop] for lane in block.lanes]
    return np.stack([lane.reshape(block.positions, -1) for lane in lanes], axis=1)


@dataclass(frozen=True)
class BlockEncoder:
    """Codes blocks of symbols, each in the mode that makes it smallest.

    `sizes` are the alphabets of the tuple's members, `exact` is the prior or None.
    """

    sizes: Sequence[int]
    exact: ExactPrior | None

    def encode(
        self, symbols: Sequence[Integers], blocks: Sequence[BlockLayout], labels: Labels
    ) -> list[tuple[Block, NDArray[np.float64]]]:
        """Codes blocks of one wave, their symbols (T, L, P); `labels` are the classes of all items.

        Returns:
            Each block, and the ideal length of each of its lanes in bits, (L,): the prior's
            cross-entropy, or the raw codes' bits where there is no prior.
        """
        plain = float(np.log2(self.sizes).sum())
        coded: list[tuple[bytes | None, Integers]]
        coded = [(None, np.full(len(block.lanes), plain * block.positions)) for block in blocks]
        if self.exact is not None:
            streams_of = zip(blocks, symbols, strict=True)
            coded = [*encode_lanes(self.exact, [_stream(b, labels, symbols=s) for b, s in streams_of])]
        return [
            (self._smallest(own, payload), bits) for own, (payload, bits) in zip(symbols, coded, strict=True)
        ]

    def _smallest(self, symbols: Integers, prior: bytes | None) -> Block:
        payloads = {
            Mode.RAW: modes.encode_raw(symbols, self.sizes),
            Mode.ADAPTIVE: modes.encode_adaptive(symbols, self.sizes),
        }
        if prior is not None:
            payloads[Mode.PRIOR] = prior
        mode = min(payloads, key=lambda mode: len(payloads[mode]))
        return Block(mode, payloads[mode], symbols_crc(symbols))


def encode_lanes(exact: ExactPrior, coded: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
    """Codes streams of lanes under an exact distribution's tables, side by side.

    Args:
        exact: the distribution: a grid, or the prior of a delta-VAE's latents.
        coded: streams with their symbols; their grids differ in the first extent alone.

    Returns:
        Each stream's bytes, as `decode_lanes` takes them, and the ideal length of each of its lanes in
        bits, (lanes,).
    """
    if isinstance(exact, IntegerLSTM):
        return exact.encode_lanes([_symbols(stream) for stream in coded])
    if exact.device.type != "cpu":
        return [_encode_parallel(exact, stream) for stream in coded]
    found = {number: (payload, bits) for number, payload, bits in streams.encode(exact, coded)}
    return [found[number] for number in range(len(coded))]


def _encode_parallel(exact: IntegerNetwork, stream: Stream) -> tuple[bytes, NDArray[np.float64]]:
    symbols = stream.symbols
    assert symbols is not None
    positions, lanes, members = symbols.shape
    items = torch.from_numpy(np.moveaxis(symbols, 1, 0).astype(np.int64)).view(lanes, *stream.grid, members)
    logits = [
        member.flatten(1, -2).transpose(0, 1).cpu().numpy() for member in exact.logits(items, stream.context)
    ]
    encoder, bits = RangeEncoder(), np.zeros(lanes)
    chunk = max(1, _CHUNK // (lanes * sum(member.shape[-1] for member in logits)))
    for start in range(0, positions, chunk):
        part = symbols[start : start + chunk].astype(np.int64)  # (t, L, P)
        tables = [_tables(member[start : start + chunk]) for member in logits]
        for p, table in enumerate(tables):
            chosen = np.take_along_axis(table, part[..., p, None], axis=-1)[..., 0]
            bits += (TOTAL_BITS - np.log2(chosen)).sum(axis=0)
        if len({table.shape for table in tables}) == 1:
            rows = np.stack(tables, axis=1)  # (t, P, L, K)
            encoder.encode(np.moveaxis(part, 2, 1).ravel(), rows.reshape(-1, rows.shape[-1]))
            continue
        for position in range(len(part)):
            for p, table in enumerate(tables):
                encoder.encode(part[position, :, p], table[position])
    return encoder.to_bytes(), bits


def _tables(logits: Integers) -> NDArray[np.int32]:
    """Frequency tables of integer logits, both (t, L, K)."""
    return frequencies(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)


def _symbols(stream: Stream) -> Integers:
    assert stream.symbols is not None
    return stream.symbols


def decode_lanes(exact: ExactPrior, coded: Sequence[Stream]) -> list[NDArray[np.int32]]:
    """Decodes streams of lanes under an exact distribution's tables, side by side.

    Args:
        exact: the distribution.
        coded: streams with their payloads, each the symbols of some lanes: position by position, member
            by member, lane by lane. Their grids differ in the first extent alone.

    Returns:
        The symbols of each stream, (T, lanes, P).

    Raises:
        ArchiveError: a stream is damaged; most often it decodes to other symbols instead.
    """
    if any(len(stream.payload) % 4 for stream in coded):
        raise ArchiveError("a coded stream is damaged: it is not a whole number of 32-bit words")
    if isinstance(exact, IntegerLSTM):
        shapes = [(math.prod(stream.grid), stream.lanes) for stream in coded]
        decoded = exact.decode_lanes([stream.payload for stream in coded], shapes)
        return [symbols.astype(np.int32) for symbols in decoded]
    found: dict[int, NDArray[np.int32]] = {}
    for number, symbols in streams.decode(exact, coded):
        if symbols is None:
            raise ArchiveError("a coded stream is damaged: it fits no symbol")
        found[number] = symbols
    return [found[number] for number in range(len(coded))]


def _stream(block: BlockLayout, labels: Labels, **parts: Any) -> Stream:
    classes = [labels[lane.item] for lane in block.lanes]
    told = Conditioning(labels=torch.tensor([-1 if label is None else label for label in classes]))
    return Stream(block.shape, len(block.lanes), told, **parts)


def add_static(
    blocks: Sequence[Block], codes: Sequence[Integers], layout: Sequence[BlockLayout], sizes: Sequence[int]
) -> tuple[list[Block], list[Integers] | None]:
    """Recodes blocks in the static mode where that is smaller, if all gain more than the table costs.

    Returns:
        The blocks, and how often each symbol (sizes[p],) of each member comes if the mode is in use.
    """
    symbols = [np.concatenate([item[..., p].ravel() for item in codes]) for p in range(len(sizes))]
    counts = [np.bincount(member, minlength=size) for member, size in zip(symbols, sizes, strict=True)]
    tables = [normalize(count[None])[0] for count in counts]
    costs = [(TOTAL_BITS - np.log2(table)) / 8 for table in tables]
    recoded, gain = list(blocks), 0
    for number, block in enumerate(blocks):
        block_symbols = gather(codes, layout[number])
        if sum(cost[block_symbols[..., p]].sum() for p, cost in enumerate(costs)) < len(block.payload):
            static = Block(Mode.STATIC, modes.encode_static(block_symbols, tables), block.symbols_crc)
            recoded[number] = min(block, static, key=lambda block: len(block.payload))
            gain += len(block.payload) - len(recoded[number].payload)
    return (recoded, counts) if gain > len(pack_counts(counts)) else (list(blocks), None)


def decode_blocks(
    archive: Archive, exact: ExactPrior | None, numbers: Collection[int]
) -> Iterator[tuple[int, Integers]]:
    """Decodes blocks and yields each one's number and codes (T, L, P), in any order.

    Raises:
        ArchiveError: a block's bytes are damaged, or its symbols are not those that were coded.
    """
    coded = []
    for number in numbers:
        if archive.modes[number] is Mode.PRIOR:
            coded.append(number)
        else:
            yield number, archive.stored_codes(number)
    if coded and exact is None:
        raise ArchiveError("this archive needs a prior, and the model has none")
    for wave in waves(archive.layout, coded):
        yield from _decode_wave(archive, exact, wave)  # type: ignore[arg-type]


def waves(
    layout: Sequence[BlockLayout], numbers: Iterable[int], *, most_positions: int | None = None
) -> Iterator[list[int]]:
    """Gathers blocks that are coded side by side: of one shape, or of texts, and not too many at once."""
    alike: dict[Grid, list[int]] = {}
    for number in numbers:
        shape = layout[number].shape
        alike.setdefault(shape if len(shape) > 1 else (), []).append(number)
    for same in alike.values():
        yield from _cut(layout, same, most_positions)


def _cut(layout: Sequence[BlockLayout], numbers: Iterable[int], most: int | None) -> Iterator[list[int]]:
    wave: list[int] = []
    lanes = positions = 0
    for number in numbers:
        block = layout[number]
        more = len(block.lanes)
        full = lanes + more > WAVE_LANES
        if wave and (full or (most is not None and positions + more * block.positions > most)):
            yield wave
            wave, lanes, positions = [], 0, 0
        wave.append(number)
        lanes += more
        positions += more * block.positions
    yield wave


def _decode_wave(
    archive: Archive, exact: ExactPrior, numbers: Sequence[int]
) -> Iterator[tuple[int, Integers]]:
    labels = [item.label for item in archive.items]
    coded = [_stream(archive.layout[n], labels, payload=archive.payload(n)) for n in numbers]
    for number, symbols in zip(numbers, decode_lanes(exact, coded), strict=True):
        archive.check(number, symbols)
        yield number, symbols
