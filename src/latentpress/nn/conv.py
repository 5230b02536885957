"""Convolutional encoder and decoder: items <-> grids of vectors, for 1, 2 and 3 spatial dimensions.

Both pass through the same levels, coarsest last. Level i has `strides[i]` times fewer positions a side
than the one before, twice its channels, and `depths[i]` residual blocks; the decoder runs them
backwards. Every layer sees a bounded window, so a position depends on its neighbourhood only: `margin`
says how far that goes, and `latentpress.nn.tiling` makes use of it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from latentpress.config import ConvConfig
from latentpress.nn.layers import ResidualBlock, Window, activation, conv, fast_layout, upconv

__all__ = ["ConvDecoder", "ConvEncoder"]


def _widths(config: ConvConfig) -> list[int]:
    """Channels of each level, finest first."""
    widths = [config.width]
    for _ in config.strides[1:]:
        widths.append(max(32, widths[-1] // 2))
    return widths[::-1]


class ConvEncoder(nn.Module):
    """Strided convolutions and residual blocks (arXiv 1711.00937, section 4.1).

    Shapes: x (B, channels, *S) -> (B, out_channels, *S / hop_length), every side of S a multiple of
    `hop_length`; anything else is a `ValueError`.

    Args:
        config: Strides, depths, width and normalisation.
        spatial: Number of spatial dimensions, 1 to 3.
        channels: Channels of the item.
        out_channels: Length of the vector at each latent position.

    Attributes:
        hop_length: Samples a side for each latent position.
        margin: Latent positions on each side whose samples a vector depends on.

    >>> import torch
    >>> encoder = ConvEncoder(ConvConfig(strides=(2, 2), depths=(0, 1), width=32), 2, 3, 8)
    >>> encoder(torch.zeros(1, 3, 16, 24)).shape, encoder.margin
    (torch.Size([1, 8, 4, 6]), 2)
    """

    def __init__(self, config: ConvConfig, spatial: int, channels: int, out_channels: int) -> None:
        super().__init__()
        widths = _widths(config)
        layers: list[nn.Module] = []
        for i, (before, width) in enumerate(pairwise([channels, *widths])):
            if i > 0:
                layers.append(activation(before, config.norm))
            layers.append(conv(spatial, before, width, Window(config.strides[i]), gain=2.0 if i else 1.0))
            layers += [ResidualBlock(spatial, width, config.norm) for _ in range(config.depths[i])]
        layers += [activation(config.width, config.norm), conv(spatial, config.width, out_channels)]
        self.layers = nn.Sequential(*layers)
        self.hop_length = config.hop_length
        self.margin = -(-_encoder_reach(config) // config.hop_length)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, *S) -> (B, out_channels, *S / hop_length)."""
        if any(side % self.hop_length for side in x.shape[2:]):
            raise ValueError(f"pad {tuple(x.shape[2:])} to multiples of {self.hop_length} first")
        return self.layers(fast_layout(x))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: residual blocks and transposed convolutions.

    Shapes: z (B, in_channels, *G) -> (B, out_channels, *G * hop_length).

    Args:
        config: Strides, depths, width and normalisation.
        spatial: Number of spatial dimensions, 1 to 3.
        in_channels: Length of the vector at each latent position.
        out_channels: Channels of the result, such as the parameters that a likelihood takes.

    Attributes:
        hop_length: Samples a side for each latent position.
        margin: Latent positions on each side that the samples of one position depend on.

    >>> import torch
    >>> decoder = ConvDecoder(ConvConfig(strides=(2, 2), depths=(0, 1), width=32), 2, 8, 3)
    >>> decoder(torch.zeros(1, 8, 4, 6)).shape, decoder.margin
    (torch.Size([1, 3, 16, 24]), 3)
    """

    def __init__(self, config: ConvConfig, spatial: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        widths = _widths(config)
        layers: list[nn.Module] = [conv(spatial, in_channels, config.width, Window(1), gain=1.0)]
        for i in reversed(range(len(widths))):
            layers += [ResidualBlock(spatial, widths[i], config.norm) for _ in range(config.depths[i])]
            layers.append(activation(widths[i], config.norm))
            # the last one starts small: a new decoder says mid-grey
            after, gain = (widths[i - 1], 2.0) if i else (out_channels, 0.1)
            layers.append(upconv(spatial, widths[i], after, Window(config.strides[i]), gain=gain))
        self.layers = nn.Sequential(*layers)
        self.hop_length = config.hop_length
        self.margin = _decoder_reach(config)

    def forward(self, z: Tensor) -> Tensor:
        """(B, in_channels, *G) -> (B, out_channels, *G * hop_length)."""
        return self.layers(fast_layout(z))


def _encoder_reach(config: ConvConfig) -> int:
    """Samples outside its own cell, on each side, that a latent position depends on."""
    reach = 0
    for stride, depth in zip(reversed(config.strides), reversed(config.depths), strict=True):
        reach = Window(stride).reach_down(reach + depth)
    return reach


def _decoder_reach(config: ConvConfig) -> int:
    """Latent positions on each side that the samples of one cell depend on."""
    reach = 0
    for stride, depth in zip(config.strides, config.depths, strict=True):
        reach = Window(stride).reach_up(reach) + depth
    return reach + 1  # the first convolution
