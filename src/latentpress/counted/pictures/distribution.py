"""Samples of pictures under counted contexts, and what a model holds of them: counters, not pictures.

What counts is compiled, and imported only where something is counted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.coding import while_compiling
from latentpress.counted.base import ID_BYTES, Report, Symbols, decode, encode, own_tensors, sample
from latentpress.counted.earning import Forgetting, overwritten
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Sampling

if TYPE_CHECKING:
    from latentpress.counted.pictures.coding import Lane
    from latentpress.counted.pictures.state import Learned

__all__ = ["CountedPictures"]

_VERSION = 1  # of the arithmetic and of what is packed
_WANTED = {"version": (torch.int64, 0), "planes": (torch.int64, 0), "learned": (torch.uint8, 1)}
_CHANNELS = (1, 3)


class CountedPictures:
    """Pictures of 8-bit samples under counted contexts.

    Args:
        channels: 1, or 3 for red, green and blue.
        packed: what training pictures taught, see `latentpress.counted.pictures.packing`.
    """

    holds_training_items = False
    words = 7  # 17 decisions of at most 12 bits
    segments = 8  # of an item that are coded together, as it learns within: a million pixels

    encode, decode, sample = encode, decode, sample

    def __init__(self, channels: int, packed: bytes) -> None:
        self.alphabets: tuple[int, ...] = (256,) * channels
        self._packed = packed
        self._learned: Learned | None = None
        self._idle: list[Lane] = []
        self._lock = threading.Lock()
        digest = hashlib.blake2b(f"pictures {_VERSION} {channels}".encode(), digest_size=ID_BYTES)
        digest.update(packed)
        self.id = digest.digest()

    @classmethod
    def primed_by(
        cls,
        pictures: Iterable[NDArray[np.uint8]],
        channels: int,
        total: int,
        report: Callable[[int], None],
    ) -> CountedPictures:
        """Learns from training pictures (height, width, channels), `total` samples at most, coding them once.

        `report` is called with how many samples were done since the last call; what it raises ends all.
        """
        from latentpress.counted.pictures import packing, priming

        while_compiling(lambda: priming.warm_up(channels), lambda *_: report(0))
        return cls(channels, packing.pack(priming.primed_by(pictures, channels, total, report)))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> CountedPictures:
        """The inverse of `tensors`; raises `CheckpointError` for anything else."""
        if not own_tensors(tensors, _WANTED) or int(tensors["planes"]) not in _CHANNELS:
            raise CheckpointError("counted decoder: its tensors are not those of a counted decoder")
        if int(tensors["version"]) != _VERSION:
            raise CheckpointError("counted decoder: it is of another release; train it again")
        return cls(int(tensors["planes"]), tensors["learned"].numpy().tobytes())

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {
            "version": torch.tensor(_VERSION),
            "planes": torch.tensor(len(self.alphabets)),
            "learned": torch.from_numpy(np.frombuffer(self._packed, np.uint8).copy()),
        }

    def to(self, device: torch.device | str) -> CountedPictures:
        """Itself: counting is for the CPU."""
        return self

    def prepare(self, report: Report) -> None:
        """See `Counted`."""
        with self._lock:
            if self._learned is None:
                from latentpress.counted.pictures import packing, priming

                while_compiling(lambda: priming.warm_up(len(self.alphabets)), report)
                self._learned = packing.unpack(self._packed, len(self.alphabets))

    def forgetting(self) -> Forgetting:
        """See `latentpress.counted.earning`."""
        from latentpress.counted.pictures.contexts import NAMES
        from latentpress.counted.pictures.state import CONTEXTS, VALUES

        self.prepare(lambda *_: None)
        assert self._learned is not None
        counters, moments = self._learned.counters, self._learned.moments
        rows = counters.reshape(len(self.alphabets), CONTEXTS, VALUES, counters.shape[1])

        def forgotten(part: NDArray[Any], value: int) -> Callable[[], Any]:
            @contextmanager
            def without() -> Iterator[None]:
                self._idle.clear()  # which have copies
                with overwritten(part, value):
                    yield
                self._idle.clear()

            return without

        found = {name: forgotten(rows[:, k], 1 << 31) for k, name in enumerate(NAMES)}
        return found | {"the regressions' training": forgotten(moments, 0)}

    def code(self, action: int, coder: Any, grid: tuple[int, ...], symbols: Symbols) -> float:
        """See `Counted`."""
        samples = symbols.reshape(*grid, len(self.alphabets))
        lane = self._lane()
        bits = lane.code(samples, action, coder)
        symbols[:] = samples.reshape(symbols.shape)
        self._idle.append(lane)
        return bits

    def draw(
        self,
        grid: tuple[int, ...],
        points: NDArray[np.uint32],
        known: Symbols,
        how: Sampling,
        progress: Callable[[int], None] | None,
    ) -> Symbols:
        """See `Counted`."""
        channels, lane = len(self.alphabets), self._lane()
        drawn = lane.draw(points.reshape(*grid, channels), known, how, progress)
        self._idle.append(lane)
        return drawn.reshape(-1, channels)

    def _lane(self) -> Lane:
        """A state that no other thread has; those that are done wait for the next picture."""
        from latentpress.counted.pictures.coding import Lane

        assert self._learned is not None
        try:
            return self._idle.pop()
        except IndexError:
            return Lane(self._learned)
