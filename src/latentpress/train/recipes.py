"""What the training of one kind of model has of its own: its stages, its batches, its figures.

`trainer.py` runs any recipe; `codebook.py` is the VQ-VAE's, `delta.py` the delta-VAE's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from latentpress.config import RunConfig
from latentpress.data.loading import Pool
from latentpress.data.windows import TextPool
from latentpress.model import AnyModel
from latentpress.train.loop import Limit, Stage
from latentpress.train.plan import StageName
from latentpress.train.replicas import Replicas
from latentpress.train.runs import Position

__all__ = ["Judged", "Recipe", "Setting"]


@dataclass(frozen=True)
class Setting:
    """What a recipe works with.

    Attributes:
        config: the run's.
        pool: all items.
        seed: of the batches.
        device: where the model is.
        replicas: this process among those of the run.
    """

    config: RunConfig
    pool: Pool | TextPool
    seed: int
    device: torch.device
    replicas: Replicas


@dataclass(frozen=True)
class Judged:
    """How a model does on held-out items: `figures`, and a PNG to look at or None."""

    figures: Mapping[str, float] = field(default_factory=dict)
    picture: bytes | None = None


class Recipe(Protocol):
    """The training of one kind of model on one pool.

    Attributes:
        fitted: for each stage after the codec, the part of the model that it fits.
        fixed: parts of the configuration that such a stage takes as they are.
        settled: for each stage after the codec, exact forms that those before it left and it keeps.
    """

    @property
    def fitted(self) -> Mapping[StageName, str]:
        """See the class."""
        ...

    @property
    def fixed(self) -> Sequence[str]:
        """See the class."""
        ...

    @property
    def settled(self) -> Mapping[StageName, Sequence[str]]:
        """See the class."""
        ...

    def stage(self, name: StageName, model: Any, limit: Limit) -> Stage[Any]:
        """A stage, ready to be trained."""
        ...

    def live(self, name: str, model: Any) -> tuple[Mapping[str, float], str | None]:
        """Figures that are no means over steps, and a warning that says what to do, or None."""
        ...

    def judge(self, model: Any, position: Position) -> Judged:
        """Figures on held-out items."""
        ...

    def card(self, model: AnyModel, position: Position, figures: Mapping[str, float]) -> str:
        """The model card."""
        ...
