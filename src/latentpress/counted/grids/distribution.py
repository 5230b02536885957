"""Symbols of a grid under counted contexts, alone or beside a causal network in integers."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.coding import while_compiling
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.coding.tables import random_points
from latentpress.counted.base import ID_BYTES, Report
from latentpress.counted.earning import Forgetting, overwritten, unlearned_slots
from latentpress.counted.grids.pieces import Order, Piece, order_of, pieces_of
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Conditioning, Sampling, Stream

if TYPE_CHECKING:
    from latentpress.counted.grids.coding import Beside, Primed, Run

__all__ = ["CountedGrid"]

_VERSION = 1  # of the arithmetic: a model that was primed by another has another state
_NETWORK = "network."
_TENSORS = {
    "version": (torch.int64, 0),
    "alphabets": (torch.int64, 1),
    "order": (torch.int32, 1),
    "codes": (torch.uint8, 1),
    "shapes": (torch.int64, 2),
    "labels": (torch.int32, 2),
    "total": (torch.int64, 0),
    "learned": (torch.uint8, 1),
}


class CountedGrid:
    """Symbols of a grid under counted contexts; an `exact.distribution.IntegerDistribution`.

    It keeps the symbols of its training items, coded by itself. Streams learn within themselves: items that
    are coded side by side learn from each other.

    Args:
        tensors: what it is, see `tensors`; `CheckpointError` is raised for anything else.
    """

    holds_training_items = True

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        own = {name: value for name, value in tensors.items() if not name.startswith(_NETWORK)}
        rest = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name not in own}
        if {name: (value.dtype, value.ndim) for name, value in own.items()} != _TENSORS:
            raise CheckpointError("counted prior: its tensors are not those of a counted prior")
        if int(own["version"]) != _VERSION:
            raise CheckpointError("counted prior: it is of another release; train it again")
        self._tensors, self.network = own, IntegerNetwork(rest) if rest else None
        self._order, self._total = order_of(own), int(own["total"])
        self._pieces = list(pieces_of(own, len(self._order), self._total))
        if self.network is not None and self.network.alphabets != self.alphabets:
            raise CheckpointError("counted prior: its network is of other symbols")
        self._primed: Primed | None = None
        self._lock = threading.Lock()
        digest = hashlib.blake2b(b"" if self.network is None else self.network.id, digest_size=ID_BYTES)
        for name in sorted(own):
            digest.update(f"{name} {tuple(own[name].shape)}".encode() + own[name].numpy().tobytes())
        self.id = digest.digest()

    @classmethod
    def primed_by(
        cls,
        order: Order,
        pieces: Sequence[Piece],
        network: IntegerNetwork | None,
        report: Callable[[int], None],
    ) -> CountedGrid:
        """Learns from training streams by coding them once, beside a network if there is one.

        `order` is of each component's symbols, see `latentpress.counted.grids.order`. `report` is called with
        how many symbols were done since the last call; what it raises ends all.
        """
        from latentpress.autoregressive.engine.run import one_blas_thread
        from latentpress.counted.grids import packing, priming

        while_compiling(priming.warm_up, lambda *_: report(0))
        total = sum(piece.symbols.size for piece in pieces if piece.symbols is not None)
        beside = None if network is None else _beside_training(network)
        with one_blas_thread():
            primed, codes, seen, learned = priming.primed_by(order, pieces, total, beside, report)
        rank = len(seen[0].grid)
        shapes = [(len(each.labels), each.labels.shape[1], *each.grid) for each in seen]
        labels = [np.concatenate(list(each.labels)) for each in seen]
        packed = b"" if learned is None else packing.pack(learned, primed.form._replace(foretold=1))
        made = cls(
            {
                "version": torch.tensor(_VERSION),
                "alphabets": torch.tensor([len(each) for each in order]),
                "order": torch.from_numpy(np.concatenate(order).astype(np.int32)),
                "codes": torch.from_numpy(np.frombuffer(codes, np.uint8).copy()),
                "shapes": torch.tensor(shapes).view(-1, 2 + rank),
                "labels": torch.from_numpy(np.concatenate(labels).astype(np.int32)),
                "total": torch.tensor(total),
                "learned": torch.from_numpy(np.frombuffer(packed, np.uint8).copy()),
                **({} if network is None else {_NETWORK + k: v for k, v in network.tensors().items()}),
            }
        )
        made._primed = made._mixed(primed)
        return made

    @staticmethod
    def owns(tensors: Mapping[str, Tensor]) -> bool:
        """Whether these are the tensors of a counted prior."""
        return "shapes" in tensors and "order" in tensors

    @property
    def alphabets(self) -> tuple[int, ...]:
        """How many symbols each component of a position's tuple has."""
        return tuple(map(len, self._order))

    @property
    def rank(self) -> int:
        """Axes of the grid."""
        return self._tensors["shapes"].shape[1] - 2

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        network = {} if self.network is None else self.network.tensors()
        own = {name: value.clone() for name, value in self._tensors.items()}
        return own | {_NETWORK + name: value for name, value in network.items()}

    def to(self, device: torch.device | str) -> CountedGrid:
        """Itself: counting is for the CPU."""
        return self

    def prepare(self, report: Report) -> None:
        """Makes the primed state, from the cache or the training items; `report("count", done, total)`."""
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            report("count", done, self._total)

        with self._lock:
            if self._primed is None:
                from latentpress.counted.grids import priming

                while_compiling(priming.warm_up, report)
                codes = self._tensors["codes"].numpy().tobytes()
                known = self._order, codes, self._pieces, self._total
                self._primed = self._mixed(priming.primed_again(*known, self.id, progress))

    def _mixed(self, primed: Primed) -> Primed:
        """The state beside the network, if there is one."""
        from latentpress.counted.grids import packing

        if self.network is None:
            return primed
        form = primed.form._replace(foretold=1)
        learned = packing.unpack(self._tensors["learned"].numpy().tobytes(), form)
        return primed._replace(form=form, learned=learned)

    def forgetting(self) -> Forgetting:
        """See `latentpress.counted.earning`."""
        from latentpress.counted.grids.contexts import names

        self.prepare(lambda *_: None)
        primed = self._primed
        assert primed is not None
        found = unlearned_slots(primed.prior.slots, primed.slot_bits, names(self.rank, len(self.alphabets)))
        found["order-0 counters"] = lambda: overwritten(primed.prior.order0, 1 << 31)
        return found | ({"the network": self._without_network} if self.network is not None else {})

    @contextmanager
    def _without_network(self) -> Iterator[None]:
        primed = self._primed
        assert primed is not None
        self._primed = primed._replace(form=primed.form._replace(foretold=0))
        try:
            yield
        finally:
            self._primed = primed

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """See `latentpress.exact.distribution.IntegerDistribution`."""
        return self._each(streams, self._encode)

    def decode(self, streams: Sequence[Stream]) -> list[NDArray[np.int32] | None]:
        """See `latentpress.exact.distribution.IntegerDistribution`."""
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
        """See `latentpress.exact.distribution.IntegerDistribution`."""
        whole, given = (math.prod(grid), 1, len(self.alphabets)), conditioning or Conditioning()

        def draw(index: int) -> Tensor:
            number = index if numbers is None else numbers[index]
            points = random_points(how.seed, number, (1, whole[0], whole[2]))[0][:, None]
            known = np.zeros((0, 1, whole[2]), np.int64) if prefix is None else prefix[index, :, None].numpy()
            symbols = np.concatenate([known, np.zeros((whole[0] - len(known), *whole[1:]), np.int64)])
            run = self._run(Stream(grid, 1, given.rows(slice(index, index + 1)), symbols=symbols))
            return torch.from_numpy(_drawn(run, points, len(known), how, progress))[:, 0]

        items = self._each(range(count), draw)
        shape = (count, *grid, whole[2])
        return torch.stack(items).view(shape) if items else torch.zeros(shape, dtype=torch.int64)

    def _each(self, parts: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
        """What `work` makes of each part, on all threads."""
        from latentpress.autoregressive.engine.run import one_blas_thread

        self.prepare(lambda *_: None)
        if self.network is not None:  # programs are made by one thread
            for grid in {part.grid for part in parts if isinstance(part, Stream)}:
                self.network.program(grid)
        pool = ThreadPoolExecutor(max(1, torch.get_num_threads()))
        with one_blas_thread():
            try:
                return [future.result() for future in [pool.submit(work, part) for part in parts]]
            finally:
                pool.shutdown(cancel_futures=True)

    def _run(self, stream: Stream) -> Run:
        """A stream, before its first position."""
        from latentpress.counted.grids.coding import Run, hashed_labels

        assert self._primed is not None
        form, shape = self._primed.form, (math.prod(stream.grid), stream.lanes, len(self.alphabets))
        ranks, symbols = np.zeros(shape, np.int32), stream.symbols
        if symbols is not None:
            if symbols.min(initial=0) < 0 or (symbols >= np.array(self.alphabets)).any():
                raise ValueError(f"symbols: the alphabets are {self.alphabets}; one is outside")
            for p in range(shape[2]):
                ranks[..., p] = form.order[p][symbols[..., p]]
        labels = stream.conditioning.labels
        hashed = hashed_labels(None if labels is None else labels.cpu().numpy(), stream.lanes)
        beside = None
        if self.network is not None:
            beside = _beside(self.network, stream.conditioning, stream.lanes, stream.grid)
        return Run(self._primed, stream.grid, ranks, hashed, beside)

    def _encode(self, stream: Stream) -> tuple[bytes, NDArray[np.float64]]:
        from latentpress.autoregressive.engine.coder import Streams, finish_stream
        from latentpress.counted.arithmetic import ENCODE

        run = self._run(stream)
        room = (run.primed.form.bits // 2 + 1) * run.ranks.size + 16
        coder = Streams.over(np.zeros((1, room), np.uint32))
        coder.reset(0, 0, room)
        bits = run.code(ENCODE, coder)
        finish_stream(coder, 0)
        return coder.words[: int(coder.cursors[0])].astype("<u4").tobytes(), bits

    def _decode(self, stream: Stream) -> NDArray[np.int32] | None:
        from latentpress.autoregressive.engine.coder import Streams
        from latentpress.counted.arithmetic import DECODE

        if len(stream.payload) % 4:
            return None
        words = np.frombuffer(stream.payload, "<u4").astype(np.uint32)
        coder = Streams.over(np.concatenate([words, np.zeros(1, np.uint32)])[None])
        coder.start_decoding(0, 0, len(words))
        run = self._run(Stream(stream.grid, stream.lanes, stream.conditioning))
        run.code(DECODE, coder)
        return None if coder.damaged[0] else _symbols(run).astype(np.int32)


def _symbols(run: Run) -> NDArray[np.int64]:
    """The symbols of a stream that is done, (positions, lanes, P)."""
    parts = [run.primed.form.symbols[p][run.ranks[..., p]] for p in range(run.ranks.shape[2])]
    return np.stack(parts, axis=-1).astype(np.int64)


def _drawn(
    run: Run, points: NDArray[Any], known: int, how: Sampling, progress: Callable[[int], None] | None
) -> NDArray[np.int64]:
    from latentpress.autoregressive.engine.coder import Streams
    from latentpress.autoregressive.engine.loop import Choice
    from latentpress.counted.grids.kernels import DRAW

    coder = Streams.over(np.zeros((1, 1), np.uint32))
    points = np.ascontiguousarray(points, np.uint32)
    run.code(DRAW, coder, progress, Choice.of(how), points=points, known=known)
    return _symbols(run)


def _beside(network: IntegerNetwork, conditioning: Conditioning, lanes: int, grid: tuple[int, ...]) -> Beside:
    from latentpress.counted.grids.coding import Beside

    labels, local = network.conditions(conditioning, lanes, grid)
    local = None if local is None else local.cpu().numpy()
    return Beside(network.program(grid), labels.numpy(), local)


def _beside_training(network: IntegerNetwork) -> Callable[[Piece], Beside]:
    return lambda piece: _beside(network, piece.conditioning, len(piece.labels), piece.grid)
