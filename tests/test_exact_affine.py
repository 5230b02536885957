"""Affine maps in integers: their bound, their rounding, and the tables that never change."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import CheckpointError, TrainingError
from latentpress.exact.affine import (
    ACCUMULATOR_LIMIT,
    Affine,
    best_exponent,
    gate_table,
    proven,
    round_to_int8,
    rounded_affine,
)

LABELS = st.lists(st.floats(0, 1e4), max_size=3)


def random_affine(seed, inputs, size, labels=()):
    """Weights, biases and labels' tables of random real numbers, with what rounds them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    tables = [spread * normal(3, 4) for spread in labels]
    return (
        size * normal(4, inputs),
        normal(4),
        torch.rand(inputs, generator=generator) + 0.1,
        torch.ones(4),
        tables,
    )


def largest_sums(affine: Affine):
    sums = 127 * affine.weight.long().abs().sum(1) + affine.bias.long().abs()
    return sums + sum(table.long().abs().amax(0) for table in affine.labels)


@given(st.integers(0, 999), st.integers(1, 3000), st.floats(1e-6, 10), LABELS)
def test_what_is_rounded_is_proven(seed, inputs, size, labels):
    weight, bias, scales, units, tables = random_affine(seed, inputs, size, labels)
    affine = proven(rounded_affine(weight, bias, scales, units, labels=tables), "affine")
    assert bool((largest_sums(affine) <= ACCUMULATOR_LIMIT).all())


@given(st.integers(0, 999), st.integers(1, 300), LABELS)
def test_rounding_is_near_the_real_map(seed, inputs, labels):
    weight, bias, scales, units, tables = random_affine(seed, inputs, 1.0, labels)
    affine = rounded_affine(weight, bias, scales, units, labels=tables)
    x = torch.randint(-127, 128, (9, inputs), generator=torch.Generator().manual_seed(seed))
    real = (x * scales) @ weight.T + bias + sum((table[1] for table in tables), torch.zeros(4))
    sums = x @ affine.weight.long().T + affine.bias + sum(table[1].long() for table in affine.labels)
    step = torch.exp2(-affine.shift.double())
    error = (sums * step).floor() - real
    largest = 127 * inputs * 0.5 * step + 0.5 * (2 + len(labels)) * step + 1  # of every rounded number
    assert bool((error.abs() <= largest).all())


@pytest.mark.parametrize("fan_in", [10, 1040, 5000])
def test_equal_weights_of_any_number_stay_under_the_bound(fan_in):
    affine = rounded_affine(torch.ones(2, fan_in), torch.zeros(2), torch.ones(fan_in), torch.ones(2))
    assert bool((largest_sums(affine) <= ACCUMULATOR_LIMIT).all()) and bool((affine.weight > 0).all())
    proven(affine, "affine")


def test_the_extreme_inputs_of_the_widest_affine_are_summed_exactly():
    tables = [torch.full((2, 1), 50.0), torch.full((2, 1), 20.0)]
    units = torch.full((1,), 100.0)
    affine = rounded_affine(torch.ones(1, 5000), torch.ones(1), torch.ones(5000), units, labels=tables)
    x = torch.full((1, 5000), 127.0)
    labels = [table[0] for table in affine.labels]
    emulated = x @ affine.weight.float().t() + affine.bias.float() + sum(entry.float() for entry in labels)
    assert emulated.item() == 127 * int(affine.weight.long().sum()) + int(affine.bias) + sum(map(int, labels))


def test_labels_count_with_the_largest_of_each():
    zeros = (
        torch.zeros(2, 3, dtype=torch.int8),
        torch.zeros(2, dtype=torch.int32),
        torch.zeros(2, dtype=torch.int8),
    )
    half = ACCUMULATOR_LIMIT // 2
    table = torch.tensor([[half, 0], [0, -half]], dtype=torch.int32)
    proven(Affine(*zeros, (table, table)), "affine")
    one = torch.ones_like(table)
    with pytest.raises(CheckpointError, match="2\\^24"):
        proven(Affine(*zeros, (table, table, one)), "affine")
    shifted = zeros[0], zeros[1], torch.full((2,), -1, dtype=torch.int8)
    with pytest.raises(CheckpointError, match="2\\^24"):
        proven(Affine(*shifted, (table, table)), "affine")


def test_weights_beyond_int8_are_an_error():
    with pytest.raises(TrainingError):
        rounded_affine(torch.full((1, 2), 1e9), torch.zeros(1), torch.ones(2), torch.ones(1))


def test_tables_are_rounded_to_all_of_int8():
    table = torch.randn(50, 7) * torch.logspace(-3, 3, 7)
    integers, scales = round_to_int8(table)
    assert bool((integers.abs().amax(0) == 127).all())
    assert bool(((integers * scales - table).abs() <= 0.5001 * scales).all())


@given(st.integers(-8, 8))
def test_the_best_exponent_fills_the_range(e):
    values = torch.linspace(-127, 127, 255)[:, None] * 2.0**e
    assert best_exponent(values, torch.ones(1), range(-16, 17)).item() == e


def test_the_gate_table_never_changes():
    digest = hashlib.blake2b(gate_table().astype("<i4").tobytes(), digest_size=8)
    assert digest.hexdigest() == "dcaaf7e938327c16"
