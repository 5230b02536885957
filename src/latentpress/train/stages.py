"""The stages of a run: a model's objective as the loop sees it, and how it does on held-out items."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from latentpress.data.batches import Batch, Batches
from latentpress.model import VQVAE, Latents, Model
from latentpress.nn import from_signal, to_signal
from latentpress.train.deltavae import DeltaVAEObjective
from latentpress.train.loop import Limit, Stage, StageLoss, Validation
from latentpress.train.plan import StageName, codec_decoders
from latentpress.train.terms import Fit, RunContext, decoder_terms, hidden, summed
from latentpress.train.vqvae import VQVAEObjective

__all__ = ["make_stage", "sample_sheet", "validate"]

_COLUMNS = 8
_SAMPLES = 1 << 25  # that a model is judged on at most,
_SYMBOLS = 1 << 18  # and where it gives one symbol after another: that takes its time
_ERROR = "squared_error"
_SHOWN = ("perplexity", "kl_nats", "auxiliary_kl_nats", "information_nats", "active_units")


def make_stage(name: StageName, model: Model, context: RunContext, limit: Limit) -> Stage:
    """A stage, ready to begin; the model's other parts are frozen."""
    fit = Fit(name, model, context, limit)
    objective = VQVAEObjective(fit) if isinstance(model, VQVAE) else DeltaVAEObjective(fit)

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
        stream=objective.stream,
        loss=losses.get(name, objective.codec_loss),
        finish=finish,
        stepped=model.latents.update if isinstance(model, VQVAE) else lambda: None,
        status=objective.status,
        validate=partial(validate, fit, objective),
    )


@torch.no_grad()
def validate(fit: Fit, objective: VQVAEObjective | DeltaVAEObjective) -> Validation:
    """How a model under way does on held-out items; what is drawn is the same every time."""
    model, generator = fit.model, torch.Generator().manual_seed(0)
    decoders = tuple(dict.fromkeys((*codec_decoders(model.config), *fit.decoders)))
    if fit.context.held_out is None:
        return Validation()
    batches = _batches(fit, fit.batches(fit.context.held_out), slow="autoregressive" in decoders)
    sums: dict[str, Tensor] = {}
    latents: list[Latents] = []
    model.eval()
    for batch in batches:
        latents.append(objective.infer(batch, generator))
        batch = batch.to(model.device)
        terms = decoder_terms(model, decoders, batch, latents[-1], batch.labels)
        terms |= objective.measures(batch, latents[-1], terms)
        if "parallel" in decoders:
            original, restored = _signals(model, batch, latents[-1])
            mask = torch.ones_like(original[:, :1]) if batch.mask is None else batch.mask[:, None]
            terms[_ERROR] = ((original - restored) * mask).square().sum(), batch.dims
        for name, (total, count) in terms.items():
            both = torch.stack([total, torch.as_tensor(count).to(total)]).double()
            sums[name] = sums.get(name, 0) + both
    details = model.details(Latents.cat(latents)).values
    shown = fit.name == "codec" and "parallel" in decoders
    picture = sample_sheet(model, batches[0], latents[0]) if shown else None
    for part in fit.parts:
        getattr(model, part).train()
    means = {name: float(total / count) for name, (total, count) in sums.items()}
    error = means.pop(_ERROR, None)
    figures = {name: nats / math.log(2) for name, nats in means.items()}
    if error is not None:
        figures["psnr_db"] = 10 * math.log10(4 / error) if error else math.inf
    return Validation(figures | {n: float(details[n]) for n in _SHOWN if details.get(n) is not None}, picture)


def _batches(fit: Fit, source: Batches, *, slow: bool) -> list[Batch]:
    """Some pieces of a source, each once; all have masks, or none."""
    most = _SYMBOLS if slow or fit.model.item.epoch == "sample" else _SAMPLES
    items = min(source.windows_per_epoch, most // (math.prod(source.size) * fit.model.item.channels))
    batches = [source.batch(step) for step in range(max(1, items // source.batch_size))]
    if all(batch.mask is None for batch in batches):
        return batches
    full = torch.ones(batches[0].samples.shape[:-1], dtype=torch.bool)
    return [replace(batch, mask=full) if batch.mask is None else batch for batch in batches]


def sample_sheet(model: Model, batch: Batch, latents: Latents) -> bytes | None:
    """A PNG of the first items of a batch, each above its reconstruction; of films the first frame.

    None where nothing is to be seen: there is no parallel decoder, or items have no rows and columns.
    """
    shown = model.item.picture
    if model.parallel is None or shown is None:
        return None
    few = torch.arange(min(_COLUMNS, len(batch.samples)))
    some = Batch(batch.samples[few], None, batch.labels[few]).to(model.device)
    seen = (slice(None), slice(None), *(slice(None) if n in shown else 0 for n in range(model.rank)))
    pictures = [from_signal(each[seen], 0, 256) for each in _signals(model, some, latents.take(few))]
    sheet = torch.cat([torch.cat(list(row), dim=1) for row in pictures]).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(sheet if sheet.shape[-1] == 3 else sheet[..., 0]).save(file, "PNG")
    return file.getvalue()


def _signals(model: Model, batch: Batch, latents: Latents) -> tuple[Tensor, Tensor]:
    """A batch and what the parallel decoder makes of its latents, both (B, C, *S) on the scale -1..1."""
    assert model.parallel is not None
    signal = to_signal(batch.samples, model.item.low, model.item.levels)
    restored = model.parallel.mean(latents.vectors, model.labels_for("parallel", batch.labels))
    return signal, restored[(slice(None), slice(None), *map(slice, signal.shape[2:]))]
