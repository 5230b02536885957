"""The decoders of a model: how they are built, which integer form is theirs, what samples cost under them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.decoder import AutoregressiveDecoder
from latentpress.config import (
    AnyModelConfig,
    AutoregressiveDecoderConfig,
    CountedDecoderConfig,
    PartName,
    label_sizes,
)
from latentpress.counted import CountedDecoder
from latentpress.exact.distribution import Stream
from latentpress.items.base import Item, Shape
from latentpress.model.decoding import symbols_of
from latentpress.model.integer import AnyIntegerDecoder
from latentpress.nn.parallel import ParallelDecoder

__all__ = ["build_decoders", "counted_nats", "decoder_fits"]


def build_decoders(
    config: AnyModelConfig, has: Callable[[PartName], bool], hop: Shape, vectors: int, latents: dict[str, Any]
) -> tuple[ParallelDecoder | None, AutoregressiveDecoder | None]:
    """The decoders that a configuration has, of latents with `vectors` numbers a position.

    `has` says whether a part is there; `latents` are the arguments of `AutoregressiveDecoder` for the latents
    that it looks at. Of a counted decoder nothing is built: there is nothing to train.
    """
    item, parallel, network = config.item, None, None
    if has("parallel") and (section := config.parallel) is not None:
        labels = label_sizes(config.labels, section.labels)
        rank = len(item.axes)
        parallel = ParallelDecoder(section, rank, vectors, item.channels, item.levels, labels)
    decoder = config.autoregressive
    if has("autoregressive") and isinstance(decoder, AutoregressiveDecoderConfig):
        seen = latents if decoder.use_latents else {}
        labels = label_sizes(config.labels, decoder.labels)
        network = AutoregressiveDecoder(
            decoder, item.alphabets, hop, label_sizes=labels, ordinal=item.ordinal, **seen
        )
    return parallel, network


def decoder_fits(
    form: AnyIntegerDecoder | None, config: AnyModelConfig, network: AutoregressiveDecoder | None
) -> bool:
    """Whether this may be the integer form of a model's autoregressive decoder."""
    if isinstance(form, CountedDecoder):
        return isinstance(config.autoregressive, CountedDecoderConfig)
    return form is not None and network is not None and form.fits(network)


def counted_nats(decoder: CountedDecoder, samples: Tensor, item: Item, mask: Tensor | None) -> Tensor:
    """-log p of items (B, *size, C) under a counted decoder, of what the mask leaves of each: (B,)."""
    symbols = symbols_of(item, samples, residual=False)
    streams = []
    for number, each in enumerate(symbols):
        if mask is not None:  # what is left is the item's beginning along every axis
            sizes = [int(places.max()) + 1 for places in torch.nonzero(mask[number].cpu(), as_tuple=True)]
            each = each[tuple(slice(size) for size in sizes)]
        array = each.flatten(0, -2)[:, None].numpy().astype(np.int64)
        streams.append(Stream(tuple(each.shape[:-1]), 1, symbols=array))
    bits = [float(each.sum()) for _, each in decoder.network.encode(streams)]
    return torch.tensor(bits, dtype=torch.float64) * math.log(2)
