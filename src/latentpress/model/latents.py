"""What a model infers of some items."""

from __future__ import annotations

from collections.abc import Sequence
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
            draw from it.
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
        return Latents(
            self.vectors[items.to(self.vectors.device)],
            None if self.codes is None else self.codes[items.to(self.codes.device)],
            None
            if self.posterior is None
            else Posterior(*(self._rows(p, items) for p in _parts(self.posterior))),
            None if self.step_mask is None else self._rows(self.step_mask, items),
        )

    def to(self, device: torch.device | str) -> Latents:
        """The same latents elsewhere."""
        posterior = self.posterior
        return Latents(
            self.vectors.to(device),
            None if self.codes is None else self.codes.to(device),
            None if posterior is None else Posterior(*(part.to(device) for part in _parts(posterior))),
            None if self.step_mask is None else self.step_mask.to(device),
        )

    @classmethod
    def cat(cls, parts: Sequence[Latents]) -> Latents:
        """The latents of several batches of items of one size."""
        codes = [part.codes for part in parts if part.codes is not None]
        posteriors = [_parts(part.posterior) for part in parts if part.posterior is not None]
        masks = [part.step_mask for part in parts if part.step_mask is not None]
        return cls(
            torch.cat([part.vectors for part in parts]),
            torch.cat(codes) if codes else None,
            Posterior(*map(torch.cat, zip(*posteriors, strict=True))) if posteriors else None,
            torch.cat(masks) if masks else None,
        )

    def _rows(self, sequences: Tensor, items: Tensor) -> Tensor:
        """The rows of some items, of which each has as many as it has cells."""
        by_item = sequences.unflatten(0, (len(self.vectors), -1))
        return by_item[items.to(sequences.device)].flatten(0, 1)


def _parts(posterior: Posterior) -> tuple[Tensor, Tensor]:
    return posterior.mean, posterior.log_variance
