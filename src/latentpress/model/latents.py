"""What a model infers of some items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentpress.autoregressive.conditioner import LatentInput
from latentpress.latents import Posterior

__all__ = ["Latents"]


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents of B items of one size.

    Attributes:
        vectors: (B, V, *grid), what decoders see.
        codes: (B, *grid, P) int64, where latents are discrete.
        posterior: q(z | x) of every sequence, (B * cells, n, d), where they are Gaussian; `vectors` hold a
            sample of it.
        step_mask: (B * cells, n) bool, false at padding, or None.
    """

    vectors: Tensor
    codes: Tensor | None = None
    posterior: Posterior | None = None
    step_mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def input(self) -> LatentInput:
        """What a decoder takes."""
        return LatentInput(self.vectors, self.codes)

    def take(self, items: Tensor) -> Latents:
        """The latents of the items at these indices, (N,) int64."""

        def chosen(rows: Tensor) -> Tensor:  # an item has as many rows as it has cells
            return rows.unflatten(0, (len(self), -1))[items.to(rows.device)].flatten(0, 1)

        return self._mapped(chosen)

    def to(self, device: torch.device | str) -> Latents:
        """The same latents elsewhere."""
        return self._mapped(lambda rows: rows.to(device))

    @classmethod
    def cat(cls, parts: Sequence[Latents]) -> Latents:
        """The latents of several batches of items of one size."""
        columns = (
            torch.cat(list(column)) if column[0] is not None else None
            for column in zip(*(part._tensors() for part in parts), strict=True)
        )
        return cls._of(*columns)

    def _tensors(self) -> tuple[Tensor | None, ...]:
        posterior = self.posterior
        both = (None, None) if posterior is None else (posterior.mean, posterior.log_variance)
        return self.vectors, self.codes, *both, self.step_mask

    @classmethod
    def _of(cls, vectors: Tensor | None, codes: Tensor | None, *rest: Tensor | None) -> Latents:
        mean, log_variance, step_mask = rest
        assert vectors is not None
        posterior = None if mean is None or log_variance is None else Posterior(mean, log_variance)
        return cls(vectors, codes, posterior, step_mask)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Latents:
        return self._of(*(None if part is None else function(part) for part in self._tensors()))
