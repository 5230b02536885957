"""What a delta-VAE's latents are worth: rates, information, and what becomes of the items without them.

KL and information are in nats an item, summed over its steps and channels. KL >= delta proves nothing by
itself, since a posterior may sit on its floor and be the same for every item: so beside it stand the
mutual information of items and latents, and how much worse the decoder does with another item's latents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from latentpress.data.symbols import SymbolBatch
from latentpress.errors import LatentpressError
from latentpress.evaluate.probe import probe_accuracy
from latentpress.latents import Posterior
from latentpress.latents.information import active_units, mutual_information_nats
from latentpress.model import DeltaVAE

__all__ = ["Diagnosis", "diagnose"]

_LEAST_GAP = 0.05  # nats: below it the decoder does not care whose latents it has,
_LEAST_INFORMATION = 0.1  # and below this there is nothing in them to care for
_BATCH_SYMBOLS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Figures of a delta-VAE on some items; those of latents are None for a decoder alone.

    Attributes:
        num_items: items.
        dims_per_item: symbols an item: samples of an image, bytes of a window of text.
        steps: latent steps an item.
        channels: numbers a step.
        negative_elbo_nats: -log p(x | z) + KL(q || p) an item.
        negative_elbo_auxiliary_nats: the same with the KL under the auxiliary prior.
        alone_nats: -log p(x) of the model without latents that it was compared with.
        committed_nats: delta, the smallest KL that the families allow.
        kl_nats: mean KL(q || p); it is exact.
        min_kl_nats: the smallest of an item.
        auxiliary_kl_nats: E [ln q(z | x) - ln p_aux(z)].
        information_nats: I(x; z), estimated over these items,
        information_cap_nats: and what the estimate cannot pass, the log of their number.
        shuffled_gap_nats: how much -log p(x | z) grows with another item's z,
        prior_gap_nats: and with one drawn from the prior.
        active_units: latents whose means vary over the items, of steps x channels.
        price: nats of KL for a nat of information.
        probe_accuracy: of a linear classifier of the labels on z as drawn (not on means, which tell
            labels even where z does not), by twofold cross-validation,
        majority_share: beside the share of the commonest label.
    """

    num_items: int
    dims_per_item: int
    negative_elbo_nats: float
    negative_elbo_auxiliary_nats: float | None = None
    alone_nats: float | None = None
    steps: int = 0
    channels: int = 0
    committed_nats: float | None = None
    kl_nats: float | None = None
    min_kl_nats: float | None = None
    auxiliary_kl_nats: float | None = None
    information_nats: float | None = None
    information_cap_nats: float | None = None
    shuffled_gap_nats: float | None = None
    prior_gap_nats: float | None = None
    active_units: int | None = None
    probe_accuracy: float | None = None
    majority_share: float | None = None

    @property
    def price(self) -> float | None:
        """See the class."""
        if self.kl_nats is None or not self.information_nats or self.information_nats <= 0:
            return None
        return self.kl_nats / self.information_nats

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.kl_nats is None or self.information_nats is None or self.shuffled_gap_nats is None:
            return "The model has no latents: it is the decoder alone."
        committed, information = self.committed_nats or 0.0, self.information_nats
        said = f"{information:.2f} nats of information an item, KL {self.kl_nats:.2f}"
        if self.shuffled_gap_nats < _LEAST_GAP or information < _LEAST_INFORMATION:
            cure = "train with a committed rate (model.latents.kind=ar1)"
            if committed:
                cure = "take fewer channels and a larger alpha, of model.latents.kind=ar1, or train on"
            elif self.steps == 1:
                cure = "take a smaller encoder.stride or longer items: one latent step commits nothing"
            lost = f"the decoder loses {self.shuffled_gap_nats:.2f} nats with another item's"
            return f"The latents are not used ({said}; {lost}): {cure}."
        if information < committed / 2:
            return f"The latents say less than half of what is committed ({said}): raise alpha, or train on."
        return (
            f"The latents are in use: {said}, at least {committed:.2f} committed, and the decoder loses "
            f"{self.shuffled_gap_nats:.2f} nats with another item's."
        )

    def to_json(self) -> str:
        """All figures, `price` and `verdict`."""
        return json.dumps({**asdict(self), "price": self.price, "verdict": self.verdict}, indent=2)


def diagnose(
    model: DeltaVAE,
    symbols: np.ndarray,
    labels: Sequence[object] | np.ndarray | None = None,
    *,
    alone: DeltaVAE | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Diagnosis:
    """Measures a delta-VAE on items that it was not trained on.

    Arguments:
        model: in evaluation mode.
        symbols: (N, *size, C) uint8, N at least 2.
        labels: N labels for the probe.
        alone: a model without latents, to compare with.
        seed: of all draws.
        progress: called with what is being measured, how many items of it are done, and of how many.

    Raises:
        LatentpressError: there are fewer than two items, or `alone` is of other items or has latents.

    >>> from latentpress.config import DeltaVAEConfig, SequenceDecoderConfig
    >>> config = DeltaVAEConfig(decoder=SequenceDecoderConfig(width=8, depth=1))
    >>> diagnose(DeltaVAE(config), np.zeros((4, 16, 1), np.uint8)).steps
    16
    """
    if len(symbols) < 2:
        raise LatentpressError("a diagnosis compares items with one another: give it two or more")
    if alone is not None and (alone.config.latents, alone.config.item) != (None, model.config.item):
        raise LatentpressError(
            "the model to compare with is a decoder alone, without latents, of the same items"
        )
    with torch.inference_mode():
        own = torch.from_numpy(np.require(symbols, requirements="W"))  # a copy of what torch cannot take
        items = _Items(model, own, seed, progress or _silent)
        return items.diagnosed(labels, alone)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


class _Items:
    """Items, their posteriors and one draw from each."""

    def __init__(
        self, model: DeltaVAE, symbols: Tensor, seed: int, report: Callable[[str, int, int], None]
    ) -> None:
        self.model, self.symbols, self.report = model, symbols, report
        self.generator = torch.Generator().manual_seed(seed)
        per_item = symbols[0].numel()
        self.rows = [
            slice(start, start + max(1, _BATCH_SYMBOLS // per_item))
            for start in range(0, len(symbols), max(1, _BATCH_SYMBOLS // per_item))
        ]

    def diagnosed(self, labels: Sequence[object] | np.ndarray | None, alone: DeltaVAE | None) -> Diagnosis:
        beside = None if alone is None else float(self.nll(alone, None, "decoder alone").mean())
        shape = {"num_items": len(self.symbols), "dims_per_item": self.symbols[0].numel()}
        if self.model.latents is None:
            nll = float(self.nll(self.model, None, "decoder").mean())
            return Diagnosis(**shape, negative_elbo_nats=nll, alone_nats=beside)
        posterior = self.posterior()
        z = posterior.sample(torch.randn(posterior.mean.shape, generator=self.generator))
        latents, (count, steps, channels) = self.model.latents.cpu(), z.shape
        kl, nll = latents.kl_nats(posterior), float(self.nll(self.model, z, "own latents").mean())
        shuffled = z[self.derangement()]
        drawn = latents.draw(count, steps, self.generator)
        auxiliary = self.auxiliary_kl(posterior, z)
        self.model.latents.to(self.model.device)
        accuracy, majority = probe_accuracy(z.flatten(1), labels)
        return Diagnosis(
            **shape,
            negative_elbo_nats=nll + float(kl.mean()),
            negative_elbo_auxiliary_nats=None if auxiliary is None else nll + auxiliary,
            alone_nats=beside,
            steps=steps,
            channels=channels,
            committed_nats=latents.committed_rate_nats(steps),
            kl_nats=float(kl.mean()),
            min_kl_nats=float(kl.min()),
            auxiliary_kl_nats=auxiliary,
            information_nats=float(mutual_information_nats(posterior, z)),
            information_cap_nats=math.log(count),
            shuffled_gap_nats=float(self.nll(self.model, shuffled, "latents of others").mean()) - nll,
            prior_gap_nats=float(self.nll(self.model, drawn, "latents of the prior").mean()) - nll,
            active_units=active_units(posterior.mean),
            probe_accuracy=accuracy,
            majority_share=majority,
        )

    def posterior(self) -> Posterior:
        """q(z | x) of all items, on the CPU."""
        found = [self.model.posterior(self.on_device(rows))[0] for rows in self.rows]
        return Posterior(
            torch.cat([each.mean.cpu() for each in found]),
            torch.cat([each.log_variance.cpu() for each in found]),
        )

    def nll(self, model: DeltaVAE, z: Tensor | None, stage: str) -> Tensor:
        """-log p(x | z) of every item, (N,), float64."""
        parts = []
        for rows in self.rows:
            own = None if z is None else z[rows].to(model.device)
            parts.append(model.decoder.nll_nats(self.on_device(rows), own).double().cpu())
            self.report(stage, min(rows.stop, len(self.symbols)), len(self.symbols))
        return torch.cat(parts)

    def auxiliary_kl(self, posterior: Posterior, z: Tensor) -> float | None:
        """E [ln q(z | x) - ln p_aux(z)]."""
        if self.model.auxiliary is None:
            return None
        parts = [self.model.auxiliary.nll_nats(z[rows].to(self.model.device)).cpu() for rows in self.rows]
        return float((posterior.log_density(z) + torch.cat(parts)).mean())

    def derangement(self) -> Tensor:
        """Another item for each item."""
        order = torch.randperm(len(self.symbols), generator=self.generator)
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        return other

    def on_device(self, rows: slice) -> Tensor:
        return SymbolBatch(self.symbols[rows]).to(self.model.device).symbols
