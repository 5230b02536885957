"""The VQ-VAE's latent space: codebooks of vectors, the nearest of which stands for the encoder's.

At each of N positions the encoder gives P vectors z of dimension D, one for each of P codebooks of K
vectors e. The codes are the indices of the nearest e, and decoders see those e.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentpress.config import CodebookConfig
from latentpress.latents.code_vectors import build_code_vectors, mean_squared_error
from latentpress.latents.index_backpropagation import index_backpropagation
from latentpress.latents.search import nearest
from latentpress.latents.selection import rotation, straight_through
from latentpress.latents.statistics import Statistics, broadcast, count, flat_codes, initial_vectors
from latentpress.latents.usage import AverageShare, CodeUsage, UsageWindow

__all__ = ["Codebook", "Quantized"]

_LLOYD_STEPS = 4


@dataclass(frozen=True)
class Quantized:
    """What the codebook makes of the encoder's output.

    Args:
        vectors: (B, P*D, *G) float32, the chosen code vectors; zero where masked.
        codes: (B, *G, P) int64, their indices; zero where masked.
        commitment_loss: scalar, weight * mean over elements of (z - sg[e])^2.
        codebook_loss: scalar, weight * mean over elements of (sg[z] - e)^2; zero for moving averages.
    """

    vectors: Tensor
    codes: Tensor
    commitment_loss: Tensor
    codebook_loss: Tensor


class Codebook(nn.Module):
    """Vector quantisation (van den Oord et al., arXiv 1711.00937).

    The first forward pass in training mode that is not all padding starts the codebooks from its batch
    (distinct vectors, then some Lloyd steps). Every one collects statistics, and `update`, called once
    after each optimiser step, applies them: so gradient accumulation and replicas see one batch.

    With `distance="cosine"` both the encoder's and the code vectors are projected onto the sphere of
    radius sqrt(D), where the nearest by angle is the nearest by distance, and the rest stays as it is.

    >>> codebook = Codebook(CodebookConfig(codebook_size=8, code_dim=4))
    >>> quantized = codebook(torch.randn(2, 4, 5, 6, requires_grad=True))
    >>> quantized.commitment_loss.backward()
    >>> codebook.update()  # after the optimiser's step
    >>> quantized.vectors.shape, quantized.codes.shape
    (torch.Size([2, 4, 5, 6]), torch.Size([2, 5, 6, 1]))
    """

    seed: Tensor
    steps: Tensor
    initialised: Tensor

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.num_codebooks, config.codebook_size
        self.code_vectors = build_code_vectors(config.vectors, (*shape, config.code_dim))
        self.share = AverageShare(shape)
        self.window = UsageWindow(shape)
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self._ready = False  # follows `initialised`, which cannot be asked inside a compiled graph
        self._pending: Statistics | None = None

    @property
    def codebook(self) -> Tensor:
        """The code vectors as decoders see them: (P, K, D)."""
        return self._project(self.code_vectors.vectors)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantises the encoder's output; raises `ValueError` where shapes do not fit.

        Args:
            z: (B, P*D, *G); the search is done in float32.
            mask: (B, *G) bool, false at padding, which then changes no loss, statistic or usage.
        """
        self._check(z, mask)
        with torch.autocast(z.device.type, enabled=False):
            z = self._vectors(z, mask)
            if self.training and not self._ready:
                self._initialise(*_rows(z, mask))
            codebook = self.codebook
            codes = self._assign(z, codebook, mask)
            chosen = _masked(_look_up(codebook, codes), mask)
            elements = max(1, z.numel()) if mask is None else mask.sum().clamp(min=1) * z.shape[-2:].numel()
            codebook_loss = self.code_vectors.loss(z, chosen, elements)
            vectors = _masked(self._select(z, chosen, codebook, codes), mask)
            del chosen  # as large as the batch, and the same as `vectors`
            commitment = self.config.commitment_weight * mean_squared_error(z, vectors.detach(), elements)
            return Quantized(vectors.flatten(-2).movedim(-1, 1), codes, commitment, codebook_loss)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Returns the codes (B, *G, P) of the encoder's output `z` (B, P*D, *G), and changes nothing."""
        self._check(z, None)
        with torch.autocast(z.device.type, enabled=False):
            vectors = self._vectors(z, None)
            return nearest(_rows(vectors, None)[0], self.codebook).view(vectors.shape[:-1])

    def decode(self, codes: Tensor) -> Tensor:
        """Returns the code vectors (B, P*D, *G) of `codes` (B, *G, P), or raises `ValueError`."""
        count, size = self.config.num_codebooks, self.config.codebook_size
        if codes.ndim < 2 or codes.shape[-1] != count:
            raise ValueError(f"codes must be (batch, *grid, {count}), got {tuple(codes.shape)}")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
            raise ValueError(f"codes must lie in 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}")
        return _look_up(self.codebook, codes).flatten(-2).movedim(-1, 1)

    @torch.no_grad()
    def update(self) -> None:
        """Applies what the forward passes collected since the last call: call it after the optimiser's step.

        The code vectors learn, the usage is counted, and codes that have died are revived from the batch,
        in this order, so that nothing of the step overwrites a revival. Replicas stay equal.
        """
        if self._pending is None:
            return
        statistics, self._pending = self._pending, None
        statistics.reduce()
        self.code_vectors.learn(statistics.counts, statistics.sums)
        self.window.add(statistics.counts)
        self.share.add(statistics.counts)
        revived, vectors = statistics.replacements(self.share.below(self.config.dead_code_threshold))
        self.code_vectors.replace(revived, vectors)
        self.share.reset(revived)
        self.steps += 1
        self._ready = self._ready or bool(self.initialised)

    def usage(self) -> CodeUsage:
        """Returns the usage over the last 100 to 200 updates."""
        return self.window.read()

    def _check(self, z: Tensor, mask: Tensor | None) -> None:
        channels = self.config.num_codebooks * self.config.code_dim
        if z.ndim < 2 or z.shape[1] != channels:
            raise ValueError(f"the encoder's output must be (batch, {channels}, *grid), got {tuple(z.shape)}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (z.shape[0], *z.shape[2:])):
            raise ValueError(f"the mask must be bool (batch, *grid), got {mask.dtype} {tuple(mask.shape)}")

    def _vectors(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """(B, P*D, *G) -> (B, *G, P, D), zero where masked, projected; without either, a view."""
        parts = z.float().unflatten(1, (self.config.num_codebooks, self.config.code_dim))
        return self._project(_masked(parts.movedim((1, 2), (-2, -1)), mask))

    def _project(self, vectors: Tensor) -> Tensor:
        if self.config.distance == "euclidean":
            return vectors
        return F.normalize(vectors, dim=-1) * self.config.code_dim**0.5

    @torch.no_grad()
    def _assign(self, z: Tensor, codebook: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the codes (B, *G, P) of `z` (B, *G, P, D), and in training collects statistics."""
        rows, valid = _rows(z, mask)
        codes = nearest(rows, codebook)
        if self.training:
            size = self.config.codebook_size
            statistics = Statistics.of(rows, codes, valid, size, self.seed, self.steps)
            self._pending = statistics if self._pending is None else self._pending + statistics
        return _masked(codes.view(z.shape[:-1]), mask)

    def _select(self, z: Tensor, chosen: Tensor, codebook: Tensor, codes: Tensor) -> Tensor:
        match self.config.gradient:
            case "straight_through":
                return straight_through(z, chosen)
            case "rotation":
                return rotation(z, chosen)
            case "index":
                return index_backpropagation(z, codebook, codes)

    @torch.no_grad()
    def _initialise(self, rows: Tensor, valid: Tensor | None) -> None:
        size = self.config.codebook_size
        vectors = initial_vectors(rows, valid, size, self.seed)
        for _ in range(_LLOYD_STEPS):
            counts, sums = count(rows, nearest(rows, vectors), valid, size)
            means = self._project(sums / counts.unsqueeze(-1))
            vectors = torch.where(counts.unsqueeze(-1) > 0, means, vectors)
        start = ~self.initialised if valid is None else ~self.initialised & valid.any()
        for tensor in (vectors, start, self.seed):
            broadcast(tensor)
        self.code_vectors.replace(start.expand(vectors.shape[:2]), vectors)
        self.initialised.logical_or_(start)
        self._ready = valid is None  # where there is a mask, `update` finds out

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **named: Any) -> None:
        super()._load_from_state_dict(state_dict, *arguments, **named)
        self._ready = bool(self.initialised)


def _rows(z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """(B, *G, P, D), (B, *G) -> (N, P, D), (N,), without gradient."""
    return z.detach().flatten(0, -3), None if mask is None else mask.flatten()


def _masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zeroes `values` (B, *G, ...) where `mask` (B, *G) is false, also NaN, so that it has no effect."""
    if mask is None:
        return values
    return values.where(mask.view(*mask.shape, *[1] * (values.ndim - mask.ndim)), 0)


def _look_up(codebook: Tensor, codes: Tensor) -> Tensor:
    """(P, K, D), (..., P) -> (..., P, D)."""
    return F.embedding(flat_codes(codes, codebook.shape[1]), codebook.flatten(0, 1))
