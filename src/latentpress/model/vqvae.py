"""The VQ-VAE (van den Oord et al., arXiv 1711.00937): encoder, codebook, decoders, prior over codes.

samples --encoder--> vectors --nearest code vectors--> codes
samples <--decoder-- vectors <-------look-up---------- codes
"""

from __future__ import annotations

import hashlib
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.network import CausalNetwork
from latentpress.coding.layout import segments
from latentpress.coding.records import CODE_BLOCK
from latentpress.config import CountedPriorConfig, VQVAEConfig, label_sizes
from latentpress.counted import CountedGrid
from latentpress.errors import LatentpressError
from latentpress.exact.distribution import Conditioning, Stream
from latentpress.items.base import Shape
from latentpress.latents import Codebook
from latentpress.model.base import Model, PriorName
from latentpress.model.decoders import build_decoders
from latentpress.model.decoding import tiles_of
from latentpress.model.details import LatentDetails, codebook_details
from latentpress.model.integer import IntegerPrior
from latentpress.model.latents import Latents
from latentpress.nn import ConvEncoder, pad_to_hop
from latentpress.nn.signal import to_signal
from latentpress.nn.tiling import slices

__all__ = ["VQVAE"]

_REGIONS = 4  # along each axis, over each of which a classifier sees the mean of the vectors


class VQVAE(Model):
    """Encoder + codebook + decoders + prior.

    Args:
        config: what the parts are, and whether only one half of them is there.

    Attributes:
        encoder: (B, C, *S) on the scale -1..1 -> (B, P * D, *S / hop).
        latents: the codebook, with P codes a position.
        prior: autoregressive network over the codes, or None; one that counts is among the integer forms.

    >>> from latentpress.config import ConvConfig, ParallelDecoderConfig
    >>> small = ConvConfig(width=32, depths=(0, 1))
    >>> parallel = ParallelDecoderConfig(network=small)
    >>> model = VQVAE(VQVAEConfig(encoder=small, parallel=parallel, prior=None)).eval()
    >>> codes = model.encode(np.zeros((1, 10, 13, 3), np.uint8))
    >>> codes.shape, model.decode(codes, size=(10, 13)).shape
    (torch.Size([1, 3, 4, 1]), (1, 10, 13, 3))
    """

    config_class: ClassVar[type[VQVAEConfig]] = VQVAEConfig
    prior_class: ClassVar[type[IntegerNetwork]] = IntegerNetwork
    config: VQVAEConfig
    encoder: ConvEncoder | None
    prior: CausalNetwork | None

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__(config)
        item, latents = config.item, config.latents
        vectors = latents.num_codebooks * latents.code_dim
        self.encoder = None
        if self.has("encoder"):
            self.encoder = ConvEncoder(config.encoder, self.rank, item.channels, vectors)
        self.latents = Codebook(latents)
        seen = {"codes": self.alphabets, "code_dim": latents.code_dim}
        self.parallel, self.autoregressive = build_decoders(config, self.has, self.hop, vectors, seen)
        self.prior = None
        if config.prior is not None and config.prior.network is not None:
            labels = label_sizes(config.labels, config.prior.labels)
            self.prior = CausalNetwork(config.prior.network, self.alphabets, self.rank, label_sizes=labels)

    @property
    def hop(self) -> Shape:
        """See `Model.hop`."""
        return self.config.encoder.hop(self.rank)

    @property
    def alphabets(self) -> tuple[int, ...]:
        """See `Model.alphabets`."""
        return (self.config.latents.codebook_size,) * self.config.latents.num_codebooks

    @property
    def codes_id(self) -> bytes:
        """Hash of the codebook's vectors."""
        vectors = self.latents.codebook.detach().to("cpu", torch.float32).contiguous()
        digest = hashlib.blake2b(repr(tuple(vectors.shape)).encode(), digest_size=16)
        digest.update(vectors.numpy().astype("<f4").tobytes())
        return digest.digest()

    @property
    def encode_reach(self) -> int | None:
        """See `Model.encode_reach`."""
        return None if self.encoder is None else self.encoder.margin[0] * self.hop[0]

    def _encode(self, samples: np.ndarray | Tensor, distribution: IntegerPrior | None) -> Tensor:
        """Edges are replicated up to a multiple of the hop, and large items go in tiles."""
        self.require("encoder")
        encoder, items = self.encoder, _as_tensor(samples)
        assert encoder is not None
        self._check_samples(items)
        grid = self.grid(items.shape[1:-1])
        codes = torch.empty(len(items), *grid, len(self.alphabets), dtype=torch.int64)
        for part, tile in tiles_of(encoder, len(items), grid):
            piece = items[part, *slices(tile.outer, self.hop)].to(self.device)
            signal = pad_to_hop(to_signal(piece, self.item.low, self.item.levels), self.hop)
            found = self.latents.encode(encoder(signal)).cpu()
            codes[part, *slices(tile.inner)] = found[:, *slices(tile.crop)]
        return codes

    def vectors_of(self, codes: Tensor, *, sampled: bool = False) -> Tensor:
        """See `Model.vectors_of`."""
        return self.latents.decode(codes)

    def _distribution(self, prior: PriorName | None) -> IntegerPrior:
        if prior is not None:
            raise LatentpressError("this is a VQ-VAE: it has one prior, and no choice between two")
        if self.integer.prior is None:
            raise LatentpressError("the model has no prior to draw from; train one with --stage prior")
        return self.integer.prior

    @torch.inference_mode()
    def infer(
        self, samples: Tensor, *, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Latents:
        """See `Model.infer`."""
        codes = self.encode(samples).to(self.device)
        return Latents(self.vectors_of(codes), codes)

    @torch.inference_mode()
    def latent_nats(self, latents: Latents, labels: Tensor | None = None) -> Tensor:
        """Cross-entropy of the codes under the prior, large grids band by band as archives cut them.

        It is that of the network in floating point, or of what is counted. Without a prior every code costs
        log K.
        """
        codes = latents.codes
        assert codes is not None
        if isinstance(self.integer.prior, CountedGrid):
            return self._counted_nats(self.integer.prior, codes.cpu(), labels)
        if self.prior is None:
            uniform = codes[0].numel() * math.log(self.config.latents.codebook_size)
            return torch.full((len(codes),), uniform, dtype=torch.float64)
        own = self.labels_for("prior", labels)
        own = None if own is None else own.to(self.device)
        nats = torch.zeros(len(codes), dtype=torch.float64)
        for band, _ in segments(0, tuple(codes.shape[1:-1])):
            rows = slice(band.start, band.stop)
            seen = own[:, rows] if own is not None and own.ndim == 3 else own
            symbols = codes[:, rows].to(self.device)
            nats += self.prior.nats(symbols, Conditioning(labels=seen)).double().cpu()
        return nats

    def _counted_nats(self, prior: CountedGrid, codes: Tensor, labels: Tensor | None) -> Tensor:
        """As `latent_nats`; the items' bands are coded side by side, as an archive's."""
        own = self.labels_for("prior", labels)
        streams = []
        for band, grid in segments(0, tuple(codes.shape[1:-1])):
            rows = slice(band.start, band.stop)
            seen = own[:, rows] if own is not None and own.ndim == 3 else own
            together = max(1, CODE_BLOCK // (math.prod(grid) * len(self.alphabets)))
            for first in range(0, len(codes), together):
                items = slice(first, first + together)
                symbols = codes[items, rows].flatten(1, -2).transpose(0, 1).numpy()
                conditioning = Conditioning(labels=seen).rows(items)
                streams.append((items, Stream(grid, symbols.shape[1], conditioning, symbols=symbols)))
        nats = torch.zeros(len(codes), dtype=torch.float64)
        coded = prior.encode([stream for _, stream in streams])
        for (items, _), (_, bits) in zip(streams, coded, strict=True):
            nats[items] += torch.from_numpy(bits) * math.log(2)
        return nats

    @torch.inference_mode()
    def features(self, latents: Latents) -> Tensor:
        """See `Model.features`: the vectors averaged over 4 regions along each axis."""
        pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[self.rank - 1]
        return pool(latents.vectors, _REGIONS).flatten(1).cpu()

    def details(self, latents: Latents) -> LatentDetails:
        """See `Model.details`."""
        assert latents.codes is not None
        return codebook_details(latents.codes.cpu(), self.config.latents.codebook_size)

    def _fits(self, form: IntegerPrior | IntegerEncoder) -> bool:
        if isinstance(form, CountedGrid):
            same = (form.rank, form.alphabets) == (self.rank, self.alphabets)
            counted = isinstance(self.config.prior, CountedPriorConfig)
            return same and counted and _has_structure(form.network, self.prior)
        # a network alone is the prior, or is that of one still to be counted
        return isinstance(form, IntegerNetwork) and _has_structure(form, self.prior)


def _has_structure(form: IntegerNetwork | None, network: CausalNetwork | None) -> bool:
    if form is None or network is None:
        return form is None and network is None
    return form.structure == network.structure


def _as_tensor(samples: np.ndarray | Tensor) -> Tensor:
    """Samples as a tensor of a type that torch can compute with."""
    known = map(np.dtype, (np.uint8, np.int16, np.int32, np.int64))
    if isinstance(samples, np.ndarray) and samples.dtype not in known:
        samples = samples.astype(np.int32)
    # torch takes no negative strides, which even one sample can have, and `ascontiguousarray` keeps those
    return torch.as_tensor(np.array(samples, order="C") if isinstance(samples, np.ndarray) else samples)
