from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from latentpress.config import ConvConfig
from latentpress.nn import ConvDecoder, ConvEncoder, pad_to_hop, tiled, tiles

Network = TypeVar("Network", bound=nn.Module)
CONFIG = ConvConfig(strides=(2, 2), depths=(0, 1), width=4)


def with_integer_weights(module: Network) -> Network:
    """Sums of integers are exact in float64 in any order, so equality can be asked for."""
    for parameter in module.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape).double()
    return module.requires_grad_(False)


@given(
    grid=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    tile=st.integers(1, 10),
    margin=st.integers(0, 5),
)
def test_tiles_cover_the_grid_once_with_all_the_context_there_is(
    grid: list[int], tile: int, margin: int
) -> None:
    counts = np.zeros(grid, int)
    for part in tiles(grid, tile, margin):
        counts[tuple(slice(*side) for side in part.inner)] += 1
        for (start, stop), (low, high), crop, side in zip(
            part.inner, part.outer, part.crop, grid, strict=True
        ):
            assert (low, high) == (max(0, start - margin), min(side, stop + margin))
            assert (low + crop[0], low + crop[1]) == (start, stop)
            assert stop - start <= tile
    assert (counts == 1).all()


@settings(max_examples=20)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), tile=st.integers(1, 8), seed=st.integers(0, 99))
def test_tiled_encoder_equals_the_whole(rows: int, columns: int, tile: int, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = with_integer_weights(ConvEncoder(CONFIG, 2, 1, 3))
    x = torch.randint(-3, 4, (1, 1, 4 * rows, 4 * columns)).double()
    out = torch.full((1, 3, rows, columns), torch.nan, dtype=torch.double)
    tiled(encoder, x, out, grid=(rows, columns), tile=tile, margin=encoder.margin, hop_in=4, axis=2)
    assert torch.equal(out, encoder(x))


@settings(max_examples=20)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), tile=st.integers(1, 8), seed=st.integers(0, 99))
def test_tiled_decoder_equals_the_whole(rows: int, columns: int, tile: int, seed: int) -> None:
    torch.manual_seed(seed)
    decoder = with_integer_weights(ConvDecoder(CONFIG, 2, 2, 3))
    z = torch.randint(-3, 4, (1, 2, rows, columns)).double()
    out = torch.full((1, 3, 4 * rows, 4 * columns), torch.nan, dtype=torch.double)
    tiled(decoder, z, out, grid=(rows, columns), tile=tile, margin=decoder.margin, hop_out=4, axis=2)
    assert torch.equal(out, decoder(z))


def test_a_margin_too_small_by_one_changes_the_result() -> None:
    torch.manual_seed(0)
    decoder = with_integer_weights(ConvDecoder(CONFIG, 1, 2, 3))
    z = torch.randint(-3, 4, (1, 2, 30)).double()
    out = torch.zeros(1, 3, 120, dtype=torch.double)
    tiled(decoder, z, out, grid=(30,), tile=5, margin=decoder.margin - 1, hop_out=4, axis=2)
    assert not torch.equal(out, decoder(z))


@pytest.mark.parametrize("norm", ["none", "channel"])
@pytest.mark.parametrize("size", [(3, 5), (17, 20), (61, 34)])
@torch.no_grad()
def test_bytes_through_encoder_and_decoder_in_tiles(size: tuple[int, int], norm) -> None:
    """Bytes in and bytes out, sides that are no multiple of the hop, no float copy of the whole."""
    torch.manual_seed(0)
    config = ConvConfig(strides=(2, 2), depths=(0, 1), width=32, norm=norm)
    encoder, decoder = ConvEncoder(config, 2, 3, 4), ConvDecoder(config, 2, 4, 3)
    for parameter in [*encoder.parameters(), *decoder.parameters()]:
        nn.init.normal_(parameter, std=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    grid = tuple(-(-side // 4) for side in size)

    def encode(piece: np.ndarray) -> Tensor:
        assert max(piece.shape[1:3]) <= 4 * (6 + 2 * encoder.margin)
        x = torch.from_numpy(piece).movedim(-1, 1) / 127.5 - 1
        return encoder(pad_to_hop(x, 4)).movedim(1, -1)

    def decode(piece: Tensor) -> np.ndarray:
        y = decoder(piece.movedim(-1, 1)).movedim(1, -1)
        return (y.clamp(-1, 1) * 127.5 + 127.5).round().byte().numpy()

    z = torch.empty(2, *grid, 4)
    tiled(encode, pixels, z, grid=grid, tile=6, margin=encoder.margin, hop_in=4)
    whole = encoder(pad_to_hop(torch.from_numpy(pixels).movedim(-1, 1) / 127.5 - 1, 4)).movedim(1, -1)
    assert torch.allclose(z, whole, atol=1e-5)

    out = np.empty_like(pixels)
    tiled(decode, z, out, grid=grid, tile=6, margin=decoder.margin, hop_out=4)
    expected = decode(z)[:, : size[0], : size[1]]
    assert np.abs(out.astype(int) - expected).max() <= 1  # a value near a half may round either way
    assert (out != expected).mean() < 1e-3


@pytest.mark.parametrize(
    ("grid", "tile", "margin", "match"),
    [((4, 4), 0, 0, "tile"), ((4, 4), 2, -1, "margin"), ((3, 4), 2, 0, "cover"), ((5, 4), 2, 0, "cover")],
)
def test_misuse_is_refused(grid: tuple[int, int], tile: int, margin: int, match: str) -> None:
    x = torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match=match):
        tiled(lambda v: v, x, torch.zeros(1, 4, 4), grid=grid, tile=tile, margin=margin)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 5))
def test_padding_repeats_the_edge(sides: list[int], hop: int) -> None:
    x = torch.rand(1, 2, *sides)
    widths = [(0, 0), (0, 0), *((0, -side % hop) for side in sides)]
    assert np.array_equal(pad_to_hop(x, hop).numpy(), np.pad(x.numpy(), widths, mode="edge"))
