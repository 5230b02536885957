"""The model card of a trained model: what it is, what it was trained on, how good it is."""

from __future__ import annotations

from collections.abc import Mapping

from latentpress.config import AnyModelConfig, CountedDecoderConfig, CountedPriorConfig, VQVAEConfig
from latentpress.data import Dataset
from latentpress.train.plan import DECODERS

__all__ = ["HOLDS_TRAINING", "model_card"]

HOLDS_TRAINING = {
    "items": "It holds the items that it was trained on: who has it can read them, word for word",
    "codes": "Its prior holds codes of items that it was trained on: who has it can restore these from them",
}

_MEANING = {
    "psnr_db": "PSNR of the reconstructions, dB",
    "parallel_bits_per_dim": "-log2 p(x | z) per sample, parallel decoder, bits",
    "autoregressive_bits_per_dim": "-log2 p(x | z) per sample, autoregressive decoder, bits",
    "perplexity": "perplexity of the codes",
    "bits_per_code": "bits per code under the prior",
    "elbo_bits_per_dim": "-ELBO per sample, bits",
    "auxiliary_elbo_bits_per_dim": "-ELBO with the auxiliary prior per sample, bits",
    "kl_nats": "KL(q || p) of an item, nats",
    "auxiliary_kl_nats": "KL of an item under the auxiliary prior, nats",
    "information_nats": "mutual information of item and latents, nats (at most the log of their number)",
    "active_units": "latents whose means vary over the items",
}


_TABLE = "\n## Figures on held-out items\n\n| figure | value |\n|---|---|\n"
_TEXT = f"""# A Latentpress {{name}} for {{items}}

{{parts}}; see `config.json`.

## Training

{{count}} of at most {{most}} {{positions}}; {{run}}.
{_TABLE}{{figures}}
## Use

    latentpress compress ITEMS -m THIS_FOLDER -o items.lpz{{lossless}}
    latentpress decompress items.lpz -m THIS_FOLDER -o OUT

## Licence

Weights follow the terms of the data that they were trained on; state them here before you publish.
"""


def model_card(
    config: AnyModelConfig, dataset: Dataset, steps: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """Markdown of the model card; `figures` are those on held-out items, by their names."""
    item, words = config.item, config.item.words
    kind = "VQ-VAE" if isinstance(config, VQVAEConfig) else "delta-VAE"
    text = _TEXT.format(
        name="decoder" if config.latents is None else kind,
        items=words.items,
        parts=_parts(config),
        count=f"{len(dataset):,} {words.items}",
        most=" x ".join(map(str, dataset.extents.max(axis=0))),
        positions=f"{words.position}s and {item.channels} channel{'' if item.channels == 1 else 's'}",
        run=f"{steps:,} optimiser steps in {seconds:.0f} s",
        figures="".join(f"| {_MEANING.get(name, name)} | {value:.4g} |\n" for name, value in figures.items()),
        lossless=" --lossless" if config.parallel is None else "",
    )
    return text if figures else text.replace(_TABLE, "")


def _parts(config: AnyModelConfig) -> str:
    if isinstance(config.autoregressive, CountedDecoderConfig):
        held = "" if config.item.picture else f". {HOLDS_TRAINING['items']}"
        return f"A decoder of counted contexts alone, without latents{held}"
    if config.latents is None:
        return "An autoregressive decoder alone, without latents"
    prior = config.prior if isinstance(config, VQVAEConfig) else config.auxiliary
    parts = ["Encoder", f"{config.latents.kind} latents"]
    parts += [f"{name} decoder" for name in DECODERS if getattr(config, name) is not None]
    if isinstance(prior, CountedPriorConfig):
        beside = "" if prior.network is None else " beside a network"
        return f"{', '.join(parts)}, a prior that counts{beside}. {HOLDS_TRAINING['codes']}"
    return ", ".join([*parts, *["prior"] * (prior is not None)])
