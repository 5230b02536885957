"""The model card of a trained model: what it is, what it was trained on, how good it is."""

from __future__ import annotations

from collections.abc import Mapping

from latentpress.config import AnyModelConfig, VQVAEConfig
from latentpress.data import Dataset

__all__ = ["model_card"]

_MEANING = {
    "psnr_db": "PSNR of the reconstructions, dB",
    "parallel_bits_per_dim": "-log2 p(x given latents) per sample under the parallel decoder, bits",
    "autoregressive_bits_per_dim": "-log2 p(x given latents) per sample under the autoregressive decoder, bits",
    "perplexity": "perplexity of the codes",
    "bits_per_code": "bits per code under the prior",
    "elbo_bits_per_dim": "-ELBO per sample, bits",
    "auxiliary_elbo_bits_per_dim": "-ELBO with the auxiliary prior per sample, bits",
    "kl_nats": "KL(q || p) of an item, nats",
    "auxiliary_kl_nats": "KL of an item under the auxiliary prior, nats",
    "information_nats": "mutual information of item and latents, nats (at most the log of their number)",
    "active_units": "latents whose means vary over the items",
}


def model_card(
    config: AnyModelConfig, dataset: Dataset, steps: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """Markdown of the model card.

    Args:
        config: the model's.
        dataset: what it was trained on.
        steps: optimiser steps.
        seconds: of training.
        figures: on held-out items, by their names in `metrics.jsonl`.
    """
    item, words = config.item, config.item.words
    largest = " x ".join(map(str, dataset.extents.max(axis=0).tolist()))
    table = [f"| {_MEANING.get(name, name)} | {value:.4g} |" for name, value in figures.items()]
    lossless = " --lossless" if config.autoregressive is not None and config.parallel is None else ""
    lines = [
        f"# A Latentpress {_name(config)} for {words.items}",
        "",
        _description(config),
        "",
        "## Training",
        "",
        f"{len(dataset):,} {words.items} of at most {largest} {words.position}s ({' x '.join(item.axes)}), "
        f"{item.channels} channel{'' if item.channels == 1 else 's'}; {steps:,} optimiser steps in {seconds:.0f} s.",
        *(
            ["", "## Figures on held-out items", "", "| figure | value |", "|---|---|", *table]
            if table
            else []
        ),
        "",
        "## Use",
        "",
        f"    latentpress compress ITEMS -m THIS_FOLDER -o items.lpz{lossless}",
        "    latentpress decompress items.lpz -m THIS_FOLDER -o OUT",
        "",
        "## Licence",
        "",
        "Weights follow the terms of the data that they were trained on; state them here before you publish.",
    ]
    return "\n".join(lines) + "\n"


def _name(config: AnyModelConfig) -> str:
    if config.latents is None:
        return "decoder"
    return "VQ-VAE" if isinstance(config, VQVAEConfig) else "delta-VAE"


def _description(config: AnyModelConfig) -> str:
    decoders = {"parallel": config.parallel, "autoregressive": config.autoregressive}
    named = " and ".join(f"{name} decoder" for name, part in decoders.items() if part is not None)
    if config.latents is None:
        return "An autoregressive decoder alone, without latents; see `config.json`."
    if isinstance(config, VQVAEConfig):
        latents, hop = config.latents, " x ".join(map(str, config.encoder.hop(config.rank)))
        codes = f"{latents.num_codebooks} x {latents.codebook_size} codes of dimension {latents.code_dim}"
        space = f"{codes} for every {hop} positions"
    else:
        hop = " x ".join(map(str, config.hop))
        space = (
            f"{config.latents.channels} Gaussian latents ({config.latents.kind}) for every {hop} positions"
        )
    prior = getattr(config, "prior", None) or getattr(config, "auxiliary", None)
    ending = ", and a prior over them" if prior is not None else ""
    lossless = " It makes lossless archives." if config.autoregressive is not None else ""
    return f"Encoder, {space}, {named}{ending}; see `config.json`.{lossless}"
