"""Bytes under counted contexts, and what a model holds of them: its training texts, coded by itself.

What counts is compiled, and imported only where something is counted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.coding import while_compiling
from latentpress.config.networks import MAX_TRAINING_BYTES, TRAINING_PIECE
from latentpress.counted.base import ID_BYTES, Report, Symbols, decode, encode, own_tensors, sample
from latentpress.counted.earning import Forgetting, overwritten, unlearned_slots
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Sampling

if TYPE_CHECKING:
    from latentpress.counted.priming import Primed

__all__ = ["CountedBytes"]

_VERSION = 1  # of the arithmetic: a model that was primed by another has another state
_NUMBER, _NUMBERS = (torch.int64, 0), (torch.int64, 1)


class CountedBytes:
    """Bytes under counted contexts, primed by training texts that are kept as codes.

    Args:
        codes: of the training texts.
        lengths: of the pieces that they were coded in.
        total: bytes that were meant to be learned from, of which there may have been no time for all.
    """

    alphabets: tuple[int, ...] = (256,)
    holds_training_items = True
    words = 4  # 8 decisions of at most 12 bits
    segments = 64  # of an item that are coded together, as it learns within: a MiB

    encode, decode, sample = encode, decode, sample

    def __init__(self, codes: bytes, lengths: Sequence[int], total: int) -> None:
        self._codes, self._lengths, self._total = codes, list(lengths), total
        self._primed: Primed | None = None
        self._lock = threading.Lock()
        about = f"counted {_VERSION} {total} {self._lengths}".encode()
        digest = hashlib.blake2b(about, digest_size=ID_BYTES)
        digest.update(codes)
        self.id = digest.digest()

    @classmethod
    def primed_by(
        cls, texts: Iterable[NDArray[np.uint8]], total: int, report: Callable[[int], None]
    ) -> CountedBytes:
        """Learns from training texts, `total` bytes at most, by coding them once.

        `report` is called with how many bytes were done since the last call; what it raises ends all.
        """
        from latentpress.counted import cache, priming

        while_compiling(priming.warm_up, lambda *_: report(0))
        primed, codes, lengths = priming.primed_by(texts, total, report)
        made = cls(codes, lengths, total)
        made._primed = primed
        cache.keep(primed.arrays, made.id)
        return made

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> CountedBytes:
        """The inverse of `tensors`; raises `CheckpointError` for anything else."""
        wanted = {"version": _NUMBER, "codes": (torch.uint8, 1), "lengths": _NUMBERS, "total": _NUMBER}
        if not own_tensors(tensors, wanted):
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

    def forgetting(self) -> Forgetting:
        """See `latentpress.counted.earning`."""
        from latentpress.counted.contexts import NAMES

        self.prepare(lambda *_: None)
        assert self._primed is not None
        prior = self._primed.prior
        found = unlearned_slots(prior.slots, self._primed.slot_bits, NAMES)
        found["matches in the training texts"] = lambda: overwritten(prior.matches, -1)
        found["order-0 and order-1 counters"] = lambda: overwritten(prior.order1, 1 << 31)
        found["order-2 counters"] = lambda: overwritten(prior.order2, 1 << 31)
        return found

    def code(self, action: int, coder: Any, grid: tuple[int, ...], symbols: Symbols) -> float:
        """See `Counted`."""
        from latentpress.counted.priming import Lane

        assert self._primed is not None
        lane = Lane(self._primed, len(symbols))
        lane.text[:] = symbols[:, 0]
        bits = lane.code(action, coder, 0)
        symbols[:, 0] = lane.text
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
        from latentpress.counted.drawing import draw

        assert self._primed is not None
        return draw(self._primed, points[:, 0], known[:, 0], how, progress)[:, None]
