"""The auxiliary prior in integers: near the float one, the same however it is run, its own inverse, and
deaf to hostile tensors and bytes."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from latentpress.coding.gaussians import LATENT_UNIT, MEAN_BITS
from latentpress.config import AuxiliaryConfig
from latentpress.errors import ArchiveError, CheckpointError, TrainingError
from latentpress.latents import AuxiliaryPrior, IntegerLSTM
from lpz_latents import LatentPrior
from lpz_reader import RangeDecoder

ALPHAS = (0.9, -0.5)


def network(width=24, spread=0.15, alphas=ALPHAS):
    generator = torch.Generator().manual_seed(width)
    prior = AuxiliaryPrior(AuxiliaryConfig(width=width), alphas)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return prior


def fixed():
    """A small network of integers that depend on no generator of floating-point numbers."""
    made = IntegerLSTM.convert(network(width=3), step=8).tensors()
    rng = np.random.Philox(key=5)
    for name in ("gates", "corrections"):
        weight = made[f"{name}.weight"]
        raw = (rng.random_raw(weight.numel()) % np.uint64(60001)).astype(np.int64) - 30000
        made[f"{name}.weight"] = torch.from_numpy(raw).to(torch.int16).view(weight.shape)
        made[f"{name}.bias"] = torch.arange(len(weight), dtype=torch.int32) * 11 - 60
        made[f"{name}.shift"].fill_(19 if name == "gates" else 20)
    made["scales"] = torch.tensor([[35166, 35166], [30256, 34316]], dtype=torch.int32)
    return IntegerLSTM.from_tensors(made)


@pytest.fixture(scope="module", params=[1, 8, 40])
def pair(request):
    float_form = network()
    return float_form, IntegerLSTM.convert(float_form, request.param)


def symbols_of(exact, lanes=5, steps=12, seed=0):
    return np.ascontiguousarray(exact.sample(lanes, steps, seed).numpy().swapaxes(0, 1))


def float_bits(prior, exact, codes):
    """The float form's length of the same symbols (lanes, n, d), each lane's."""
    latents = exact.integers(codes)
    with torch.no_grad():
        found = prior(latents.float() * LATENT_UNIT)
    mean, std = (part.double().numpy() / LATENT_UNIT for part in (found.mean, found.log_std.exp()))
    half = exact.size // 2 * exact.step
    low = np.where(latents == -half, -np.inf, latents - exact.step / 2)
    high = np.where(latents == half, np.inf, latents + exact.step / 2)
    ends = (low - mean) / std, (high - mean) / std
    ends = [np.where(ends[0] > 0, -end, end) for end in ends]  # the side that has the digits
    return -np.log2(np.abs(norm.cdf(ends[1]) - norm.cdf(ends[0]))).sum((1, 2))


def test_the_rate_is_that_of_the_float_form(pair):
    prior, exact = pair
    codes = exact.sample(200, 30, seed=1)
    found = exact.code_length_bits(codes.numpy().swapaxes(0, 1)).sum()
    assert abs(found / float_bits(prior, exact, codes).sum() - 1) < 0.001


def test_conditionals_are_those_of_the_float_form(pair):
    prior, exact = pair
    codes = exact.sample(50, 20, seed=2)
    found = prior(exact.integers(codes).float() * LATENT_UNIT)
    state = exact.start(50)
    for t in range(20):
        mean, scale = exact.conditionals(state)
        wanted = found.mean[:, t].detach().numpy() / LATENT_UNIT * 2**MEAN_BITS
        assert np.abs(mean - wanted).max() < 4
        octaves = found.log_std[:, t].detach().numpy() / np.log(2) - np.log2(LATENT_UNIT)
        assert np.abs(scale - (64 + 16 * octaves).clip(0, 191)).max() < 0.6
        state = exact.push(state, codes[:, t].numpy())


def test_the_chain_alone_is_a_network_that_corrects_nothing():
    chain = IntegerLSTM.ar1(ALPHAS, 8)
    same = IntegerLSTM.convert(AuxiliaryPrior(AuxiliaryConfig(width=4), ALPHAS), 8)
    symbols = symbols_of(chain)
    assert chain.encode(symbols)[0] == same.encode(symbols)[0]
    assert chain.id != same.id


def test_the_chains_conditionals_are_known():
    chain = IntegerLSTM.ar1((0.5, 0.0), 10)
    state = chain.start(1)
    assert [part.tolist() for part in chain.conditionals(state)] == [[[0, 0]], [[137, 137]]]
    state = chain.push(state, np.array([[14, 14]]))  # 20 units each
    assert [part.tolist() for part in chain.conditionals(state)] == [[[640, 0]], [[134, 137]]]


def test_decoding_inverts_encoding(pair):
    exact = pair[1]
    symbols = np.random.default_rng(0).integers(0, exact.size, (7, 4, 2))
    payload, bits = exact.encode(symbols)
    assert np.array_equal(exact.decode(payload, 7, 4), symbols)
    assert bits.sum() <= 8 * len(payload) <= bits.sum() + 64


def test_streams_side_by_side_are_those_alone(pair):
    exact = pair[1]
    parts = [
        symbols_of(exact, lanes, steps, seed) for seed, (lanes, steps) in enumerate([(2, 3), (3, 9), (1, 5)])
    ]
    together = exact.encode_lanes(parts)
    for own, (payload, bits) in zip(parts, together, strict=True):
        assert payload == exact.encode(own)[0]
        alone = [exact.code_length_bits(own[:, lane : lane + 1])[0] for lane in range(own.shape[1])]
        assert np.allclose(bits, alone, rtol=1e-12)
    shapes = [own.shape[:2] for own in parts]
    decoded = exact.decode_lanes([payload for payload, _ in together], shapes)
    assert all(np.array_equal(*both) for both in zip(decoded, parts, strict=True))


def test_the_state_is_not_changed_by_what_comes_after(pair):
    exact = pair[1]
    state = exact.push(exact.start(2), np.full((2, 2), 1))
    before = exact.conditionals(state)
    exact.push(state, np.full((2, 2), 0))
    assert all(np.array_equal(*both) for both in zip(before, exact.conditionals(state), strict=True))


def test_an_item_depends_on_its_number_and_the_seed_only(pair):
    exact = pair[1]
    few, many = exact.sample(3, 6, seed=4), exact.sample(40, 9, seed=4)
    assert torch.equal(few, many[:3, :6]) and few.dtype == torch.int64
    assert not torch.equal(few, exact.sample(3, 6, seed=5))
    with pytest.raises(ValueError, match="seed"):
        exact.sample(1, 1, seed=-1)


def test_samples_of_the_chain_have_its_moments():
    chain = IntegerLSTM.ar1(ALPHAS, 1)
    z = chain.dequantise(chain.sample(4000, 6, seed=0)).double()
    assert torch.allclose(z.square().mean(0), torch.ones(6, 2, dtype=torch.float64), atol=0.1)
    correlation = (z[:, 1:] * z[:, :-1]).mean((0, 1))
    assert torch.allclose(correlation, torch.tensor(ALPHAS, dtype=torch.float64), atol=0.03)


def test_latents_go_to_the_nearest_symbol_and_back(pair):
    exact = pair[1]
    codes = torch.arange(exact.size)
    assert torch.equal(exact.quantise(exact.dequantise(codes)), codes)
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    away = (exact.dequantise(exact.quantise(z)) - z).abs().max()
    assert away <= exact.step * LATENT_UNIT / 2 + 1e-6
    assert exact.quantise(torch.tensor([-100.0, 100.0])).tolist() == [0, exact.size - 1]


def test_another_step_is_another_prior_of_the_same_network(pair):
    exact = pair[1]
    fine = exact.with_step(1)
    assert fine.sizes == (255, 255) and fine.id == IntegerLSTM.convert(pair[0], 1).id
    assert exact.with_step(exact.step).id == exact.id


def test_golden_integers():
    exact = fixed()
    assert exact.id.hex() == "aed83b9cf719cc5fc11268fc13c6fcc4"
    symbols = exact.sample(2, 12, seed=3)
    assert symbols[1, :, 0].tolist() == [17, 18, 17, 16, 14, 15, 15, 15, 16, 16, 20, 20]
    assert exact.encode(symbols.numpy().swapaxes(0, 1))[0].hex() == "857230edd3855ee19a454c256f61f373591499ef"


def test_tensors_are_inverted(pair):
    exact = pair[1]
    again = IntegerLSTM.from_tensors(exact.tensors())
    assert again.id == exact.id and again.sizes == exact.sizes and again.device.type == "cpu"


def test_every_integer_is_in_the_id(pair):
    exact = pair[1]
    for name, tensor in exact.tensors().items():
        changed = exact.tensors()
        index = tuple(0 for _ in tensor.shape)
        if name == "structure":
            continue  # its shapes would not fit; the step's part is another test's
        changed[name][index] += -1 if tensor[index] > 0 else 1
        assert IntegerLSTM.from_tensors(changed).id != exact.id, name


HOSTILE = [
    ("structure", lambda t: t.int()),
    ("structure", lambda t: t[:2]),
    ("structure", lambda t: torch.tensor([2, 24, 0])),
    ("structure", lambda t: torch.tensor([2, 24, 128])),
    ("structure", lambda t: torch.tensor([2, 2**40, 8])),
    ("structure", lambda t: torch.tensor([0, 24, 8])),
    ("structure", lambda t: torch.tensor([2, -1, 8])),
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
    tensors = IntegerLSTM.convert(network(), 8).tensors()
    tensors[name] = change(tensors[name])
    with pytest.raises(CheckpointError, match="exact auxiliary prior"):
        IntegerLSTM.from_tensors(tensors)


@pytest.mark.parametrize("name", ["structure", "alphas", "gates.bias", "more"])
def test_a_tensor_too_few_or_too_many_is_refused(name):
    tensors = IntegerLSTM.ar1(ALPHAS, 8).tensors()
    if tensors.pop(name, None) is None:
        tensors[name] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"missing|unknown"):
        IntegerLSTM.from_tensors(tensors)


def test_the_largest_integers_stay_in_range():
    tensors = IntegerLSTM.convert(network(), 1).tensors()
    for name, tensor in tensors.items():
        if name.endswith(("weight", "alphas")):
            tensor.fill_(-(2**15))
        if name.endswith("bias"):
            tensor.fill_(2**30)
        if name.endswith("shift"):
            tensor.fill_(0)
    exact = IntegerLSTM.from_tensors(tensors)
    symbols = np.random.default_rng(0).integers(0, 255, (20, 3, 2))
    assert np.array_equal(exact.decode(exact.encode(symbols)[0], 20, 3), symbols)


@pytest.mark.parametrize("value", [float("nan"), 1e9])
def test_weights_that_no_shift_represents_are_refused(value):
    prior = network()
    with torch.no_grad():
        prior.correction.weight[0, 0] = value
    with pytest.raises(TrainingError, match="too large"):
        IntegerLSTM.convert(prior, 8)


@given(st.binary(max_size=120))
@settings(max_examples=25)
def test_hostile_bytes_give_symbols_or_one_error(data):
    exact = IntegerLSTM.ar1(ALPHAS, 8)
    with suppress(ArchiveError):
        found = exact.decode(data, 6, 4)
        assert found.min() >= 0 and found.max() < exact.size


@pytest.mark.parametrize("exact", [fixed(), IntegerLSTM.ar1(ALPHAS, 5)])
def test_the_prior_is_the_documented_one(exact):
    symbols = exact.sample(1, 30, seed=8)[0].tolist()
    reader = LatentPrior({name: tensor.tolist() for name, tensor in exact.tensors().items()})
    decoder = RangeDecoder(exact.encode(np.array(symbols)[:, None])[0])
    for step in symbols:
        assert [decoder.decode(table) for table in reader.tables()] == step
        reader.push(step)
