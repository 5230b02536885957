"""Latents on stacks: popping and pushing undo each other, for items of all lengths and cells at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding.ans import Stacks
from latentpress.coding.gaussians import SCALES, interval, symbols_of
from latentpress.exact.distribution import Sampling, Stream
from latentpress.latents.stacked import LatentStacks, finest, rounded_means
from small.lstm import fixed_lstm

CASES = {
    "steps": st.lists(st.integers(1, 9), min_size=1, max_size=5),
    "cells": st.sampled_from([(), (1,), (3,), (2, 2)]),
    "seed": st.integers(0, 1000),
}


def case(steps, seed, spare=2):
    """Stacks with something on them, and items that belong to some of them."""
    rng = np.random.default_rng(seed)
    stacks = Stacks.fresh(len(steps) + spare)
    for _ in range(20):
        count = len(stacks.states)
        stacks.push(rng.integers(0, 1 << 12, count), np.full(count, 1 << 12), np.arange(count))
    rows = rng.permutation(len(stacks.states))[: len(steps)]
    return rng, stacks, LatentStacks(stacks, rows, steps)


def ideal_bits(prior, symbols, step):
    """What a prior says of the symbols (n, *cells, d) of one item."""
    flat = symbols.reshape(-1, 1, symbols.shape[-1])
    [(_, bits)] = prior.with_step(step).encode([Stream(symbols.shape[:-1], 1, symbols=flat)])
    return bits[0]


@settings(deadline=None)
@given(**CASES)
def test_pushing_undoes_popping_under_the_posterior(steps, cells, seed):
    rng, stacks, of_latents = case(steps, seed)
    shape = (len(steps), max(steps), *cells, 2)
    mean, scale = rng.integers(-9000, 9000, shape), rng.integers(0, SCALES, shape)
    start = stacks.payloads()
    symbols, bits = of_latents.pop_posterior(mean, scale)
    assert symbols.shape == shape
    for row, count in zip(symbols, steps, strict=True):
        assert (row[:count] >= 0).all() and (row[:count] < 255).all() and not row[count:].any()
    counts = interval(mean, scale, 1, 255, symbols)[1]
    for i, count in enumerate(steps):
        assert bits[i] == pytest.approx((24 - np.log2(counts[i, :count])).sum())
    of_latents.push_posterior(mean, scale, symbols)
    same = [new[-8:] == old[-8:] for new, old in zip(stacks.payloads(), start, strict=True)]
    assert all(same)


@settings(deadline=None)
@given(**CASES, step=st.sampled_from([1, 8, 60]))
def test_popping_undoes_pushing_under_the_prior(steps, cells, seed, step):
    rng, stacks, of_latents = case(steps, seed)
    prior, start = fixed_lstm().with_step(1), stacks.payloads()
    symbols = rng.integers(0, symbols_of(step), (len(steps), max(steps), *cells, 2))
    bits = of_latents.push_prior(prior, symbols, step)
    popped = of_latents.pop_prior(prior, step, cells)
    assert popped.shape == symbols.shape
    for i, count in enumerate(steps):
        assert np.array_equal(popped[i, :count], symbols[i, :count])
        assert bits[i] == pytest.approx(ideal_bits(prior, symbols[i, :count], step))
    assert stacks.payloads() == start


def test_the_cells_of_an_item_are_its_own_sequences():
    """An item of several cells costs what its cells cost as items."""
    prior = fixed_lstm().with_step(1)
    symbols = np.random.default_rng(0).integers(60, 200, (2, 5, 3, 2))
    bits = LatentStacks(Stacks.fresh(2), [0, 1], [5, 5]).push_prior(prior, symbols, 1)
    cells = symbols.swapaxes(1, 2).reshape(6, 5, 2)
    alone = LatentStacks(Stacks.fresh(6), range(6), [5] * 6).push_prior(prior, cells, 1)
    assert bits == pytest.approx(alone.reshape(2, 3).sum(1))


def test_the_prior_sees_the_latents_that_coarse_symbols_stand_for():
    coarse, fine = fixed_lstm().with_step(8), fixed_lstm().with_step(1)
    symbols = coarse.sample(3, (6,), Sampling(seed=1)).numpy()
    bits = LatentStacks(Stacks.fresh(3), [0, 1, 2], [6] * 3).push_prior(fine, symbols, 8)
    [(_, wanted)] = coarse.encode([Stream((6,), 3, symbols=symbols.swapaxes(0, 1))])
    assert bits == pytest.approx(wanted)


def test_symbols_at_the_finest_step_are_the_same_latents():
    prior = fixed_lstm()
    codes = torch.arange(symbols_of(8))
    fine = torch.from_numpy(finest(codes.numpy(), 8))
    assert torch.equal(prior.with_step(8).quantise((fine - 127) / 24), codes)
    assert fine[symbols_of(8) // 2] == 127


def test_rounded_means_are_the_nearest_symbols():
    rng = np.random.default_rng(0)
    mean = rng.integers(-(127 << 6), 127 << 6, 500)
    for step in (1, 8, 19, 127):
        restored = (finest(rounded_means(mean, step), step) - 127) * 64
        half = symbols_of(step) // 2 * step * 64
        assert (np.abs(np.clip(mean, -half, half) - restored) <= 32 * step).all()
