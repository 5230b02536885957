"""Tiles give the values of the whole, for every rank, stride, tile and size, and smaller margins do not."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from latentpress.config import ConvConfig
from latentpress.nn import ConvDecoder, ConvEncoder, from_signal, pad_to_hop, to_signal
from latentpress.nn.tiling import tiles
from small.tiling import tiled

Network = TypeVar("Network", bound=nn.Module)
CONFIGS = [
    (1, ConvConfig(strides=(3, 2), depths=(1, 0), width=4)),
    (2, ConvConfig(strides=(2, 2), depths=(0, 1), width=4)),
    (2, ConvConfig(strides=((1, 3), (2, 1)), depths=(0, 1), width=4)),
    (3, ConvConfig(strides=((1, 2, 3),), depths=(1,), width=4)),
]


def with_integer_weights(module: Network) -> Network:
    """Sums of integers are exact in float64 in any order, so equality can be asked for."""
    for parameter in module.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape).double()
    return module.requires_grad_(False)


def channels_last(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: network(x.movedim(-1, 1)).movedim(1, -1)


@given(
    axes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 10), st.integers(0, 5)), min_size=1, max_size=3)
)
def test_tiles_cover_the_grid_once_with_all_the_context_there_is(axes: list[tuple[int, int, int]]) -> None:
    grid, tile, margin = zip(*axes, strict=True)
    counts = np.zeros(grid, int)
    for part in tiles(grid, tile, margin):
        counts[tuple(slice(*side) for side in part.inner)] += 1
        for inner, outer, crop, (extent, most, m) in zip(
            part.inner, part.outer, part.crop, axes, strict=True
        ):
            assert outer == (max(0, inner[0] - m), min(extent, inner[1] + m))
            assert (outer[0] + crop[0], outer[0] + crop[1]) == inner
            assert inner[1] - inner[0] <= most
    assert (counts == 1).all()


SHAPES = {"grid": st.tuples(*[st.integers(1, 7)] * 3), "tile": st.tuples(*[st.integers(1, 5)] * 3)}


@pytest.mark.parametrize(("rank", "config"), CONFIGS)
@settings(max_examples=10)
@given(**SHAPES, seed=st.integers(0, 99))
def test_a_tiled_encoder_equals_the_whole(rank, config, grid, tile, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = with_integer_weights(ConvEncoder(config, rank, 1, 3))
    grid, tile, run = grid[:rank], tile[:rank], channels_last(encoder)
    x = torch.randint(-3, 4, (1, *(n * h for n, h in zip(grid, encoder.hop, strict=True)), 1)).double()
    out = torch.full((1, *grid, 3), torch.nan, dtype=torch.double)
    tiled(run, x, out, grid=grid, tile=tile, margin=encoder.margin, hop_in=encoder.hop)
    assert torch.equal(out, run(x))


@pytest.mark.parametrize(("rank", "config"), CONFIGS)
@settings(max_examples=10)
@given(**SHAPES, cut=st.integers(0, 1), seed=st.integers(0, 99))
def test_a_tiled_decoder_equals_the_whole(rank, config, grid, tile, cut: int, seed: int) -> None:
    torch.manual_seed(seed)
    decoder = with_integer_weights(ConvDecoder(config, rank, 2, 3))
    grid, tile, run = grid[:rank], tile[:rank], channels_last(decoder)
    z = torch.randint(-3, 4, (1, *grid, 2)).double()
    size = [n * h - (cut if h > 1 else 0) for n, h in zip(grid, decoder.hop, strict=True)]
    out = torch.full((1, *size, 3), torch.nan, dtype=torch.double)
    tiled(run, z, out, grid=grid, tile=tile, margin=decoder.margin, hop_out=decoder.hop)
    assert torch.equal(out, run(z)[(slice(None), *map(slice, size))])


@pytest.mark.parametrize(
    ("rank", "config", "axis"), [(rank, config, a) for rank, config in CONFIGS for a in range(rank)]
)
def test_a_margin_too_small_by_one_along_any_axis_changes_the_result(rank: int, config, axis: int) -> None:
    torch.manual_seed(0)
    decoder = with_integer_weights(ConvDecoder(config, rank, 2, 3))
    grid, run = (10,) * rank, channels_last(decoder)
    z = torch.randint(-3, 4, (1, *grid, 2)).double()
    margin = tuple(m - (a == axis) for a, m in enumerate(decoder.margin))
    whole = run(z)
    out = torch.zeros_like(whole)
    tiled(run, z, out, grid=grid, tile=(5,) * rank, margin=margin, hop_out=decoder.hop)
    assert not torch.equal(out, whole)


@pytest.mark.parametrize("norm", ["none", "channel"])
@pytest.mark.parametrize("size", [(3, 5), (17, 20), (61, 34)])
@torch.no_grad()
def test_samples_through_encoder_and_decoder_in_tiles(size: tuple[int, int], norm) -> None:
    """Bytes in and bytes out, extents that are no multiple of the hop, no float copy of the whole."""
    torch.manual_seed(0)
    config = ConvConfig(strides=(2, (2, 3)), depths=(0, 1), width=32, norm=norm)
    encoder, decoder = ConvEncoder(config, 2, 3, 4), ConvDecoder(config, 2, 4, 3)
    for parameter in [*encoder.parameters(), *decoder.parameters()]:
        nn.init.normal_(parameter, std=0.1)
    samples = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    hop = encoder.hop
    grid = tuple(-(-extent // h) for extent, h in zip(size, hop, strict=True))

    def encode(piece: np.ndarray) -> Tensor:
        for extent, h, m in zip(piece.shape[1:3], hop, encoder.margin, strict=True):
            assert extent <= h * (6 + 2 * m) or piece is samples
        return encoder(pad_to_hop(to_signal(torch.from_numpy(piece), 0, 256), hop)).movedim(1, -1)

    def decode(piece: Tensor) -> np.ndarray:
        return from_signal(decoder(piece.movedim(-1, 1)), 0, 256).numpy()

    z = torch.empty(2, *grid, 4)
    tiled(encode, samples, z, grid=grid, tile=(6, 6), margin=encoder.margin, hop_in=hop)
    assert torch.allclose(z, encode(samples), atol=1e-5)

    out = np.empty_like(samples)
    tiled(decode, z, out, grid=grid, tile=(6, 6), margin=decoder.margin, hop_out=hop)
    expected = decode(z)[:, : size[0], : size[1]]
    assert np.abs(out.astype(int) - expected).max() <= 1  # a value near a half may round either way
    assert (out != expected).mean() < 1e-3


@pytest.mark.parametrize(
    ("tile", "margin", "match"), [((0, 1), (0, 0), "a tile"), ((2, 2), (0, -1), "a margin")]
)
def test_misuse_is_refused(tile, margin, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        next(tiles((4, 4), tile, margin))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=3))
def test_padding_repeats_the_edge(axes: list[tuple[int, int]]) -> None:
    size, hop = zip(*axes, strict=True)
    x = torch.rand(1, 2, *size)
    widths = [(0, 0), (0, 0), *((0, -extent % h) for extent, h in axes)]
    assert np.array_equal(pad_to_hop(x, hop).numpy(), np.pad(x.numpy(), widths, mode="edge"))
