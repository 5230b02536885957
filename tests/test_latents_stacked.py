"""Latents on stacks: popping and pushing undo each other, for sequences of all lengths at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding.ans import Stacks
from latentpress.coding.gaussians import SCALES, interval, symbols_of
from latentpress.latents import stacked
from latentpress.latents.stacked import (
    Sequences,
    finest,
    pop_posterior,
    pop_prior,
    push_posterior,
    push_prior,
    rounded_means,
)
from test_latents_exact_auxiliary import fixed

CASES = {
    "steps": st.lists(st.integers(1, 9), min_size=1, max_size=5),
    "seed": st.integers(0, 1000),
}


def case(steps, seed, spare=2):
    """Stacks with something on them, and sequences that belong to some of them."""
    rng = np.random.default_rng(seed)
    stacks = Stacks.fresh(len(steps) + spare)
    for _ in range(20):
        stacks.push(rng.integers(0, 1 << 12, len(stacks.states)), np.full(len(stacks.states), 1 << 12))
    rows = rng.permutation(len(stacks.states))[: len(steps)]
    return rng, stacks, Sequences(rows, np.array(steps))


def gaussians(rng, steps):
    shape = (len(steps), max(steps), 2)
    return rng.integers(-9000, 9000, shape), rng.integers(0, SCALES, shape)


@settings(deadline=None)
@given(**CASES, entries=st.sampled_from([1, 5000, 1 << 20]))
def test_pushing_undoes_drawing_from_the_posterior(steps, seed, entries):
    rng, stacks, sequences = case(steps, seed)
    mean, scale = gaussians(rng, steps)
    before, stacked._ENTRIES = stacked._ENTRIES, entries
    try:
        start = stacks.payloads()
        symbols, bits = pop_posterior(stacks, sequences, mean, scale)
    finally:
        stacked._ENTRIES = before
    for row, count in zip(symbols, steps, strict=True):
        assert (row[:count] >= 0).all() and (row[:count] < 255).all() and not row[count:].any()
    sizes = interval(mean, scale, 1, 255, symbols)[1]
    for i, count in enumerate(steps):
        assert bits[i] == pytest.approx((24 - np.log2(sizes[i, :count])).sum())
    push_posterior(stacks, sequences, mean, scale, symbols)
    same = [new[-8:] == old[-8:] for new, old in zip(stacks.payloads(), start, strict=True)]
    assert all(same)


@settings(deadline=None)
@given(**CASES, step=st.sampled_from([1, 8, 60]))
def test_popping_undoes_pushing_under_the_prior(steps, seed, step):
    rng, stacks, sequences = case(steps, seed)
    prior, start = fixed().with_step(1), stacks.payloads()
    symbols = rng.integers(0, symbols_of(step), (len(steps), max(steps), 2))
    bits = push_prior(stacks, sequences, prior, symbols, step)
    found = pop_prior(stacks, sequences, prior, step)
    for i, count in enumerate(steps):
        assert np.array_equal(found[i, :count], symbols[i, :count])
    assert stacks.payloads() == start
    for i, count in enumerate(steps):
        own = prior.code_length_bits(finest(symbols[i, :count, None], 1)) if step == 1 else [bits[i]]
        assert bits[i] == pytest.approx(own[0])


def test_the_prior_is_told_the_latents_that_coarse_symbols_stand_for():
    coarse, fine = fixed().with_step(8), fixed().with_step(1)
    symbols = coarse.sample(3, 6, seed=1).numpy()
    stacks = Stacks.fresh(3)
    bits = push_prior(stacks, Sequences.of([0, 1, 2], [6] * 3), fine, symbols, 8)
    assert bits == pytest.approx(coarse.code_length_bits(symbols.swapaxes(0, 1)))


def test_rounded_means_are_the_nearest_symbols():
    rng = np.random.default_rng(0)
    mean = rng.integers(-(127 << 6), 127 << 6, 500)
    for step in (1, 8, 19, 127):
        found = (finest(rounded_means(mean, step), step) - 127) * 64
        half = symbols_of(step) // 2 * step * 64
        assert (np.abs(np.clip(mean, -half, half) - found) <= 32 * step).all()
