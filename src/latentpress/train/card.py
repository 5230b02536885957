"""The model card of a trained model: what it is, what it was trained on, how good it is."""

from __future__ import annotations

from collections.abc import Mapping

from latentpress.config import DeltaVAEConfig, VQVAEConfig
from latentpress.data.loading import Pool

__all__ = ["delta_card", "model_card"]

_MEANING = {
    "psnr_db": "PSNR of the reconstructions, dB",
    "bits_per_dim": "-log2 p(x given codes) per dimension, bits",
    "perplexity": "perplexity of the codes",
    "bits_per_code": "bits per code under the prior",
    "kl_nats": "KL(q || p) of an item, nats",
    "auxiliary_kl_nats": "KL of an item under the auxiliary prior, nats",
    "auxiliary_bits_per_dim": "-ELBO with the auxiliary prior per dimension, bits",
    "information_nats": "mutual information of item and latents, nats (at most the log of their number)",
    "active_units": "latents whose means vary over the items",
    "pixel_bits_per_dim": "bits per dimension of the pixels given the codes, lossless",
}


def model_card(
    config: VQVAEConfig, pool: Pool, steps: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """Markdown of the model card; `figures` are those on held-out items, by their short names."""
    latents, lossless = config.latents, " [--lossless]" if config.pixels else ""
    height, width = (int(side) for side in pool.shapes[:, 1:].max(axis=0))
    lines = [
        f"# A Latentpress codec for {config.item.kind}s",
        "",
        f"Encoder, codebook and decoder with hop length {config.encoder.hop_length}, "
        f"{latents.num_codebooks} x {latents.codebook_size} codes of dimension {latents.code_dim} a position"
        + (", and an autoregressive prior over the codes." if config.prior else ".")
        + (" An autoregressive decoder of pixels presses losslessly." if config.pixels else ""),
        "",
        "## Training",
        "",
        f"{len(pool)} items of at most {height} x {width} pixels and {config.item.channels} channels; "
        f"{steps} optimiser steps in {seconds:.0f} s.",
    ]
    lines += _figures_section(figures)
    return "\n".join([*lines, *_use_section(f"images.lpz{lossless}")]) + "\n"


def delta_card(
    config: DeltaVAEConfig, items: int, steps: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """As `model_card`, of a delta-VAE trained on so many items."""
    latents, kind, stride = config.latents, config.item.kind, config.encoder.stride
    lines = [
        f"# A Latentpress {'decoder' if latents is None else 'delta-VAE'} for {kind}s",
        "",
        "An autoregressive decoder alone, without latents; see `config.json`."
        if latents is None
        else f"Anti-causal encoder, latents of kind {latents.kind} with {latents.channels} channels for "
        f"every {stride} places along the first axis, autoregressive decoder; see `config.json`.",
        "",
        "## Training",
        "",
        f"{items} items; {steps} optimiser steps in {seconds:.0f} s.",
        *_figures_section(figures, {"bits_per_dim": "-ELBO per dimension, bits"}),
        *_use_section("items.lpz --lossless"),
    ]
    return "\n".join(lines) + "\n"


def _figures_section(figures: Mapping[str, float], other: Mapping[str, str] | None = None) -> list[str]:
    """`other` are meanings that differ from those of a codec."""
    if not figures:
        return []
    meaning = {**_MEANING, **(other or {})}
    lines = ["", "## Figures on held-out items", "", "| figure | value |", "|---|---|"]
    return lines + [f"| {meaning.get(name, name)} | {value:.4g} |" for name, value in figures.items()]


def _use_section(archive: str) -> list[str]:
    return [
        "",
        "## Use",
        "",
        f"    latentpress compress ITEMS -m THIS_FOLDER -o {archive}",
        f"    latentpress decompress {archive.split()[0]} -m THIS_FOLDER -o OUT",
        "",
        "## Licence",
        "",
        "Weights follow the terms of the data that they were trained on; state them here before you publish.",
    ]
