"""The integer form of the autoregressive decoder: what lossless archives are coded with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from latentpress.autoregressive.coding import prepare
from latentpress.autoregressive.decoder import AutoregressiveDecoder
from latentpress.autoregressive.integer.conditioner import IntegerConditioner, conditioner_integers
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Conditioning
from latentpress.exact.tensors import digest

__all__ = ["IntegerDecoder"]

_NETWORK, _CONDITIONER = "network.", "conditioner."


class IntegerDecoder:
    """An autoregressive decoder in integers: a network, and a conditioner if it sees codes.

    It holds no training items, and every segment of an item is coded by itself.
    """

    holds_training_items = False
    segments = 1
    prepare = staticmethod(prepare)

    def __init__(self, network: IntegerNetwork, conditioner: IntegerConditioner | None) -> None:
        here, channels, rank = network.structure, 0, network.structure.rank
        if conditioner is not None:
            channels, rank = conditioner.structure.channels, len(conditioner.structure.hop)
        if (channels, rank) != (here.context_channels, here.rank):
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
        """Rounds a trained decoder, calibrated on typical items: symbols (B, *size, P) and their labels.

        `codes` (B, *G, P) are theirs if the decoder sees latents, of Gaussian ones in their finest steps, and
        `codebook` (P, K, code_dim) the codes' vectors, where they are a codebook's.
        """
        conditioner = decoder.conditioner
        if conditioner is None:
            return cls(IntegerNetwork.convert(decoder.network, symbols, Conditioning(None, labels)), None)
        assert codes is not None
        local = conditioner(conditioner.latents(codes, codebook), symbols.shape[1:-1])
        network = IntegerNetwork.convert(decoder.network, symbols, Conditioning(local, labels))
        steps = torch.exp2(network.tensors()["context_exponents"].double())
        integers = conditioner_integers(conditioner, codes, steps, codebook)
        return cls(network, IntegerConditioner(integers, network.device))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> IntegerDecoder:
        """The inverse of `tensors`; raises `CheckpointError` for anything that is not an integer decoder."""
        for name in (name for name in tensors if not name.startswith((_NETWORK, _CONDITIONER))):
            raise CheckpointError(f"integer decoder: tensor {name} is unknown")
        network, conditioner = (
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in (_NETWORK, _CONDITIONER)
        )
        conditioned = IntegerConditioner(conditioner, device) if conditioner else None
        return cls(IntegerNetwork(network, device), conditioned)

    def tensors(self) -> dict[str, Tensor]:
        """All integers, on the CPU."""
        tensors = {_NETWORK + name: value for name, value in self.network.tensors().items()}
        if self.conditioner is not None:
            tensors |= {_CONDITIONER + name: value for name, value in self.conditioner.tensors().items()}
        return tensors

    def to(self, device: torch.device | str) -> IntegerDecoder:
        """The same decoder on another device."""
        here = torch.device(device) == self.network.device
        return self if here else IntegerDecoder.from_tensors(self.tensors(), device)

    def conditioning(
        self,
        codes: Tensor | None,
        size: Sequence[int],
        rows: tuple[int, int] | None = None,
        labels: Tensor | None = None,
    ) -> Conditioning:
        """What the network sees besides the symbols of items of this size, or of some rows of them.

        Codes (B, *ceil(size / hop), P) and labels are those of the whole items; `rows` are the first and the
        last plus one along the first axis.
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
        here, there = (part and part.structure for part in (self.conditioner, decoder.conditioner))
        return here == there and self.network.structure == decoder.network.structure
