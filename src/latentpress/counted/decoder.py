"""Counted contexts in the place of an autoregressive decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from latentpress.counted.base import Report
from latentpress.counted.pictures.distribution import CountedPictures
from latentpress.counted.texts import CountedBytes
from latentpress.exact.distribution import Conditioning

__all__ = ["AnyCounted", "CountedDecoder"]

AnyCounted = CountedBytes | CountedPictures

_PREFIX = "counted."


class CountedDecoder:
    """The counted decoder in the place of an autoregressive one in integers: it sees no latents."""

    conditioner = None

    def __init__(self, network: AnyCounted) -> None:
        self.network, self.id = network, network.id

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> CountedDecoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything else."""
        own = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
        kind = CountedPictures if "planes" in own else CountedBytes
        return cls(kind.from_tensors(own))

    @staticmethod
    def owns(tensors: Mapping[str, Tensor]) -> bool:
        """Whether these are the tensors of a counted decoder."""
        return any(name.startswith(_PREFIX) for name in tensors)

    @property
    def holds_training_items(self) -> bool:
        """Whether who has it can read items that it was trained on, word for word."""
        return self.network.holds_training_items

    @property
    def segments(self) -> int:
        """How many of an item's segments are coded together."""
        return self.network.segments

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        return {_PREFIX + name: value for name, value in self.network.tensors().items()}

    def to(self, device: torch.device | str) -> CountedDecoder:
        """Itself: counting is for the CPU."""
        return self

    def prepare(self, lanes: int, report: Report) -> None:
        """As `Counted.prepare`, of any number of lanes."""
        self.network.prepare(report)

    def conditioning(
        self,
        codes: Tensor | None,
        size: Sequence[int],
        rows: tuple[int, int] | None = None,
        labels: Tensor | None = None,
    ) -> Conditioning:
        """None: it sees what came before in the item, and what came in training."""
        return Conditioning()

    def coarsened(self, step: int) -> CountedDecoder:
        """Itself: it sees no codes."""
        return self
