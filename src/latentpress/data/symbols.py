"""Items of any kind as what an autoregressive decoder sees: grids of symbols, and where they are padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentpress.data.batches import Batches
from latentpress.data.windows import Windows

__all__ = ["ImageSymbols", "SymbolBatch", "TextSymbols"]


@dataclass(frozen=True, eq=False)
class SymbolBatch:
    """Items as symbols: integers (B, *size, C), and where they are not padding, bool (B, *size) or None."""

    symbols: Tensor
    mask: Tensor | None = None

    @property
    def dims(self) -> float:
        """Symbols that are not padding."""
        channels = self.symbols.shape[-1]
        return float(self.symbols.numel() if self.mask is None else self.mask.sum() * channels)

    def to(self, device: torch.device) -> SymbolBatch:
        """The same items elsewhere."""
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return SymbolBatch(self.symbols.to(device, non_blocking=True).long(), mask)


class TextSymbols:
    """Batches of windows of texts as symbols."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def stream(self, start: int) -> Iterator[SymbolBatch]:
        """Yields the batches from number `start` on."""
        for batch in self.windows.stream(start):
            yield SymbolBatch(batch.symbols, None if bool(batch.mask.all()) else batch.mask)


class ImageSymbols:
    """Batches of images as symbols."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def stream(self, start: int) -> Iterator[SymbolBatch]:
        """Yields the batches from number `start` on."""
        for batch in self.batches.stream(start):
            yield SymbolBatch(batch.pixels.permute(0, 2, 3, 1))
