"""Samples of any range to the networks' scale and back, without a loss."""

import pytest
import torch

from latentpress.nn import from_signal, to_signal

RANGES = [(0, 256, torch.uint8), (0, 2, torch.uint8), (-(2**15), 2**16, torch.int16), (0, 2**16, torch.int32)]
RANGES += [(0, 2**16, torch.uint16), (-5, 11, torch.int8)]


@pytest.mark.parametrize(("low", "levels", "dtype"), RANGES)
def test_every_sample_comes_back(low: int, levels: int, dtype: torch.dtype) -> None:
    samples = torch.arange(low, low + levels).view(1, -1, 1)
    signal = to_signal(samples.to(dtype), low, levels)
    assert signal.dtype == torch.float32 and signal.shape == (1, 1, levels)
    assert (signal.min().item(), signal.max().item()) == (-1, 1)
    restored = from_signal(signal, low, levels)
    assert torch.equal(restored.to(torch.int64), samples)
    assert restored.dtype == (torch.uint8 if (low, levels) == (0, 256) else torch.int32)
    nearby = from_signal(signal + 0.8 / (levels - 1), low, levels)
    assert torch.equal(nearby.to(torch.int64), samples), "within half a level it is the same sample"


@pytest.mark.parametrize("size", [(5,), (2, 3), (4, 3, 2)])
def test_channels_are_last_in_samples_and_first_in_signals(size: tuple[int, ...]) -> None:
    samples = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    before = samples.clone()
    signal = to_signal(samples, 0, 256)
    assert torch.equal(signal, samples.movedim(-1, 1) / 127.5 - 1) and torch.equal(samples, before)
    assert torch.equal(from_signal(signal, 0, 256), samples)


def test_values_beyond_the_scale_are_clipped() -> None:
    signal = torch.tensor([[[-7.0, 7.0]]], dtype=torch.bfloat16)
    assert from_signal(signal, -8, 16).flatten().tolist() == [-8, 7]
    assert from_signal(signal, 0, 256).flatten().tolist() == [0, 255]


def test_a_float32_item_is_left_as_it_is() -> None:
    samples = torch.tensor([[[3.0]]])
    to_signal(samples, 1, 256)
    assert samples.item() == 3.0
