"""The parts of a model, some of which half a model lacks.

    encoder half    encoder;              latent space, priors
    decoder half             decoder(s);  latent space, priors

`latentpress.model.halves` makes the halves of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from latentpress.config import HalfName
from latentpress.errors import MissingPartError

__all__ = ["Parts"]


class Parts(nn.Module):
    """What models of all kinds share: a part that half a model lacks is told of when it is asked for.

    Attributes:
        sides: the parts that only one half has, and which; the other half is built without them, and
            asking it for one raises `MissingPartError`.
    """

    sides: ClassVar[Mapping[str, HalfName]] = {}

    @property
    def half_name(self) -> HalfName | None:
        """Which half of a model this is; None where it is whole."""
        return self.__dict__["config"].half

    def has(self, part: str) -> bool:
        """Whether this half, or the whole model, is built with a part."""
        return self.half_name is None or self.sides.get(part, self.half_name) == self.half_name

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        if name in self.sides and self.half_name is not None and not self.has(name):
            raise MissingPartError(self.half_name, name)
        return super().__getattr__(name)
