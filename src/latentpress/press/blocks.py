"""Codes of items to coded blocks and back, with a model's exact prior.

Encoding knows all symbols, so the prior gives a block's tables in one parallel pass. Decoding goes
step by step, with the lanes of many blocks of one shape side by side: one step of the prior serves
them all, and each block has its own range decoder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.coding import modes
from latentpress.coding.coder import RangeDecoder
from latentpress.coding.container import Archive, Block, pack_counts, symbols_crc
from latentpress.coding.layout import BlockLayout
from latentpress.coding.modes import Mode
from latentpress.coding.tables import TOTAL_BITS, code_length_bits, frequencies, normalize
from latentpress.errors import ArchiveError
from latentpress.grid.network import Context

if TYPE_CHECKING:
    from latentpress.grid.exact import ExactGrid

__all__ = ["BlockEncoder", "add_static", "decode_blocks", "gather"]

_WAVE_LANES = 1024
"""Lanes decoded side by side: enough to hide what a step costs apart from its arithmetic."""

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

    def encode(self, symbols: Integers, block: BlockLayout, labels: Labels) -> tuple[Block, float]:
        """Codes symbols (T, L, P); `labels` are the classes of all items.

        Returns:
            The block, and the ideal length of its symbols in bits: the prior's cross-entropy, or the
            raw codes' bits where there is no prior.
        """
        payloads = {
            Mode.RAW: modes.encode_raw(symbols, self.sizes),
            Mode.ADAPTIVE: modes.encode_adaptive(symbols, self.sizes),
        }
        bits = float(np.log2(self.sizes).sum() * symbols[..., 0].size)
        if self.exact is not None:
            tables = _tables(self.exact, symbols, block, labels)
            bits = sum(code_length_bits(table, symbols[..., p]) for p, table in enumerate(tables))
            payloads[Mode.PRIOR] = modes.encode_prior(symbols, tables)
        mode = min(payloads, key=lambda mode: len(payloads[mode]))
        return Block(mode, payloads[mode], symbols_crc(symbols)), bits


def _tables(exact: ExactGrid, symbols: Integers, block: BlockLayout, labels: Labels) -> list[Integers]:
    """Returns each member's frequency tables (T, L, K) under the prior."""
    lanes = np.moveaxis(symbols, 1, 0).reshape(len(block.lanes), *block.shape, -1)
    logits = exact.logits(torch.from_numpy(lanes.astype(np.int64)), _context([block], labels))
    tables = []
    for member in logits:
        rows = frequencies(member.cpu().numpy().reshape(-1, member.shape[-1]))
        tables.append(rows.reshape(len(block.lanes), block.positions, -1).swapaxes(0, 1))
    return tables


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
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number in numbers:
        if archive.modes[number] is Mode.PRIOR:
            by_shape.setdefault(archive.layout[number].shape, []).append(number)
        else:
            yield number, archive.stored_codes(number)
    if by_shape and exact is None:
        raise ArchiveError("this archive needs a prior, and the model has none")
    for same in by_shape.values():
        for wave in _waves(archive, same):
            yield from _decode_wave(archive, exact, wave)  # type: ignore[arg-type]


def _waves(archive: Archive, numbers: Iterable[int]) -> Iterator[list[int]]:
    wave, lanes = [], 0
    for number in numbers:
        more = len(archive.layout[number].lanes)
        if wave and lanes + more > _WAVE_LANES:
            yield wave
            wave, lanes = [], 0
        wave.append(number)
        lanes += more
    yield wave


def _decode_wave(
    archive: Archive, exact: ExactGrid, numbers: Sequence[int]
) -> Iterator[tuple[int, Integers]]:
    blocks = [archive.layout[number] for number in numbers]
    decoders = [RangeDecoder(archive.payload(number)) for number in numbers]
    stops = np.cumsum([len(block.lanes) for block in blocks])
    parts = [slice(stop - len(block.lanes), stop) for stop, block in zip(stops, blocks, strict=True)]
    labels = [item.label for item in archive.items]
    state = exact.start(int(stops[-1]), blocks[0].shape, _context(blocks, labels))
    codes = np.empty((blocks[0].positions, int(stops[-1]), len(exact.sizes)), np.int32)
    for position in codes:
        for p in range(position.shape[-1]):
            tables = frequencies(exact.member_logits(state).cpu().numpy())
            for decoder, part in zip(decoders, parts, strict=True):
                position[part, p] = decoder.decode(tables[part])
            exact.push(state, torch.from_numpy(position[:, p].astype(np.int64)))
    for number, part in zip(numbers, parts, strict=True):
        archive.check(number, codes[:, part])
        yield number, codes[:, part]
