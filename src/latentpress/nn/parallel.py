"""The decoder that gives all samples of an item at once: a convolutional network and a likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentpress.config import ParallelDecoderConfig
from latentpress.nn.conv import ConvDecoder
from latentpress.nn.likelihoods import build_likelihood

__all__ = ["ParallelDecoder"]


class ParallelDecoder(nn.Module):
    """p(x | z, labels), factorised over samples: a `ConvDecoder` whose outputs a `Likelihood` takes.

    Each label has an embedding, added to the vectors of all positions; it starts at zero, so that a new
    decoder ignores its labels. A label is -1 where it is unknown, which has an embedding as well. Labels
    are (B, L), or (B, T, L) where every row of samples along the first axis has its labels: a
    position then takes the mean of its rows' embeddings.

    Args:
        config: the network and the likelihood.
        rank: axes of the items, 1 to 3.
        vectors: length V of the vector at each latent position.
        channels: C, of the items.
        levels: values that a sample can have.
        label_sizes: values that each of the L labels can have.

    `hop` and `margin` are those of the network.

    >>> from latentpress.config import ConvConfig
    >>> config = ParallelDecoderConfig(network=ConvConfig(strides=(2,), depths=(0,), width=32))
    >>> decoder = ParallelDecoder(config, rank=2, vectors=8, channels=3, levels=256, label_sizes=(10,))
    >>> z, labels = torch.zeros(5, 8, 4, 4), torch.tensor([[0], [9], [2], [-1], [2]])
    >>> decoder.mean(z, labels).shape, decoder.nats(torch.zeros(5, 3, 8, 7), z, labels).shape
    (torch.Size([5, 3, 8, 8]), torch.Size([5]))
    """

    def __init__(
        self,
        config: ParallelDecoderConfig,
        rank: int,
        vectors: int,
        channels: int,
        levels: int,
        label_sizes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.likelihood = build_likelihood(config.likelihood, channels, levels)
        outputs = channels * self.likelihood.params_per_sample
        self.network = ConvDecoder(config.network, rank, vectors, outputs)
        self.label_sizes = tuple(label_sizes)
        self.embeddings = nn.ParameterList([torch.zeros(size + 1, vectors) for size in label_sizes])
        self.hop, self.margin = self.network.hop, self.network.margin

    def nats(
        self, signal: Tensor, vectors: Tensor, labels: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """-log p(x | z) of each item in nats, (B,).

        Args:
            signal: x, (B, C, *S) on [-1, 1]; S may fall short of G * hop.
            vectors: z, (B, V, *G).
            labels: int64 (B, L) or (B, T, L); unknown where there are none.
            mask: (B, *S) bool, false at padding, which adds exactly 0.
        """
        params = self._params(vectors, labels)
        inside = tuple(slice(extent) for extent in signal.shape[2:])
        return self.likelihood.nats(params[(slice(None), slice(None), *inside)], signal, mask)

    def mean(self, vectors: Tensor, labels: Tensor | None = None) -> Tensor:
        """The reconstruction (B, C, *G * hop) on [-1, 1]; arguments as for `nats`."""
        return self.likelihood.mean(self._params(vectors, labels))

    def _params(self, vectors: Tensor, labels: Tensor | None) -> Tensor:
        if self.label_sizes:
            vectors = vectors + self._embedded(labels, vectors)
        return self.network(vectors)

    def _embedded(self, labels: Tensor | None, like: Tensor) -> Tensor:
        """The labels' embeddings, to add to vectors (B, V, *G)."""
        count = len(self.label_sizes)
        if labels is None:
            labels = torch.full((len(like), count), -1, device=like.device)
        if labels.ndim not in (2, 3) or labels.shape[-1] != count:
            raise ValueError(
                f"labels are (batch, {count}) or (batch, rows, {count}), got {tuple(labels.shape)}"
            )
        columns = zip(self.embeddings, self.label_sizes, labels.unbind(-1), strict=True)
        total = sum(F.embedding(column.where(column >= 0, size), table) for table, size, column in columns)
        assert isinstance(total, Tensor)
        if labels.ndim == 2:
            return total.view(*total.shape, *(1,) * (like.ndim - 2))
        # the mean of a position's rows, the last position having fewer where the hop does not divide them
        steps = F.avg_pool1d(total.movedim(-1, 1), self.hop[0], ceil_mode=True)
        return steps.view(*steps.shape, *(1,) * (like.ndim - 3))
