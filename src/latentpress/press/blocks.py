"""Codes of items to coded blocks and back, with a model's exact prior.

Blocks of one shape are coded side by side, by the step engine (`grid.streams`): one step of the exact
grid serves the lanes of many blocks, and each block has its own range coder. On a GPU encoding takes the
parallel pass instead, which gives the same bytes. Codes and the pixels of lossless archives go through
the same two functions, `encode_lanes` and `decode_lanes`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.coding import modes
from latentpress.coding.coder import RangeEncoder
from latentpress.coding.container import Archive, pack_counts
from latentpress.coding.layout import BlockLayout, Grid
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, symbols_crc
from latentpress.coding.tables import TOTAL_BITS, frequencies, normalize
from latentpress.errors import ArchiveError
from latentpress.grid import streams
from latentpress.grid.network import Context
from latentpress.grid.streams import Stream

if TYPE_CHECKING:
    from latentpress.grid.exact import ExactGrid

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
    exact: ExactGrid | None

    def encode(
        self, symbols: Sequence[Integers], blocks: Sequence[BlockLayout], labels: Labels
    ) -> list[tuple[Block, NDArray[np.float64]]]:
        """Codes blocks of one shape, their symbols (T, L, P); `labels` are the classes of all items.

        Returns:
            Each block, and the ideal length of each of its lanes in bits, (L,): the prior's
            cross-entropy, or the raw codes' bits where there is no prior.
        """
        plain = float(np.log2(self.sizes).sum() * blocks[0].positions)
        coded: list[tuple[bytes | None, Integers]]
        coded = [(None, np.full(len(block.lanes), plain)) for block in blocks]
        if self.exact is not None:
            coded = [*encode_lanes(self.exact, blocks[0].shape, symbols, _context(blocks, labels))]
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


def encode_lanes(
    exact: ExactGrid, shape: Grid, symbols: Sequence[Integers], context: Context
) -> list[tuple[bytes, NDArray[np.float64]]]:
    """Codes lanes of a grid of that shape in several streams, under an exact grid's tables.

    Args:
        exact: the distribution.
        shape: of every lane.
        symbols: of each stream, (T, lanes, P).
        context: of all lanes, in the streams' order.

    Returns:
        Each stream's bytes, as `decode_lanes` takes them, and the ideal length of each of its lanes in
        bits, (lanes,).
    """
    parts = _parts([stream.shape[1] for stream in symbols])
    own = [_own(context, part) for part in parts]
    if exact.device.type != "cpu":
        return [_encode_parallel(exact, shape, *stream) for stream in zip(symbols, own, strict=True)]
    coded = streams.encode(
        exact,
        [Stream(shape, s.shape[1], told, symbols=s) for s, told in zip(symbols, own, strict=True)],
    )
    found = {number: (payload, bits) for number, payload, bits in coded}
    return [found[number] for number in range(len(symbols))]


def _encode_parallel(
    exact: ExactGrid, shape: Grid, symbols: Integers, context: Context
) -> tuple[bytes, NDArray[np.float64]]:
    positions, lanes, members = symbols.shape
    items = torch.from_numpy(np.moveaxis(symbols, 1, 0).astype(np.int64)).view(lanes, *shape, members)
    logits = [member.flatten(1, -2).transpose(0, 1).cpu().numpy() for member in exact.logits(items, context)]
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


def _parts(lanes: Sequence[int]) -> list[slice]:
    """Where each stream's lanes are among all."""
    stops = np.cumsum(lanes).tolist()
    return [slice(stop - count, stop) for stop, count in zip(stops, lanes, strict=True)]


def _own(context: Context, lanes: slice) -> Context:
    """The part of a context that belongs to some lanes."""
    return Context(*(None if part is None else part[lanes] for part in (context.map, context.labels)))


def _tables(logits: Integers) -> NDArray[np.int32]:
    """Frequency tables of integer logits, both (t, L, K)."""
    return frequencies(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)


def decode_lanes(
    exact: ExactGrid, shape: Grid, payloads: Sequence[bytes], lanes: Sequence[int], context: Context
) -> list[NDArray[np.int32]]:
    """Decodes lanes of a grid of that shape, side by side, under an exact grid's tables.

    Args:
        exact: the distribution.
        shape: of every lane.
        payloads: streams, each with the symbols of some lanes: position by position, member by member,
            lane by lane.
        lanes: how many lanes each stream has.
        context: of all lanes, in the streams' order.

    Returns:
        The symbols of each stream, (T, lanes, P).

    Raises:
        ArchiveError: a stream is damaged; most often it decodes to other symbols instead.
    """
    if any(len(payload) % 4 for payload in payloads):
        raise ArchiveError("a coded stream is damaged: it is not a whole number of 32-bit words")
    parts = zip(payloads, lanes, _parts(lanes), strict=True)
    coded = [Stream(shape, count, _own(context, part), payload) for payload, count, part in parts]
    found: dict[int, NDArray[np.int32]] = {}
    for number, symbols in streams.decode(exact, coded):
        if symbols is None:
            raise ArchiveError("a coded stream is damaged: it fits no symbol")
        found[number] = symbols
    return [found[number] for number in range(len(payloads))]


def _context(blocks: Iterable[BlockLayout], labels: Labels) -> Context:
    lanes = [labels[lane.item] for block in blocks for lane in block.lanes]
    return Context(labels=torch.tensor([-1 if label is None else label for label in lanes]))


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
    archive: Archive, exact: ExactGrid | None, numbers: Collection[int]
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
    """Gathers blocks that are coded side by side: of one shape, and not too many at once."""
    by_shape: dict[Grid, list[int]] = {}
    for number in numbers:
        by_shape.setdefault(layout[number].shape, []).append(number)
    for shape, same in by_shape.items():
        most = WAVE_LANES if most_positions is None else most_positions // math.prod(shape)
        yield from _cut(layout, same, min(WAVE_LANES, most))


def _cut(layout: Sequence[BlockLayout], numbers: Iterable[int], most: int) -> Iterator[list[int]]:
    wave, lanes = [], 0
    for number in numbers:
        more = len(layout[number].lanes)
        if wave and lanes + more > most:
            yield wave
            wave, lanes = [], 0
        wave.append(number)
        lanes += more
    yield wave


def _decode_wave(
    archive: Archive, exact: ExactGrid, numbers: Sequence[int]
) -> Iterator[tuple[int, Integers]]:
    blocks = [archive.layout[number] for number in numbers]
    payloads, lanes = [archive.payload(number) for number in numbers], [len(b.lanes) for b in blocks]
    labels = [item.label for item in archive.items]
    found = decode_lanes(exact, blocks[0].shape, payloads, lanes, _context(blocks, labels))
    for number, symbols in zip(numbers, found, strict=True):
        archive.check(number, symbols)
        yield number, symbols
