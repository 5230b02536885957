"""Batches of codes for a VQ-VAE's prior, from a codec that no longer changes.

Where every item is seen whole and more than once, all items (and their mirror images) are encoded
first and batches are looked up; random crops of large items are encoded as they come.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.data.batches import Batch, Batches
from latentpress.model import VQVAE
from latentpress.nn import pad_to_hop, to_signal

__all__ = ["CodeBatch", "EncodedBatches", "LookedUpCodes", "cell_mask", "code_source", "encode"]

_CHUNK = 256  # items encoded at once
_MOST_CODES = 1 << 28  # held in memory, 4 bytes each


@dataclass(frozen=True, eq=False)
class CodeBatch:
    """Codes, int64 (B, *G, P), labels as in a `Batch`, and which codes are not padding, (B, *G) or None."""

    codes: Tensor
    labels: Tensor
    mask: Tensor | None = None

    def to(self, device: torch.device) -> CodeBatch:
        """The same codes elsewhere."""
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return CodeBatch(
            self.codes.to(device, non_blocking=True), self.labels.to(device, non_blocking=True), mask
        )

    def whole(self) -> CodeBatch:
        """The items without padding; all, where each has some."""
        keep = slice(None) if self.mask is None else self.mask.flatten(1).all(1)
        if not len(self.codes[keep]):
            keep = slice(None)
        return CodeBatch(self.codes[keep], self.labels[keep])


def code_source(model: VQVAE, batches: Batches, expected: int | None) -> EncodedBatches | LookedUpCodes:
    """The cheaper way to `expected` batches (None: many) of the codes of `batches`."""
    items = batches.dataset.stacked
    if items is None or model.item.epoch == "sample" or any(np.greater(items.shape[1:-1], batches.size)):
        return EncodedBatches(model, batches)
    views = len(items) * (1 + batches.flip)
    codes = views * int(np.prod(model.grid(items.shape[1:-1]))) * len(model.alphabets)
    seen = None if expected is None else expected * batches.batch_size
    if codes > _MOST_CODES or (seen is not None and seen < views):
        return EncodedBatches(model, batches)
    return LookedUpCodes(model, batches)


class EncodedBatches:
    """Batches of items, encoded as they come."""

    def __init__(self, model: VQVAE, batches: Batches) -> None:
        self.model, self.batches = model, batches

    def stream(self, start: int) -> Iterator[CodeBatch]:
        """Yields the batches from number `start` on."""
        for batch in self.batches.stream(start):
            with torch.no_grad():
                codes = self.model.latents.encode(encode(self.model, batch.to(self.model.device)))
            yield CodeBatch(codes, batch.labels, cell_mask(batch.mask, self.model.hop))


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
        dataset = self.batches.dataset
        for step in itertools.count(start):
            pieces = self.batches.draw(step)
            labels = np.stack([dataset.label_indices(index) for index in pieces.indices])
            codes = self._codes[torch.from_numpy(pieces.flipped).long(), torch.from_numpy(pieces.indices)]
            yield CodeBatch(codes.long(), torch.from_numpy(labels))

    def _encode(self, mirror: int) -> Tensor:
        """(N, *G, P) int32."""
        items, axis = self.batches.dataset.stacked, self.model.item.mirror
        assert items is not None
        if mirror:
            assert axis is not None
            items = np.flip(items, axis + 1)
        chunks = (np.ascontiguousarray(items[i : i + _CHUNK]) for i in range(0, len(items), _CHUNK))
        return torch.cat([self.model.encode(chunk).int() for chunk in chunks])


def encode(model: VQVAE, batch: Batch) -> Tensor:
    """The encoder's output for a batch on the model's device, whose edges are continued to the hop."""
    assert model.encoder is not None
    signal = to_signal(batch.samples, model.item.low, model.item.levels)
    return model.encoder(pad_to_hop(signal, model.hop))


def cell_mask(mask: Tensor | None, hop: Sequence[int]) -> Tensor | None:
    """Which latent positions (B, *G) have any sample that is not padding, from (B, *S).

    >>> cell_mask(torch.tensor([[True, True, True, False, False]]), (2,))
    tensor([[ True,  True, False]])
    """
    if mask is None:
        return None
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(hop) - 1]
    return pool(mask[:, None].float(), tuple(hop), ceil_mode=True)[:, 0] > 0
