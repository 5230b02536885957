"""Large items in tiles and bands: the results of one piece, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentpress.items import Image, Text
from latentpress.model import decoding
from small.configs import ITEMS
from small.models import batch_of, small_model

LARGE = {"image": (70, 51), "text": (301,), "toy": (30, 10, 12)}


@pytest.fixture(params=LARGE)
def kind(request) -> str:
    return request.param


def test_tiles_equal_the_whole(kind: str, monkeypatch) -> None:
    model, size = small_model("vq-both", kind), LARGE[kind]
    items = batch_of(model.item, 2, size)
    codes = model.encode(items)
    whole = model.decode(codes, size).astype(int)
    latents = model.infer(torch.from_numpy(items.astype(np.int64)))
    assert model.parallel is not None
    args = (model.parallel, torch.from_numpy(items.astype(np.int64)), latents.vectors, model.item)
    nats = decoding.parallel_nats(*args)
    monkeypatch.setattr(decoding, "_BATCH_SAMPLES", 100)
    monkeypatch.setattr(decoding, "_TILE_SAMPLES", 6)
    seen: list[int] = []
    model.parallel.network.register_forward_pre_hook(lambda _, x: seen.append(x[0][0, 0].numel()))
    assert torch.equal(model.encode(items), codes)
    np.testing.assert_allclose(
        model.decode(codes, size).astype(int), whole, atol=max(1, model.item.levels // 4096)
    )
    torch.testing.assert_close(decoding.parallel_nats(*args), nats, rtol=1e-6, atol=0)  # of float32 networks
    assert max(seen) < codes[0, ..., 0].numel() / 2


def test_bands_bound_the_memory_of_symbols(kind: str, monkeypatch) -> None:
    model, size = small_model("vq-both", kind), LARGE[kind]
    items = torch.from_numpy(batch_of(model.item, 2, size).astype(np.int64))
    latents = model.infer(items)
    whole = model.sample_nats(items, latents)
    seen: list[int] = []
    assert model.autoregressive is not None
    layer = model.autoregressive.network.input
    hook = layer.register_forward_pre_hook(lambda _, x: seen.append(x[0][..., 0].numel()))
    monkeypatch.setattr(decoding, "_BAND_POSITIONS", 200)
    cut = model.sample_nats(items, latents)
    hook.remove()
    assert max(seen) <= 200 or max(seen) == np.prod(size[1:])
    torch.testing.assert_close(cut, whole, rtol=0.05, atol=0)


def test_tiles_are_as_large_for_every_rank() -> None:
    for rank in (1, 2, 3):
        volume = np.prod(decoding.tile_sides((1,) * rank))
        assert volume == 1 << 18
    assert decoding.tile_sides((4096,) * 3) == (1, 1, 1)


def test_symbols_of_a_batch_are_those_of_its_items() -> None:
    for item in (Image(), Text(), ITEMS["toy"]):
        samples = batch_of(item, 3, (4, 4, 4)[: len(item.axes)])
        for residual in (False, True):
            symbols = decoding.symbols_of(item, torch.from_numpy(samples.astype(np.int64)), residual)
            one = item.to_symbols(samples[1], residual=residual)
            assert np.array_equal(symbols[1].numpy(), one)
