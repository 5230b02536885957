"""The integer LSTM: near the float prior, the same however it is run, its own inverse, and safe from hostile
tensors and bytes; on grids of one cell and of several."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from latentpress.coding.gaussians import LATENT_UNIT, MEAN_BITS
from latentpress.config import AuxiliaryConfig
from latentpress.errors import CheckpointError, ConfigError, TrainingError
from latentpress.exact.distribution import Conditioning, Sampling, Stream
from latentpress.latents import AuxiliaryPrior, IntegerLSTM, gaussian_streams
from lpz_coders import RangeDecoder
from lpz_latents import LatentPrior
from small.lstm import ALPHAS, auxiliary_prior, fixed_lstm, real_latents

GRIDS = [(9,), (1,), (4, 1), (5, 3), (3, 2, 2)]


@pytest.fixture(scope="module", params=[1, 8, 40])
def pair(request):
    prior = auxiliary_prior()
    return prior, IntegerLSTM.convert(prior, request.param)


def sampled(prior: IntegerLSTM, count: int, grid: tuple[int, ...], seed: int = 0, **how) -> torch.Tensor:
    return prior.sample(count, grid, Sampling(seed=seed, **how))


def as_stream(codes: torch.Tensor) -> Stream:
    """A stream of items (lanes, *grid, d)."""
    symbols = np.ascontiguousarray(codes.flatten(1, -2).numpy().swapaxes(0, 1))
    return Stream(tuple(codes.shape[1:-1]), len(codes), symbols=symbols)


def coded(prior: IntegerLSTM, codes: torch.Tensor) -> tuple[bytes, np.ndarray]:
    [result] = prior.encode([as_stream(codes)])
    return result


def float_bits(prior: AuxiliaryPrior, integer: IntegerLSTM, codes: torch.Tensor) -> np.ndarray:
    """The length of the same symbols (lanes, n, d) under the float prior, each lane's."""
    latents, half = real_latents(integer, codes), integer.alphabets[0] // 2 * integer.step * LATENT_UNIT
    with torch.no_grad():
        given = prior(latents)
    mean, std, z = (part.double().numpy() for part in (given.mean, given.stddev, latents))
    width = integer.step * LATENT_UNIT / 2
    low = np.where(np.isclose(z, -half), -np.inf, z - width)
    high = np.where(np.isclose(z, half), np.inf, z + width)
    ends = (low - mean) / std, (high - mean) / std
    ends = [np.where(ends[0] > 0, -end, end) for end in ends]  # the side that has the digits
    return -np.log2(np.abs(norm.cdf(ends[1]) - norm.cdf(ends[0]))).sum((1, 2))


def test_the_rate_is_that_of_the_float_form(pair):
    prior, integer = pair
    codes = sampled(integer, 200, (30,), seed=1)
    bits = coded(integer, codes)[1].sum()
    assert abs(bits / float_bits(prior, integer, codes).sum() - 1) < 0.001


def test_conditionals_are_those_of_the_float_form(pair):
    prior, integer = pair
    codes = sampled(integer, 50, (20,), seed=2)
    with torch.no_grad():
        wanted = prior(real_latents(integer, codes))
    walk = integer.walk(codes.numpy().swapaxes(0, 1))
    for t, (mean, scale) in enumerate(walk):
        assert np.abs(mean - wanted.mean[:, t].numpy() / LATENT_UNIT * 2**MEAN_BITS).max() < 4
        octaves = wanted.stddev[:, t].log2().numpy() - np.log2(LATENT_UNIT)
        assert np.abs(scale - (64 + 16 * octaves).clip(0, 191)).max() < 0.6


def test_ar1_is_a_network_that_corrects_nothing():
    ar1 = IntegerLSTM.ar1(ALPHAS, 8)
    same = IntegerLSTM.convert(AuxiliaryPrior(AuxiliaryConfig(width=4), ALPHAS), 8)
    codes = sampled(ar1, 5, (12,))
    assert coded(ar1, codes)[0] == coded(same, codes)[0]
    assert ar1.id != same.id


def test_the_conditionals_of_ar1_are_known():
    ar1 = IntegerLSTM.ar1((0.5, 0.0), 10)
    first, second = ar1.walk(np.array([[[14, 14]], [[0, 0]]]))  # 20 units each, then whatever
    assert [part.tolist() for part in first] == [[[0, 0]], [[137, 137]]]
    assert [part.tolist() for part in second] == [[[640, 0]], [[134, 137]]]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("lanes", [1, 4])
def test_decoding_inverts_encoding(pair, grid, lanes):
    integer = pair[1]
    size = integer.alphabets[0]
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, size, (lanes, *grid, 2)))
    stream = as_stream(codes)
    payload, bits = coded(integer, codes)
    [decoded] = integer.decode([Stream(grid, lanes, payload=payload)])
    assert decoded is not None and decoded.dtype == np.int32
    assert np.array_equal(decoded, stream.symbols)
    assert bits.shape == (lanes,) and bits.sum() <= 8 * len(payload) <= bits.sum() + 64


@pytest.mark.parametrize("cells", [(), (3,), (2, 2)])
@pytest.mark.parametrize("chunk", [1, 1 << 21])
def test_streams_of_one_call_are_those_alone(pair, cells, chunk, monkeypatch):
    monkeypatch.setattr(gaussian_streams, "_CHUNK", chunk)
    integer = pair[1]
    parts = [
        sampled(integer, lanes, (steps, *cells), seed)
        for seed, (lanes, steps) in enumerate([(2, 3), (3, 9), (1, 5), (2, 9)])
    ]
    together = integer.encode([as_stream(codes) for codes in parts])
    for codes, (payload, bits) in zip(parts, together, strict=True):
        assert payload == coded(integer, codes)[0]
        alone = [coded(integer, codes[lane : lane + 1])[1][0] for lane in range(len(codes))]
        assert np.allclose(bits, alone, rtol=1e-12)
    empty = [
        Stream((codes.shape[1], *cells), len(codes), payload=payload)
        for codes, (payload, _) in zip(parts, together, strict=True)
    ]
    for codes, decoded in zip(parts, integer.decode(empty), strict=True):
        assert np.array_equal(decoded, as_stream(codes).symbols)


def test_cells_are_sequences_by_themselves(pair):
    """They cost what they cost as items, and no cell changes what another one is coded under."""
    integer = pair[1]
    codes = sampled(integer, 2, (7, 3, 2), seed=3)
    bits = coded(integer, codes)[1]
    cells = codes.flatten(2, 3).movedim(2, 1).flatten(0, 1)  # (2 * 6, 7, d)
    alone = coded(integer, cells)[1].reshape(2, 6)
    assert np.allclose(bits, alone.sum(1), rtol=1e-12)


def test_the_order_of_a_stream_is_position_channel_lane():
    """With known Gaussians, N(0, 1) everywhere: a reader of one symbol after the other finds that order."""
    prior, grid, lanes = IntegerLSTM.ar1((0.0, 0.0), 8), (3, 2), 4
    codes = sampled(prior, lanes, grid, seed=5)
    decoder = RangeDecoder(coded(prior, codes)[0])
    table = LatentPrior({name: tensor.tolist() for name, tensor in prior.tensors().items()}).tables()[0]
    for position in range(6):
        for channel in range(2):
            for lane in range(lanes):
                assert decoder.decode(table) == codes.flatten(1, 2)[lane, position, channel]


def test_no_streams_and_no_steps(pair):
    integer = pair[1]
    assert integer.encode([]) == [] and integer.decode([]) == []
    [(payload, bits)] = integer.encode([Stream((0, 2), 3, symbols=np.zeros((0, 3, 2), np.int32))])
    [decoded] = integer.decode([Stream((0, 2), 3, payload=payload)])
    assert payload == b"" and bits.tolist() == [0, 0, 0]
    assert decoded is not None and decoded.shape == (0, 3, 2)
    assert integer.sample(2, (0, 3), Sampling()).shape == (2, 0, 3, 2)


def test_symbols_outside_the_alphabet_are_refused(pair):
    integer = pair[1]
    for symbol in (-1, integer.alphabets[0]):
        with pytest.raises(ValueError, match="alphabet"):
            coded(integer, torch.full((1, 3, 2), symbol))


def test_symbols_may_be_filled_in_while_walking(pair):
    """What a step is coded under follows from the steps before, and never from later ones."""
    integer = pair[1]
    codes = sampled(integer, 3, (6,)).numpy().swapaxes(0, 1)
    known, filled = list(integer.walk(codes)), np.zeros_like(codes)
    for t, parts in enumerate(integer.walk(filled)):
        assert all(np.array_equal(*both) for both in zip(parts, known[t], strict=True))
        filled[t] = codes[t]


def test_sequences_that_have_ended_are_left_out(pair):
    integer = pair[1]
    codes = sampled(integer, 3, (6,)).numpy().swapaxes(0, 1)
    lengths = np.array([6, 4, 1])
    both = zip(integer.walk(codes, lengths), integer.walk(codes), strict=True)
    for t, (ragged, whole) in enumerate(both):
        count = (lengths > t).sum()
        assert all(np.array_equal(part, each[:count]) for part, each in zip(ragged, whole, strict=True))


@pytest.mark.parametrize("grid", GRIDS)
def test_an_item_depends_on_its_number_and_the_seed_only(pair, grid):
    integer = pair[1]
    few, many = sampled(integer, 3, grid, seed=4), sampled(integer, 30, grid, seed=4)
    assert torch.equal(few, many[:3]) and few.dtype == torch.int64 and few.shape == (3, *grid, 2)
    chosen = integer.sample(2, grid, Sampling(seed=4), numbers=[17, 1])
    assert torch.equal(chosen, many[[17, 1]])
    assert not torch.equal(many, sampled(integer, 30, grid, seed=5))


def test_a_longer_item_begins_as_a_shorter_one(pair):
    assert torch.equal(sampled(pair[1], 3, (9, 2))[:, :4], sampled(pair[1], 3, (4, 2)))


@pytest.mark.parametrize("known", [0, 1, 4, 6, 12])
def test_a_prefix_is_kept_and_continued(pair, known):
    integer, grid = pair[1], (4, 3)
    plain = sampled(integer, 5, grid, seed=1)
    other = sampled(integer, 5, grid, seed=2).flatten(1, 2)[:, :known]
    continued = integer.sample(5, grid, Sampling(seed=1), prefix=other).flatten(1, 2)
    assert torch.equal(continued[:, :known], other)
    again = integer.sample(5, grid, Sampling(seed=1), prefix=plain.flatten(1, 2)[:, :known])
    assert torch.equal(again, plain), "what the seed would have given changes nothing"
    first = torch.full((5, 3, 2), integer.alphabets[0] - 1)
    far = integer.sample(5, grid, Sampling(seed=1), prefix=first)
    assert far[:, 1, :, 0].double().mean() > plain[:, 1, :, 0].double().mean(), "alpha is 0.9 there"


def test_a_prefix_s_points_are_not_used_up(pair):
    """A position takes its own random point, known positions or not."""
    integer = IntegerLSTM.ar1((0.0, 0.0), 8)
    plain = sampled(integer, 2, (5, 2)).flatten(1, 2)
    given = integer.sample(2, (5, 2), Sampling(), prefix=torch.zeros(2, 3, 2, dtype=torch.int64)).flatten(
        1, 2
    )
    assert torch.equal(plain[:, 3:], given[:, 3:])


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_the_temperature_scales_the_standard_deviation(temperature):
    prior = IntegerLSTM.ar1((0.0, 0.0), 1)
    z = real_latents(prior, sampled(prior, 3000, (4,), temperature=temperature)).double()
    assert z.std().item() == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("how", [{"top_k": 3}, {"top_p": 0.9}])
def test_choosing_the_likeliest_is_refused(pair, how):
    with pytest.raises(ConfigError, match="temperature"):
        sampled(pair[1], 1, (2,), **how)


def test_progress_counts_the_symbols(pair):
    done = []
    pair[1].sample(3, (4, 5), Sampling(), conditioning=Conditioning(), progress=done.append)
    assert len(done) == 4 and sum(done) == 3 * 4 * 5 * 2


def test_samples_of_ar1_have_its_moments():
    ar1 = IntegerLSTM.ar1(ALPHAS, 1)
    z = real_latents(ar1, sampled(ar1, 1000, (6, 2, 2))).double().flatten(2, 3)
    assert torch.allclose(z.square().mean((0, 2)), torch.ones(6, 2, dtype=torch.float64), atol=0.1)
    alphas = torch.tensor(ALPHAS, dtype=torch.float64)
    assert torch.allclose((z[:, 1:] * z[:, :-1]).mean((0, 1, 2)), alphas, atol=0.03)
    assert (z[:, :, :1] * z[:, :, 1:]).mean((0, 1, 2)).abs().max() < 0.03, "cells are independent"


def test_latents_go_to_the_nearest_symbol_and_back(pair):
    integer = pair[1]
    size = integer.alphabets[0]
    codes = torch.arange(size)
    assert torch.equal(integer.quantise(real_latents(integer, codes)), codes)
    torch.testing.assert_close(integer.dequantise(codes), real_latents(integer, codes))
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    away = (real_latents(integer, integer.quantise(z)) - z).abs().max()
    assert away <= integer.step * LATENT_UNIT / 2 + 1e-6
    assert integer.quantise(torch.tensor([-100.0, 100.0])).tolist() == [0, size - 1]


def test_another_step_is_another_prior_of_the_same_network(pair):
    integer = pair[1]
    fine = integer.with_step(1)
    assert fine.alphabets == (255, 255) and fine.id == IntegerLSTM.convert(pair[0], 1).id
    assert integer.with_step(integer.step).id == integer.id


def test_golden_integers():
    prior = fixed_lstm()
    assert prior.id.hex() == "aed83b9cf719cc5fc11268fc13c6fcc4"
    codes = sampled(prior, 2, (12,), seed=3)
    assert codes[1, :, 0].tolist() == [17, 18, 17, 16, 14, 15, 15, 15, 16, 16, 20, 20]
    assert coded(prior, codes)[0].hex() == "857230edd3855ee19a454c256f61f373591499ef"


def test_tensors_are_inverted_and_devices_change_nothing(pair):
    integer = pair[1]
    again = IntegerLSTM.from_tensors(integer.tensors()).to("cpu")
    assert again.id == integer.id and again.alphabets == integer.alphabets


def test_every_integer_is_in_the_id(pair):
    integer = pair[1]
    for name, tensor in integer.tensors().items():
        changed = integer.tensors()
        index = tuple(0 for _ in tensor.shape)
        if name == "structure":
            continue  # its shapes would not fit; the step's part is another test's
        changed[name][index] += -1 if tensor[index] > 0 else 1
        assert IntegerLSTM.from_tensors(changed).id != integer.id, name


HOSTILE = [
    ("structure", lambda t: t.int()),
    ("structure", lambda t: t[:2]),
    ("structure", lambda t: torch.tensor([2, 24, 0])),
    ("structure", lambda t: torch.tensor([2, 24, 128])),
    ("structure", lambda t: torch.tensor([2, 2**40, 8])),
    ("structure", lambda t: torch.tensor([0, 24, 8])),
    ("structure", lambda t: torch.tensor([2, -1, 8])),
    ("structure", lambda t: t.repeat(100)),
    ("alphas", lambda t: t.float()),
    ("alphas", lambda t: t[:1]),
    ("scales", lambda t: t + 2**21),
    ("gates.weight", lambda t: t.T),
    ("gates.weight", lambda t: t.double() * float("nan")),
    ("gates.bias", lambda t: t - 2**31 + 5),
    ("gates.shift", lambda t: t * 0 - 1),
    ("corrections.shift", lambda t: t * 0 + 41),
    ("corrections.weight", lambda t: t[None]),
]


@pytest.mark.parametrize(("name", "change"), HOSTILE)
def test_hostile_tensors_are_refused(name, change):
    tensors = IntegerLSTM.convert(auxiliary_prior(), 8).tensors()
    tensors[name] = change(tensors[name])
    with pytest.raises(CheckpointError, match="integer LSTM"):
        IntegerLSTM.from_tensors(tensors)


@pytest.mark.parametrize("name", ["structure", "alphas", "gates.bias", "more"])
def test_a_tensor_too_few_or_too_many_is_refused(name):
    tensors = IntegerLSTM.ar1(ALPHAS, 8).tensors()
    if tensors.pop(name, None) is None:
        tensors[name] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"missing|unknown"):
        IntegerLSTM.from_tensors(tensors)


@pytest.mark.parametrize("step", [0, 128])
def test_a_step_out_of_range_is_refused(step):
    with pytest.raises(ConfigError, match="out of range"):
        IntegerLSTM.ar1(ALPHAS, step)


def test_the_largest_integers_stay_in_range():
    tensors = IntegerLSTM.convert(auxiliary_prior(), 1).tensors()
    for name, tensor in tensors.items():
        if name.endswith(("weight", "alphas")):
            tensor.fill_(-(2**15))
        if name.endswith("bias"):
            tensor.fill_(2**30)
        if name.endswith("shift"):
            tensor.fill_(0)
    integer = IntegerLSTM.from_tensors(tensors)
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 20, 2)))
    [decoded] = integer.decode([Stream((20,), 3, payload=coded(integer, codes)[0])])
    assert np.array_equal(decoded, as_stream(codes).symbols)


@pytest.mark.parametrize("value", [float("nan"), 1e9])
def test_weights_that_no_shift_represents_are_refused(value):
    prior = auxiliary_prior()
    with torch.no_grad():
        prior.correction.weight[0, 0] = value
    with pytest.raises(TrainingError, match="too large"):
        IntegerLSTM.convert(prior, 8)


@given(st.binary(max_size=120))
@settings(max_examples=25)
def test_hostile_bytes_give_symbols_or_nothing_and_harm_no_other_stream(data):
    prior = IntegerLSTM.ar1(ALPHAS, 8)
    codes = sampled(prior, 2, (5, 2))
    streams = [Stream((6, 2), 4, payload=data), Stream((5, 2), 2, payload=coded(prior, codes)[0])]
    hostile, sound = prior.decode(streams)
    assert hostile is None or (hostile.min() >= 0 and hostile.max() < prior.alphabets[0])
    assert np.array_equal(sound, as_stream(codes).symbols)


def test_a_stream_of_half_a_word_is_none():
    assert IntegerLSTM.ar1(ALPHAS, 8).decode([Stream((6,), 4, payload=b"abcde")]) == [None]


@pytest.mark.parametrize("make", [fixed_lstm, lambda: IntegerLSTM.ar1(ALPHAS, 5)])
def test_the_prior_is_the_documented_one(make):
    prior = make()
    codes = sampled(prior, 1, (30,), seed=8)
    reader = LatentPrior({name: tensor.tolist() for name, tensor in prior.tensors().items()})
    decoder = RangeDecoder(coded(prior, codes)[0])
    for step in codes[0].tolist():
        assert [decoder.decode(table) for table in reader.tables()] == step
        reader.push(step)


def test_a_rate_is_finite_whatever_the_symbols(pair):
    """No symbol has less than one count of 2^24."""
    integer = pair[1]
    for symbol in (0, integer.alphabets[0] - 1):
        bits = coded(integer, torch.full((1, 4, 2), symbol))[1]
        assert math.isfinite(bits[0]) and bits[0] <= 24 * 8
