"""What each input of counted contexts earns: how much dearer symbols are without what it has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latentpress.exact.distribution import Stream

__all__ = ["Earner", "earnings", "overwritten", "unlearned_slots"]

Forgetting = dict[str, Callable[[], Any]]
"""By an input's name, what makes a context in which it has learned nothing."""


class Earner(Protocol):
    """A distribution of several inputs."""

    def encode(self, streams: Sequence[Stream]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """See `latentpress.exact.distribution.IntegerDistribution`."""
        ...

    def forgetting(self) -> Forgetting:
        """Its inputs; nothing else may use it in their contexts."""
        ...


def earnings(
    counted: Earner, streams: Sequence[Stream], report: Callable[[int, int], None]
) -> tuple[float, dict[str, float]]:
    """What a symbol of streams costs in bits, and how much more without each input, with the same weights.

    Args:
        counted: what is looked at.
        streams: of items that it was not trained on, with their symbols.
        report: called with how many inputs are done, and of how many.
    """
    symbols = sum(stream.symbols.size for stream in streams if stream.symbols is not None)

    def cost() -> float:
        return sum(float(bits.sum()) for _, bits in counted.encode(streams)) / max(1, symbols)

    whole, inputs, found = cost(), counted.forgetting(), dict[str, float]()
    for done, (name, forgotten) in enumerate(inputs.items()):
        report(done, len(inputs))
        with forgotten():
            found[name] = cost() - whole
    report(len(inputs), len(inputs))
    return whole, found


@contextmanager
def overwritten(array: NDArray[Any], value: Any) -> Iterator[None]:
    """Has `value` in all of an array for a while."""
    before = array.copy()
    array[:] = value
    try:
        yield
    finally:
        array[:] = before


def unlearned_slots(slots: NDArray[np.uint16], slot_bits: int, names: Iterable[str]) -> Forgetting:
    """The contexts of slots, of which each in turn has none."""
    from latentpress.counted.slots import BUCKET, UNSEEN

    fresh = np.full(1 << slot_bits, UNSEEN, np.uint16)
    fresh[::BUCKET] = 0

    def forgotten(number: int) -> Callable[[], Any]:
        return lambda: overwritten(slots[number << slot_bits : (number + 1) << slot_bits], fresh)

    return {name: forgotten(number) for number, name in enumerate(names)}
