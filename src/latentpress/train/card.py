"""The model card of a trained model: what it is, what it was trained on, how good it is."""

from __future__ import annotations

from collections.abc import Mapping

from latentpress.config import ModelConfig
from latentpress.data.loading import Pool

__all__ = ["model_card"]

_MEANING = {
    "psnr_db": "PSNR of the reconstructions, dB",
    "bits_per_dim": "-log2 p(x given codes) per dimension, bits",
    "perplexity": "perplexity of the codes",
    "bits_per_code": "bits per code under the prior",
    "pixel_bits_per_dim": "bits per dimension of the pixels given the codes, lossless",
}


def model_card(
    config: ModelConfig, pool: Pool, steps: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """Markdown of the model card; `figures` are those on held-out items, by their short names."""
    latents, lossless = config.latents, " [--lossless]" if config.pixels else ""
    height, width = (int(side) for side in pool.shapes[:, 1:].max(axis=0))
    lines = [
        f"# A Latentpress codec for {config.item.kind}s",
        "",
        f"Encoder, codebook and decoder with hop length {config.encoder.hop_length}, "
        f"{latents.num_partitions} x {latents.codebook_size} codes of dimension {latents.code_dim} a position"
        + (", and an autoregressive prior over the codes." if config.prior else ".")
        + (" An autoregressive decoder of pixels presses losslessly." if config.pixels else ""),
        "",
        "## Training",
        "",
        f"{len(pool)} items of at most {height} x {width} pixels and {config.item.channels} channels; "
        f"{steps} optimiser steps in {seconds:.0f} s.",
    ]
    if figures:
        lines += ["", "## Figures on held-out items", "", "| figure | value |", "|---|---|"]
        lines += [f"| {_MEANING.get(name, name)} | {value:.4g} |" for name, value in figures.items()]
    lines += [
        "",
        "## Use",
        "",
        f"    latentpress compress IMAGES -m THIS_FOLDER -o images.lpz{lossless}",
        "    latentpress decompress images.lpz -m THIS_FOLDER -o OUT",
        "",
        "## Licence",
        "",
        "Weights follow the terms of the data that they were trained on; state them here before you publish.",
    ]
    return "\n".join(lines) + "\n"
