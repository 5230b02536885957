"""What was learned beside a network, in few bytes: as it differs from what there was before, packed."""

from __future__ import annotations

import numpy as np

from latentpress.counted.grids.state import Form, Learned
from latentpress.counted.mixing import HEAVIEST
from latentpress.counted.packing import pack_arrays, unpack_arrays
from latentpress.errors import CheckpointError

__all__ = ["pack", "unpack"]


def pack(learned: Learned, form: Form) -> bytes:
    """The bytes of what was learned."""
    before = Learned.fresh(form)
    changes = (now.astype(np.int64) - then for now, then in zip(learned, before, strict=True))
    return pack_arrays(change.astype("<i4") for change in changes)


def unpack(packed: bytes, form: Form) -> Learned:
    """What was packed; raises `CheckpointError` for other bytes, or numbers outside their range."""
    before = Learned.fresh(form)
    changes = unpack_arrays(packed, [(part.shape, "<i4") for part in before])
    sums = [then + change.astype(np.int64) for then, change in zip(before, changes, strict=True)]
    share = (0, (1 << 22) - 1)
    bounds = (share, share, (-HEAVIEST, HEAVIEST), (-(1 << 24), 1 << 24), (0, 65535))
    for each, (low, high) in zip(sums, bounds, strict=True):
        if each.min() < low or each.max() > high:
            raise CheckpointError("counted prior: what it learned is outside its range")
    return Learned(*(each.astype(then.dtype) for each, then in zip(sums, before, strict=True)))
