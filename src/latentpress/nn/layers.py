"""Layers for 1, 2 and 3 axes: strided windows, per-position normalisation, residual blocks.

All activations are float (B, C, *S) with `rank` = len(S). Weights start at He's variance
(arXiv 1502.01852): a layer that reads rectified activations has variance 2 / fan_in, one that reads
linear ones 1 / fan_in, so that signals keep their size through any depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["ChannelNorm", "ResidualBlock", "Window", "activation", "conv", "fast_layout", "upconv"]

_CONV = {
    1: (nn.Conv1d, nn.ConvTranspose1d, torch.contiguous_format),
    2: (nn.Conv2d, nn.ConvTranspose2d, torch.channels_last),
    3: (nn.Conv3d, nn.ConvTranspose3d, torch.channels_last_3d),
}


@dataclass(frozen=True)
class Window:
    """Kernel and padding of a convolution that changes the resolution by exactly `strides`.

    Along an axis of stride s the kernel is 2s, or 2s + 1 where s is odd, so that it lies evenly around
    its s samples: half a window of context on each side. For stride 1 that is a kernel of 3.

    >>> Window((1, 4, 5)).kernel, Window((1, 4, 5)).padding
    ((3, 8, 11), (1, 2, 3))
    """

    strides: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Samples that the window covers along each axis."""
        return tuple(2 * s + s % 2 for s in self.strides)

    @property
    def padding(self) -> tuple[int, ...]:
        """Zeros added on each side of the finer grid, along each axis."""
        return tuple((s + 1) // 2 for s in self.strides)

    def reach_down(self, reach: Sequence[int]) -> tuple[int, ...]:
        """Fine samples on each side that `reach` coarse neighbours depend on, in a strided convolution."""
        parts = zip(reach, self.strides, self.padding, strict=True)
        return tuple(r * s + padding for r, s, padding in parts)

    def reach_up(self, reach: Sequence[int]) -> tuple[int, ...]:
        """Coarse neighbours that `reach` fine neighbours depend on, in a transposed convolution."""
        parts = zip(reach, self.strides, self.padding, self.kernel, strict=True)
        return tuple((r + kernel - 1 - padding) // s for r, s, padding, kernel in parts)


def conv(
    rank: int, channels: int, out_channels: int, window: Window | None = None, *, gain: float = 2.0
) -> nn.Module:
    """A convolution (B, channels, *S) -> (B, out_channels, *S / strides); without `window`, of one position.

    `gain` is the variance of the outputs over the mean square of the inputs, at the start.
    """
    ones, zeros = (1,) * rank, (0,) * rank
    kernel, padding, strides = (
        (window.kernel, window.padding, window.strides) if window else (ones, zeros, ones)
    )
    layer = _CONV[rank][0](channels, out_channels, kernel, strides, padding)
    return _initialised(layer, gain / (channels * math.prod(kernel)))


def upconv(rank: int, channels: int, out_channels: int, window: Window, *, gain: float = 2.0) -> nn.Module:
    """The transposed convolution (B, channels, *S) -> (B, out_channels, *S * strides), as `conv`."""
    layer = _CONV[rank][1](channels, out_channels, window.kernel, window.strides, window.padding)
    # each output sums over the product of kernel / stride windows that cover it
    covering = math.prod(kernel / s for kernel, s in zip(window.kernel, window.strides, strict=True))
    return _initialised(layer, gain / (channels * covering))


def _initialised(layer: nn.Module, variance: float) -> nn.Module:
    nn.init.normal_(layer.get_parameter("weight"), std=math.sqrt(variance))
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def fast_layout(x: Tensor) -> Tensor:
    """Returns `x` (B, C, *S) with its channels innermost in memory, where convolutions run fastest."""
    return x.contiguous(memory_format=_CONV[x.dim() - 2][2])


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position by itself (arXiv 1607.06450).

    It sees no other position, hence a tile of an item gives the values of the whole item.

    >>> bool(ChannelNorm(4)(torch.randn(2, 4, 3, 3)).mean(1).abs().max() < 1e-5)
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def activation(channels: int, norm: str) -> nn.Module:
    """The nonlinearity before a convolution: a rectifier, after `ChannelNorm` where `norm` is "channel"."""
    return nn.Sequential(ChannelNorm(channels), nn.ReLU()) if norm == "channel" else nn.ReLU()


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(norm(x))))): the block of the VQ-VAE paper (arXiv 1711.00937, section 4.1).

    The activation comes first (arXiv 1603.05027), and the last convolution starts at zero
    (arXiv 1901.09321), so that a new stack of any depth is the identity and takes large steps at once.
    """

    def __init__(self, rank: int, channels: int, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            activation(channels, norm),
            conv(rank, channels, channels, Window((1,) * rank)),
            nn.ReLU(inplace=True),
            conv(rank, channels, channels, gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return x + self.branch(x)
