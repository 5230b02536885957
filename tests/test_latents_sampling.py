"""Chosen rows are distinct, valid and repeatable."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.latents.statistics import distinct_rows, initial_vectors


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
