import pytest
import torch

from latentpress.nn.layers import ChannelNorm, ResidualBlock, Window, conv, fast_layout, upconv


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 4, 6])
def test_windows_change_the_resolution_by_exactly_the_stride(spatial: int, stride: int) -> None:
    fine, coarse = (1, 2, *(2 * stride,) * spatial), (1, 3, *(2,) * spatial)
    assert conv(spatial, 2, 3, Window(stride))(torch.zeros(fine)).shape == coarse
    assert upconv(spatial, 3, 2, Window(stride))(torch.zeros(coarse)).shape == fine


def test_a_transposed_convolution_is_the_adjoint_of_the_strided_one() -> None:
    down, up = conv(2, 3, 5, Window(4)), upconv(2, 5, 3, Window(4))
    up.get_parameter("weight").data.copy_(down.get_parameter("weight").data)
    x, z = torch.randn(2, 3, 8, 12), torch.randn(2, 5, 2, 3)
    assert torch.allclose((down(x) * z).sum(), (x * up(z)).sum(), rtol=1e-4)


@pytest.mark.parametrize("make", [conv, upconv])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_new_convolutions_have_the_stated_gain(make, stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 64, 24, 24).relu()
    y = make(2, 64, 32, Window(stride))(x)[:, :, 2:-2, 2:-2]  # no zeros of the border
    assert y.square().mean().item() == pytest.approx(2 * x.square().mean().item(), rel=0.15)


def test_channel_norm_sees_one_position_only() -> None:
    norm = ChannelNorm(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 4, 5)
    other = torch.randn_like(x)
    other[:, :, 1, 2] = x[:, :, 1, 2]
    assert torch.equal(norm(x)[:, :, 1, 2], norm(other)[:, :, 1, 2])


def test_channel_norm_is_layer_norm_over_channels() -> None:
    x = torch.randn(2, 6, 4)
    expected = torch.nn.LayerNorm(6)(x.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(ChannelNorm(6)(x), expected, atol=1e-6)


@pytest.mark.parametrize("norm", ["none", "channel"])
def test_a_new_residual_block_is_the_identity_and_can_learn(norm: str) -> None:
    block = ResidualBlock(2, 8, norm)
    x = torch.randn(2, 8, 5, 5)
    y = block(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in block.parameters())


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_fast_layout_changes_memory_only(spatial: int) -> None:
    x = torch.randn(2, 3, *(4,) * spatial)
    y = fast_layout(x)
    assert torch.equal(x, y)
    assert y.stride(1) == (4 if spatial == 1 else 1)
