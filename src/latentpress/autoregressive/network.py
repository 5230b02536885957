"""The autoregressive network over a grid of symbol tuples, in floating point for training.

The probability of an item is the product over positions in raster order, and over the members of
each position's tuple, of the member's probability given everything before it and the context
(PixelCNN, arXiv 1601.06759 and 1606.05328; WaveNet, arXiv 1609.03499):

    e  = the members' embeddings, side by side
    h  = taps(e, window of past offsets) + context
    h += R (tanh(a) * sigmoid(b)),   (a, b) = taps(h, offsets of the layer) + context,   for every layer
    logits of member p = L_p relu(H_p [h, embeddings of the members before p])

Everything is kept channels-last, (B, *G, C), and whatever lies outside the grid counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive.offsets import Offset, gather
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import CausalConfig

__all__ = [
    "CausalNetwork",
    "CausalTrunk",
    "Conditioned",
    "Conditioning",
    "GatedLayer",
    "Head",
    "InputLayer",
    "Trace",
]


@dataclass(frozen=True)
class Conditioning:
    """What a network is told beside the symbols.

    `map`: (B, Cm, *G), aligned with the grid; float for `CausalNetwork`, int8 for `IntegerNetwork`.
    `labels`: (B,) int64 class indices, -1 where the class is unknown.
    """

    map: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class Trace:
    """The activations of one pass, channels-last: what the exact form is calibrated on.

    `residual`: the input of every gated layer and, last, of the heads. `hidden`: each head's units.
    """

    residual: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]


class Conditioned(nn.Module):
    """Adds the context map's projection and the class vector to a layer's output."""

    def __init__(self, structure: NetworkStructure, width: int) -> None:
        super().__init__()
        channels, classes = structure.context_channels, structure.num_classes
        self.map = nn.Linear(channels, width, bias=False) if channels else None
        self.classes = nn.Embedding(classes + 1, width) if classes else None  # the last: unknown
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, x: Tensor, context: Conditioning) -> Tensor:
        """(B, *G, width) to the same."""
        if self.map is not None:
            assert context.map is not None
            x = x + self.map(context.map.movedim(1, -1))
        if self.classes is not None:
            labels = context.labels
            last = x.new_full((x.shape[0],), -1, dtype=torch.int64) if labels is None else labels
            vector = self.classes(last % self.classes.num_embeddings)
            x = x + vector.view(x.shape[0], *[1] * (x.ndim - 2), -1)
        return x


class InputLayer(nn.Module):
    """Taps at every past offset of the window: a convolution whose present and future taps are zero."""

    def __init__(self, structure: NetworkStructure) -> None:
        super().__init__()
        radius, dims, width = structure.radius, structure.dims, structure.width
        channels = structure.member_embedding * len(structure.sizes)
        self.radius, self.window = radius, structure.window
        self.conv = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
        self.weight = nn.Parameter(torch.empty(width, len(self.window) * channels))
        self.bias = nn.Parameter(torch.zeros(width))
        self.context = Conditioned(structure, width)
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.weight.shape[1]))

    def forward(self, x: Tensor, context: Conditioning) -> Tensor:
        """Embeddings (B, *G, E) to the residual stream (B, *G, width)."""
        y = self.conv(self._padded(x), self._kernel(x.ndim - 2), self.bias)
        return self.context(y.movedim(1, -1), context)

    def _padded(self, x: Tensor) -> Tensor:
        dims = x.ndim - 2
        last = 0 if dims > 1 else -1  # one axis: the present tap is not even in the kernel
        padding = [self.radius, self.radius] * (dims - 1) + [self.radius, last]
        return F.pad(x.movedim(-1, 1), padding)

    def _kernel(self, dims: int) -> Tensor:
        r = self.radius
        shape = (r,) if dims == 1 else (r + 1,) + (2 * r + 1,) * (dims - 1)
        taps = self.weight.view(self.weight.shape[0], len(self.window), -1).transpose(1, 2)
        # raster order of the window is the kernel's own order: only its tail, present and future, is zero
        taps = F.pad(taps, (0, math.prod(shape) - len(self.window)))
        return taps.reshape(*taps.shape[:2], *shape)


class GatedLayer(nn.Module):
    """h + R (tanh(a) * sigmoid(b)) with (a, b) from the taps at the layer's offsets."""

    def __init__(self, structure: NetworkStructure, offsets: Sequence[Offset]) -> None:
        super().__init__()
        width = structure.width
        self.offsets = tuple(offsets)
        self.gates = nn.Linear(len(self.offsets) * width, 2 * width)
        self.context = Conditioned(structure, 2 * width)
        self.residual = nn.Linear(width, width)
        nn.init.normal_(self.gates.weight, std=1 / math.sqrt(self.gates.in_features))
        nn.init.zeros_(self.gates.bias)
        nn.init.normal_(self.residual.weight, std=1 / math.sqrt(width * len(structure.dilations)))
        nn.init.zeros_(self.residual.bias)

    def forward(self, h: Tensor, context: Conditioning) -> Tensor:
        """The residual stream (B, *G, width), before and after."""
        a, b = self.context(self.gates(gather(h, self.offsets)), context).chunk(2, dim=-1)
        return h + self.residual(torch.tanh(a) * torch.sigmoid(b))


class Head(nn.Module):
    """Logits of one member from the trunk and the embeddings of the members before it."""

    def __init__(self, structure: NetworkStructure, member: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(structure.width + member * structure.embedding, structure.head_width)
        self.logits = nn.Linear(structure.head_width, structure.sizes[member])
        nn.init.zeros_(self.logits.weight)  # training starts from uniform symbols
        nn.init.zeros_(self.logits.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units (B, *G, head_width) and logits (B, *G, K_p)."""
        hidden = F.relu(self.hidden(x))
        return hidden, self.logits(hidden)


class CausalTrunk(nn.Module):
    """Everything up to the heads: the residual stream at a position, from the symbols before it.

    Attributes:
        structure: what it is made of.
    """

    def __init__(self, structure: NetworkStructure) -> None:
        super().__init__()
        self.structure = structure
        self.embeddings = nn.ModuleList(nn.Embedding(k, structure.member_embedding) for k in structure.sizes)
        self.input = InputLayer(structure)
        self.layers = nn.ModuleList(GatedLayer(structure, offsets) for offsets in structure.layers)

    def embedded(self, symbols: Tensor) -> Tensor:
        """What the input layer sees of the symbols: (B, *G, position_embedding) from (B, *G, P)."""
        return _embed(self.embeddings, symbols.unbind(-1))

    def residual(self, embedded: Tensor, context: Conditioning, mask: Tensor | None = None) -> list[Tensor]:
        """The residual stream before every layer and after the last, each (B, *G, width).

        Where `mask` (B, *G) is false, a position counts as outside the grid; see to it that `embedded` is
        zero there.
        """
        stream = [_masked(self.input(embedded, context), mask)]
        for layer in self.layers:
            stream.append(_masked(layer(stream[-1], context), mask))
        return stream


class CausalNetwork(CausalTrunk):
    """The distribution of a grid of symbol tuples, computed for all positions at once.

    Args:
        config: widths, depth, radius and dilations.
        sizes: the alphabet of each member of a position's tuple, P numbers.
        dims: 1, 2 or 3.
        context_channels: channels of the context map, 0 for none.
        num_classes: number of classes of the context's labels, 0 for none.

    >>> network = CausalNetwork(CausalConfig(width=8, depth=2), sizes=(16, 16), dims=2)
    >>> symbols = torch.zeros(3, 4, 5, 2, dtype=torch.int64)
    >>> [tuple(member.shape) for member in network(symbols)]
    [(3, 4, 5, 16), (3, 4, 5, 16)]
    >>> round(network.nll_nats(symbols)[0].item() / (4 * 5 * 2), 3)  # untrained: log 16
    2.773
    """

    def __init__(
        self,
        config: CausalConfig,
        sizes: Sequence[int],
        dims: int,
        *,
        context_channels: int = 0,
        num_classes: int = 0,
    ) -> None:
        structure = NetworkStructure.of(config, sizes, dims, context_channels, num_classes)
        super().__init__(structure)
        self.head_embeddings = nn.ModuleList(nn.Embedding(k, structure.embedding) for k in sizes[:-1])
        self.heads = nn.ModuleList(Head(structure, p) for p in range(len(sizes)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The alphabet of each member."""
        return self.structure.sizes

    @property
    def dims(self) -> int:
        """Dimensions of the grid."""
        return self.structure.dims

    def forward(self, symbols: Tensor, context: Conditioning | None = None) -> tuple[Tensor, ...]:
        """Logits in nats of every member: P tensors (B, *G, K_p) from `symbols` (B, *G, P) int64."""
        return self.trace(symbols, context).logits

    def trace(self, symbols: Tensor, context: Conditioning | None = None) -> Trace:
        """As `forward`, with the activations on the way."""
        context = self._checked(symbols, context)
        members = symbols.unbind(-1)
        residual = self.residual(self.embedded(symbols), context)
        h, hidden, logits = residual[-1], [], []
        for p, head in enumerate(self.heads):
            y = head(_embed(self.head_embeddings[:p], members[:p], h))
            hidden.append(y[0])
            logits.append(y[1])
        return Trace(tuple(residual), tuple(hidden), tuple(logits))

    def nll_nats(
        self, symbols: Tensor, context: Conditioning | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """-log p(symbols) of every item in nats, (B,); a `mask` (B, *G) leaves out where it is False."""
        total = symbols.new_zeros(symbols.shape[:-1], dtype=torch.float32)
        for p, logits in enumerate(self(symbols, context)):
            nats = F.cross_entropy(logits.flatten(0, -2).float(), symbols[..., p].flatten(), reduction="none")
            total = total + nats.view(total.shape)
        if mask is not None:
            total = total * mask
        return total.flatten(1).sum(1)

    def _checked(self, symbols: Tensor, context: Conditioning | None) -> Conditioning:
        structure = self.structure
        if symbols.ndim != structure.dims + 2 or symbols.shape[-1] != len(structure.sizes):
            raise ValueError(
                f"symbols: shape (B, {structure.dims} grid axes, {len(structure.sizes)}) is needed, "
                f"got {tuple(symbols.shape)}"
            )
        context = context or Conditioning()
        channels = 0 if context.map is None else context.map.shape[1]
        if channels != structure.context_channels:
            raise ValueError(f"context map: {structure.context_channels} channels needed, got {channels}")
        return context


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask[..., None]


def _embed(tables: Iterable[nn.Module], members: Sequence[Tensor], *before: Tensor) -> Tensor:
    """The members' embeddings side by side, after whatever stands before them."""
    return torch.cat([*before, *(table(m) for table, m in zip(tables, members, strict=True))], dim=-1)
