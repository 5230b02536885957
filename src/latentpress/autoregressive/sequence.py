"""The delta-VAE's decoder: the distribution of an item's samples given a sequence of real latents.

    p(x | z) = prod over samples x_i of p(x_i | the samples before it, z_1 .. z_k),   k = the step of x_i

A `SequenceDecoder` is a grid network whose context map `LatentConditioner` makes of the latents under the
release rule: a latent reaches the samples of its own step and of later ones, and no others. Its exact
form is an `IntegerDecoder`, like that of a decoder of codes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from latentpress.autoregressive.conditioner import ConditionerStructure, LatentConditioner
from latentpress.autoregressive.network import CausalNetwork, Conditioning
from latentpress.autoregressive.ordinal import ordinal_embedding_
from latentpress.config import SequenceDecoderConfig

__all__ = ["CODES", "SequenceDecoder"]

CODES = 255
"""Alphabet of an exact latent: the integers -127..127."""


class SequenceDecoder(nn.Module):
    """The distribution of samples given latents, for all of them at once.

    Args:
        config: widths and depths.
        sizes: the alphabet of each member of a position's tuple of samples.
        latents: numbers a step, d; 0 for the decoder alone.
        hop: samples that a step spans, one number an axis.
        unit: the real value from one exact latent to the next.
        ordered: whether symbols are numbers, so that near ones look alike from the start.

    >>> import torch
    >>> config = SequenceDecoderConfig(width=8, depth=1, map_width=8, map_channels=4)
    >>> decoder = SequenceDecoder(config, sizes=(256,), latents=2, hop=(16,), unit=1 / 24)
    >>> decoder.nll_nats(torch.zeros(3, 40, 1, dtype=torch.int64), torch.zeros(3, 3, 2)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        config: SequenceDecoderConfig,
        sizes: Sequence[int],
        latents: int,
        hop: Sequence[int],
        unit: float,
        *,
        ordered: bool = False,
    ) -> None:
        super().__init__()
        self.upsampler: LatentConditioner | None = None
        if latents:
            structure = ConditionerStructure(
                sizes=(CODES,) * latents,
                hop=tuple(hop),
                embedding=1,
                width=config.map_width,
                channels=config.map_channels,
                past=config.map_past,
            )
            self.upsampler = LatentConditioner(structure, unit)
        channels = config.map_channels if latents else 0
        self.network = CausalNetwork(config.network, sizes, len(hop), context_channels=channels)
        if ordered:
            ordinal_embedding_(self.network, signed=False)

    def context(self, z: Tensor | None, size: Sequence[int]) -> Conditioning:
        """What the network is told: the map (B, channels, *size) of latents (B, n, d)."""
        if self.upsampler is None:
            return Conditioning()
        assert z is not None
        return Conditioning(self.upsampler(z.view(*z.shape[:2], *[1] * (len(size) - 1), z.shape[2]), size))

    def nll_nats(self, samples: Tensor, z: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """-log p(samples | z) of every item in nats, (B,), from (B, *size, P) int64.

        A `mask` (B, *size) leaves out the samples where it is false.
        """
        return self.network.nll_nats(samples, self.context(z, samples.shape[1:-1]), mask)
