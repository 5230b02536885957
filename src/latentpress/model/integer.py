"""The integer forms of a model's networks: what archives are coded with, and what names the model in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from latentpress.autoregressive.coding import prepare
from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.counted import CountedDecoder, CountedGrid
from latentpress.latents import IntegerLSTM
from latentpress.model.files import INTEGER_PREFIX

__all__ = ["AnyIntegerDecoder", "IntegerForms", "IntegerPrior", "split_tensors"]

IntegerPrior = IntegerNetwork | IntegerLSTM | CountedGrid
AnyIntegerDecoder = IntegerDecoder | CountedDecoder


@dataclass(frozen=True, eq=False)
class IntegerForms:
    """The integer forms that a model has; `dataclasses.replace` exchanges one of them.

    Attributes:
        prior: of the codes.
        decoder: of the samples' symbols, given latents in their finest steps, or by counted contexts.
        encoder: of the posterior; what bits back needs.
        archive_decoder: `decoder` for the codes that archives hold, whose steps are the prior's.
    """

    prior: IntegerPrior | None = None
    decoder: AnyIntegerDecoder | None = None
    encoder: IntegerEncoder | None = None
    archive_decoder: AnyIntegerDecoder | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        coarse = self.decoder
        if coarse is not None and isinstance(self.prior, IntegerLSTM):
            coarse = coarse.coarsened(self.prior.step)
        object.__setattr__(self, "archive_decoder", coarse)

    @property
    def ids(self) -> dict[str, bytes]:
        """Hashes, 16 bytes, of "prior", "decoder" (that of archives) and "encoder", as far as there are."""
        forms = {"prior": self.prior, "decoder": self.archive_decoder, "encoder": self.encoder}
        return {name: form.id for name, form in forms.items() if form is not None}

    @property
    def holds_training(self) -> Literal["items", "codes"] | None:
        """What who has the model can read of those that it was trained on, if anything."""
        if self.decoder is not None and self.decoder.holds_training_items:
            return "items"
        return "codes" if isinstance(self.prior, CountedGrid) else None

    @property
    def segments(self) -> int:
        """How many of an item's segments are coded as one: more where coding learns within an item."""
        return 1 if self.decoder is None else self.decoder.segments

    def prepare(self, lanes: int, report: Callable[[str, int, int], None]) -> None:
        """Makes ready what codes symbols, of so many lanes at a time: it takes seconds, once a machine.

        `report` is called with what is done, how much of it, and of how much.
        """
        (prepare if self.decoder is None else self.decoder.prepare)(lanes, report)
        if isinstance(self.prior, CountedGrid):
            self.prior.prepare(report)

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Mapping[str, Tensor]],
        prior: type[IntegerNetwork] | type[IntegerLSTM],
        device: torch.device,
    ) -> IntegerForms:
        """The inverse of `tensors`, parted by `split_tensors`; `prior` is the class of the prior."""
        forms = {name: tensors.get(name) for name in ("prior", "decoder", "encoder")}
        return cls(
            None if forms["prior"] is None else _prior(forms["prior"], prior, device),
            None if forms["decoder"] is None else _decoder(forms["decoder"], device),
            None if forms["encoder"] is None else IntegerEncoder(forms["encoder"], device),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All integers, by names that begin with `integer.` and the form's name; see `split_tensors`."""
        forms = {"prior": self.prior, "decoder": self.decoder, "encoder": self.encoder}
        return {
            f"{INTEGER_PREFIX}{name}.{key}": value
            for name, form in forms.items()
            if form is not None
            for key, value in form.tensors().items()
        }

    def to(self, device: torch.device | str) -> IntegerForms:
        """The same forms on another device; those of sequences stay on the CPU."""
        prior = self.prior.to(device) if isinstance(self.prior, IntegerNetwork) else self.prior
        return IntegerForms(
            prior,
            None if self.decoder is None else self.decoder.to(device),
            None if self.encoder is None else self.encoder.to(device),
        )


def _prior(
    tensors: Mapping[str, Tensor], kind: type[IntegerNetwork] | type[IntegerLSTM], device: torch.device
) -> IntegerPrior:
    return CountedGrid(tensors) if CountedGrid.owns(tensors) else kind(tensors).to(device)


def _decoder(tensors: Mapping[str, Tensor], device: torch.device) -> AnyIntegerDecoder:
    if CountedDecoder.owns(tensors):
        return CountedDecoder.from_tensors(tensors)
    return IntegerDecoder.from_tensors(tensors, device)


def split_tensors(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Parts the tensors of a model file into weights and the integers of each form.

    >>> split_tensors({"a.weight": torch.zeros(1), "integer.prior.structure": torch.ones(1)})
    ({'a.weight': tensor([0.])}, {'prior': {'structure': tensor([1.])}})
    """
    weights: dict[str, Tensor] = {}
    forms: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(INTEGER_PREFIX):
            form, _, key = name.removeprefix(INTEGER_PREFIX).partition(".")
            forms.setdefault(form, {})[key] = value
        else:
            weights[name] = value
    return weights, forms
