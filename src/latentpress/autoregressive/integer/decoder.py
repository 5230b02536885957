"""The integer form of the autoregressive decoder: what lossless archives are coded with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from latentpress.autoregressive.decoder import AutoregressiveDecoder
from latentpress.autoregressive.integer.conditioner import IntegerConditioner, conditioner_integers
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Conditioning
from latentpress.exact.tensors import digest

__all__ = ["IntegerDecoder"]

_NETWORK, _CONDITIONER = "network.", "conditioner."


class IntegerDecoder:
    """An autoregressive decoder in integers.

    Attributes:
        network: the distribution of symbols.
        conditioner: makes its local conditioning of codes, or None where it sees none.
        id: 16 bytes, a hash of all integers of both.

    >>> from latentpress.config import AutoregressiveDecoderConfig
    >>> config = AutoregressiveDecoderConfig(map_width=8, map_channels=4)
    >>> decoder = AutoregressiveDecoder(config, (256,), (4, 4), codes=(16,), code_dim=3)
    >>> symbols, codes = torch.randint(256, (2, 6, 5, 1)), torch.randint(16, (2, 2, 2, 1))
    >>> integers = IntegerDecoder.convert(decoder, symbols, codes, codebook=torch.randn(1, 16, 3))
    >>> (logits,) = integers.network.logits(symbols, integers.conditioning(codes, (6, 5)))
    >>> logits.shape
    torch.Size([2, 6, 5, 256])
    """

    def __init__(self, network: IntegerNetwork, conditioner: IntegerConditioner | None) -> None:
        channels, rank = 0, network.rank
        if conditioner is not None:
            channels, rank = conditioner.structure.channels, len(conditioner.structure.hop)
        if (channels, rank) != (network.structure.context_channels, network.rank):
            raise CheckpointError("integer decoder: its conditioner does not fit its network")
        self.network, self.conditioner = network, conditioner
        self.id = digest(self.tensors())

    @classmethod
    @torch.no_grad()
    def convert(
        cls,
        decoder: AutoregressiveDecoder,
        symbols: Tensor,
        codes: Tensor | None = None,
        *,
        codebook: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> IntegerDecoder:
        """Rounds a trained decoder, calibrated on typical items.

        Args:
            decoder: in floating point.
            symbols: (B, *size, P) int64.
            codes: theirs, (B, *G, P), if the decoder sees latents; of Gaussian ones in their finest steps.
            codebook: the vectors of the codes (P, K, code_dim), where they are a codebook's.
            labels: theirs, as in `Conditioning`.
        """
        conditioner = decoder.conditioner
        if conditioner is None:
            return cls(IntegerNetwork.convert(decoder.network, symbols, Conditioning(None, labels)), None)
        assert codes is not None
        local = conditioner.map(conditioner.describe(codes, codebook), symbols.shape[1:-1])
        network = IntegerNetwork.convert(decoder.network, symbols, Conditioning(local, labels))
        steps = torch.exp2(network.tensors()["context_exponents"].double())
        integers = conditioner_integers(conditioner, codes, steps, codebook)
        return cls(network, IntegerConditioner(integers, network.device))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> IntegerDecoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything that is not an integer decoder."""
        parts: dict[str, dict[str, Tensor]] = {_NETWORK: {}, _CONDITIONER: {}}
        for name, value in tensors.items():
            part, dot, rest = name.partition(".")
            if part + dot not in parts:
                raise CheckpointError(f"integer decoder: tensor {name} is unknown")
            parts[part + dot][rest] = value
        conditioner = IntegerConditioner(parts[_CONDITIONER], device) if parts[_CONDITIONER] else None
        return cls(IntegerNetwork(parts[_NETWORK], device), conditioner)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        tensors = {_NETWORK + name: value for name, value in self.network.tensors().items()}
        if self.conditioner is not None:
            tensors |= {_CONDITIONER + name: value for name, value in self.conditioner.tensors().items()}
        return tensors

    def to(self, device: torch.device | str) -> IntegerDecoder:
        """The same decoder on another device."""
        if torch.device(device) == self.network.device:
            return self
        return IntegerDecoder.from_tensors(self.tensors(), device)

    def conditioning(
        self,
        codes: Tensor | None,
        size: Sequence[int],
        rows: tuple[int, int] | None = None,
        labels: Tensor | None = None,
    ) -> Conditioning:
        """What the network sees besides the symbols of items of this size, or of some rows of them.

        Args:
            codes: (B, *ceil(size / hop), P), int64, of the whole items; not looked at without a conditioner.
            size: the items' extents.
            rows: the first and the last plus one along the first axis; all by default.
            labels: of the whole items, as in `Conditioning`.
        """
        if rows is not None and labels is not None and labels.ndim == 3:
            labels = labels[:, rows[0] : rows[1]]
        if self.conditioner is None:
            return Conditioning(None, labels)
        assert codes is not None
        return Conditioning(self.conditioner(codes, size, rows), labels)

    def coarsened(self, step: int) -> IntegerDecoder:
        """The same decoder of coarser codes; see `IntegerConditioner.coarsened`."""
        if self.conditioner is None:
            return self
        return IntegerDecoder(self.network, self.conditioner.coarsened(step))

    def fits(self, decoder: AutoregressiveDecoder) -> bool:
        """Whether this may be the integer form of `decoder`."""
        here, there = (
            None if conditioner is None else conditioner.structure
            for conditioner in (self.conditioner, decoder.conditioner)
        )
        return here == there and self.network.structure == decoder.network.structure
