"""Which items train a model, and which are held out to judge it."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from latentpress.config import DeltaVAEConfig, ImageConfig, VQVAEConfig
from latentpress.data.loading import Pool
from latentpress.data.windows import TextPool
from latentpress.errors import TrainingError
from latentpress.train.texts import check_text_pool, text_pool_digest

__all__ = ["check_pool", "pool_digest", "split"]

_HELD_OUT_EVERY = 50
_HELD_OUT_MOST = 512
_HELD_OUT_LEAST = 2


def split(pool: Pool) -> tuple[Pool, Pool | None]:
    """Returns the items to train on, and one in 50, at most 512, evenly spread, to judge on.

    Of fewer than 100 items none is held out.
    """
    count = min(len(pool) // _HELD_OUT_EVERY, _HELD_OUT_MOST)
    if count < _HELD_OUT_LEAST:
        return pool, None
    held = np.arange(count) * len(pool) // count
    return _subset(pool, np.delete(np.arange(len(pool)), held)), _subset(pool, held)


def check_pool(pool: Pool | TextPool, config: VQVAEConfig | DeltaVAEConfig) -> None:
    """Raises `TrainingError` where the items do not fit the model."""
    if isinstance(pool, TextPool) != (config.item.kind == "text"):
        raise TrainingError(f"the model is one of {config.item.kind}s, and the items are others")
    if isinstance(pool, TextPool):
        check_text_pool(pool)
        return
    if not len(pool):
        raise TrainingError("there is no item to train on: the sources hold no readable image")
    if pool.channels != config.item.channels:
        raise TrainingError(
            f"the items have {pool.channels} channels and the model {config.item.channels}; "
            f"set model.item.channels={pool.channels}, or read them with channels={config.item.channels}"
        )
    if isinstance(config, DeltaVAEConfig):
        if isinstance(config.item, ImageConfig):
            _check_one_size(pool, config.item.size)
        return
    conditional = config.prior is not None and config.prior.class_conditional
    if conditional and config.labels != pool.label_names:
        raise TrainingError("model.labels are not the labels of the items; give those, in sorted order")


def _check_one_size(pool: Pool, size: tuple[int, int] | None) -> None:
    if size is None:
        raise TrainingError("a delta-VAE of images knows one size; give it as model.item.size=[height,width]")
    others = np.flatnonzero((pool.shapes[:, 1:] != size).any(axis=1))
    if len(others):
        height, width = pool.shapes[others[0], 1:]
        raise TrainingError(
            f"a delta-VAE of images knows one size, here {size[0]} x {size[1]} (model.item.size), and "
            f"{len(others):,} of {len(pool):,} images have another, first {pool.names[others[0]]}: "
            f"{height} x {width}; scale them, or leave them out"
        )


def pool_digest(pool: Pool | TextPool) -> str:
    """Hash of the items' names, labels and shapes: it tells one data set from another."""
    if isinstance(pool, TextPool):
        return text_pool_digest(pool)
    digest = hashlib.blake2b("\0".join(pool.names).encode(), digest_size=16)
    digest.update(pool.labels.astype("<i8").tobytes() + pool.shapes.astype("<i8").tobytes())
    return digest.hexdigest()


def _subset(pool: Pool, indices: np.ndarray) -> Pool:
    """The items at `indices`; equal ones are moved together so that they stay one array."""
    shapes, memory, offsets = pool.shapes[indices], pool.memory, pool.offsets[indices]
    if (offsets >= 0).all() and (shapes == shapes[0]).all():
        memory = np.concatenate([pool.planes(index).reshape(-1) for index in indices])
        offsets = np.arange(len(indices)) * (len(memory) // len(indices))
        shapes = np.concatenate([np.full((len(indices), 1), pool.channels), shapes[:, 1:]], axis=1)
    items = tuple(pool.items[index] for index in indices)
    return dataclasses.replace(
        pool, items=items, labels=pool.labels[indices], shapes=shapes, memory=memory, offsets=offsets
    )
