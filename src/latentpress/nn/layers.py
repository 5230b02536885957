"""Layers for 1, 2 and 3 spatial dimensions: strided windows, per-position normalisation, residual blocks.

All activations are float (B, C, *S) with `spatial` = len(S). Weights start at He's variance
(arXiv 1502.01852): a layer that reads rectified activations has variance 2 / fan_in, one that reads
linear ones 1 / fan_in, so that signals keep their size through any depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ChannelNorm", "ResidualBlock", "Window", "activation", "conv", "fast_layout", "upconv"]

_CONV = {
    1: (nn.Conv1d, nn.ConvTranspose1d, torch.contiguous_format),
    2: (nn.Conv2d, nn.ConvTranspose2d, torch.channels_last),
    3: (nn.Conv3d, nn.ConvTranspose3d, torch.channels_last_3d),
}


@dataclass(frozen=True)
class Window:
    """Kernel and padding of a convolution that changes the resolution by exactly `stride`.

    Kernel 2s with padding s/2, so that neighbouring windows overlap by half; for stride 1 kernel 3.

    >>> Window(4).kernel, Window(4).padding
    (8, 2)
    """

    stride: int

    @property
    def kernel(self) -> int:
        """Samples that the window covers along each dimension."""
        return 3 if self.stride == 1 else 2 * self.stride

    @property
    def padding(self) -> int:
        """Zeros added on each side of the finer grid."""
        return 1 if self.stride == 1 else self.stride // 2

    def reach_down(self, reach: int) -> int:
        """Fine samples on each side that `reach` coarse neighbours depend on, in a strided convolution."""
        return reach * self.stride + self.padding

    def reach_up(self, reach: int) -> int:
        """Coarse neighbours that `reach` fine neighbours depend on, in a transposed convolution."""
        return (reach + self.kernel - 1 - self.padding) // self.stride


def conv(
    spatial: int, channels: int, out_channels: int, window: Window | None = None, *, gain: float = 2.0
) -> nn.Module:
    """A convolution (B, channels, *S) -> (B, out_channels, *S/stride); without `window`, of one position.

    Args:
        spatial: Number of spatial dimensions, 1 to 3.
        channels: Channels in.
        out_channels: Channels out.
        window: Kernel, padding and stride.
        gain: Variance of the outputs over the mean square of the inputs, at the start.
    """
    kernel, padding, stride = (window.kernel, window.padding, window.stride) if window else (1, 0, 1)
    layer = _CONV[spatial][0](channels, out_channels, kernel, stride, padding)
    return _initialised(layer, gain / (channels * kernel**spatial))


def upconv(spatial: int, channels: int, out_channels: int, window: Window, *, gain: float = 2.0) -> nn.Module:
    """A transposed convolution (B, channels, *S) -> (B, out_channels, *S*stride); arguments as for `conv`."""
    layer = _CONV[spatial][1](channels, out_channels, window.kernel, window.stride, window.padding)
    # each output sums over the (kernel / stride)^spatial windows that cover it
    return _initialised(layer, gain / (channels * (window.kernel / window.stride) ** spatial))


def _initialised(layer: nn.Module, variance: float) -> nn.Module:
    nn.init.normal_(layer.get_parameter("weight"), std=math.sqrt(variance))
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def fast_layout(x: Tensor) -> Tensor:
    """Returns `x` (B, C, *S) with its channels innermost in memory, where convolutions run fastest."""
    return x.contiguous(memory_format=_CONV[x.dim() - 2][2])


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each position by itself.

    y = (x - mean_c x) / sqrt(var_c x + eps) * weight + bias  (arXiv 1607.06450). It sees no other
    position, hence a tile of an item gives the values of the whole item.

    >>> bool(ChannelNorm(4)(torch.randn(2, 4, 3, 3)).mean(1).abs().max() < 1e-5)
    True
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        y = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps)
        return y.movedim(-1, 1)


def activation(channels: int, norm: str) -> nn.Module:
    """What stands before a convolution: a rectifier, after `ChannelNorm` where `norm` is "channel"."""
    return nn.Sequential(ChannelNorm(channels), nn.ReLU()) if norm == "channel" else nn.ReLU()


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(norm(x))))): the block of the VQ-VAE paper (arXiv 1711.00937, section 4.1).

    The activation comes first (arXiv 1603.05027), and the last convolution starts at zero
    (arXiv 1901.09321), so that a new stack of any depth is the identity and takes large steps at once.
    """

    def __init__(self, spatial: int, channels: int, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            activation(channels, norm),
            conv(spatial, channels, channels, Window(1)),
            nn.ReLU(inplace=True),
            conv(spatial, channels, channels, gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return x + self.branch(x)
