"""Encoders that read an item from its end: z_t may depend on x_(>= t) alone.

A latent is released to an autoregressive decoder before the samples of its step, and need not repeat
what the decoder knows by then. So step k's latents see the samples from k * hop on, along the first
axis, and none before (arXiv 1901.03416, section 3.2). `AnticausalEncoder` is the causal network's layers
between two reversals; `RecurrentEncoder` an LSTM that runs backwards.

Both give `outputs` numbers for every cell of the samples' grid: the latents' grid has ceil(size / hop)
cells along every axis. Cells of one step share their weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.network import CausalTrunk
from latentpress.autoregressive.offsets import space_to_depth
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import AnticausalConfig, RecurrentEncoderConfig
from latentpress.exact.distribution import Conditioning

__all__ = ["AnticausalEncoder", "RecurrentEncoder"]

_START = 0.1  # of the usual size: the means' weights at first,
_RECURRENT_START = 3.0  # and of an LSTM, whose units are small at first and change little from step to step


class AnticausalEncoder(nn.Module):
    """Causal layers over the reversed item.

        e = the components' embeddings;   h = reverse(trunk(reverse(e)))     h_p sees positions after p
        cell: relu(A [h, e] of all the cell's positions + a), then linear    sees positions from k * hop_1

    Args:
        config: widths and depths.
        alphabets: of each component of a position's tuple.
        hop: samples that a cell spans along each axis; `config.hop` with the axes that it leaves open.
        outputs: numbers for each cell, the first ones being means.
        means: how many of the outputs are means.
    """

    def __init__(
        self, config: AnticausalConfig, alphabets: Sequence[int], hop: Sequence[int], outputs: int, means: int
    ) -> None:
        super().__init__()
        structure = NetworkStructure.of(config.network, alphabets, len(hop))
        self.hop = tuple(hop)
        self.trunk = CausalTrunk(structure)
        inputs = math.prod(hop) * (structure.width + structure.position_embedding)
        self.hidden = nn.Linear(inputs, config.hidden)
        nn.init.normal_(self.hidden.weight, std=math.sqrt(2 / inputs))
        nn.init.zeros_(self.hidden.bias)
        self.out = _output_layer(config.hidden, outputs, means)

    def forward(self, symbols: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, outputs, *ceil(size / hop)) from symbols (B, *size, P); where `mask` is false is padding."""
        return self.out(F.relu(self.hidden(self.features(symbols, mask)))).movedim(-1, 1)

    def features(self, symbols: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the layers give at each cell's positions: (B, *G, inputs of `hidden`)."""
        embedded = self.trunk.embedded(symbols)
        if mask is not None:
            embedded = embedded * mask[..., None]
        axes = tuple(range(1, embedded.ndim - 1))
        backwards = None if mask is None else mask.flip(axes)
        stream = self.trunk.residual(embedded.flip(axes), Conditioning(), backwards)
        return space_to_depth(torch.cat([stream[-1].flip(axes), embedded], dim=-1), self.hop)


class RecurrentEncoder(nn.Module):
    """An LSTM over the steps from the last to the first, in each further cell by itself; see above."""

    def __init__(
        self,
        config: RecurrentEncoderConfig,
        alphabets: Sequence[int],
        hop: Sequence[int],
        outputs: int,
        means: int,
    ) -> None:
        super().__init__()
        self.hop = tuple(hop)
        channels = math.ceil(config.embedding / len(alphabets))
        self.embeddings = nn.ModuleList(nn.Embedding(size, channels) for size in alphabets)
        self.cell = nn.LSTMCell(math.prod(hop) * channels * len(alphabets), config.width)
        self.out = _output_layer(config.width, outputs, means, _RECURRENT_START)

    def forward(self, symbols: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `AnticausalEncoder.forward`."""
        components = zip(self.embeddings, symbols.unbind(-1), strict=True)
        embedded = torch.cat([table(component) for table, component in components], dim=-1)
        seen = embedded.new_ones(embedded.shape[:-1]) if mask is None else mask.to(embedded.dtype)
        steps = space_to_depth(embedded * seen[..., None], self.hop)  # (B, n, *cells, inputs)
        there = space_to_depth(seen[..., None], self.hop).amax(-1, keepdim=True)
        h = c = steps.new_zeros(steps[:, 0].shape[:-1].numel(), self.cell.hidden_size)
        outputs = []
        for step, kept in zip(steps.unbind(1)[::-1], there.unbind(1)[::-1], strict=True):
            state = self.cell(step.flatten(0, -2), (h, c))
            h, c = (part * kept.reshape(-1, 1) for part in state)  # padding comes first and leaves no trace
            outputs.append(self.out(h).view(*step.shape[:-1], -1))
        return torch.stack(outputs[::-1], dim=1).movedim(-1, 1)


def _output_layer(inputs: int, outputs: int, means: int, start: float = _START) -> nn.Linear:
    """A linear layer: weights of a relative size for the means, none yet for what sets the variances."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    nn.init.normal_(layer.weight[:means], std=start / math.sqrt(inputs))
    return layer
