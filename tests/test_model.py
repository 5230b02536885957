"""Pixels to codes and back: any size, any batch, in tiles or in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from latentpress.config import (
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    DiscretizedLogisticConfig,
    GaussianConfig,
    ImageConfig,
    LikelihoodConfig,
    VQVAEConfig,
)
from latentpress.model import VQVAE, build, to_pixels, to_signal
from latentpress.model import vqvae as module

SMALL = ConvConfig(width=32, depths=(0, 1))


def small_model(channels: int = 3, likelihood: LikelihoodConfig | None = None, partitions: int = 2) -> VQVAE:
    torch.manual_seed(3)
    config = VQVAEConfig(
        item=ImageConfig(channels=channels),  # pyright: ignore[reportArgumentType]
        encoder=SMALL,
        decoder=SMALL,
        latents=CodebookConfig(codebook_size=16, code_dim=4, num_codebooks=partitions),
        likelihood=likelihood or GaussianConfig(),
        prior=CausalConfig(width=8, depth=1),
    )
    model = build(config)
    model.latents(model.encoder(to_signal(torch.from_numpy(noise(8, 32, 32, channels))).permute(0, 3, 1, 2)))
    for parameter in model.decoder.parameters():  # an untrained decoder says mid-grey whatever it is given
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape) + sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def test_pixels_survive_the_scale() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_signal(pixels)), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", [GaussianConfig(), DiscretizedLogisticConfig()])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (9, 30), (33, 18)])
def test_any_size_comes_back(channels: int, likelihood: LikelihoodConfig, size: tuple[int, int]) -> None:
    model = small_model(channels, likelihood)
    codes = model.encode(noise(3, *size, channels))
    assert codes.shape == (3, -(-size[0] // 4), -(-size[1] // 4), 2)
    pixels = model.decode(codes, size)
    assert pixels.shape == (3, *size, channels)
    assert pixels.dtype == np.uint8


def test_the_edge_is_repeated() -> None:
    model = small_model()
    image = noise(1, 10, 9, 3)
    padded = np.pad(image, ((0, 0), (0, 2), (0, 3), (0, 0)), mode="edge")
    assert torch.equal(model.encode(image), model.encode(padded))


def test_tiles_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    image = noise(2, 150, 131, 3)
    codes = model.encode(image)
    pixels = model.decode(codes, (150, 131))
    monkeypatch.setattr(module, "_TILE_PIXELS", 36)
    monkeypatch.setattr(module, "_BATCH_PIXELS", 4000)
    assert torch.equal(model.encode(image), codes)
    np.testing.assert_allclose(model.decode(codes, (150, 131)).astype(int), pixels.astype(int), atol=1)


def test_a_batch_equals_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    images = noise(5, 20, 24, 3)
    codes = model.encode(images)
    monkeypatch.setattr(module, "_BATCH_PIXELS", 600)
    assert torch.equal(model.encode(images), codes)
    assert torch.equal(torch.cat([model.encode(image[None]) for image in images]), codes)


def test_networks_never_see_the_whole_of_a_large_image(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    seen: list[int] = []
    model.encoder.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].shape[2] * inputs[0].shape[3])
    )
    model.decoder.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].shape[2] * inputs[0].shape[3] * 16)
    )
    monkeypatch.setattr(module, "_TILE_PIXELS", 64)
    image = noise(1, 400, 300, 3)
    model.decode(model.encode(image), (400, 300))
    assert max(seen) <= (64 + 2 * 4 * max(model.encoder.margin, model.decoder.margin)) ** 2 < 400 * 300


def test_bad_arguments_say_what_is_needed() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="uint8"):
        model.encode(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\)"):
        model.encode(np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        model.decode(torch.zeros(1, 2, 2, 2, dtype=torch.int64), (9, 8))
    with pytest.raises(ValueError, match=r"0\.\.15"):
        model.decode(torch.full((1, 2, 2, 2), 16), (8, 8))


def test_the_codebook_names_itself() -> None:
    one, other = small_model(), small_model()
    assert one.codebook_id == other.codebook_id
    memory: Tensor = other.latents.memory.vectors
    memory[0, 0, 0] += 1
    assert one.codebook_id != other.codebook_id
    assert one.prior_id == bytes(16)
