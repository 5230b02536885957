"""Autoregressive decoders: the distribution of an item's samples given its codes.

    p(x | z) = prod over samples x_i of p(x_i | the samples before it, map of the codes z)

A `GridDecoder` is a grid network over the samples whose context map an upsampler makes of the codes,
in floating point for training; an `IntegerDecoder` is both in integers, which an archive is coded with.
Without codes it is the network alone, p(x).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from latentpress.autoregressive.conditioner import CodeConditioner, ConditionerStructure, spread
from latentpress.autoregressive.integer.conditioner import IntegerConditioner, upsampler_integers
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.integer.tensors import digest
from latentpress.autoregressive.network import CausalNetwork, Conditioning
from latentpress.autoregressive.ordinal import ordinal_embedding_
from latentpress.autoregressive.sequence import SequenceDecoder
from latentpress.config import PixelsConfig
from latentpress.errors import CheckpointError

__all__ = ["GridDecoder", "IntegerDecoder"]

_NETWORK, _UPSAMPLER = "network.", "upsampler."


class GridDecoder(nn.Module):
    """The distribution of samples given codes, for all of them at once.

    Args:
        config: widths and depths.
        sizes: the alphabet of each member of a position's tuple of samples.
        codes: the alphabets of a latent position's codes.
        hop: samples that a latent position spans, one number an axis.

    >>> config = PixelsConfig(width=8, depth=1, embedding=9, map_width=8, map_channels=4)
    >>> decoder = GridDecoder(config, sizes=(256,) * 3, codes=(16,), hop=(4, 4))
    >>> samples, codes = torch.zeros(2, 6, 5, 3, dtype=torch.int64), torch.zeros(2, 2, 2, 1).long()
    >>> decoder.nll_nats(samples, codes).shape
    torch.Size([2])
    """

    def __init__(
        self, config: PixelsConfig, sizes: Sequence[int], codes: Sequence[int], hop: Sequence[int]
    ) -> None:
        super().__init__()
        self.upsampler: CodeConditioner | None = None
        if config.use_codes:
            structure = ConditionerStructure(
                sizes=tuple(codes),
                hop=tuple(hop),
                embedding=math.ceil(config.code_embedding / len(codes)),
                width=config.map_width,
                channels=config.map_channels,
            )
            self.upsampler = CodeConditioner(structure)
        channels = config.map_channels if config.use_codes else 0
        self.network = CausalNetwork(config.network, sizes, len(hop), context_channels=channels)
        ordinal_embedding_(self.network, signed=config.differences)

    def context(self, codes: Tensor | None, size: Sequence[int]) -> Conditioning:
        """What the network is told: the map (B, channels, *size) of codes (B, *G, P)."""
        if self.upsampler is None:
            return Conditioning()
        assert codes is not None
        return Conditioning(self.upsampler(codes, size))

    def nll_nats(self, samples: Tensor, codes: Tensor | None = None) -> Tensor:
        """-log p(samples | codes) of every item in nats, (B,), from (B, *size, P) int64."""
        return self.network.nll_nats(samples, self.context(codes, samples.shape[1:-1]))


class IntegerDecoder:
    """A grid decoder in integers.

    Attributes:
        network: the distribution of samples.
        upsampler: makes its context map of codes, or None where it sees none.
        id: 16 bytes, a hash of all integers of both.

    >>> config = PixelsConfig(width=8, depth=1, embedding=9, map_width=8, map_channels=4)
    >>> decoder = GridDecoder(config, sizes=(256,), codes=(16,), hop=(4, 4))
    >>> samples, codes = torch.randint(256, (2, 6, 5, 1)), torch.randint(16, (2, 2, 2, 1))
    >>> exact = IntegerDecoder.convert(decoder, samples, codes)
    >>> (logits,) = exact.network.logits(samples, exact.context(codes, (6, 5)))
    >>> logits.shape
    torch.Size([2, 6, 5, 256])
    """

    def __init__(self, network: IntegerNetwork, upsampler: IntegerConditioner | None) -> None:
        channels = upsampler.structure.channels if upsampler is not None else 0
        dims = len(upsampler.structure.hop) if upsampler is not None else network.dims
        if (channels, dims) != (network.structure.context_channels, network.dims):
            raise CheckpointError("exact decoder: its upsampler does not fit its network")
        self.network, self.upsampler = network, upsampler
        self.id = digest(self.tensors())

    @classmethod
    @torch.no_grad()
    def convert(
        cls, decoder: GridDecoder | SequenceDecoder, samples: Tensor, codes: Tensor | None = None
    ) -> IntegerDecoder:
        """Rounds a trained decoder, calibrated on samples (B, *size, P) and their codes (B, *G, P)."""
        size, upsampler = samples.shape[1:-1], decoder.upsampler
        context = Conditioning()
        if upsampler is not None:
            assert codes is not None
            units = upsampler.units_of_codes(codes)
            context = Conditioning(spread(upsampler.out(units), upsampler.structure.hop, size))
        network = IntegerNetwork.convert(decoder.network, samples, context)
        if decoder.upsampler is None:
            return cls(network, None)
        assert codes is not None
        steps = torch.exp2(network.tensors()["context_exponents"].double())
        integers = upsampler_integers(decoder.upsampler, codes, steps)
        return cls(network, IntegerConditioner(integers, network.device))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> IntegerDecoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything that is not an exact decoder."""
        parts: dict[str, dict[str, Tensor]] = {_NETWORK: {}, _UPSAMPLER: {}}
        for name, value in tensors.items():
            part, dot, rest = name.partition(".")
            if part + dot not in parts:
                raise CheckpointError(f"exact decoder: tensor {name} is unknown")
            parts[part + dot][rest] = value
        upsampler = IntegerConditioner(parts[_UPSAMPLER], device) if parts[_UPSAMPLER] else None
        return cls(IntegerNetwork(parts[_NETWORK], device), upsampler)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        tensors = {_NETWORK + name: value for name, value in self.network.tensors().items()}
        if self.upsampler is not None:
            tensors |= {_UPSAMPLER + name: value for name, value in self.upsampler.tensors().items()}
        return tensors

    def to(self, device: torch.device | str) -> IntegerDecoder:
        """The same decoder on another device."""
        if torch.device(device) == self.network.device:
            return self
        return IntegerDecoder.from_tensors(self.tensors(), device)

    def context(
        self, codes: Tensor | None, size: Sequence[int], rows: tuple[int, int] | None = None
    ) -> Conditioning:
        """What the network is told of samples of this size, or of some rows of them.

        Args:
            codes: (B, *ceil(size / hop), P), int64, of the whole items.
            size: the items' extents.
            rows: the first and the last plus one along the first axis; all by default.
        """
        if self.upsampler is None:
            return Conditioning()
        assert codes is not None
        return Conditioning(self.upsampler(codes, size, rows))

    def coarsened(self, step: int) -> IntegerDecoder:
        """The same decoder of coarser codes; see `IntegerConditioner.coarsened`."""
        return (
            self if self.upsampler is None else IntegerDecoder(self.network, self.upsampler.coarsened(step))
        )

    def fits(self, decoder: GridDecoder | SequenceDecoder) -> bool:
        """Whether this may be the exact form of `decoder`."""
        own = None if self.upsampler is None else self.upsampler.structure
        other = None if decoder.upsampler is None else decoder.upsampler.structure
        return own == other and self.network.structure == decoder.network.structure
