"""What the latents of some items say of their latent space, in figures and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from latentpress.latents import CodeUsage

__all__ = ["Figure", "LatentDetails", "codebook_details", "posterior_details"]

Unit = Literal["nats", "count", "share", "ratio"]
Figure = tuple[str, float, Unit]
"""A figure's name, its value, and the unit; nats are of an item."""

_LEAST_GAP = 0.05  # nats an item: below it the decoder does not care whose latents it has,
_LEAST_INFORMATION = 0.1  # and below this there is nothing in them to care for
_NEAR_CAP = 0.9  # an estimate of the information above this share of what it cannot pass says too little
_COLLAPSED = 0.1  # a perplexity below this share of what could be is a collapse,
_LEAST_PERPLEXITY = 1.5  # and one below this in any case


@dataclass(frozen=True, kw_only=True)
class LatentDetails:
    """Figures of a latent space; without any for a decoder alone.

    Attributes:
        values: all figures by name, for JSON.
        units: the figures that tables show: the name in `values`, that in a table, and the unit.
        summary: the latents in a few words.
        cure: what helps where the decoder does not use them.
        warning: what to do where latents have collapsed, or None.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    units: tuple[tuple[str, str, Unit], ...] = ()
    summary: str = ""
    cure: str = "train on"
    warning: str | None = None

    def figures(self) -> list[Figure]:
        """The figures that there are, for a table."""
        return [(name, self.values[k], unit) for k, name, unit in self.units if self.values[k] is not None]

    def verdict(self, gap_nats: float | None, gap_dims: float | None) -> str:
        """One sentence: whether the latents are in use.

        Args:
            gap_nats: how much worse the decoder does with another item's latents, nats an item; None where
                no two items are of one size.
            gap_dims: the samples of those items.

        >>> LatentDetails().verdict(None, None)
        'The model has no latents: it is the decoder alone.'
        """
        if not self.values:
            return "The model has no latents: it is the decoder alone."
        if self.warning is not None:
            return f"{self.warning[0].upper()}{self.warning[1:]}."
        if gap_nats is None or not gap_dims:
            return f"The latents vary ({self.summary}); only two items of one size tell if in vain."
        if gap_nats < _LEAST_GAP:
            lost = f"{self.summary}; with another item's the decoder loses {gap_nats:,.2f} nats"
            return f"The decoder does not use the latents ({lost}): {self.cure}."
        loss = f"{gap_nats:,.2f} nats, {gap_nats / gap_dims / math.log(2):.3f} bits/dim"
        return f"The latents are in use: {self.summary}, and with another item's the decoder loses {loss}."


def codebook_details(codes: Tensor, codebook_size: int) -> LatentDetails:
    """Use of a VQ-VAE's codes (..., P), which it counts: share in use and perplexity, of K x P.

    >>> import torch
    >>> codebook_details(torch.arange(8)[:, None], 8).figures()[0]
    ('codes in use', 8, 'count')
    """
    usage, num_codebooks = CodeUsage.of(codes, codebook_size), codes.shape[-1]
    possible = min(codebook_size, codes.numel() / num_codebooks)
    said = (
        f"{usage.used:,} of {num_codebooks} x {codebook_size:,} codes occur, as unevenly as if there were "
        f"{usage.perplexity:.1f}"
    )
    collapsed = usage.perplexity < max(_LEAST_PERPLEXITY, _COLLAPSED * possible)
    cure = "raise latents.dead_code_threshold or latents.commitment_weight, or lower latents.codebook_size"
    return LatentDetails(
        values={
            "codebook_size": codebook_size,
            "num_codebooks": num_codebooks,
            "num_codes": codes.numel(),
            "used": usage.used,
            "usage": usage.usage,
            "perplexity": usage.perplexity,
            "counts": usage.counts.tolist(),
        },
        units=(
            ("used", "codes in use", "count"),
            ("usage", "share of the codes in use", "share"),
            ("perplexity", "perplexity of the codes", "count"),
        ),
        summary=said,
        warning=f"the codebook has collapsed ({said}): {cure}" if collapsed else None,
    )


def posterior_details(
    *,
    steps: int,
    channels: int,
    committed_nats: float,
    kl_nats: Tensor,
    auxiliary_kl_nats: float | None,
    information_nats: float,
    active_units: int,
) -> LatentDetails:
    """Rates and information of a delta-VAE's latents, in nats an item.

    Args:
        steps: latent steps an item, of `channels` numbers each (all cells of a step together).
        channels: see there.
        committed_nats: delta, the smallest KL that the families allow.
        kl_nats: KL(q || p) of every item, (N,), exact.
        auxiliary_kl_nats: E [ln q(z | x) - ln p_aux(z)], or None.
        information_nats: I(x; z), estimated over these items: it cannot pass ln N.
        active_units: latents whose means vary over the items, of steps x channels.
    """
    kl, cap = float(kl_nats.mean()), math.log(len(kl_nats))
    said = f"{information_nats:.2f} nats of information an item, KL {kl:.2f}, {committed_nats:.2f} committed"
    cure = "train with a committed rate (model.latents.kind=ar1)"
    if committed_nats:
        cure = "take fewer channels and a larger alpha, of model.latents.kind=ar1, or train on"
    elif steps == 1:
        cure = "take a smaller encoder.hop or longer items: one latent step commits nothing"
    warning = None
    if information_nats < _LEAST_INFORMATION:
        warning = f"the latents are not used ({said}): {cure}"
    elif information_nats < min(committed_nats / 2, _NEAR_CAP * cap):
        warning = f"the latents say less than half of what is committed ({said}): raise alpha, or train on"
    return LatentDetails(
        values={
            "steps": steps,
            "channels": channels,
            "committed_nats": committed_nats,
            "kl_nats": kl,
            "min_kl_nats": float(kl_nats.min()),
            "auxiliary_kl_nats": auxiliary_kl_nats,
            "information_nats": information_nats,
            "information_cap_nats": cap,
            "active_units": active_units,
            "price": kl / information_nats if information_nats > 0 else None,
        },
        units=(
            ("committed_nats", "committed rate", "nats"),
            ("kl_nats", "KL", "nats"),
            ("min_kl_nats", "KL, the smallest of an item", "nats"),
            ("auxiliary_kl_nats", "KL, auxiliary prior", "nats"),
            ("information_nats", "information of item and latents", "nats"),
            ("information_cap_nats", "information, most for so few items", "nats"),
            ("active_units", f"active units, of {steps:,} x {channels}", "count"),
            ("price", "nats of KL for a nat of information", "ratio"),
        ),
        summary=said,
        cure=cure,
        warning=warning,
    )
