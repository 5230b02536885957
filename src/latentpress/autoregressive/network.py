"""The autoregressive network over a grid of symbol tuples, in floating point for training.

The probability of an item is the product over positions in raster order, and over the components of
each position's tuple, of the component's probability given everything before it and the conditioning
(PixelCNN, arXiv 1601.06759 and 1606.05328; WaveNet, arXiv 1609.03499):

    e  = the components' embeddings, side by side
    h  = taps(e, window of past offsets) + c_0
    h += R (tanh(a) * sigmoid(b)),   (a, b) = taps(h, offsets of the layer) + c_i,   for every layer i
    logits of component p = L_p relu(H_p [h, embeddings of the components before p])

where c_i = V_i local + sum over labels l of T_il[label_l]. Everything is kept channels-last, (B, *G, C), and
whatever is outside the grid counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from latentpress.autoregressive.offsets import Offset, shift_and_concat
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import CausalConfig
from latentpress.exact.distribution import Conditioning

__all__ = ["CausalNetwork", "CausalTrunk", "Conditioned", "GatedLayer", "Head", "Trace", "ordinal_embedding_"]

_LOGITS = 1 << 26  # of one component that are held at once while training


@dataclass(frozen=True)
class Trace:
    """The activations of one pass, channels-last: what the integer form is calibrated on.

    `residual`: the input of every gated layer and, last, of the heads. `hidden`: each head's units.
    """

    residual: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]


class Conditioned(nn.Module):
    """Adds what the conditioning says to a layer's output: the local map's projection, and a vector a label.

    Each label has a table of a vector for each of its values, and a last one for "unknown", at first zeros.
    """

    def __init__(self, structure: NetworkStructure, width: int) -> None:
        super().__init__()
        channels = structure.context_channels
        self.local = nn.Linear(channels, width, bias=False) if channels else None
        self.labels = nn.ModuleList(nn.Embedding(size + 1, width) for size in structure.label_sizes)
        for table in self.tables:
            nn.init.zeros_(table)

    @property
    def tables(self) -> list[Tensor]:
        """The weights of the labels' tables, (values + 1, width) each."""
        return [table.weight for table in self.labels if isinstance(table, nn.Embedding)]

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """(B, *G, width) to the same."""
        if self.local is not None:
            assert conditioning.local is not None
            x = x + self.local(conditioning.local.movedim(1, -1))
        for number, table in enumerate(self.tables):
            unknown = len(table) - 1
            labels = conditioning.labels
            labels = torch.full((1,), -1, device=x.device) if labels is None else labels[..., number]
            rows = torch.where(labels < 0, unknown, labels)
            vectors = F.embedding(rows, table)  # (B, width), (B, T, width); (1, width) where all are unknown
            x = x + vectors.view(*rows.shape, *[1] * (x.ndim - 1 - rows.ndim), -1)
        return x


class InputLayer(nn.Module):
    """Taps at every past offset of the window: a convolution whose present and future taps are zero."""

    def __init__(self, structure: NetworkStructure) -> None:
        super().__init__()
        radius, rank, width = structure.radius, structure.rank, structure.width
        self.radius, self.window = radius, structure.window
        self.conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        self.weight = nn.Parameter(torch.empty(width, len(self.window) * structure.position_embedding))
        self.bias = nn.Parameter(torch.zeros(width))
        self.conditioned = Conditioned(structure, width)
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.weight.shape[1]))

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """Embeddings (B, *G, E) to the residual stream (B, *G, width)."""
        r, rank = self.radius, x.ndim - 2
        shape = (r,) if rank == 1 else (r + 1,) + (2 * r + 1,) * (rank - 1)
        last = 0 if rank > 1 else -1  # one axis: the present tap is not even in the kernel
        padded = F.pad(x.movedim(-1, 1), [r, r] * (rank - 1) + [r, last])
        taps = self.weight.unflatten(1, (len(self.window), -1)).transpose(1, 2)
        # raster order of the window is the kernel's order too: only its tail, present and future, is zero
        kernel = F.pad(taps, (0, math.prod(shape) - len(self.window))).unflatten(2, shape)
        return self.conditioned(self.conv(padded, kernel, self.bias).movedim(1, -1), conditioning)


class GatedLayer(nn.Module):
    """h + R (tanh(a) * sigmoid(b)) with (a, b) from the taps at the layer's offsets."""

    def __init__(self, structure: NetworkStructure, offsets: Sequence[Offset]) -> None:
        super().__init__()
        width = structure.width
        self.offsets = tuple(offsets)
        self.gates = nn.Linear(len(self.offsets) * width, 2 * width)
        self.conditioned = Conditioned(structure, 2 * width)
        self.residual = nn.Linear(width, width)
        nn.init.normal_(self.gates.weight, std=1 / math.sqrt(self.gates.in_features))
        nn.init.zeros_(self.gates.bias)
        nn.init.normal_(self.residual.weight, std=1 / math.sqrt(width * len(structure.dilations)))
        nn.init.zeros_(self.residual.bias)

    def forward(self, h: Tensor, conditioning: Conditioning) -> Tensor:
        """The residual stream (B, *G, width), before and after."""
        taps = self.gates(shift_and_concat(h, self.offsets))
        a, b = self.conditioned(taps, conditioning).chunk(2, dim=-1)
        return h + self.residual(torch.tanh(a) * torch.sigmoid(b))


class Head(nn.Module):
    """Logits of one component from the trunk and the embeddings of the components before it."""

    def __init__(self, structure: NetworkStructure, component: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(structure.width + component * structure.embedding, structure.head_width)
        self.logits = nn.Linear(structure.head_width, structure.alphabets[component])
        nn.init.zeros_(self.logits.weight)  # training starts from uniform symbols
        nn.init.zeros_(self.logits.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units (B, *G, head_width) and logits (B, *G, K_p)."""
        hidden = F.relu(self.hidden(x))
        return hidden, self.logits(hidden)

    def nats(self, x: Tensor, symbols: Tensor) -> Tensor:
        """-log p of each symbol, of the shape of `symbols`; large alphabets go through in parts."""
        rows = max(1, _LOGITS // self.logits.out_features)
        parts = list(zip(x.flatten(0, -2).split(rows), symbols.flatten().split(rows), strict=True))
        if len(parts) > 1 and torch.is_grad_enabled():  # logits are made again for the gradient, not kept
            nats = [checkpoint(self._nats, *part, use_reentrant=False) for part in parts]
        else:
            nats = [self._nats(*part) for part in parts]
        return torch.cat(nats).view(symbols.shape)

    def _nats(self, x: Tensor, symbols: Tensor) -> Tensor:
        return F.cross_entropy(self(x)[1].float(), symbols, reduction="none")


class CausalTrunk(nn.Module):
    """Everything up to the heads: the residual stream at a position, from the symbols before it."""

    def __init__(self, structure: NetworkStructure) -> None:
        super().__init__()
        self.structure = structure
        channels = structure.component_embedding
        self.embeddings = nn.ModuleList(nn.Embedding(size, channels) for size in structure.alphabets)
        self.input = InputLayer(structure)
        self.layers = nn.ModuleList(GatedLayer(structure, offsets) for offsets in structure.layers)

    def embedded(self, symbols: Tensor) -> Tensor:
        """What the input layer sees of the symbols: (B, *G, position_embedding) from (B, *G, P)."""
        return _embed(self.embeddings, symbols.unbind(-1))

    def residual(
        self, embedded: Tensor, conditioning: Conditioning, mask: Tensor | None = None
    ) -> list[Tensor]:
        """The residual stream before every layer and after the last, each (B, *G, width).

        Where `mask` (B, *G) is false, a position counts as outside the grid; `embedded` has to be zero there.
        """
        stream = [_masked(self.input(embedded, conditioning), mask)]
        for layer in self.layers:
            stream.append(_masked(layer(stream[-1], conditioning), mask))
        return stream


class CausalNetwork(CausalTrunk):
    """The distribution of a grid of symbol tuples, for all positions at once; see `NetworkStructure`.

    >>> network = CausalNetwork(CausalConfig(width=8, depth=2), alphabets=(16, 16), rank=2)
    >>> symbols = torch.zeros(3, 4, 5, 2, dtype=torch.int64)
    >>> [tuple(component.shape) for component in network(symbols)]
    [(3, 4, 5, 16), (3, 4, 5, 16)]
    >>> round(network.nats(symbols)[0].item() / (4 * 5 * 2), 3)  # untrained: log 16
    2.773
    """

    def __init__(
        self,
        config: CausalConfig,
        alphabets: Sequence[int],
        rank: int,
        *,
        context_channels: int = 0,
        label_sizes: Sequence[int] = (),
    ) -> None:
        structure = NetworkStructure.of(config, alphabets, rank, context_channels, label_sizes)
        super().__init__(structure)
        self.head_embeddings = nn.ModuleList(nn.Embedding(k, structure.embedding) for k in alphabets[:-1])
        self.heads = nn.ModuleList(Head(structure, p) for p in range(len(alphabets)))

    def forward(self, symbols: Tensor, conditioning: Conditioning | None = None) -> tuple[Tensor, ...]:
        """Logits in nats of every component: P tensors (B, *G, K_p) from `symbols` (B, *G, P) int64."""
        return self.trace(symbols, conditioning).logits

    def trace(self, symbols: Tensor, conditioning: Conditioning | None = None) -> Trace:
        """As `forward`, with the activations on the way."""
        conditioning = self._checked(symbols, conditioning)
        residual = self.residual(self.embedded(symbols), conditioning)
        heads = (head(x) for head, x in self._head_inputs(residual[-1], symbols))
        hidden, logits = zip(*heads, strict=True)
        return Trace(tuple(residual), hidden, logits)

    def nats(
        self, symbols: Tensor, conditioning: Conditioning | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """-log p(symbols) of every item in nats, (B,); a `mask` (B, *G) leaves out where it is false."""
        conditioning = self._checked(symbols, conditioning)
        h = self.residual(self.embedded(symbols), conditioning)[-1]
        total = symbols.new_zeros(symbols.shape[:-1], dtype=torch.float32)
        for p, (head, x) in enumerate(self._head_inputs(h, symbols)):
            total = total + head.nats(x, symbols[..., p])
        if mask is not None:
            total = total * mask
        return total.flatten(1).sum(1)

    def _head_inputs(self, h: Tensor, symbols: Tensor) -> Iterable[tuple[Head, Tensor]]:
        """Each head, and what it sees of the trunk and of the components before its own."""
        components = symbols.unbind(-1)
        for p, head in enumerate(self.heads):
            assert isinstance(head, Head)
            yield head, _embed(self.head_embeddings[:p], components[:p], h)

    def _checked(self, symbols: Tensor, conditioning: Conditioning | None) -> Conditioning:
        structure, shape = self.structure, tuple(symbols.shape)
        components, labels = len(structure.alphabets), len(structure.label_sizes)
        if len(shape) != structure.rank + 2 or shape[-1] != components:
            raise ValueError(f"symbols: shape (B, {structure.rank} axes, {components}) needed, got {shape}")
        conditioning = conditioning or Conditioning()
        channels = 0 if conditioning.local is None else conditioning.local.shape[1]
        if channels != structure.context_channels:
            raise ValueError(f"conditioning: {structure.context_channels} channels needed, got {channels}")
        given = labels if conditioning.labels is None else conditioning.labels.shape[-1]
        if labels and given != labels:
            raise ValueError(f"conditioning: {labels} labels needed, got {given}")
        return conditioning


@torch.no_grad()
def ordinal_embedding_(network: CausalNetwork, *, signed: bool) -> None:
    """Initialises a network whose symbols are numbers: near ones look alike from the start.

    Embeddings become smooth steps and bumps, of widths from 1 to a quarter of the alphabet, about 0 for
    `signed` symbols (residuals, whose upper half of the alphabet is negative), else about the middle.
    """
    for tables in (network.embeddings, network.head_embeddings):
        for table in tables:
            assert isinstance(table, nn.Embedding)
            if not table.weight.is_meta:  # which has no values
                table.weight.copy_(_ordinal_features(*table.weight.shape, signed=signed))


def _ordinal_features(size: int, channels: int, *, signed: bool) -> Tensor:
    """(size, channels), each column of mean 0 and variance 1: tanh(v / w) and exp(-|v| / w) by turns."""
    values = (torch.arange(size) + signed * (size // 2)) % size
    centre = (values - size // 2).float()[:, None]
    widths = torch.logspace(0, math.log2(max(2.0, size / 4)), channels, base=2.0)
    bumps = torch.arange(channels) % 2 == 1
    features = torch.where(bumps, torch.exp(-centre.abs() / widths), torch.tanh(centre / widths))
    centred = features - features.mean(0)
    return centred / centred.square().mean(0).sqrt().clamp(min=1e-3)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask[..., None]


def _embed(tables: Iterable[nn.Module], components: Sequence[Tensor], *before: Tensor) -> Tensor:
    """The components' embeddings side by side, after `before`."""
    return torch.cat([*before, *(table(c) for table, c in zip(tables, components, strict=True))], dim=-1)
