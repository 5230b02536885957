"""Batches of codes for the prior, from a codec that no longer changes.

Where every item is seen whole and more than once, all items (and their mirror images) are encoded
first and batches are looked up; random crops of large items are encoded as they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentpress.data.batches import Batch, Batches
from latentpress.model import VQVAE, to_signal

__all__ = ["CodeBatch", "CodeSource", "EncodedBatches", "LookedUpCodes", "code_source", "encode_batch"]

_CHUNK = 256  # images encoded at once
_MOST_CODES = 1 << 28  # held in memory, 4 bytes each


@dataclass(frozen=True, eq=False)
class CodeBatch:
    """Codes, int64 (B, *G, P), and labels, int64 (B,), -1 where there is none."""

    codes: Tensor
    labels: Tensor


class CodeSource(Protocol):
    """Endless batches of codes; batch i is a pure function of i."""

    def stream(self, start: int) -> Iterator[CodeBatch]:
        """Yields the batches from number `start` on."""
        ...


def code_source(model: VQVAE, batches: Batches, expected: int | None) -> CodeSource:
    """The cheaper way to `expected` batches (None: many) of the codes of `batches`."""
    images = batches.pool.stacked
    if images is None or any(np.greater(images.shape[2:], batches.size)):
        return EncodedBatches(model, batches)
    views = len(images) * (1 + batches.flip)
    codes = views * images[0].size // (model.hop_length**2 * batches.pool.channels)
    seen = None if expected is None else expected * batches.batch_size
    if codes * model.config.latents.num_codebooks > _MOST_CODES or (seen is not None and seen < views):
        return EncodedBatches(model, batches)
    return LookedUpCodes(model, batches)


class EncodedBatches:
    """Batches of pixels, encoded as they come."""

    def __init__(self, model: VQVAE, batches: Batches) -> None:
        self.model, self.batches = model, batches

    def stream(self, start: int) -> Iterator[CodeBatch]:
        """Yields the batches from number `start` on."""
        for batch in self.batches.stream(start):
            yield encode_batch(self.model, batch)


class LookedUpCodes:
    """The codes of all items and of their mirror images, encoded when the first batch is wanted.

    They are encoded in an order that no batch changes, so a resumed run sees the same ones.
    """

    def __init__(self, model: VQVAE, batches: Batches) -> None:
        self.model, self.batches = model, batches
        self._codes: Tensor | None = None

    def stream(self, start: int) -> Iterator[CodeBatch]:
        """Yields the batches from number `start` on."""
        if self._codes is None:
            self._codes = torch.stack([self._encode(mirror) for mirror in range(1 + self.batches.flip)])
        labels = torch.from_numpy(self.batches.pool.labels)
        step = start
        while True:
            draw = self.batches.draw(step)
            indices, flipped = torch.from_numpy(draw.indices), torch.from_numpy(draw.flipped).long()
            yield CodeBatch(self._codes[flipped, indices].long(), labels[indices])
            step += 1

    def _encode(self, mirror: int) -> Tensor:
        """(N, *G, P) int32."""
        images = self.batches.pool.stacked
        assert images is not None
        images = images.transpose(0, 2, 3, 1)[:, :, :: -1 if mirror else 1]
        chunks = (np.ascontiguousarray(images[i : i + _CHUNK]) for i in range(0, len(images), _CHUNK))
        return torch.cat([self.model.encode(chunk).int() for chunk in chunks])


@torch.no_grad()
def encode_batch(model: VQVAE, batch: Batch) -> CodeBatch:
    """The codes of a batch of pixels whose sides are multiples of the hop length."""
    signal = to_signal(batch.pixels.to(model.device, non_blocking=True))
    return CodeBatch(model.latents.encode(model.encoder(signal)), batch.labels)
