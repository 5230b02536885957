"""Small models of every kind of item, by both inventions, with either decoder or both."""

from __future__ import annotations

from latentpress.config import (
    AnticausalConfig,
    AR1Config,
    AutoregressiveDecoderConfig,
    AuxiliaryConfig,
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    DeltaVAEConfig,
    ParallelDecoderConfig,
    PriorConfig,
    VQVAEConfig,
)
from latentpress.items import Image, Text
from latentpress.items.base import Item
from small.toy import Toy

__all__ = ["DECODERS", "ITEMS", "NETWORK", "delta_vae", "vq_vae"]

NETWORK = CausalConfig(width=8, depth=1, radius=2, dilations=(1,), embedding=6, head_width=12)
ITEMS: dict[str, Item] = {
    "image": Image(channels=1, size=(6, 4)),
    "colour": Image(channels=3, size=(6, 4)),
    "text": Text(size=(24,)),
    "toy": Toy(size=(6, 4, 4)),
}
"""Kinds of items; delta-VAEs of those with several axes take the sizes that stand here."""

DECODERS = ("parallel", "autoregressive", "both")


def autoregressive(**settings) -> AutoregressiveDecoderConfig:
    """A small autoregressive decoder."""
    return AutoregressiveDecoderConfig(
        network=NETWORK, code_embedding=4, map_past=2, map_width=8, map_channels=4, **settings
    )


def vq_vae(item: Item, decoders: str = "both", **settings) -> VQVAEConfig:
    """A VQ-VAE with a hop of 2 along every axis and two codebooks of 16 codes."""
    conv = ConvConfig(strides=(2,), depths=(0,), width=32)
    return VQVAEConfig(
        **{
            "item": item,
            "encoder": conv,
            "latents": CodebookConfig(codebook_size=16, code_dim=4, num_codebooks=2),
            "parallel": ParallelDecoderConfig(network=conv) if decoders != "autoregressive" else None,
            "autoregressive": autoregressive() if decoders != "parallel" else None,
            "prior": PriorConfig(network=NETWORK),
            **settings,
        }
    )


def delta_vae(item: Item, decoders: str = "both", **settings) -> DeltaVAEConfig:
    """A delta-VAE with two latent channels for every two rows, which span the other axes whole."""
    encoder = AnticausalConfig(hop=(2,), network=NETWORK, hidden=8)
    rank = len(item.axes)
    hop = (2, *(item.size[1:] if item.size and rank > 1 else ()))
    conv = ConvConfig(strides=(hop,), depths=(0,), width=32)
    return DeltaVAEConfig(
        **{
            "item": item,
            "encoder": encoder,
            "latents": AR1Config(channels=2, alpha=(0.9, 0.5)),
            "parallel": ParallelDecoderConfig(network=conv) if decoders != "autoregressive" else None,
            "autoregressive": autoregressive() if decoders != "parallel" else None,
            "auxiliary": AuxiliaryConfig(width=6),
            **settings,
        }
    )
