"""Items of any kind as symbols."""

import pytest
import torch

from delta_parts import image_pool, text_pool
from latentpress.data.batches import Batches
from latentpress.data.symbols import ImageSymbols, SymbolBatch, TextSymbols
from latentpress.data.windows import Windows
from test_data_windows import pool_of


def image_symbols(seed: int = 0) -> ImageSymbols:
    return ImageSymbols(Batches(image_pool(), batch_size=7, crop=5, flip=False, seed=seed, multiple_of=1))


def text_symbols(seed: int = 0) -> TextSymbols:
    return TextSymbols(Windows(text_pool(), batch_size=7, window=16, seed=seed))


@pytest.mark.parametrize("make", [image_symbols, text_symbols])
def test_a_batch_is_a_pure_function_of_its_number(make):
    forward, later = make().stream(0), make().stream(3)
    batches = [next(forward) for _ in range(6)]
    for batch in batches[3:]:
        again = next(later)
        assert torch.equal(batch.symbols, again.symbols)
        assert (batch.mask is None and again.mask is None) or torch.equal(batch.mask, again.mask)
    assert not torch.equal(batches[0].symbols, next(make(1).stream(0)).symbols)


def test_images_are_whole_and_have_their_channels_last():
    pool, batch = image_pool(), next(image_symbols().stream(0))
    assert batch.symbols.shape == (7, 5, 4, 1) and batch.mask is None and batch.dims == 140
    whole = {pool[i].tobytes() for i in range(len(pool))}
    assert {item.numpy().tobytes() for item in batch.symbols.contiguous()} <= whole


def test_what_hangs_over_is_masked():
    batches = [batch for batch, _ in zip(text_symbols().stream(0), range(20), strict=False)]
    masked = [batch for batch in batches if batch.mask is not None]
    assert masked
    for batch in masked:
        assert batch.dims == float(batch.mask.sum()) < batch.symbols.numel()
        assert not batch.symbols[~batch.mask].any() and not bool(batch.mask.all())


def test_where_nothing_hangs_over_there_is_no_mask():
    windows = Windows(pool_of([b"a" * 9] * 4), batch_size=3, window=9, seed=0)
    assert next(TextSymbols(windows).stream(0)).mask is None


def test_symbols_move_as_integers():
    batch = SymbolBatch(torch.tensor([[[255], [0]]], dtype=torch.uint8), torch.tensor([[True, False]]))
    moved = batch.to(torch.device("cpu"))
    assert moved.symbols.dtype == torch.int64 and moved.symbols.flatten().tolist() == [255, 0]
    assert moved.mask is not None and moved.dims == batch.dims == 1
    rgb = SymbolBatch(torch.zeros(1, 2, 2, 3, dtype=torch.uint8), torch.tensor([[[True, False]] * 2]))
    assert rgb.dims == 6
