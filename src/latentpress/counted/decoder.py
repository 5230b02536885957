"""The counted decoder of bytes: an `IntegerDistribution`, in the place of an integer network.

Items of a stream are coded one after another, each from the primed state, so what comes out of one does not
depend on those beside it.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.coding import while_compiling
from latentpress.coding.tables import random_points
from latentpress.config.networks import MAX_TRAINING_BYTES, TRAINING_PIECE
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Conditioning, Sampling, Stream

if TYPE_CHECKING:
    from latentpress.counted.priming import Primed

__all__ = ["CountedBytes", "CountedDecoder"]

_VERSION = 1  # of the arithmetic: a model that was primed by another has another state
_PREFIX = "counted."
_ID_BYTES = 16

Report = Callable[[str, int, int], None]


class CountedBytes:
    """Bytes under counted contexts, primed by training texts that are kept as codes.

    Args:
        codes: of the training texts.
        lengths: of the pieces that they were coded in.
        total: bytes that were meant to be learned from, of which there may have been no time for all.
    """

    alphabets = (256,)

    def __init__(self, codes: bytes, lengths: Sequence[int], total: int) -> None:
        self._codes, self._lengths, self._total = codes, list(lengths), total
        self._primed: Primed | None = None
        self._lock = threading.Lock()
        digest = hashlib.blake2b(
            f"counted {_VERSION} {total} {self._lengths}".encode(), digest_size=_ID_BYTES
        )
        digest.update(codes)
        self.id = digest.digest()

    @classmethod
    def primed_by(
        cls, texts: Iterable[NDArray[np.uint8]], total: int, report: Callable[[int], None]
    ) -> CountedBytes:
        """Learns from training texts, `total` bytes at most, by coding them once.

        `report` is called with how many bytes were done since the last call; what it raises ends all.
        """
        from latentpress.counted import priming

        while_compiling(priming.warm_up, lambda *_: report(0))
        primed, codes, lengths = priming.primed_by(texts, total, report)
        made = cls(codes, lengths, total)
        made._primed = primed
        priming.keep(primed, made.id)
        return made

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> CountedBytes:
        """The inverse of `tensors`; raises `CheckpointError` for anything else."""
        types = {name: (value.dtype, value.ndim) for name, value in tensors.items()}
        wanted = {"version": (torch.int64, 0), "codes": (torch.uint8, 1), "lengths": (torch.int64, 1)}
        wanted["total"] = wanted["version"]
        if types != wanted:
            raise CheckpointError("counted decoder: its tensors are not those of a counted decoder")
        if int(tensors["version"]) != _VERSION:
            raise CheckpointError("counted decoder: it is of another release; train it again")
        lengths, total = tensors["lengths"].tolist(), int(tensors["total"])
        sound = all(0 <= length <= TRAINING_PIECE for length in lengths)
        if not sound or not sum(lengths) <= total <= MAX_TRAINING_BYTES:
            raise CheckpointError("counted decoder: its training texts have no sensible lengths")
        return cls(tensors["codes"].numpy().tobytes(), lengths, total)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {
            "version": torch.tensor(_VERSION),
            "codes": torch.from_numpy(np.frombuffer(self._codes, np.uint8).copy()),
            "lengths": torch.tensor(self._lengths, dtype=torch.int64),
            "total": torch.tensor(self._total),
        }

    def to(self, device: torch.device | str) -> CountedBytes:
        """Itself: counting is for the CPU."""
        return self

    def prepare(self, report: Report) -> None:
        """Makes the primed state, from the cache or the training texts; `report("count", done, total)`."""
        done, total = 0, sum(self._lengths)

        def progress(count: int) -> None:
            nonlocal done
            done += count
            report("count", done, total)

        with self._lock:
            if self._primed is None:
                from latentpress.counted import priming

                while_compiling(priming.warm_up, report)
                self._primed = priming.primed_again(
                    self._codes, self._lengths, self._total, self.id, progress
                )

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """See `IntegerDistribution`."""
        return self._each(streams, self._encode)

    def decode(self, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
        """See `IntegerDistribution`."""
        return self._each(streams, self._decode)

    def sample(
        self,
        count: int,
        grid: tuple[int, ...],
        how: Sampling,
        *,
        conditioning: Conditioning | None = None,
        prefix: Tensor | None = None,
        numbers: Sequence[int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """See `IntegerDistribution`."""
        length = math.prod(grid)

        def draw(index: int) -> Tensor:
            points = random_points(how.seed, index if numbers is None else numbers[index], (1, length, 1))
            known = np.zeros(0, np.uint8) if prefix is None else prefix[index, :, 0].numpy().astype(np.uint8)
            text = self._draw(points.ravel(), known, how, progress)
            return torch.from_numpy(text.astype(np.int64))

        items = self._each(range(count), draw)
        return torch.stack(items).view(count, *grid, 1) if items else torch.zeros(0, *grid, 1).long()

    def _each(self, parts: Iterable[Any], work: Callable[[Any], Any]) -> list[Any]:
        """What `work` makes of each part, on all threads."""
        self.prepare(lambda *_: None)
        pool = ThreadPoolExecutor(max(1, torch.get_num_threads()))
        try:
            return [future.result() for future in [pool.submit(work, part) for part in parts]]
        finally:
            pool.shutdown(cancel_futures=True)

    def _encode(self, stream: Stream) -> tuple[bytes, NDArray[np.float64]]:
        from latentpress.autoregressive.engine.coder import Streams, finish_stream
        from latentpress.counted.kernels import ENCODE
        from latentpress.counted.priming import Lane

        assert stream.symbols is not None and self._primed is not None
        if stream.symbols.min(initial=0) < 0 or stream.symbols.max(initial=0) > 255:
            raise ValueError("symbols: they are bytes; one is outside")
        length, bits = math.prod(stream.grid), np.zeros(stream.lanes)
        room = stream.lanes * length + 16  # words: 16 bits a decision at most
        coder = Streams.over(np.zeros((1, 4 * room), np.uint32))
        coder.reset(0, 0, 4 * room)
        for number in range(stream.lanes):
            lane = Lane(self._primed, length)
            lane.text[:] = stream.symbols[:, number, 0]
            bits[number] = lane.code(ENCODE, coder, 0)
        finish_stream(coder, 0)
        return coder.words[: int(coder.cursors[0])].astype("<u4").tobytes(), bits

    def _decode(self, stream: Stream) -> NDArray[np.int32] | None:
        from latentpress.autoregressive.engine.coder import Streams
        from latentpress.counted.kernels import DECODE
        from latentpress.counted.priming import Lane

        assert self._primed is not None
        if len(stream.payload) % 4:
            return None
        words = np.frombuffer(stream.payload, "<u4").astype(np.uint32)
        coder = Streams.over(np.concatenate([words, np.zeros(1, np.uint32)])[None])
        coder.start_decoding(0, 0, len(words))
        length = math.prod(stream.grid)
        symbols = np.zeros((length, stream.lanes, 1), np.int32)
        for number in range(stream.lanes):
            lane = Lane(self._primed, length)
            lane.code(DECODE, coder, 0)
            if coder.damaged[0]:
                return None
            symbols[:, number, 0] = lane.text
        return symbols

    def _draw(
        self,
        points: NDArray[np.uint32],
        known: NDArray[np.uint8],
        how: Sampling,
        progress: Callable[[int], None] | None,
    ) -> NDArray[np.uint8]:
        """A text whose bytes random numbers choose, after those that are known."""
        from latentpress.counted.drawing import draw

        assert self._primed is not None
        return draw(self._primed, points, known, how, progress)


class CountedDecoder:
    """The counted decoder in the place of an autoregressive one in integers: it sees no latents.

    It holds the items that it was trained on. So many `segments` of one are coded together: it learns within.
    """

    conditioner = None
    holds_training_items = True
    segments = 64

    def __init__(self, network: CountedBytes) -> None:
        self.network, self.id = network, network.id

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> CountedDecoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything else."""
        own = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
        return cls(CountedBytes.from_tensors(own))

    @staticmethod
    def owns(tensors: Mapping[str, Tensor]) -> bool:
        """Whether these are the tensors of a counted decoder."""
        return any(name.startswith(_PREFIX) for name in tensors)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {_PREFIX + name: value for name, value in self.network.tensors().items()}

    def to(self, device: torch.device | str) -> CountedDecoder:
        """Itself: counting is for the CPU."""
        return self

    def prepare(self, lanes: int, report: Report) -> None:
        """As `CountedBytes.prepare`, of any number of lanes."""
        self.network.prepare(report)

    def conditioning(
        self,
        codes: Tensor | None,
        size: Sequence[int],
        rows: tuple[int, int] | None = None,
        labels: Tensor | None = None,
    ) -> Conditioning:
        """None: it sees the bytes before a byte, and what came in training."""
        return Conditioning()

    def coarsened(self, step: int) -> CountedDecoder:
        """Itself: it sees no codes."""
        return self
