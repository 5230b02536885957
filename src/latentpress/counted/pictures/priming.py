"""What training pictures teach: each is coded once, in its order, from what those before it taught."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.coder import Streams
from latentpress.counted.arithmetic import MEASURE
from latentpress.counted.pictures.coding import code_picture
from latentpress.counted.pictures.state import Learned, Touched

__all__ = ["primed_by", "warm_up"]

_FIRST_RATE, _LAST_RATE = 12, 6  # of the weights, over the training pictures


def primed_by(
    pictures: Iterable[NDArray[np.uint8]], channels: int, total: int, report: Callable[[int], None]
) -> Learned:
    """Learns from training pictures (height, width, channels), `total` samples at most.

    `report` is called with how many samples were done since the last call; what it raises ends all.
    """
    learned = Learned.fresh(channels)
    touched, done, positions = Touched.fresh(learned), 0, 0
    sums, coder = np.zeros_like(learned.moments), Streams.over(np.zeros((1, 1), np.uint32))
    for picture in pictures:
        rate = _FIRST_RATE - round((_FIRST_RATE - _LAST_RATE) * min(1.0, 2 * done / max(1, total)))
        code_picture(picture.copy(), learned, touched, MEASURE, coder, rate, sums)
        positions += picture.size // channels
        learned.moments[:] = sums / max(1, positions)
        done += picture.size
        report(picture.size)
    return learned


@functools.cache
def warm_up(channels: int) -> None:
    """Codes a picture of one sample, for which machine code is made."""
    primed_by([np.zeros((1, 1, channels), np.uint8)], channels, 1, lambda _: None)
