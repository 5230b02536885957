"""The autoregressive decoder: the distribution of an item's symbols given its latents.

    p(x | z) = prod over symbols x_i of p(x_i | the symbols before it, map of the latents)

It is a causal network over the symbols whose local conditioning a conditioner makes of the latents. Of
Gaussian latents the map follows the release rule: a latent reaches the symbols of its own step and of later
ones, and no others. Without latents it is the network alone, p(x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from latentpress.autoregressive.conditioner import (
    AnyConditioner,
    CodeConditioner,
    ConditionerStructure,
    LatentConditioner,
    LatentInput,
)
from latentpress.autoregressive.network import CausalNetwork, ordinal_embedding_
from latentpress.config import AutoregressiveDecoderConfig
from latentpress.exact.distribution import Conditioning

__all__ = ["LATENT_SYMBOLS", "AutoregressiveDecoder"]

LATENT_SYMBOLS = 255
"""Alphabet of a Gaussian latent in integers: -127..127."""


class AutoregressiveDecoder(nn.Module):
    """The distribution of symbols given latents, for all of them at once.

    Args:
        config: widths and depths.
        alphabets: of each component of a position's tuple of symbols.
        hop: samples that a latent position spans, one number an axis.
        codes: the alphabets of a latent position's codes, of a codebook; () for none.
        code_dim: channels of one code's vector.
        latents: numbers of a latent position, Gaussian; 0 for none.
        grid_cells: whether Gaussian latents have several cells along the axes after the first.
        unit: the real value from one integer latent to the next.
        label_sizes: how many values each of the labels has that condition it.
        ordinal: whether symbols are numbers, so that near ones look alike from the start.

    >>> import torch
    >>> config = AutoregressiveDecoderConfig(map_width=8, map_channels=4)
    >>> decoder = AutoregressiveDecoder(config, (256,), (16,), latents=2, unit=1 / 24)
    >>> decoder.nats(torch.zeros(3, 40, 1, dtype=torch.int64), LatentInput(torch.zeros(3, 2, 3))).shape
    torch.Size([3])
    """

    def __init__(
        self,
        config: AutoregressiveDecoderConfig,
        alphabets: Sequence[int],
        hop: Sequence[int],
        *,
        codes: Sequence[int] = (),
        code_dim: int = 0,
        latents: int = 0,
        grid_cells: bool = False,
        unit: float = 1.0,
        label_sizes: Sequence[int] = (),
        ordinal: bool = True,
    ) -> None:
        super().__init__()
        assert not codes or not latents
        self.conditioner: AnyConditioner | None = None
        if config.use_latents and (codes or latents):
            structure = ConditionerStructure(
                alphabets=tuple(codes) or (LATENT_SYMBOLS,) * latents,
                hop=tuple(hop),
                embedding=math.ceil(config.code_embedding / len(codes)) if codes else 1,
                width=config.map_width,
                channels=config.map_channels,
                past=0 if codes else config.map_past,
                neighbours=bool(codes) or grid_cells,
            )
            self.conditioner = (
                CodeConditioner(structure, code_dim) if codes else LatentConditioner(structure, unit)
            )
        channels = config.map_channels if self.conditioner is not None else 0
        self.network = CausalNetwork(
            config.network, alphabets, len(hop), context_channels=channels, label_sizes=label_sizes
        )
        if ordinal:
            ordinal_embedding_(self.network, signed=config.residual)

    def conditioning(
        self, latents: LatentInput | None, size: Sequence[int], labels: Tensor | None = None
    ) -> Conditioning:
        """What the network sees besides the symbols of items of that size; see `Conditioning` for labels."""
        if self.conditioner is None:
            return Conditioning(None, labels)
        assert latents is not None
        return Conditioning(self.conditioner(latents, size), labels)

    def nats(
        self,
        symbols: Tensor,
        latents: LatentInput | None = None,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """-log p(symbols | latents) of every item in nats, (B,), from (B, *size, P) int64.

        A `mask` (B, *size) leaves out positions where it is false.
        """
        return self.network.nats(symbols, self.conditioning(latents, symbols.shape[1:-1], labels), mask)
