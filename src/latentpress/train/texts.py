"""Which texts train a model, and which are held out to judge it; the counterpart of `train.pools`."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from latentpress.data.windows import TextPool
from latentpress.errors import TrainingError

__all__ = ["check_text_pool", "split_texts", "text_pool_digest"]

_HELD_OUT_EVERY = 50
_HELD_OUT_MOST = 512
_HELD_OUT_LEAST = 2


def split_texts(pool: TextPool) -> tuple[TextPool, TextPool | None]:
    """Returns the texts to train on, and some to judge on.

    Of 100 texts that are not empty, or more, one in 50 is held out, at most 512, evenly spread. Of fewer
    the end of the longest one: 2 % of all bytes, at most half of that text; nothing of less than 50 bytes.
    """
    full = np.flatnonzero(pool.lengths)
    count = min(len(full) // _HELD_OUT_EVERY, _HELD_OUT_MOST)
    if count >= _HELD_OUT_LEAST:
        held = full[np.arange(count) * len(full) // count]
        return pool.subset(np.setdiff1d(np.arange(len(pool)), held)), pool.subset(held)
    longest = int(pool.lengths.argmax())
    tail = min(int(pool.lengths.sum()) // _HELD_OUT_EVERY, int(pool.lengths[longest]) // 2)
    if not tail:
        return pool, None
    end = int(pool.starts[longest] + pool.lengths[longest])
    lengths = pool.lengths.copy()
    lengths[longest] -= tail
    memory = np.concatenate([pool.memory[: end - tail], pool.memory[end:]])
    last = dataclasses.replace(
        pool.subset([longest]),
        lengths=np.array([tail], np.int64),
        memory=pool.memory[end - tail : end].copy(),
    )
    return dataclasses.replace(pool, lengths=lengths, memory=memory), last


def check_text_pool(pool: TextPool) -> None:
    """Raises `TrainingError` where there is nothing to train on."""
    if not len(pool.memory):
        raise TrainingError("there is no text to train on: the sources hold no byte")


def text_pool_digest(pool: TextPool) -> str:
    """Hash of the texts' names, labels, lengths and bytes: it tells one data set from another."""
    digest = hashlib.blake2b("\0".join(pool.names).encode(), digest_size=16)
    digest.update(pool.labels.astype("<i8").tobytes() + pool.lengths.astype("<i8").tobytes())
    digest.update(np.ascontiguousarray(pool.memory).data)
    return digest.hexdigest()
