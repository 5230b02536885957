"""The exact form: two executions that agree, proven bounds, hostile tensors, and its rate."""

import hashlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from latentpress.autoregressive import CausalNetwork, Conditioning, IntegerNetwork
from latentpress.config import CausalConfig
from latentpress.errors import CheckpointError, TrainingError
from latentpress.exact.affine import ACCUMULATOR_LIMIT, LOGIT_UNIT, gate_table, proven, rounded_affine

SMALL = CausalConfig(width=8, depth=2, radius=2, dilations=(1, 2), embedding=6, head_width=8)


def random_grid(sizes, grid, *, channels=0, classes=0, seed=0, batch=3, config=SMALL):
    """An exact grid of random weights, with symbols and context for it."""
    generator = torch.Generator().manual_seed(seed)
    network = CausalNetwork(config, sizes, len(grid), context_channels=channels, num_classes=classes)
    with torch.no_grad():
        for parameter in network.parameters():
            random = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(random / math.sqrt(parameter.shape[-1]))
    symbols = torch.stack([torch.randint(k, (batch, *grid), generator=generator) for k in sizes], -1)
    context = Conditioning(
        torch.randn(batch, channels, *grid, generator=generator) if channels else None,
        torch.randint(-1, classes, (batch,), generator=generator) if classes else None,
    )
    exact = IntegerNetwork.convert(network, symbols, context)
    return exact, symbols, exact.quantize_context(context)


def stepped(exact, symbols, context=None):
    """Logits by member, computed one symbol at a time."""
    grid = tuple(symbols.shape[1:-1])
    state = exact.start(len(symbols), grid, context)
    found = [[] for _ in exact.sizes]
    for position in symbols.flatten(1, -2).unbind(1):
        for member, symbol in enumerate(position.unbind(1)):
            found[member].append(exact.member_logits(state))
            exact.push(state, symbol)
    assert state.done
    return tuple(torch.stack(f, 1).view(len(symbols), *grid, -1) for f in found)


def assert_same(a, b):
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple),
    grid=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    channels=st.sampled_from([0, 3]),
    classes=st.sampled_from([0, 2]),
    seed=st.integers(0, 1000),
)
def test_one_at_a_time_equals_all_at_once(sizes, grid, channels, classes, seed):
    exact, symbols, context = random_grid(sizes, grid, channels=channels, classes=classes, seed=seed)
    assert_same(stepped(exact, symbols, context), exact.logits(symbols, context))


def test_neither_the_batch_nor_the_threads_matter():
    exact, symbols, context = random_grid((7, 5), (4, 6), channels=2, classes=2, batch=5)
    whole, threads = exact.logits(symbols, context), torch.get_num_threads()
    for item in range(5):
        own = Conditioning(context.map[item : item + 1], context.labels[item : item + 1])
        part = exact.logits(symbols[item : item + 1], own)
        assert_same(part, [member[item : item + 1] for member in whole])
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert_same(exact.logits(symbols, context), whole)
    finally:
        torch.set_num_threads(threads)


def test_autocast_and_gradients_do_not_disturb():
    exact, symbols, _ = random_grid((7,), (4, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(exact.logits(symbols), stepped(exact, symbols))


def test_lanes_do_not_mix():
    exact, symbols, _ = random_grid((7,), (3, 4))
    other = symbols.clone()
    other[1] = (other[1] + 1) % 7
    for a, b in zip(stepped(exact, symbols), stepped(exact, other), strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]]) and not torch.equal(a[1], b[1])


def test_no_items_and_a_single_position():
    exact, symbols, _ = random_grid((7,), (1, 1))
    assert exact.logits(symbols[:0])[0].shape == (0, 1, 1, 7)
    assert_same(stepped(exact, symbols), exact.logits(symbols))


def test_tensors_are_integers_that_restore_the_grid():
    exact, symbols, context = random_grid((7, 5), (4, 6), channels=2, classes=2)
    tensors = exact.tensors()
    assert {value.dtype for value in tensors.values()} == {torch.int8, torch.int32, torch.int64}
    restored = IntegerNetwork.from_tensors(tensors)
    assert restored.id == exact.id and len(exact.id) == 16 and restored.structure == exact.structure
    assert_same(restored.logits(symbols, context), exact.logits(symbols, context))


def test_every_integer_is_part_of_the_identity():
    exact, _, _ = random_grid((7, 5), (4, 6), channels=2, classes=2)
    ids = {exact.id}
    for name in exact.tensors().keys() - {"structure"}:
        tensors = exact.tensors()
        first = tensors[name].view(-1)[:1]
        first += -1 if first > 0 else 1
        ids.add(IntegerNetwork.from_tensors(tensors).id)
    assert len(ids) == len(exact.tensors())


HOSTILE = {
    "missing": lambda t: t.pop("scale"),
    "unknown": lambda t: t.update(more=t["scale"]),
    "shape": lambda t: t.update(scale=t["scale"][:-1]),
    "type": lambda t: t.update(scale=t["scale"].int()),
    "scale": lambda t: t["scale"].fill_(16),
    "negative scale": lambda t: t["layers.0.scale"].fill_(-1),
    "weight": lambda t: t["input.weight"][0].fill_(-128),
    "embedding": lambda t: t["embeddings.0"].fill_(-128),
    "shift": lambda t: t["input.shift"].fill_(17),
    "left shift": lambda t: t["input.shift"].fill_(-9),
    "bias": lambda t: t["heads.0.logits.bias"].fill_(2**31 - 1),
    "least bias": lambda t: t["heads.0.logits.bias"].fill_(-(2**31)),
    "shifted bound": lambda t: (t["input.shift"].fill_(-8), t["input.bias"].fill_(2**17)),
    "context": lambda t: t["context_exponents"].fill_(100),
    "no structure": lambda t: t.pop("structure"),
    "float structure": lambda t: t.update(structure=t["structure"].double()),
    "empty structure": lambda t: t.update(structure=t["structure"][:0]),
    "short structure": lambda t: t.update(structure=t["structure"][:5]),
    "long structure": lambda t: t.update(structure=torch.ones(10**6, dtype=torch.int64)),
    "version": lambda t: t["structure"][0].fill_(9),
    "dims": lambda t: t["structure"][1].fill_(4),
    "huge width": lambda t: t["structure"][2].fill_(2**40),
    "huge reach": lambda t: t["structure"][3].fill_(64),
    "members": lambda t: t["structure"][8].fill_(2**60),
    "negative members": lambda t: t["structure"][8].fill_(-1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tensors_are_refused(name):
    exact, _, _ = random_grid((7,), (4, 6), channels=2)
    tensors = exact.tensors()
    HOSTILE[name](tensors)
    with pytest.raises(CheckpointError):
        IntegerNetwork.from_tensors(tensors)


@pytest.mark.parametrize("fan_in", [10, 1040, 5000])
def test_equal_weights_of_any_number_stay_under_the_bound(fan_in):
    affine = rounded_affine(torch.ones(2, fan_in), torch.zeros(1, 2), torch.ones(fan_in), torch.ones(2))
    sums = 127 * affine.weight.long().abs().sum(1) + affine.bias.long().abs().amax(0)
    assert bool((sums <= ACCUMULATOR_LIMIT).all()) and bool((affine.weight > 0).all())
    proven(affine, "affine")


def test_the_extreme_inputs_of_the_widest_affine_are_summed_exactly():
    affine = rounded_affine(torch.ones(1, 5000), torch.ones(1, 1), torch.ones(5000), torch.full((1,), 100.0))
    x = torch.full((1, 5000), 127.0)
    carried = x @ affine.weight.float().t() + affine.bias.float()
    assert carried.item() == (127 * affine.weight.long().sum() + affine.bias.long()).item()


def test_weights_beyond_int8_are_an_error():
    with pytest.raises(TrainingError):
        rounded_affine(torch.full((1, 2), 1e9), torch.zeros(1, 1), torch.ones(2), torch.ones(1))


def test_the_gate_table_never_changes():
    digest = hashlib.blake2b(gate_table().astype("<i4").tobytes(), digest_size=8)
    assert digest.hexdigest() == "dcaaf7e938327c16"


def test_a_trained_network_loses_almost_nothing():
    torch.manual_seed(0)
    config = CausalConfig(width=16, depth=3, radius=2, dilations=(1, 2), embedding=16, head_width=32)
    network, symbols = CausalNetwork(config, (8, 4), 2), waves(192)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        network.nll_nats(symbols[torch.randint(128, (16,))]).mean().backward()
        optimizer.step()
    held_out = symbols[128:]
    with torch.no_grad():
        nats = network.nll_nats(held_out).sum().item()
    assert nats < 0.7 * held_out[..., 0].numel() * math.log(8 * 4)  # it has learned something
    exact = IntegerNetwork.convert(network, symbols[:32])
    coded = sum(
        F.cross_entropy(member.flatten(0, -2).double() * LOGIT_UNIT, symbol.flatten(), reduction="sum").item()
        for member, symbol in zip(exact.logits(held_out), held_out.unbind(-1), strict=True)
    )
    assert coded / nats < 1.005


def waves(items):
    """Noisy plane waves on 6 x 6 positions, quantised: the upper and the lower bits are the tuple."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    wave = torch.sin(0.9 * rows + 0.5 * columns + 6.3 * torch.rand(items, 1, 1))
    wave += 0.1 * torch.randn(items, 6, 6)
    level = ((wave + 1.5) / 3).clamp(0, 0.999) * 32
    return torch.stack([level // 4, level % 4], -1).long()


@pytest.mark.parametrize(
    ("grid", "context"),
    [((4,), None), ((0, 4), None), ((4, 6), Conditioning()), ((4, 6), Conditioning(torch.zeros(3, 2, 4, 6)))],
)
def test_a_start_that_does_not_fit_is_named(grid, context):
    exact, _, _ = random_grid((7,), (4, 6), channels=2)
    with pytest.raises(ValueError, match="needed"):
        exact.start(3, grid, context)


def test_labels_out_of_range_are_named():
    exact, symbols, _ = random_grid((7,), (4, 6), classes=2)
    with pytest.raises(ValueError, match="labels"):
        exact.logits(symbols, Conditioning(labels=torch.tensor([0, 1, 2])))
