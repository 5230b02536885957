"""Grids of latents as sequences: an item's cells one after the other, each by itself in time."""

import pytest
import torch

from latentpress.latents.gaussian import AR1Latents
from latentpress.latents.sequences import as_sequences, from_sequences, mask_sequences

GRIDS = [(5,), (5, 1), (4, 3), (3, 2, 2)]


@pytest.mark.parametrize("grid", GRIDS)
def test_sequences_are_the_cells_in_raster_order(grid: tuple[int, ...]) -> None:
    vectors = torch.randn(3, 2, *grid)
    sequences = as_sequences(vectors)
    cells = vectors.flatten(3) if len(grid) > 1 else vectors[..., None]
    for item in range(3):
        for cell in range(cells.shape[3]):
            sequence = sequences[item * cells.shape[3] + cell]
            assert torch.equal(sequence, cells[item, :, :, cell].T)


@pytest.mark.parametrize("grid", GRIDS)
def test_vectors_come_back(grid: tuple[int, ...]) -> None:
    vectors = torch.randn(3, 2, *grid)
    assert torch.equal(from_sequences(as_sequences(vectors), grid[1:]), vectors)


def test_cells_do_not_see_each_other() -> None:
    """The KL of an item is the sum of its cells', and another cell changes only its own."""
    latents = AR1Latents((0.9, 0.5))
    raw = torch.randn(2, 4, 6, 3, 2, dtype=torch.float64, requires_grad=True)
    kl = latents.kl_nats(latents.posterior(as_sequences(raw))).view(2, 6)
    (gradient,) = torch.autograd.grad(kl[1, 4], raw)
    assert gradient[1, :, :, 2, 0].all()  # the fifth cell of 3 x 2
    gradient[1, :, :, 2, 0] = 0
    assert not gradient.any()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_mask_is_that_of_every_cell(grid: tuple[int, ...]) -> None:
    mask = torch.rand(3, grid[0]) < 0.5
    vectors = mask.view(3, 1, -1, *(1,) * len(grid[1:])).expand(3, 1, *grid)
    assert torch.equal(mask_sequences(mask, grid[1:]), as_sequences(vectors)[..., 0])
