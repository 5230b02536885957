"""Windows keep sizes exactly for every stride, odd and uneven ones too; new layers have the stated gain."""

import pytest
import torch

from latentpress.nn.layers import ChannelNorm, ResidualBlock, Window, conv, fast_layout, upconv

STRIDES = [(1,), (2,), (3,), (5,), (8,), (2, 3), (1, 4), (1, 2, 2), (3, 1, 5)]


@pytest.mark.parametrize("strides", STRIDES)
def test_windows_change_the_resolution_by_exactly_the_strides(strides: tuple[int, ...]) -> None:
    rank, cells = len(strides), (2, 1, 3)[: len(strides)]
    fine = (1, 2, *(s * n for s, n in zip(strides, cells, strict=True)))
    assert conv(rank, 2, 3, Window(strides))(torch.zeros(fine)).shape == (1, 3, *cells)
    assert upconv(rank, 3, 2, Window(strides))(torch.zeros(1, 3, *cells)).shape == fine


@pytest.mark.parametrize("strides", STRIDES)
def test_windows_lie_evenly_around_their_cells(strides: tuple[int, ...]) -> None:
    """As much context before a cell as after it: half a stride, rounded up."""
    window = Window(strides)
    for s, kernel, padding in zip(strides, window.kernel, window.padding, strict=True):
        assert kernel - s == 2 * padding == 2 * -(-s // 2)


def test_even_strides_have_the_kernels_of_the_paper() -> None:
    assert (Window((2, 4)).kernel, Window((2, 4)).padding) == ((4, 8), (1, 2))
    assert (Window((1,)).kernel, Window((1,)).padding) == ((3,), (1,))


@pytest.mark.parametrize("strides", [(4, 4), (3, 2), (5, 1)])
def test_a_transposed_convolution_is_the_adjoint_of_the_strided_one(strides: tuple[int, int]) -> None:
    down, up = conv(2, 3, 5, Window(strides)).double(), upconv(2, 5, 3, Window(strides)).double()
    up.get_parameter("weight").data.copy_(down.get_parameter("weight").data)
    x = torch.randn(2, 3, 2 * strides[0], 3 * strides[1], dtype=torch.double)
    z = torch.randn(2, 5, 2, 3, dtype=torch.double)
    torch.testing.assert_close((down(x) * z).sum(), (x * up(z)).sum())


@pytest.mark.parametrize("make", [conv, upconv])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (4, 4), (3, 3), (1, 5)])
def test_new_convolutions_have_the_stated_gain(make, strides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 64, 30, 30).relu()
    y = make(2, 64, 32, Window(strides))(x)[:, :, 2:-2, 2:-2]  # no zeros of the border
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


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("norm", ["none", "channel"])
def test_a_new_residual_block_is_the_identity_and_can_learn(norm: str, rank: int) -> None:
    block = ResidualBlock(rank, 8, norm)
    x = torch.randn(2, 8, *(5,) * rank)
    y = block(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in block.parameters())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_fast_layout_changes_memory_only(rank: int) -> None:
    x = torch.randn(2, 3, *(4,) * rank)
    y = fast_layout(x)
    assert torch.equal(x, y)
    assert y.stride(1) == (4 if rank == 1 else 1)
