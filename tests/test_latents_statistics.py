"""Counts and sums, in one process and over two replicas; chosen rows are distinct, valid and repeatable."""

from pathlib import Path

import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.spawn import start_processes

from latentpress.config import CodebookConfig
from latentpress.latents import Codebook
from latentpress.latents.statistics import count, distinct_rows, initial_vectors

STEPS = 40


def test_counts_and_sums_are_those_of_one_hot_products() -> None:
    torch.manual_seed(0)
    rows, codes = torch.randn(50, 2, 3), torch.randint(5, (50, 2))
    mask = torch.rand(50) < 0.5
    rows[~mask] = 0
    one_hot = torch.nn.functional.one_hot(codes, 5).float() * mask[:, None, None]
    counts, sums = count(rows, codes, mask, 5)
    torch.testing.assert_close(counts, one_hot.sum(0))
    torch.testing.assert_close(sums, torch.einsum("npk,npd->pkd", one_hot, rows))


@given(rows=st.integers(1, 300), size=st.integers(1, 400), seed=st.integers(0, 2**31 - 1), data=st.data())
def test_each_valid_row_is_chosen_once_before_any_twice(
    rows: int, size: int, seed: int, data: st.DataObject
) -> None:
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    mask[data.draw(st.integers(0, rows - 1))] = True
    step = torch.tensor(data.draw(st.integers(0, 2**40)))
    for valid in (None, mask):
        chosen = distinct_rows(size, rows, valid, torch.tensor(seed), step)
        counts = torch.bincount(chosen, minlength=rows)
        allowed = torch.ones(rows, dtype=torch.bool) if valid is None else valid
        assert not counts[~allowed].any()
        assert counts[allowed].max() - counts[allowed].min() <= 1
        assert torch.equal(chosen, distinct_rows(size, rows, valid, torch.tensor(seed), step))


def test_choices_differ_between_steps_and_seeds() -> None:
    choices = {
        tuple(distinct_rows(4, 10_000, None, torch.tensor(seed), torch.tensor(step)).tolist())
        for seed in range(10)
        for step in range(10)
    }
    assert len(choices) == 100


def test_initial_vectors_are_distinct_even_when_there_are_few_rows() -> None:
    torch.manual_seed(0)
    rows = torch.randn(10, 2, 3)
    many = initial_vectors(rows, None, 10, torch.tensor(3))
    assert torch.equal(many[0].sort(0).values, rows[:, 0].sort(0).values)
    more = initial_vectors(rows, None, 40, torch.tensor(3))
    assert len(more[1].unique(dim=0)) == 40


def batch(step: int) -> torch.Tensor:
    return torch.randn(8, 4, 6, generator=torch.Generator().manual_seed(step))


def train(codebook: Codebook, rank: int, world: int) -> None:
    # Only the first replica sees the first batch, which starts the codebook; to the others it is padding.
    codebook(batch(0), torch.full((8, 6), rank == 0))
    codebook.update()
    for step in range(1, STEPS):
        for micro_batch in batch(step).chunk(2):
            codebook(micro_batch[rank::world])
        codebook.update()


def make(dead_code_threshold: float) -> Codebook:
    return Codebook(CodebookConfig(codebook_size=24, code_dim=4, dead_code_threshold=dead_code_threshold))


def replica(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)  # the replicas disagree on everything they draw
    for dead_code_threshold in (0.0, 0.9):
        codebook = make(dead_code_threshold)
        train(codebook, rank, 2)
        torch.save(codebook.state_dict(), folder / f"{dead_code_threshold}-{rank}.pt")
    dist.destroy_process_group()


def test_two_replicas_stay_equal_bit_for_bit_and_learn_from_the_whole_batch(tmp_path: Path) -> None:
    start_processes(replica, args=(tmp_path,), nprocs=2, start_method="spawn")
    states = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    for dead_code_threshold in (0.0, 0.9):
        first, second = (states[f"{dead_code_threshold}-{rank}"] for rank in (0, 1))
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert (states["0.9-0"]["share.weight"] < 0.3).any(), "some codes were revived"

    torch.manual_seed(0)
    alone = make(0.0)
    train(alone, 0, 1)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(states["0.0-0"][name], value, msg=name)
