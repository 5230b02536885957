"""What distributions under counted contexts share: streams of them, items side by side, items drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.coding.tables import random_points
from latentpress.exact.distribution import Conditioning, Sampling, Stream

__all__ = ["ID_BYTES", "Counted", "Report", "Symbols", "decode", "encode", "own_tensors", "sample"]

ID_BYTES = 16
Report = Callable[[str, int, int], None]
Symbols = NDArray[np.uint8]
"""(positions, P), of one item."""


class Counted(Protocol):
    """Symbols of 8 bits on a grid, of which every item learns on from one state that stays as it is."""

    @property
    def alphabets(self) -> tuple[int, ...]:
        """How many symbols each component of a position has, 256."""
        ...

    @property
    def words(self) -> int:
        """Of 32 bits, that a coded symbol takes at most."""
        ...

    def prepare(self, report: Report) -> None:
        """Makes the state that items begin from, if it is not there; `report("count", done, total)`."""
        ...

    def code(self, action: int, coder: Any, grid: tuple[int, ...], symbols: Symbols) -> float:
        """Codes an item's symbols into the only stream of `coder`, or fills them in; returns their bits."""
        ...

    def draw(
        self,
        grid: tuple[int, ...],
        points: NDArray[np.uint32],
        known: Symbols,
        how: Sampling,
        progress: Callable[[int], None] | None,
    ) -> Symbols:
        """An item that random numbers of 24 bits choose, one for every symbol; it begins with `known`."""
        ...


def encode(counted: Counted, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
    """See `latentpress.exact.distribution.IntegerDistribution`."""
    return _each(counted, streams, partial(_encode, counted))


def decode(counted: Counted, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
    """See `latentpress.exact.distribution.IntegerDistribution`."""
    return _each(counted, streams, partial(_decode, counted))


def sample(
    counted: Counted,
    count: int,
    grid: tuple[int, ...],
    how: Sampling,
    *,
    conditioning: Conditioning | None = None,
    prefix: Tensor | None = None,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """See `latentpress.exact.distribution.IntegerDistribution`."""
    shape = (math.prod(grid), len(counted.alphabets))

    def draw(index: int) -> Tensor:
        points = random_points(how.seed, index if numbers is None else numbers[index], (1, *shape))[0]
        known = np.zeros((0, shape[1])) if prefix is None else prefix[index].numpy()
        drawn = counted.draw(grid, points, known.astype(np.uint8), how, progress)
        return torch.from_numpy(drawn.astype(np.int64))

    items = _each(counted, range(count), draw)
    whole = (count, *grid, shape[1])
    return torch.stack(items).view(whole) if items else torch.zeros(whole, dtype=torch.int64)


def _each(counted: Counted, parts: Iterable[Any], work: Callable[[Any], Any]) -> list[Any]:
    """What `work` makes of each part, on all threads."""
    counted.prepare(lambda *_: None)
    pool = ThreadPoolExecutor(max(1, torch.get_num_threads()))
    try:
        return [future.result() for future in [pool.submit(work, part) for part in parts]]
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(counted: Counted, stream: Stream) -> tuple[bytes, NDArray[np.float64]]:
    from latentpress.autoregressive.engine.coder import Streams, finish_stream
    from latentpress.counted.arithmetic import ENCODE

    assert stream.symbols is not None
    if stream.symbols.min(initial=0) < 0 or stream.symbols.max(initial=0) > 255:
        raise ValueError("symbols: they are of 8 bits; one is outside")
    bits = np.zeros(stream.lanes)
    room = counted.words * (stream.symbols.size + 16)
    coder = Streams.over(np.zeros((1, room), np.uint32))
    coder.reset(0, 0, room)
    for lane in range(stream.lanes):
        symbols = np.ascontiguousarray(stream.symbols[:, lane].astype(np.uint8))
        bits[lane] = counted.code(ENCODE, coder, stream.grid, symbols)
    finish_stream(coder, 0)
    return coder.words[: int(coder.cursors[0])].astype("<u4").tobytes(), bits


def _decode(counted: Counted, stream: Stream) -> NDArray[np.int32] | None:
    from latentpress.autoregressive.engine.coder import Streams
    from latentpress.counted.arithmetic import DECODE

    if len(stream.payload) % 4:
        return None
    words = np.frombuffer(stream.payload, "<u4").astype(np.uint32)
    coder = Streams.over(np.concatenate([words, np.zeros(1, np.uint32)])[None])
    coder.start_decoding(0, 0, len(words))
    shape = (math.prod(stream.grid), len(counted.alphabets))
    found = np.zeros((shape[0], stream.lanes, shape[1]), np.int32)
    for lane in range(stream.lanes):
        symbols = np.zeros(shape, np.uint8)
        counted.code(DECODE, coder, stream.grid, symbols)
        if coder.damaged[0]:
            return None
        found[:, lane] = symbols
    return found


def own_tensors(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[torch.dtype, int]]) -> bool:
    """Whether these are the tensors that are wanted, by their types and numbers of axes."""
    return {name: (value.dtype, value.ndim) for name, value in tensors.items()} == dict(wanted)
