"""Convolutional encoder and decoder: items <-> grids of vectors, for 1, 2 and 3 axes.

Both pass through the same levels, coarsest last. Level i has `strides[i]` times fewer positions along
each axis than the one before, twice its channels, and `depths[i]` residual blocks; the decoder runs them
backwards. Every layer sees a bounded window, so a position depends on its neighbourhood only: `margin`
says how far that goes, and `latentpress.nn.tiling` makes use of it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from latentpress.config import ConvConfig
from latentpress.nn.layers import ResidualBlock, Window, activation, conv, fast_layout, upconv

__all__ = ["ConvDecoder", "ConvEncoder"]


class ConvEncoder(nn.Module):
    """Strided convolutions and residual blocks (arXiv 1711.00937, section 4.1).

    Shapes: x (B, channels, *S) -> (B, out_channels, *S / hop), every extent of S a multiple of its hop.

    Attributes:
        hop: samples along each axis for each latent position.
        margin: latent positions on each side, along each axis, whose samples a vector depends on.

    >>> import torch
    >>> encoder = ConvEncoder(ConvConfig(strides=(2, (2, 3)), depths=(0, 1), width=32), 2, 3, 8)
    >>> encoder(torch.zeros(1, 3, 16, 24)).shape, encoder.hop, encoder.margin
    (torch.Size([1, 8, 4, 4]), (4, 6), (2, 2))
    """

    def __init__(self, config: ConvConfig, rank: int, channels: int, out_channels: int) -> None:
        super().__init__()
        windows, widths = _windows(config, rank), _widths(config)
        layers: list[nn.Module] = []
        for i, (before, width) in enumerate(pairwise([channels, *widths])):
            if i > 0:
                layers.append(activation(before, config.norm))
            layers.append(conv(rank, before, width, windows[i], gain=2.0 if i else 1.0))
            layers += [ResidualBlock(rank, width, config.norm) for _ in range(config.depths[i])]
        layers += [activation(config.width, config.norm), conv(rank, config.width, out_channels)]
        self.layers = nn.Sequential(*layers)
        self.hop = config.hop(rank)
        reach = _encoder_reach(config, rank)
        self.margin = tuple(-(-samples // hop) for samples, hop in zip(reach, self.hop, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, *S) -> (B, out_channels, *S / hop); `ValueError` where that is no whole grid."""
        if any(extent % hop for extent, hop in zip(x.shape[2:], self.hop, strict=True)):
            raise ValueError(f"pad {tuple(x.shape[2:])} to multiples of {self.hop} first")
        return self.layers(fast_layout(x))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: residual blocks and transposed convolutions.

    Shapes: z (B, in_channels, *G) -> (B, out_channels, *G * hop): what a likelihood takes.

    Attributes:
        hop: samples along each axis for each latent position.
        margin: latent positions on each side, along each axis, that the samples of one position depend on.

    >>> import torch
    >>> decoder = ConvDecoder(ConvConfig(strides=(2, (2, 3)), depths=(0, 1), width=32), 2, 8, 3)
    >>> decoder(torch.zeros(1, 8, 4, 4)).shape, decoder.margin
    (torch.Size([1, 3, 16, 24]), (3, 3))
    """

    def __init__(self, config: ConvConfig, rank: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        windows, widths = _windows(config, rank), _widths(config)
        layers: list[nn.Module] = [conv(rank, in_channels, config.width, Window((1,) * rank), gain=1.0)]
        for i in reversed(range(len(widths))):
            layers += [ResidualBlock(rank, widths[i], config.norm) for _ in range(config.depths[i])]
            layers.append(activation(widths[i], config.norm))
            # the last one starts small: a new decoder says mid-grey
            after, gain = (widths[i - 1], 2.0) if i else (out_channels, 0.1)
            layers.append(upconv(rank, widths[i], after, windows[i], gain=gain))
        self.layers = nn.Sequential(*layers)
        self.hop = config.hop(rank)
        self.margin = _decoder_reach(config, rank)

    def forward(self, z: Tensor) -> Tensor:
        """(B, in_channels, *G) -> (B, out_channels, *G * hop)."""
        return self.layers(fast_layout(z))


def _windows(config: ConvConfig, rank: int) -> list[Window]:
    return [Window(strides) for strides in config.strides_of(rank)]


def _widths(config: ConvConfig) -> list[int]:
    """Channels of each level, finest first."""
    widths = [config.width]
    for _ in config.strides[1:]:
        widths.append(max(32, widths[-1] // 2))
    return widths[::-1]


def _encoder_reach(config: ConvConfig, rank: int) -> tuple[int, ...]:
    """Samples outside its own cell, on each side, that a latent position depends on."""
    reach = (0,) * rank
    for window, depth in zip(reversed(_windows(config, rank)), reversed(config.depths), strict=True):
        reach = window.reach_down([r + depth for r in reach])
    return reach


def _decoder_reach(config: ConvConfig, rank: int) -> tuple[int, ...]:
    """Latent positions on each side that the samples of one cell depend on."""
    reach = (0,) * rank
    for window, depth in zip(_windows(config, rank), config.depths, strict=True):
        reach = tuple(r + depth for r in window.reach_up(reach))
    return tuple(r + 1 for r in reach)  # the first convolution
