"""What the stages of both models share: what a stage fits, on which batches, and what decoders cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from latentpress.config import DecoderName, DeltaVAEConfig, RunConfig, StageConfig
from latentpress.data import Dataset
from latentpress.data.batches import Batch, Batches
from latentpress.model import Latents, Model
from latentpress.nn import to_signal
from latentpress.train.loop import Limit, StageLoss
from latentpress.train.plan import DECODERS, STAGES, StageName, codec_decoders, fitted_parts, sees_latents
from latentpress.train.replicas import Replicas

__all__ = ["Fit", "RunContext", "Terms", "calibration", "decoder_terms", "hidden", "summed", "whole_rows"]

_UNKNOWN_SHARE = 0.1  # of the items, whose label is hidden in training
_CALIBRATION_BATCHES = 4
_CALIBRATION_POSITIONS = 1 << 14

Terms = dict[str, tuple[Tensor, float | Tensor]]
"""By the names of figures: what a batch costs in nats, a scalar, and the number that it is divided by."""


@dataclass(frozen=True, eq=False)
class RunContext:
    """What the stages of a run work with; `whole` says whether there is a stage codec among them."""

    config: RunConfig
    dataset: Dataset
    held_out: Dataset | None
    whole: bool
    seed: int
    replicas: Replicas


class Fit:
    """What one stage fits, and on what.

    The model is frozen but for the parts that are fitted, which are in training mode.

    Attributes:
        expected: how many batches it takes, if that is known.
        parts: names of the model's parts that it fits.
        decoders: names of the decoders through which its loss sees the samples.
        groups: the parameters, in groups whose gradients are clipped together; a prior's are apart.
    """

    def __init__(self, name: StageName, model: Model, context: RunContext, limit: Limit) -> None:
        self.name: StageName = name
        self.model, self.context = model, context
        self.config: StageConfig = getattr(context.config, name)
        self.expected = None if limit.steps is None else limit.steps * self.config.accumulate
        self.parts = fitted_parts(model.config, name, whole=context.whole)
        fitted: tuple[DecoderName, ...] = tuple(decoder for decoder in DECODERS if decoder in self.parts)
        self.decoders = codec_decoders(model.config) if name == "encoder" else fitted
        model.eval().requires_grad_(False)
        groups: dict[str, list[Parameter]] = {}
        for part in self.parts:
            module = getattr(model, part).train().requires_grad_(True)
            apart = name == "decoder" or part in ("prior", "auxiliary")
            groups.setdefault(part if apart else "codec", []).extend(module.parameters())
        self.groups = list(groups.values())
        self.source = self.batches()

    def batches(self, held_out: Dataset | None = None) -> Batches:
        """The batches to train on, or those of items that are `held_out`."""
        model, context, config = self.model, self.context, self.config
        dataset, extents, ones = held_out or context.dataset, config.extents(model.rank), (1,) * model.rank
        if isinstance(model.config, DeltaVAEConfig) and model.config.latents is not None:
            given = len(model.config.encoder.hop)  # latents span the other axes whole
            extents = (*extents[:given], *model.hop[given:])
        # decoders that are fitted to latents that are there see pieces that begin where one does, as items do
        aligned = self.name == "decoder" and any(sees_latents(model.config, part) for part in self.parts)
        needed = self.decoders if held_out is None else (*self.decoders, *codec_decoders(model.config))
        batches = partial(
            Batches,
            dataset,
            extents=extents,
            multiple_of=model.hop if dataset.item.epoch == "sample" else ones,  # what is more is masked there
            corner_step=model.hop if aligned else ones,
            flip=config.flip and held_out is None,
            residual=model.residual if "autoregressive" in needed else None,
        )
        if held_out is not None:
            most = batches(batch_size=1, seed=context.seed).windows_per_epoch
            return batches(batch_size=min(config.batch_size, most), seed=context.seed)
        seed, replicas = len(STAGES) * context.seed + STAGES.index(self.name), context.replicas
        return batches(batch_size=config.batch_size, seed=seed, rank=replicas.rank, world=replicas.world)


def hidden(labels: Tensor) -> Tensor:
    """Hides each label of a tenth of the items, by torch's generator: networks learn to do without.

    >>> hidden(torch.zeros(2, 0)).shape
    torch.Size([2, 0])
    """
    if not labels.shape[-1]:
        return labels
    shape = (len(labels), *(1,) * (labels.ndim - 2), labels.shape[-1])
    return labels.masked_fill(torch.rand(shape, device=labels.device) < _UNKNOWN_SHARE, -1)


def decoder_terms(
    model: Model, names: Sequence[DecoderName], batch: Batch, latents: Latents, labels: Tensor
) -> Terms:
    """What a batch on the model's device costs under the decoders called `names`, given its latents."""
    terms: Terms = {}
    for name in names:
        chosen = model.labels_for(name, labels)
        if name == "parallel":
            assert model.parallel is not None
            signal = to_signal(batch.samples, model.item.low, model.item.levels)
            nats = model.parallel.nats(signal, latents.vectors, chosen, batch.mask)
        else:
            assert model.autoregressive is not None and batch.symbols is not None
            nats = model.autoregressive.nats(batch.symbols, latents.input, chosen, batch.mask)
        terms[f"{name}_bits_per_dim"] = nats.sum(), batch.dims
    return terms


def summed(terms: Terms, *others: Tensor, figures: Mapping[str, Tensor] | None = None) -> StageLoss:
    """The loss of terms and of other losses that are means already; the terms are shown in bits."""
    means = {name: total / count for name, (total, count) in terms.items()}
    bits = {name: mean.detach() / math.log(2) for name, mean in means.items()}
    return StageLoss(torch.stack([*means.values(), *others]).sum(), {**bits, **(figures or {})})


def calibration(source: Batches) -> Batch:
    """Some whole items of the first batches, with whose symbols integer forms are calibrated."""
    batches = [source.batch(step) for step in range(_CALIBRATION_BATCHES)]
    rows = whole_rows([batch.mask for batch in batches])
    most = max(1, _CALIBRATION_POSITIONS // math.prod(source.size))

    def joined(name: str) -> Any:
        parts = zip((getattr(batch, name) for batch in batches), rows, strict=True)
        return torch.cat([part[kept] for part, kept in parts])[:most]

    symbols = None if source.residual is None else joined("symbols")
    return Batch(joined("samples"), None, joined("labels"), symbols)


def whole_rows(masks: Sequence[Tensor | None]) -> list[Any]:
    """Indices of the items in each batch that have no padding; of all, where each has some."""
    rows = [slice(None) if mask is None else mask.flatten(1).all(1) for mask in masks]
    whole = any(isinstance(each, slice) or bool(each.any()) for each in rows)
    return rows if whole else [slice(None)] * len(rows)
