"""The exact encoder: near the one in floating point, and the same however the work is cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive.integer import encoder as exact_encoder
from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.coding.gaussians import LATENT_UNIT, SCALES_PER_OCTAVE, UNIT_SCALE
from latentpress.config import AnticausalConfig
from latentpress.errors import CheckpointError
from latentpress.latents.gaussian import AR1Latents, PlainLatents
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents

FAMILIES = {
    "ar1": lambda d: AR1Latents([0.95, 0.5, -0.8][:d]),
    "plain": PlainLatents,
    "ratio": lambda d: VarianceRatioLatents(d, 0.25),
    "variance": lambda d: VarianceBoundLatents(d, 0.5),
    "mean": lambda d: MeanBoundLatents(d, 0.5),
}


def encoder_of(latents, across=1, dims=1, stride=1, sizes=(16,), seed=0, **parts):
    torch.manual_seed(seed)
    config = AnticausalConfig(stride=stride, **{"width": 16, "depth": 3, "hidden": 24} | parts)
    outputs = latents.params * latents.channels
    encoder = AnticausalEncoder(config, sizes, across, dims, outputs, latents.channels)
    torch.nn.init.normal_(encoder.out.weight, std=0.15)
    return encoder


def exact_of(family, grid, stride, channels=2, sizes=(16,), seed=0, **parts):
    latents = FAMILIES[family](channels)
    across = int(np.prod(grid[1:]))
    encoder = encoder_of(latents, across, len(grid), stride, sizes, seed, **parts)
    symbols = torch.randint(16, (50, 12, *grid[1:], len(sizes)))
    return latents, encoder, IntegerEncoder.convert(encoder, latents.posterior, symbols)


def real(found):
    """Means and standard deviations."""
    std = LATENT_UNIT * np.exp2((found.scale - UNIT_SCALE) / SCALES_PER_OCTAVE)
    return found.mean * LATENT_UNIT / 64, std


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("grid", "stride"), [((40,), 4), ((9, 6), 1), ((7, 5), 3)])
def test_it_is_near_the_one_in_floating_point(family, grid, stride):
    latents, encoder, exact = exact_of(family, grid, stride)
    symbols = torch.randint(16, (30, *grid, 1))
    with torch.no_grad():
        expected = latents.posterior(encoder(symbols))
    mean, std = real(exact(symbols))
    wanted, right = expected.mean.numpy(), np.exp(expected.log_variance.numpy() / 2)
    kl = np.log(std / right) + (right**2 + (mean - wanted) ** 2) / (2 * std**2) - 0.5
    assert kl.mean() < 0.01 and np.quantile(kl, 0.99) < 0.1
    assert np.abs(mean - wanted).mean() < 0.04 * max(0.2, wanted.std())


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ends_of_the_sequence_have_their_own_variances(steps):
    latents, encoder, exact = exact_of("ar1", (steps,), 1, channels=3)
    symbols = torch.randint(16, (2, steps, 1))
    with torch.no_grad():
        expected = latents.posterior(encoder(symbols))
    _, std = real(exact(symbols))
    assert np.abs(np.log(std) - expected.log_variance.numpy() / 2).max() < 0.3


@settings(deadline=None, max_examples=20)
@given(
    family=st.sampled_from([*FAMILIES]),
    grid=st.tuples(st.integers(1, 30)) | st.tuples(st.integers(1, 9), st.integers(1, 5)),
    stride=st.integers(1, 5),
    chunk=st.sampled_from([1, 200, 2000, 20000]),
    members=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_neither_neighbours_nor_cuts_matter(family, grid, stride, chunk, members, seed):
    _, _, exact = exact_of(family, grid, stride, sizes=(16,) * members, seed=seed, radius=1)
    symbols = torch.randint(16, (5, *grid, members))
    whole = exact(symbols)
    before, exact_encoder._CHUNK_FLOATS = exact_encoder._CHUNK_FLOATS, chunk
    try:
        cut = exact(symbols)
    finally:
        exact_encoder._CHUNK_FLOATS = before
    alone = exact(symbols[2:3])
    for name in ("mean", "scale"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name))
        assert np.array_equal(getattr(whole, name)[2:3], getattr(alone, name))


@pytest.mark.parametrize(("grid", "stride"), [((23,), 4), ((8, 5), 2)])
def test_a_step_sees_nothing_before_it(grid, stride):
    _, _, exact = exact_of("ar1", grid, stride)
    symbols = torch.randint(16, (1, *grid, 1))
    whole, changed = exact(symbols), symbols.clone()
    changed[:, : 2 * stride] = (changed[:, : 2 * stride] + 1) % 16
    found = exact(changed)
    assert np.array_equal(found.mean[:, 2:], whole.mean[:, 2:])
    assert not np.array_equal(found.mean[:, :2], whole.mean[:, :2])


def test_tensors_give_it_back():
    _, encoder, exact = exact_of("ar1", (12,), 3)
    again = IntegerEncoder.from_tensors(exact.tensors())
    symbols = torch.randint(16, (3, 12, 1))
    assert again.id == exact.id and np.array_equal(again(symbols).mean, exact(symbols).mean)
    assert exact.to("cpu") is exact
    assert exact.fits(encoder, 2) and not exact.fits(encoder, 4)
    assert exact_of("ar1", (12,), 3, seed=1)[2].id != exact.id


@pytest.mark.parametrize("shape", [(2, 12, 4, 1), (2, 12, 3), (2, 0, 3, 1), (2, 12, 3, 2)])
def test_symbols_that_do_not_fit_are_refused(shape):
    _, _, exact = exact_of("ar1", (12, 3), 3)
    with pytest.raises(ValueError, match="shape"):
        exact(torch.zeros(shape, dtype=torch.int64))


def hostile(tensors):
    yield {}
    for name in tensors:
        yield {key: value for key, value in tensors.items() if key != name}
        yield {**tensors, name: tensors[name].float()}
        yield (
            {**tensors, name: tensors[name][:0]}
            if tensors[name].numel()
            else {**tensors, "extra": torch.ones(1)}
        )
    for place in range(6):
        for value in (-1, 0, 1 << 40):
            shape = tensors["shape"].clone()
            shape[place] = value
            yield {**tensors, "shape": shape}
    for name in ("means", "shifts", "spreads", "bases"):
        for value in (-(2**31), 2**31 - 1):
            yield {**tensors, name: torch.full_like(tensors[name], value)}
    for name, value in (("hidden.weight", 127), ("out.bias", 2**30), ("out.shift", 17), ("scale", 16)):
        yield {**tensors, name: torch.full_like(tensors[name], value)}
    yield {**tensors, "embeddings.0": torch.full_like(tensors["embeddings.0"], -128)}


def test_hostile_tensors_are_refused():
    _, _, exact = exact_of("ar1", (60, 9), 8, width=40)
    for number, tensors in enumerate(hostile(exact.tensors())):
        with pytest.raises(CheckpointError, match=r"^(exact encoder|hidden|out|input|layers)"):
            IntegerEncoder.from_tensors(tensors)
            pytest.fail(f"number {number} passed")


def test_a_trunk_that_is_told_more_is_refused():
    from latentpress.autoregressive import CausalNetwork, IntegerNetwork
    from latentpress.config import CausalConfig

    network = CausalNetwork(CausalConfig(width=8, depth=1), (16,), 1, num_classes=2)
    tensors = IntegerNetwork.convert(network, torch.zeros(1, 9, 1, dtype=torch.int64)).tensors()
    with pytest.raises(CheckpointError, match="told more"):
        IntegerEncoder.from_tensors(tensors)
