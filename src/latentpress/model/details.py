"""What the latents of some items say of their latent space, in figures and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from latentpress.latents import CodeUsage

__all__ = ["CodebookDetails", "Figure", "LatentDetails", "NoDetails", "PosteriorDetails"]

Unit = Literal["nats", "count", "share", "ratio"]
Figure = tuple[str, float, Unit]
"""A figure's name, its value, and the unit; nats are of an item."""

_LEAST_GAP = 0.05  # nats an item: below it the decoder does not care whose latents it has,
_LEAST_INFORMATION = 0.1  # and below this there is nothing in them to care for
_COLLAPSED = 0.1  # a perplexity below this share of what could be is a collapse,
_LEAST_PERPLEXITY = 1.5  # and one below this in any case


class LatentDetails(Protocol):
    """Figures of a latent space."""

    @property
    def warning(self) -> str | None:
        """What to do where latents have collapsed, or None."""
        ...

    def figures(self) -> list[Figure]:
        """All figures, for a table."""
        ...

    def verdict(self, gap_nats: float | None, gap_dims: float | None) -> str:
        """One sentence: whether the latents are in use.

        Args:
            gap_nats: how much worse the decoder does with another item's latents, nats an item; None where
                no two items are of one size.
            gap_dims: the samples of those items.
        """
        ...

    def to_dict(self) -> Mapping[str, Any]:
        """All figures by name, for JSON."""
        ...


@dataclass(frozen=True, kw_only=True)
class CodebookDetails:
    """Use of a VQ-VAE's codes.

    Attributes:
        codebook_size: K.
        num_codebooks: P.
        num_codes: codes that were counted.
        used: codes that occur, of K x P.
        perplexity: exp of the entropy of their frequencies, 1 to K, the mean over the codebooks.
        counts: how often each code occurs, one row a codebook.
    """

    codebook_size: int
    num_codebooks: int
    num_codes: int
    used: int
    perplexity: float
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, codes: Tensor, codebook_size: int) -> CodebookDetails:
        """Counts codes (..., P)."""
        usage = CodeUsage.of(codes, codebook_size)
        return cls(
            codebook_size=codebook_size,
            num_codebooks=codes.shape[-1],
            num_codes=codes.numel(),
            used=usage.used,
            perplexity=usage.perplexity,
            counts=tuple(tuple(row) for row in usage.counts.tolist()),
        )

    @property
    def usage(self) -> float:
        """Share of the codes that occur, 0 to 1."""
        return self.used / (self.codebook_size * self.num_codebooks)

    @property
    def warning(self) -> str | None:
        """See `LatentDetails.warning`."""
        possible = min(self.codebook_size, self.num_codes / self.num_codebooks)
        if self.perplexity >= max(_LEAST_PERPLEXITY, _COLLAPSED * possible):
            return None
        return (
            f"the codebook has collapsed ({self._said()}): raise latents.dead_code_threshold or "
            "latents.commitment_weight, or take a smaller latents.codebook_size"
        )

    def figures(self) -> list[Figure]:
        """See `LatentDetails.figures`."""
        return [
            ("codes in use", self.used, "count"),
            ("share of the codes in use", self.usage, "share"),
            ("perplexity of the codes", self.perplexity, "count"),
        ]

    def verdict(self, gap_nats: float | None, gap_dims: float | None) -> str:
        """See `LatentDetails.verdict`."""
        if self.warning is not None:
            return f"{self.warning[0].upper()}{self.warning[1:]}."
        if gap_nats is None or not gap_dims:
            return (
                f"The codes vary ({self._said()}); whether the decoder uses them takes two items of one size "
                "to say."
            )
        if gap_nats < _LEAST_GAP:
            return (
                f"The decoder does not use the codes ({self._said()}; another item's do as well): train on."
            )
        gap = gap_nats / gap_dims / math.log(2)
        return (
            f"The codes are in use: {self._said()}, and the decoder loses {gap:.3f} bits/dim with another "
            "item's."
        )

    def to_dict(self) -> Mapping[str, Any]:
        """See `LatentDetails.to_dict`."""
        return asdict(self) | {"usage": self.usage}

    def _said(self) -> str:
        return (
            f"{self.used:,} of {self.num_codebooks} x {self.codebook_size:,} occur, as unevenly as if there "
            f"were {self.perplexity:.1f}"
        )


@dataclass(frozen=True, kw_only=True)
class PosteriorDetails:
    """Rates and information of a delta-VAE's latents; all in nats an item.

    Attributes:
        steps: latent steps an item, of `channels` numbers each (all cells of a step together).
        channels: see there.
        committed_nats: delta, the smallest KL that the families allow.
        kl_nats: mean KL(q || p); it is exact.
        min_kl_nats: the smallest of an item.
        auxiliary_kl_nats: E [ln q(z | x) - ln p_aux(z)], or None.
        information_nats: I(x; z), estimated over these items,
        information_cap_nats: and what the estimate cannot pass, the log of their number.
        active_units: latents whose means vary over the items, of steps x channels.
    """

    steps: int
    channels: int
    committed_nats: float
    kl_nats: float
    min_kl_nats: float
    auxiliary_kl_nats: float | None
    information_nats: float
    information_cap_nats: float
    active_units: int

    @property
    def price(self) -> float | None:
        """Nats of KL for a nat of information."""
        return self.kl_nats / self.information_nats if self.information_nats > 0 else None

    @property
    def warning(self) -> str | None:
        """See `LatentDetails.warning`."""
        if self.information_nats >= _LEAST_INFORMATION:
            return None
        return f"the latents say nothing of the items ({self._said()})"

    def figures(self) -> list[Figure]:
        """See `LatentDetails.figures`."""
        figures: list[tuple[str, float | None, Unit]] = [
            ("committed rate", self.committed_nats, "nats"),
            ("KL", self.kl_nats, "nats"),
            ("KL, the smallest of an item", self.min_kl_nats, "nats"),
            ("KL, auxiliary prior", self.auxiliary_kl_nats, "nats"),
            ("information of item and latents", self.information_nats, "nats"),
            ("information, most for so few items", self.information_cap_nats, "nats"),
            (f"active units, of {self.steps:,} x {self.channels}", self.active_units, "count"),
            ("nats of KL for a nat of information", self.price, "ratio"),
        ]
        return [(name, value, unit) for name, value, unit in figures if value is not None]

    def verdict(self, gap_nats: float | None, gap_dims: float | None) -> str:
        """See `LatentDetails.verdict`."""
        committed, information = self.committed_nats, self.information_nats
        gap = gap_nats or 0.0
        if gap < _LEAST_GAP or information < _LEAST_INFORMATION:
            cure = "train with a committed rate (model.latents.kind=ar1)"
            if committed:
                cure = "take fewer channels and a larger alpha, of model.latents.kind=ar1, or train on"
            elif self.steps == 1:
                cure = "take a smaller encoder.hop or longer items: one latent step commits nothing"
            lost = f"the decoder loses {gap:.2f} nats with another item's"
            return f"The latents are not used ({self._said()}; {lost}): {cure}."
        if information < committed / 2:
            return (
                f"The latents say less than half of what is committed ({self._said()}): raise alpha, or "
                "train on."
            )
        return (
            f"The latents are in use: {self._said()}, at least {committed:.2f} committed, and the decoder "
            f"loses {gap:.2f} nats with another item's."
        )

    def to_dict(self) -> Mapping[str, Any]:
        """See `LatentDetails.to_dict`."""
        return asdict(self) | {"price": self.price}

    def _said(self) -> str:
        return f"{self.information_nats:.2f} nats of information an item, KL {self.kl_nats:.2f}"


@dataclass(frozen=True)
class NoDetails:
    """Of a decoder alone, which has no latents."""

    warning: None = None

    def figures(self) -> list[Figure]:
        """None."""
        return []

    def verdict(self, gap_nats: float | None, gap_dims: float | None) -> str:
        """See `LatentDetails.verdict`."""
        return "The model has no latents: it is the decoder alone."

    def to_dict(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}
