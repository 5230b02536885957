"""Encoder and decoder of every rank and stride: exact sizes and margins, the paper's shape, and learning."""

import pytest
import torch
from torch import Tensor, nn

from latentpress.config import ConvConfig
from latentpress.errors import ConfigError
from latentpress.nn import ConvDecoder, ConvEncoder

CONFIGS = [
    (1, ConvConfig(strides=(2, 2), depths=(0, 2), width=8)),
    (1, ConvConfig(strides=(4,), depths=(3,), width=8)),
    (2, ConvConfig(strides=(2, 4), depths=(1, 0), width=8)),
    (1, ConvConfig(strides=(2, 2, 2), depths=(1, 1, 1), width=8)),
    (1, ConvConfig(strides=(6, 1), depths=(0, 1), width=8)),
    (2, ConvConfig(strides=(2, 2), depths=(2, 1), width=8, norm="channel")),
    (1, ConvConfig(strides=(3,), depths=(2,), width=8)),
    (1, ConvConfig(strides=(8, 5, 4, 2), depths=(0, 0, 1, 0), width=8)),
    (2, ConvConfig(strides=((1, 3), 5), depths=(1, 0), width=8)),
    (3, ConvConfig(strides=((1, 2, 2), (3, 1, 2)), depths=(0, 1), width=8)),
    (3, ConvConfig(strides=((1, 2, 3), (2, 2, 1)), depths=(1, 1), width=8, norm="channel")),
]
AXES = [(config, rank, axis) for rank, config in CONFIGS for axis in range(rank)]


def make_generic(module: nn.Module, *, positive: bool) -> None:
    """No weight is zero, and with `positive` no influence can cancel or be rectified away."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
        if positive:
            parameter.data.abs_()


def touched(gradient: Tensor, axis: int) -> tuple[int, int]:
    """First and last position along an axis of the grid with a gradient."""
    positions = gradient.abs().movedim(2 + axis, -1).flatten(0, -2).sum(0).nonzero().flatten()
    return int(positions[0]), int(positions[-1])


def along(rank: int, axis: int, length: int) -> list[int]:
    """A grid of one position along every other axis."""
    return [length if a == axis else 1 for a in range(rank)]


@pytest.mark.parametrize(("config", "rank", "axis"), AXES)
def test_the_encoder_depends_on_exactly_its_margin(config: ConvConfig, rank: int, axis: int) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(config, rank, 2, 4).double()
    make_generic(encoder, positive=config.norm == "none")
    margin, hop = encoder.margin[axis], encoder.hop[axis]
    middle = 2 * margin
    size = [n * h for n, h in zip(along(rank, axis, 2 * middle + 1), encoder.hop, strict=True)]
    x = torch.rand(1, 2, *size, dtype=torch.double, requires_grad=True)
    encoder(x).select(2 + axis, middle).sum().backward()
    assert x.grad is not None
    first, last = (sample // hop for sample in touched(x.grad, axis))
    assert (middle - first, last - middle) == (margin, margin)


@pytest.mark.parametrize(("config", "rank", "axis"), AXES)
def test_the_decoder_depends_on_exactly_its_margin(config: ConvConfig, rank: int, axis: int) -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(config, rank, 4, 2).double()
    make_generic(decoder, positive=config.norm == "none")
    margin, hop = decoder.margin[axis], decoder.hop[axis]
    middle = 2 * margin
    z = torch.rand(1, 4, *along(rank, axis, 2 * middle + 1), dtype=torch.double, requires_grad=True)
    decoder(z).narrow(2 + axis, middle * hop, hop).sum().backward()
    assert z.grad is not None
    first, last = touched(z.grad, axis)
    assert (middle - first, last - middle) == (margin, margin)


@pytest.mark.parametrize(("rank", "config"), CONFIGS)
def test_sizes_are_divided_and_restored_exactly(config: ConvConfig, rank: int) -> None:
    encoder, decoder = ConvEncoder(config, rank, 3, 5), ConvDecoder(config, rank, 5, 6)
    grid = (2, 1, 3)[:rank]
    size = tuple(n * h for n, h in zip(grid, config.hop(rank), strict=True))
    z = encoder(torch.zeros(2, 3, *size))
    assert encoder.hop == decoder.hop == config.hop(rank)
    assert z.shape == (2, 5, *grid) and decoder(z).shape == (2, 6, *size)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_one_number_is_the_stride_of_every_axis(rank: int) -> None:
    one, each = ConvConfig(strides=(3, 2), width=8), ConvConfig(strides=((3,) * rank, (2,) * rank), width=8)
    first, second = (ConvEncoder(config, rank, 1, 4) for config in (one, each))
    shapes = [[p.shape for p in encoder.parameters()] for encoder in (first, second)]
    assert shapes[0] == shapes[1] and first.hop == second.hop == (6,) * rank


def test_strides_of_another_rank_are_refused() -> None:
    with pytest.raises(ConfigError, match="strides"):
        ConvEncoder(ConvConfig(strides=((2, 2),), depths=(0,)), 3, 1, 4)


def test_the_default_is_the_shape_of_the_paper() -> None:
    convolutions = [m for m in ConvEncoder(ConvConfig(), 2, 3, 64).modules() if isinstance(m, nn.Conv2d)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions]
    block = [(256, 256, 3, 1), (256, 256, 1, 1)]
    assert shapes == [(3, 128, 4, 2), (128, 256, 4, 2), *block, *block, (256, 64, 1, 1)]


@pytest.mark.parametrize("size", [(8, 9), (9, 8)])
def test_extents_that_are_no_multiple_of_the_hop_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pad"):
        ConvEncoder(ConvConfig(width=32), 2, 3, 4)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("norm", ["none", "channel"])
@pytest.mark.parametrize("strides", [(2,), ((2, 3),)])
def test_an_autoencoder_learns(norm, strides) -> None:
    torch.manual_seed(0)
    config = ConvConfig(strides=strides, depths=(1,), width=32, norm=norm)
    encoder, decoder = ConvEncoder(config, 2, 1, 8), ConvDecoder(config, 2, 8, 1)
    x = torch.rand(8, 1, 4, 4) * 2 - 1
    x = torch.nn.functional.interpolate(x, scale_factor=config.hop(2), mode="bilinear")
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (decoder(encoder(x)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
