"""What a model computes, as the reader made from docs/archive.md (`lpz_reader`) asks for it."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive import IntegerNetwork
from latentpress.exact.distribution import Conditioning
from latentpress.model import Model
from lpz_coders import table_of_logits
from lpz_latents import LatentLanes, LatentRows, gaussian
from lpz_reader import Reader
from small.stepwise import Stepper

__all__ = ["documented_codes", "documented_symbols"]


class _Lanes:
    """An integer network, one symbol after another."""

    def __init__(
        self, network: IntegerNetwork, shape: tuple[int, ...], lanes: int, conditioning: Conditioning
    ) -> None:
        self.stepper = Stepper(network, lanes, tuple(shape), conditioning)

    def tables(self) -> list[list[int]]:
        return [table_of_logits(row) for row in self.stepper.logits().tolist()]

    def push(self, symbols: list[int]) -> None:
        self.stepper.push(torch.tensor(symbols))


class _Toys:
    """The toy kind."""

    @staticmethod
    def samples(residuals, extents):
        frame = extents[1] * extents[2]
        values = [high << 8 | low for high, low in residuals]
        for i in range(frame, len(values)):
            values[i] = (values[i] + values[i - frame]) % 65536
        return [(value >> 8, value & 255) for value in values]

    @staticmethod
    def unpack(payload, extents, channels):
        data = zlib.decompress(payload)
        return [(data[i + 1], data[i]) for i in range(0, len(data), 2)]


def documented_codes(data: bytes, model: Model) -> dict[str, list[tuple[int, ...]]]:
    """The codes of an archive."""
    reader = Reader(data, {"toy": _Toys})
    return reader.codes(_Networks(model, reader).prior)


def documented_symbols(data: bytes, model: Model) -> dict[str, list[tuple[int, ...]]]:
    """The symbols of samples that an archive holds."""
    reader = Reader(data, {"toy": _Toys})
    networks = _Networks(model, reader)
    return reader.symbols(
        networks.prior, networks.decoder, networks.latents, networks.band_decoder, networks.posterior
    )


class _Networks:
    """The networks of a model, for the items of a reader."""

    def __init__(self, model: Model, reader: Reader) -> None:
        self.model, self.reader, self.integer = model, reader, model.integer

    def labels(self, part, lanes, hop: int = 1) -> Tensor | None:
        """Those of every row of lanes, each of which is `hop` rows of samples."""
        labels = []
        for item, first, last in lanes:
            own = self.reader.items[item]
            tracks = own.tracks if own.tracks is not None else [own.labels] * own.extents[0]
            labels.append([tracks[min(row, len(tracks) - 1)] for row in range(first * hop, last * hop)])
        return self.model.labels_for(part, torch.tensor(labels) if labels[0][0] else None)

    def tensors(self) -> dict[str, list]:
        assert self.integer.prior is not None
        return {name: tensor.tolist() for name, tensor in self.integer.prior.tensors().items()}

    def prior(self, shape, lanes):
        if isinstance(self.integer.prior, IntegerNetwork):
            conditioning = Conditioning(labels=self.labels("prior", lanes, self.model.hop[0]))
            return _Lanes(self.integer.prior, shape, len(lanes), conditioning)
        return LatentLanes(self.tensors(), shape, len(lanes))

    def decoder(self, shape, lanes, codes):
        decoder, maps = self.integer.archive_decoder, None
        assert decoder is not None
        if decoder.conditioner is not None:
            maps = []
            for item, first, last in lanes:
                extents = self.reader.items[item].extents
                grid = self.model.grid(extents)
                whole = decoder.conditioning(torch.tensor(codes[item]).view(1, *grid, -1), extents).local
                assert whole is not None
                maps.append(whole[0, :, first:last])
            maps = torch.stack(maps)
        conditioning = Conditioning(maps, self.labels("autoregressive", lanes))
        return _Lanes(decoder.network, shape, len(lanes), conditioning)

    def latents(self, width):
        return LatentRows(self.tensors(), width)

    def band_decoder(self, extents, rows):
        decoder, grid = self.integer.decoder, self.model.grid(extents)
        assert decoder is not None
        codes = torch.tensor(rows).view(1, *grid, -1) + 127
        return _Lanes(decoder.network, extents, 1, decoder.conditioning(codes, extents))

    def posterior(self, symbols, extents):
        assert self.integer.encoder is not None
        posterior = self.integer.encoder(torch.tensor(symbols).view(1, *extents, -1))
        steps, channels = posterior.mean.shape[1], posterior.mean.shape[-1]
        mean, scale = (
            np.array(part).reshape(steps, -1, channels) for part in (posterior.mean, posterior.scale)
        )
        return [
            [
                [gaussian(*both, 1, 255) for both in zip(*place, strict=True)]
                for place in zip(*row, strict=True)
            ]
            for row in zip(mean.tolist(), scale.tolist(), strict=True)
        ]
