"""The parallel decoder: costs and means of one network, of every rank, with labels and cut edges."""

import pytest
import torch
from torch import Tensor

from latentpress.config import (
    ConvConfig,
    DiscretizedLogisticConfig,
    GaussianConfig,
    LikelihoodConfig,
    ParallelDecoderConfig,
)
from latentpress.nn import ConvDecoder, ParallelDecoder
from small.tiling import tiled

STRIDES = {1: ((3,),), 2: ((2, 3),), 3: ((2, 1, 3),)}


def make(rank: int = 2, label_sizes=(), likelihood: LikelihoodConfig | None = None, seed: int = 0):
    torch.manual_seed(seed)
    network = ConvConfig(strides=STRIDES[rank], depths=(1,), width=8)
    config = ParallelDecoderConfig(network=network, likelihood=likelihood or DiscretizedLogisticConfig())
    return ParallelDecoder(config, rank, vectors=4, channels=2, levels=256, label_sizes=label_sizes)


def with_labels(rank: int = 2, label_sizes=(3, 2), seed: int = 0) -> ParallelDecoder:
    """One whose embeddings are not at their start."""
    decoder = make(rank, label_sizes, seed=seed)
    for table in decoder.embeddings:
        torch.nn.init.normal_(table)
    return decoder


def case(decoder: ParallelDecoder, rank: int = 2, batch: int = 3) -> tuple[Tensor, Tensor]:
    grid = (4, 3, 2)[:rank]
    size = tuple(n * h for n, h in zip(grid, decoder.hop, strict=True))
    return torch.rand(batch, 2, *size) * 2 - 1, torch.randn(batch, 4, *grid)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("likelihood", [GaussianConfig(), DiscretizedLogisticConfig()])
def test_costs_and_means_are_those_of_network_and_likelihood(rank: int, likelihood) -> None:
    decoder = make(rank, likelihood=likelihood)
    x, z = case(decoder, rank)
    params = decoder.network(z)
    assert torch.equal(decoder.nats(x, z), decoder.likelihood.nats(params, x))
    assert torch.equal(decoder.mean(z), decoder.likelihood.mean(params))
    assert decoder.mean(z).shape == x.shape and decoder.nats(x, z).shape == (3,)
    network = ConvDecoder(ConvConfig(strides=STRIDES[rank], depths=(1,), width=8), rank, 4, 2)
    assert (decoder.hop, decoder.margin) == (network.hop, network.margin)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_item_may_fall_short_of_the_last_cell(rank: int) -> None:
    decoder = make(rank)
    x, z = case(decoder, rank)
    size = [extent - (h > 1) for extent, h in zip(x.shape[2:], decoder.hop, strict=True)]
    inside = (slice(None), slice(None), *map(slice, size))
    mask = torch.zeros(3, *x.shape[2:], dtype=torch.bool)
    mask[inside[1:]] = True
    torch.testing.assert_close(decoder.nats(x[inside], z), decoder.nats(x, z, mask=mask))


def test_a_new_decoder_ignores_its_labels() -> None:
    plain, labelled = make(), make(label_sizes=(3, 2))
    x, z = case(plain)
    labels = torch.tensor([[0, 1], [2, -1], [-1, 0]])
    assert torch.equal(plain.mean(z), labelled.mean(z, labels))
    labelled.nats(x, z, labels).sum().backward()
    gradients = [table.grad for table in labelled.embeddings]
    assert all(g is not None for g in gradients)
    rows = [g.abs().sum(1).nonzero().flatten().tolist() for g in gradients if g is not None]
    assert rows == [[0, 2, 3], [0, 1, 2]], "the values that occurred, and the row of the unknown"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_each_label_matters_and_unknown_is_the_default(rank: int) -> None:
    decoder = with_labels(rank)
    _, z = case(decoder, rank, batch=1)
    results = [decoder.mean(z, torch.tensor([[a, b]])) for a in (-1, 0, 1, 2) for b in (-1, 0, 1)]
    assert all(not torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])
    assert torch.equal(decoder.mean(z), results[0])
    shifted = z + (decoder.embeddings[0][2] + decoder.embeddings[1][0]).view(1, 4, *(1,) * rank)
    torch.testing.assert_close(
        decoder.mean(z, torch.tensor([[2, 0]])), decoder.mean(shifted - _unknown(decoder))
    )


def _unknown(decoder: ParallelDecoder) -> Tensor:
    """What unknown labels add."""
    total = sum(table[-1] for table in decoder.embeddings)
    assert isinstance(total, Tensor)
    return total.view(1, 4, *(1,) * len(decoder.hop))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_labels_along_the_first_axis_that_never_change_are_labels_of_the_item(rank: int) -> None:
    decoder = with_labels(rank)
    x, z = case(decoder, rank)
    labels = torch.tensor([[0, 1], [2, -1], [1, 0]])
    x = x[:, :, : x.shape[2] - 1]
    tracks = labels[:, None].expand(-1, x.shape[2], -1)
    torch.testing.assert_close(decoder.nats(x, z, tracks), decoder.nats(x, z, labels))


def test_a_label_of_a_row_reaches_the_rows_around_it_alone() -> None:
    decoder = with_labels(1, label_sizes=(3,))
    z, hop = torch.randn(1, 4, 12), decoder.hop[0]
    tracks = torch.zeros(1, 12 * hop, 1, dtype=torch.int64)
    other = tracks.clone()
    other[:, 6 * hop] = 2  # one row of the seventh cell
    changed = (decoder.mean(z, tracks) != decoder.mean(z, other)).flatten(0, 1).any(0).nonzero().flatten()
    cells = changed // hop
    assert cells.min() >= 6 - decoder.margin[0] and cells.max() <= 6 + decoder.margin[0]
    assert 6 in cells.tolist()


def test_a_cell_takes_the_mean_of_its_rows_and_a_short_one_that_of_what_it_has() -> None:
    decoder = with_labels(1, label_sizes=(3,))
    z = torch.randn(1, 4, 2)
    tracks = torch.tensor([[[0], [1], [2], [1], [2]]])  # a hop of 3: the second cell has two rows
    table = decoder.embeddings[0]
    cells = torch.stack([table[[0, 1, 2]].mean(0), table[[1, 2]].mean(0)], dim=1)[None]
    plain = make(1)
    plain.load_state_dict({k: v for k, v in decoder.state_dict().items() if "embeddings" not in k})
    torch.testing.assert_close(decoder.mean(z, tracks), plain.mean(z + cells))


def test_tiles_with_their_rows_labels_give_the_whole() -> None:
    decoder = with_labels(2).double()
    _, z = case(decoder, batch=1)
    z = torch.randn(1, 4, 9, 8).double()
    hop = decoder.hop
    tracks = torch.randint(-1, 2, (1, 9 * hop[0], 2))
    numbers = torch.arange(9 * 8).view(1, 9, 8, 1)

    def run(cells: Tensor) -> Tensor:
        rows = cells[0, :, 0, 0] // 8
        piece = z[:, :, rows][..., cells[0, 0, :, 0] % 8]
        labels = tracks[:, rows[0] * hop[0] : (rows[-1] + 1) * hop[0]]
        return decoder.mean(piece, labels).movedim(1, -1)

    out = torch.empty(1, 9 * hop[0], 8 * hop[1], 2)
    tiled(run, numbers, out, grid=(9, 8), tile=(4, 3), margin=decoder.margin, hop_out=hop)
    torch.testing.assert_close(out, decoder.mean(z, tracks).movedim(1, -1))


@pytest.mark.parametrize("shape", [(3, 1), (3, 3), (3, 5, 1), (3,)])
def test_another_number_of_labels_is_refused(shape: tuple[int, ...]) -> None:
    decoder = with_labels(2)
    x, z = case(decoder)
    with pytest.raises(ValueError, match="labels"):
        decoder.nats(x, z, torch.zeros(shape, dtype=torch.int64))


def test_gradients_reach_the_vectors() -> None:
    decoder = make()
    x, z = case(decoder)
    z.requires_grad_()
    decoder.nats(x, z).sum().backward()
    assert z.grad is not None and z.grad.flatten(1).any(1).all()
