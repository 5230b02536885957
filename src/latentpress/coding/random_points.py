"""Random numbers for sampling symbols: one seed gives the same items on every machine.

Item i of seed s has its own stream of random bits, that of the counter-based generator Philox4x64
(Salmon et al., SC 2011) with the key (s, i), so an item does not depend on how many are sampled with it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from latentpress.coding.tables import TOTAL_BITS

__all__ = ["random_points"]


def random_points(seed: int, item: int, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Random points of frequency tables, 0 to 2^24 - 1, from an item's own stream.

    Args:
        seed: 0 to 2^64 - 1.
        item: its number, 0 to 2^64 - 1.
        shape: of the result.

    >>> random_points(7, 0, (2, 2)).tolist()
    [[14630964, 4955408], [7048069, 6801353]]
    """
    raw = np.random.Philox(key=seed | item << 64).random_raw(math.prod(shape))
    return (raw >> np.uint64(64 - TOTAL_BITS)).astype(np.uint32).reshape(shape)
