"""What training pictures taught, in few bytes: rounded, most of it as it was before training, and packed.

A counter keeps its stretch in 16ths of a nat and a count of at most 30, so that it is fast to adapt: with the
counts that training ended with, a primed state did worse on photographs than none.
"""

from __future__ import annotations

import numpy as np

from latentpress.counted.arithmetic import SQUASH, SQUASH_REACH, STRETCH
from latentpress.counted.packing import pack_arrays, unpack_arrays
from latentpress.counted.pictures.state import Learned
from latentpress.errors import CheckpointError

__all__ = ["pack", "unpack"]

_MOST_COUNT = 30
_WEIGHT_SHIFT, _MOMENT_SCALE = 5, 1 << 20


def pack(learned: Learned) -> bytes:
    """The bytes of a state, rounded."""
    probabilities, counts = learned.counters >> 10, learned.counters & 1023
    stretches = (STRETCH[probabilities >> 10] + 2056) >> 4
    weights = np.clip(learned.weights >> _WEIGHT_SHIFT, -(1 << 15) + 1, (1 << 15) - 1)
    moments = np.rint(learned.moments * _MOMENT_SCALE)
    parts = [
        np.where(counts == 0, 128, stretches).astype(np.uint8),
        np.minimum(counts, _MOST_COUNT).astype(np.uint8),
        weights.astype("<i2"),
        learned.last.astype("<i4"),
        learned.curves.astype("<u2"),
        moments.astype("<i8"),
    ]
    return pack_arrays(parts)


def unpack(packed: bytes, planes: int) -> Learned:
    """The state that was packed.

    Raises:
        CheckpointError: these bytes are not those of a state of so many planes.
    """
    fresh = Learned.fresh(planes)
    counters, weights, last, curves, moments = (part.shape for part in fresh)
    forms = [(counters, "u1"), (counters, "u1"), (weights, "<i2"), (last, "<i4"), (curves, "<u2")]
    forms.append((moments, "<i8"))
    stretches, counts, small, last, curves, moments = unpack_arrays(packed, forms)
    if counts.max(initial=0) > _MOST_COUNT or small.min(initial=0) == -(1 << 15):
        raise CheckpointError("counted decoder: its counts or weights are outside their range")
    middles = (stretches.astype(np.int64) << 4) - 2048
    probabilities = SQUASH[middles + SQUASH_REACH + 1].astype(np.uint32) << 6
    return Learned(
        (probabilities << 10) | counts,
        small.astype(np.int32) << _WEIGHT_SHIFT,
        last.astype(np.int32),
        curves.astype(np.uint16),
        moments.astype(np.float64) / _MOMENT_SCALE,
    )
