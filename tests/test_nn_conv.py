import pytest
import torch
from torch import Tensor, nn

from latentpress.config import ConvConfig
from latentpress.nn import ConvDecoder, ConvEncoder

CONFIGS = [
    ConvConfig(strides=(2, 2), depths=(0, 2), width=8),
    ConvConfig(strides=(4,), depths=(3,), width=8),
    ConvConfig(strides=(2, 4), depths=(1, 0), width=8),
    ConvConfig(strides=(2, 2, 2), depths=(1, 1, 1), width=8),
    ConvConfig(strides=(6, 1), depths=(0, 1), width=8),
    ConvConfig(strides=(2, 2), depths=(2, 1), width=8, norm="channel"),
]


def make_generic(module: nn.Module, *, positive: bool) -> None:
    """No weight is zero, and with `positive` no influence can cancel or be rectified away."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
        if positive:
            parameter.data.abs_()


def touched(gradient: Tensor) -> tuple[int, int]:
    """First and last position, along the last dimension, with a gradient."""
    positions = gradient.abs().flatten(0, -2).sum(0).nonzero().flatten()
    return int(positions[0]), int(positions[-1])


@pytest.mark.parametrize("config", CONFIGS)
def test_the_encoder_depends_on_exactly_its_margin(config: ConvConfig) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(config, 1, 2, 4).double()
    make_generic(encoder, positive=config.norm == "none")
    middle = 2 * encoder.margin
    x = torch.rand(1, 2, (2 * middle + 1) * encoder.hop_length, dtype=torch.double, requires_grad=True)
    encoder(x)[..., middle].sum().backward()
    assert x.grad is not None
    first, last = (sample // encoder.hop_length for sample in touched(x.grad))
    assert (middle - first, last - middle) == (encoder.margin, encoder.margin)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_decoder_depends_on_exactly_its_margin(config: ConvConfig) -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(config, 1, 4, 2).double()
    make_generic(decoder, positive=config.norm == "none")
    middle, hop = 2 * decoder.margin, decoder.hop_length
    z = torch.rand(1, 4, 2 * middle + 1, dtype=torch.double, requires_grad=True)
    decoder(z)[..., middle * hop : (middle + 1) * hop].sum().backward()
    assert z.grad is not None
    first, last = touched(z.grad)
    assert (middle - first, last - middle) == (decoder.margin, decoder.margin)


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("config", CONFIGS[:3])
def test_shapes_for_every_number_of_dimensions(config: ConvConfig, spatial: int) -> None:
    encoder = ConvEncoder(config, spatial, 3, 5)
    decoder = ConvDecoder(config, spatial, 5, 6)
    sides = tuple(config.hop_length * n for n in (2, 1, 3)[:spatial])
    z = encoder(torch.zeros(2, 3, *sides))
    assert z.shape == (2, 5, *(2, 1, 3)[:spatial])
    assert decoder(z).shape == (2, 6, *sides)


def test_the_default_is_the_shape_of_the_paper() -> None:
    convolutions = [m for m in ConvEncoder(ConvConfig(), 2, 3, 64).modules() if isinstance(m, nn.Conv2d)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in convolutions]
    block = [(256, 256, 3, 1), (256, 256, 1, 1)]
    assert shapes == [(3, 128, 4, 2), (128, 256, 4, 2), *block, *block, (256, 64, 1, 1)]


def test_sides_that_are_no_multiple_of_the_hop_are_refused() -> None:
    with pytest.raises(ValueError, match="pad"):
        ConvEncoder(ConvConfig(width=32), 2, 3, 4)(torch.zeros(1, 3, 8, 9))


@pytest.mark.parametrize("norm", ["none", "channel"])
def test_an_autoencoder_learns(norm) -> None:
    torch.manual_seed(0)
    config = ConvConfig(strides=(2,), depths=(1,), width=32, norm=norm)
    encoder, decoder = ConvEncoder(config, 2, 1, 8), ConvDecoder(config, 2, 8, 1)
    x = torch.nn.functional.interpolate(torch.rand(8, 1, 4, 4) * 2 - 1, scale_factor=2, mode="bilinear")
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (decoder(encoder(x)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
