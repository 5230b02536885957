"""The stages of a run: a model's objective as the loop sees it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from latentpress.data.batches import Batch
from latentpress.model import VQVAE, Model
from latentpress.train.deltavae import DeltaVAEObjective
from latentpress.train.fits import Fit, RunContext, decoder_terms, hidden, summed
from latentpress.train.loop import Limit, Stage, StageLoss
from latentpress.train.plan import StageName
from latentpress.train.validation import validate
from latentpress.train.vqvae import VQVAEObjective

__all__ = ["make_stage"]


def make_stage(name: StageName, model: Model, context: RunContext, limit: Limit) -> Stage[Any]:
    """A stage, ready to begin; the model's other parts are frozen."""
    fit = Fit(name, model, context)
    objective = VQVAEObjective(fit) if isinstance(model, VQVAE) else DeltaVAEObjective(fit)
    expected = None if limit.steps is None else limit.steps * fit.config.accumulate

    def decoder_loss(batch: Batch, progress: float) -> StageLoss:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            latents = objective.infer(batch)
        batch = batch.to(model.device)
        return summed(decoder_terms(model, fit.decoders, batch, latents, hidden(batch.labels)))

    def finish() -> None:
        model.eval().requires_grad_(False)
        with torch.no_grad():
            model.integer = objective.forms()

    losses: dict[str, Any] = {"prior": objective.prior_loss, "decoder": decoder_loss}
    return Stage(
        name=name,
        config=fit.config,
        groups=fit.groups,
        stream=objective.prior_stream(expected) if name == "prior" else fit.source.stream,
        loss=losses.get(name, objective.codec_loss),
        finish=finish,
        stepped=objective.stepped,
        status=objective.status,
        validate=partial(validate, fit, objective),
    )
