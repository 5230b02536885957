"""The integer encoder: near the one in floating point, and the same however the work is cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive.anticausal import AnticausalEncoder
from latentpress.autoregressive.integer import encoder as integer_encoder
from latentpress.autoregressive.integer.encoder import EncoderShape, IntegerEncoder
from latentpress.coding.gaussians import LATENT_UNIT, SCALES_PER_OCTAVE, UNIT_SCALE
from latentpress.config import AnticausalConfig, CausalConfig
from latentpress.errors import CheckpointError, ConfigError
from latentpress.latents.gaussian import AR1Latents
from latentpress.latents.independent import MeanBoundLatents, VarianceBoundLatents, VarianceRatioLatents
from latentpress.latents.sequences import as_sequences
from small.networks import random_network

FAMILIES = {
    "ar1": lambda d: AR1Latents([0.95, 0.5, -0.8][:d]),
    "plain": lambda d: AR1Latents([0.0] * d),
    "ratio": lambda d: VarianceRatioLatents(d, 0.25),
    "variance": lambda d: VarianceBoundLatents(d, 0.5),
    "mean": lambda d: MeanBoundLatents(d, 0.5),
}
GRIDS = [((40,), (4,)), ((9, 6), (1, 6)), ((7, 5), (3, 2)), ((5, 4, 3), (2, 4, 3)), ((5, 4, 3), (2, 2, 3))]
"""Sizes of items, and hops."""


def encoder_of(latents, hop, alphabets=(16,), seed=0, **network):
    torch.manual_seed(seed)
    causal = CausalConfig(**{"width": 16, "depth": 3, "radius": 2, "embedding": 16} | network)
    config = AnticausalConfig(network=causal, hidden=24)
    outputs = latents.params * latents.channels
    encoder = AnticausalEncoder(config, alphabets, hop, outputs, latents.channels)
    torch.nn.init.normal_(encoder.out.weight, std=0.15)
    return encoder


def integers_of(family, size, hop, channels=2, alphabets=(16,), seed=0, **network):
    latents = FAMILIES[family](channels)
    encoder = encoder_of(latents, hop, alphabets, seed, **network)
    symbols = torch.randint(16, (50, 12, *size[1:], len(alphabets)))
    return latents, encoder, IntegerEncoder.convert(encoder, latents.posterior, symbols)


def in_floating_point(latents, encoder, symbols):
    """Means and log-variances (B, *G, d)."""
    with torch.no_grad():
        raw = encoder(symbols)
        posterior = latents.posterior(as_sequences(raw))
    steps, cells = raw.shape[2], raw.shape[3:]
    for part in (posterior.mean, posterior.log_variance.expand_as(posterior.mean)):
        by_cell = part.view(len(symbols), -1, steps, latents.channels)
        yield by_cell.transpose(1, 2).reshape(len(symbols), steps, *cells, -1).numpy()


def real(posterior):
    """Means and standard deviations."""
    std = LATENT_UNIT * np.exp2((posterior.scale - UNIT_SCALE) / SCALES_PER_OCTAVE)
    return posterior.mean * LATENT_UNIT / 64, std


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("size", "hop"), GRIDS)
def test_it_is_near_the_one_in_floating_point(family, size, hop):
    latents, encoder, integers = integers_of(family, size, hop)
    symbols = torch.randint(16, (30, *size, 1))
    wanted, log_variance = in_floating_point(latents, encoder, symbols)
    mean, std = real(integers(symbols))
    right = np.exp(log_variance / 2)
    assert mean.shape == wanted.shape == std.shape
    kl = np.log(std / right) + (right**2 + (mean - wanted) ** 2) / (2 * std**2) - 0.5
    assert kl.mean() < 0.01 and np.quantile(kl, 0.99) < 0.1
    assert np.abs(mean - wanted).mean() < 0.04 * max(0.2, wanted.std())


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("hop", [(1,), (1, 2)])
def test_ends_of_the_sequence_have_variances_of_their_own(steps, hop):
    size = (steps, 4)[: len(hop)]
    latents, encoder, integers = integers_of("ar1", size, hop, channels=3)
    symbols = torch.randint(16, (2, *size, 1))
    _, log_variance = in_floating_point(latents, encoder, symbols)
    _, std = real(integers(symbols))
    assert np.abs(np.log(std) - log_variance / 2).max() < 0.3


SIZES = st.integers(1, 3).flatmap(
    lambda rank: st.tuples(st.tuples(*[st.integers(1, 9)] * rank), st.tuples(*[st.integers(1, 5)] * rank))
)


@settings(max_examples=20)
@given(
    family=st.sampled_from([*FAMILIES]),
    size_and_hop=SIZES,
    chunk=st.sampled_from([1, 200, 2000, 20000]),
    components=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_neither_neighbours_nor_cuts_matter(family, size_and_hop, chunk, components, seed):
    size, hop = size_and_hop
    _, _, integers = integers_of(
        family, size, hop, alphabets=(16,) * components, seed=seed, depth=2, radius=1
    )
    symbols = torch.randint(16, (5, *size, components))
    whole = integers(symbols)
    before, integer_encoder._CHUNK_FLOATS = integer_encoder._CHUNK_FLOATS, chunk
    try:
        cut = integers(symbols)
    finally:
        integer_encoder._CHUNK_FLOATS = before
    alone = integers(symbols[2:3])
    for name in ("mean", "scale"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name))
        assert np.array_equal(getattr(whole, name)[2:3], getattr(alone, name))


@pytest.mark.parametrize(
    ("size", "hop"), [((23,), (4,)), ((8, 5), (2, 5)), ((8, 5), (2, 2)), ((6, 3, 4), (2, 3, 2))]
)
def test_a_step_sees_nothing_before_it(size, hop):
    _, _, integers = integers_of("ar1", size, hop)
    symbols = torch.randint(16, (1, *size, 1))
    whole, changed = integers(symbols), symbols.clone()
    changed[:, : 2 * hop[0]] = (changed[:, : 2 * hop[0]] + 1) % 16
    after = integers(changed)
    assert np.array_equal(after.mean[:, 2:], whole.mean[:, 2:])
    assert not np.array_equal(after.mean[:, :2], whole.mean[:, :2])


def test_tensors_give_it_back():
    _, encoder, integers = integers_of("ar1", (12,), (3,))
    again = IntegerEncoder(integers.tensors())
    symbols = torch.randint(16, (3, 12, 1))
    assert again.id == integers.id and np.array_equal(again(symbols).mean, integers(symbols).mean)
    assert integers.to("cpu") is integers
    assert integers.fits(encoder, 2) and not integers.fits(encoder, 4)
    assert not integers.fits(integers_of("ar1", (12,), (4,))[1], 2)
    assert integers_of("ar1", (12,), (3,), seed=1)[2].id != integers.id


@pytest.mark.parametrize("shape", [(2, 12, 3), (2, 12, 3, 4, 1), (2, 0, 3, 1), (2, 12, 3, 2)])
def test_symbols_that_do_not_fit_are_refused(shape):
    _, _, integers = integers_of("ar1", (12, 3), (3, 3))
    with pytest.raises(ValueError, match="shape"):
        integers(torch.zeros(shape, dtype=torch.int64))


SHAPES = st.builds(
    EncoderShape,
    hop=st.lists(st.integers(1, 65536), min_size=1, max_size=3).map(tuple),
    hidden=st.integers(1, 4096),
    channels=st.integers(1, 64),
    params=st.integers(1, 2),
)


@given(SHAPES, st.data())
def test_integers_name_one_shape_or_none(shape, data):
    integers = shape.integers()
    assert EncoderShape.from_integers(integers) == shape
    integers[data.draw(st.integers(0, len(integers) - 1))] = data.draw(st.integers(-2, 70000))
    integers = integers[: data.draw(st.integers(0, len(integers)))]
    try:
        parsed = EncoderShape.from_integers(integers)
    except ConfigError:
        return
    assert parsed.integers() == integers


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
    for place in range(len(tensors["shape"])):
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
    _, _, integers = integers_of("ar1", (60, 9), (8, 9), width=40)
    for number, tensors in enumerate(hostile(integers.tensors())):
        with pytest.raises(CheckpointError, match=r"^integer encoder: "):
            IntegerEncoder(tensors)
            pytest.fail(f"number {number} passed")


@pytest.mark.parametrize("conditioning", [{"labels": (2,)}, {"channels": 1}])
def test_a_trunk_that_is_conditioned_is_refused(conditioning):
    tensors = integers_of("ar1", (12,), (3,))[2].tensors()
    other = random_network((16,), (9,), **conditioning)[0].tensors()
    with pytest.raises(CheckpointError, match="conditioned"):
        IntegerEncoder(tensors | {"structure": other["structure"]})


def test_a_trunk_of_another_rank_is_refused():
    tensors = integers_of("ar1", (12,), (3,))[2].tensors()
    other = integers_of("ar1", (12, 3), (3, 3))[2].tensors()
    with pytest.raises(CheckpointError, match="rank"):
        IntegerEncoder(tensors | {"shape": other["shape"]})
