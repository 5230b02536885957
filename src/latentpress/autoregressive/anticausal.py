"""Encoders that read an item from its end: z_t may depend on x_(>= t) alone.

A latent is released to an autoregressive decoder before the samples of its step, and need not repeat
what the decoder knows by then. So step k's latent sees the samples from k * stride on, along the first
axis, and none before (arXiv 1901.03416, section 3.2). `AnticausalEncoder` is the grid network's own
causal layers between two reversals; `RecurrentEncoder` an LSTM that runs backwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.network import CausalTrunk, Conditioning
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import AnticausalConfig, RecurrentEncoderConfig

__all__ = ["AnticausalEncoder", "RecurrentEncoder"]

_START = 0.1  # of the usual size: the means' weights at first,
_RECURRENT_START = 3.0  # and of an LSTM, whose units are small at first and change little from step to step


class AnticausalEncoder(nn.Module):
    """Causal layers over the reversed item.

        e = the members' embeddings;   h = reverse(trunk(reverse(e)))        h_p sees positions after p
        step k:  relu(A [h, e] of all the step's positions + a), then linear  sees positions from k * stride

    Args:
        config: widths, depths and the stride.
        sizes: the alphabet of each member of a position's tuple.
        across: positions of one place along the first axis: an image's width, 1 for a text.
        dims: axes of the grid.
        outputs: numbers for each step, the first half (or all, if `means` says so) being means.
        means: how many of the outputs are means.

    >>> config = AnticausalConfig(stride=2, width=8, depth=1, hidden=16)
    >>> encoder = AnticausalEncoder(config, sizes=(16,), across=5, dims=2, outputs=4, means=2)
    >>> encoder(torch.zeros(3, 7, 5, 1, dtype=torch.int64)).shape
    torch.Size([3, 4, 4])
    """

    def __init__(
        self,
        config: AnticausalConfig,
        sizes: Sequence[int],
        across: int,
        dims: int,
        outputs: int,
        means: int,
    ) -> None:
        super().__init__()
        structure = NetworkStructure.of(config.network, sizes, dims)
        self.stride, self.across = config.stride, across
        self.trunk = CausalTrunk(structure)
        inputs = config.stride * across * (structure.width + structure.position_embedding)
        self.hidden = nn.Linear(inputs, config.hidden)
        nn.init.normal_(self.hidden.weight, std=math.sqrt(2 / inputs))
        nn.init.zeros_(self.hidden.bias)
        self.out = _output_layer(config.hidden, outputs, means)

    def forward(self, symbols: Tensor, mask: Tensor | None = None) -> Tensor:
        """The numbers of every step, (B, n, outputs), from symbols (B, *G, P) int64.

        A `mask` (B, *G) is false at padding, which changes nothing.
        """
        return self.out(F.relu(self.hidden(self.features(symbols, mask))))

    def features(self, symbols: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the layers say of each step's positions: (B, n, inputs of `hidden`)."""
        embedded = self.trunk.embedded(symbols)
        if mask is not None:
            embedded = embedded * mask[..., None]
        axes = tuple(range(1, embedded.ndim - 1))
        backwards = None if mask is None else mask.flip(axes)
        stream = self.trunk.residual(embedded.flip(axes), Conditioning(), backwards)
        return by_step(torch.cat([stream[-1].flip(axes), embedded], dim=-1), self.stride)


class RecurrentEncoder(nn.Module):
    """An LSTM that reads the steps from the last to the first.

    The arguments are those of `AnticausalEncoder`.

    >>> config = RecurrentEncoderConfig(stride=16, width=8)
    >>> encoder = RecurrentEncoder(config, sizes=(256,), across=1, dims=1, outputs=2, means=1)
    >>> encoder(torch.zeros(3, 40, 1, dtype=torch.int64)).shape
    torch.Size([3, 3, 2])
    """

    def __init__(
        self,
        config: RecurrentEncoderConfig,
        sizes: Sequence[int],
        across: int,
        dims: int,
        outputs: int,
        means: int,
    ) -> None:
        super().__init__()
        self.stride, self.across = config.stride, across
        embedding = math.ceil(config.embedding / len(sizes))
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding) for size in sizes)
        self.cell = nn.LSTMCell(config.stride * across * embedding * len(sizes), config.width)
        self.out = _output_layer(config.width, outputs, means, _RECURRENT_START)

    def forward(self, symbols: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `AnticausalEncoder.forward`."""
        members = zip(self.embeddings, symbols.unbind(-1), strict=True)
        embedded = torch.cat([table(member) for table, member in members], dim=-1)
        seen = embedded.new_ones(embedded.shape[:-1]) if mask is None else mask.to(embedded.dtype)
        steps = by_step(embedded * seen[..., None], self.stride)
        there = by_step(seen[..., None], self.stride).amax(-1, keepdim=True)  # (B, n, 1)
        h = c = steps.new_zeros(len(steps), self.cell.hidden_size)
        outputs = []
        for k in reversed(range(steps.shape[1])):
            h, c = self.cell(steps[:, k], (h, c))
            h, c = h * there[:, k], c * there[:, k]  # padding comes first, and leaves no trace
            outputs.append(self.out(h))
        return torch.stack(outputs[::-1], dim=1)


def by_step(x: Tensor, stride: int) -> Tensor:
    """(B, T, ..., C) to (B, ceil(T / stride), stride * ... * C); what the last step lacks is zero.

    >>> by_step(torch.arange(3.0).view(1, 3, 1), stride=2).tolist()
    [[[0.0, 1.0], [2.0, 0.0]]]
    """
    missing = -x.shape[1] % stride
    if missing:
        x = torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], dim=1)
    return x.reshape(len(x), x.shape[1] // stride, -1)


def _output_layer(inputs: int, outputs: int, means: int, start: float = _START) -> nn.Linear:
    """A linear layer: weights of a relative size for the means, none yet for what sets the variances."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    nn.init.normal_(layer.weight[:means], std=start / math.sqrt(inputs))
    return layer
