"""Integer networks of random weights, and symbols and conditioning for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.coding import TOTAL_BITS, RangeEncoder, frequencies
from latentpress.config import CausalConfig
from latentpress.exact.distribution import Conditioning, Stream

__all__ = [
    "SMALL",
    "assert_same",
    "coded",
    "cut",
    "jolted",
    "network_cases",
    "quantised",
    "random_network",
    "stream_of",
    "streamed",
    "tables",
]

M = TypeVar("M", bound=nn.Module)

SMALL = CausalConfig(width=8, depth=2, radius=2, dilations=(1, 2), embedding=6, head_width=8)


def jolted(module: M, seed: int = 0, size: float = 0.5) -> M:
    """The module with noise on all weights, also where training starts from zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return module


def random_network(
    alphabets: Sequence[int],
    grid: Sequence[int],
    *,
    channels: int = 0,
    labels: Sequence[int] = (),
    along: bool = False,
    batch: int = 3,
    seed: int = 0,
) -> tuple[IntegerNetwork, Tensor, Conditioning]:
    """An integer network, symbols (batch, *grid, P) and their conditioning, in integers.

    Args:
        alphabets: of the components.
        grid: the symbols'.
        channels: of the local conditioning.
        labels: how many values each label has.
        along: whether every row along the first axis has labels of its own.
        batch: how many items.
        seed: of everything.
    """
    generator = torch.Generator().manual_seed(seed)
    network = CausalNetwork(SMALL, alphabets, len(grid), context_channels=channels, label_sizes=labels)
    with torch.no_grad():
        for parameter in network.parameters():
            random = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(random / math.sqrt(parameter.shape[-1]))
    symbols = torch.stack([torch.randint(k, (batch, *grid), generator=generator) for k in alphabets], -1)
    rows = (batch, grid[0]) if along else (batch,)
    drawn = [torch.randint(-1, size, rows, generator=generator) for size in labels]
    conditioning = Conditioning(
        torch.randn(batch, channels, *grid, generator=generator) if channels else None,
        torch.stack(drawn, -1) if labels else None,
    )
    integers = IntegerNetwork.convert(network, symbols, conditioning)
    return integers, symbols, quantised(integers, conditioning)


def network_cases() -> st.SearchStrategy[dict]:
    """Arguments of `random_network` of ranks 1 to 3, with and without conditioning of every kind."""
    return st.fixed_dictionaries(
        {
            "alphabets": st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple),
            "grid": st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
            "channels": st.sampled_from([0, 3]),
            "labels": st.sampled_from([(), (2,), (3, 1, 2)]),
            "along": st.booleans(),
            "batch": st.sampled_from([1, 2, 5]),
            "seed": st.integers(0, 1000),
        }
    )


def quantised(integers: IntegerNetwork, conditioning: Conditioning) -> Conditioning:
    """Conditioning whose local map is rounded to the network's steps."""
    if conditioning.local is None:
        return conditioning
    exponents = integers.tensors()["context_exponents"].double().view(-1, *[1] * integers.structure.rank)
    steps = torch.round(conditioning.local * torch.exp2(-exponents))
    return Conditioning(steps.clamp(-127, 127).to(torch.int8), conditioning.labels)


def cut(conditioning: Conditioning, items: slice, rows: int) -> Conditioning:
    """The conditioning of the first rows of some of the items."""
    local, labels = conditioning.rows(items).local, conditioning.rows(items).labels
    if labels is not None and labels.ndim == 3:
        labels = labels[:, :rows]
    return Conditioning(None if local is None else local[:, :, :rows], labels)


def streamed(items: Tensor) -> NDArray[np.int32]:
    """Symbols (lanes, *G, P) as streams have them: (positions, lanes, P)."""
    return items.flatten(1, -2).transpose(0, 1).numpy().astype(np.int32)


def stream_of(items: Tensor, conditioning: Conditioning, payload: bytes | None = None) -> Stream:
    """A stream of items (lanes, *G, P): with their symbols, or else with their payload."""
    grid = tuple(items.shape[1:-1])
    if payload is None:
        return Stream(grid, len(items), conditioning, symbols=streamed(items))
    return Stream(grid, len(items), conditioning, payload)


def tables(integers: IntegerNetwork, items: Tensor, conditioning: Conditioning) -> list[NDArray[np.int32]]:
    """Each component's frequency tables (positions, lanes, K), by the parallel pass."""
    result = []
    for logits in integers.logits(items, conditioning):
        rows = frequencies(logits.numpy().reshape(-1, logits.shape[-1]))
        result.append(rows.reshape(len(items), -1, logits.shape[-1]).swapaxes(0, 1))
    return result


def coded(items: Tensor, tables: Sequence[NDArray[np.int32]]) -> tuple[bytes, NDArray[np.float64]]:
    """The bytes of a stream of items (lanes, *G, P) under their tables, and the ideal bits of every lane."""
    encoder, bits = RangeEncoder(), np.zeros(len(items))
    for place, position in enumerate(streamed(items)):
        for p, table in enumerate(tables):
            encoder.encode(position[:, p], table[place])
            bits += TOTAL_BITS - np.log2(np.take_along_axis(table[place], position[:, p, None], 1)[:, 0])
    return encoder.to_bytes(), bits


def assert_same(a: Sequence[Tensor], b: Sequence[Tensor]) -> None:
    """Fails unless all tensors are equal to the last bit."""
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
