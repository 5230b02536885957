"""Samples of every kind of item, which follow from a seed."""

from __future__ import annotations

import numpy as np

from latentpress.items.base import Item, Samples, Shape

__all__ = ["samples_of"]


def samples_of(item: Item, size: Shape | None = None, seed: int = 0) -> Samples:
    """An item that a model may learn something of: waves in 16 shades, and a little noise.

    Args:
        item: the kind.
        size: extents; by default the item's.
        seed: of the shades and the noise.
    """
    size = size or item.size
    assert size is not None
    rng = np.random.default_rng(seed)
    waves = sum(np.sin(rng.uniform(0, 6) + rng.uniform(0.1, 0.6) * axis) for axis in np.indices(size))
    shades = (waves - np.min(waves)) / max(1e-9, float(np.ptp(waves))) * 0.9
    noise = rng.uniform(0, 0.05, (*size, item.channels))
    values = item.low + np.floor((shades[..., None] + noise) * (item.levels - 1))
    return values.astype(item.dtype)
