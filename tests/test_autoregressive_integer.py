"""Integer networks: two executions that agree, hostile tensors, and a rate near the float network's."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.config import CausalConfig
from latentpress.errors import CheckpointError, ConfigError
from latentpress.exact.affine import LOGIT_UNIT
from latentpress.exact.distribution import Conditioning
from small.networks import assert_same, network_cases, random_network
from small.stepwise import Stepper, stepwise_logits


@settings(max_examples=30)
@given(network_cases())
def test_one_at_a_time_equals_all_at_once(case):
    integers, symbols, conditioning = random_network(**case)
    assert_same(stepwise_logits(integers, symbols, conditioning), integers.logits(symbols, conditioning))


@pytest.mark.parametrize("along", [False, True])
def test_neither_the_batch_nor_the_threads_matter(along):
    integers, symbols, conditioning = random_network(
        (7, 5), (4, 6), channels=2, labels=(2, 3), along=along, batch=5
    )
    whole, threads = integers.logits(symbols, conditioning), torch.get_num_threads()
    for item in range(5):
        part = slice(item, item + 1)
        alone = integers.logits(symbols[part], conditioning.rows(part))
        assert_same(alone, [component[part] for component in whole])
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert_same(integers.logits(symbols, conditioning), whole)
    finally:
        torch.set_num_threads(threads)


def test_pieces_do_not_matter(monkeypatch):
    integers, symbols, conditioning = random_network(
        (7, 5), (4, 6), channels=2, labels=(2,), along=True, batch=5
    )
    whole = integers.logits(symbols, conditioning)
    monkeypatch.setattr("latentpress.autoregressive.integer.network._CHUNK_FLOATS", 1)
    assert_same(integers.logits(symbols, conditioning), whole)


def test_autocast_and_gradients_do_not_disturb():
    integers, symbols, _ = random_network((7,), (4, 6))
    expected = stepwise_logits(integers, symbols)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(integers.logits(symbols), expected)


@pytest.mark.parametrize("labels", [(2,), (3, 1, 2)])
def test_labels_of_every_row_that_are_the_same_are_labels_of_the_item(labels):
    integers, symbols, conditioning = random_network((7,), (4, 3), labels=labels)
    assert conditioning.labels is not None
    along = Conditioning(labels=conditioning.labels[:, None].expand(-1, 4, -1))
    assert_same(integers.logits(symbols, along), integers.logits(symbols, conditioning))
    unknown = Conditioning(labels=torch.full((3, len(labels)), -1))
    assert_same(integers.logits(symbols, unknown), integers.logits(symbols))


def test_lanes_do_not_mix():
    integers, symbols, _ = random_network((7,), (3, 4))
    other = symbols.clone()
    other[1] = (other[1] + 1) % 7
    for a, b in zip(stepwise_logits(integers, symbols), stepwise_logits(integers, other), strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]]) and not torch.equal(a[1], b[1])


def test_no_items_and_a_single_position():
    integers, symbols, _ = random_network((7,), (1, 1))
    assert integers.logits(symbols[:0])[0].shape == (0, 1, 1, 7)
    assert_same(stepwise_logits(integers, symbols), integers.logits(symbols))


def test_tensors_are_integers_that_restore_the_network():
    integers, symbols, conditioning = random_network((7, 5), (4, 6), channels=2, labels=(2, 3))
    tensors = integers.tensors()
    assert {value.dtype for value in tensors.values()} == {torch.int8, torch.int32, torch.int64}
    restored = IntegerNetwork(tensors)
    assert restored.id == integers.id and len(integers.id) == 16 and restored.structure == integers.structure
    assert_same(restored.logits(symbols, conditioning), integers.logits(symbols, conditioning))
    assert integers.to("cpu") is integers


def test_every_integer_is_part_of_the_identity():
    integers, _, _ = random_network((7, 5), (4, 6), channels=2, labels=(2, 3))
    ids = {integers.id}
    for name in integers.tensors().keys() - {"structure"}:
        tensors = integers.tensors()
        first = tensors[name].view(-1)[:1]
        first += -1 if first > 0 else 1
        ids.add(IntegerNetwork(tensors).id)
    assert len(ids) == len(integers.tensors())


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
    "label": lambda t: t["layers.1.gates.labels.1"][3].fill_(2**24),
    "labels": lambda t: t.pop("input.labels.0"),
    "shifted bound": lambda t: (t["input.shift"].fill_(-8), t["input.bias"].fill_(2**17)),
    "local": lambda t: t["context_exponents"].fill_(100),
    "no structure": lambda t: t.pop("structure"),
    "float structure": lambda t: t.update(structure=t["structure"].double()),
    "empty structure": lambda t: t.update(structure=t["structure"][:0]),
    "short structure": lambda t: t.update(structure=t["structure"][:5]),
    "longer structure": lambda t: t.update(structure=torch.cat([t["structure"], torch.ones(1).long()])),
    "long structure": lambda t: t.update(structure=torch.ones(10**6, dtype=torch.int64)),
    "version": lambda t: t["structure"][0].fill_(9),
    "rank": lambda t: t["structure"][1].fill_(4),
    "huge width": lambda t: t["structure"][2].fill_(2**40),
    "huge radius": lambda t: t["structure"][3].fill_(64),
    "components": lambda t: t["structure"][7].fill_(2**60),
    "negative components": lambda t: t["structure"][7].fill_(-1),
    "label sizes": lambda t: t["structure"][-1].fill_(2**40),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tensors_are_refused(name):
    integers, _, _ = random_network((7,), (4, 6), channels=2, labels=(2, 3))
    tensors = integers.tensors()
    HOSTILE[name](tensors)
    with pytest.raises(CheckpointError, match=r"^integer network: "):
        IntegerNetwork(tensors)


STRUCTURES = st.builds(
    NetworkStructure,
    alphabets=st.lists(st.integers(2, 300), min_size=1, max_size=4).map(tuple),
    rank=st.integers(1, 3),
    width=st.integers(1, 99),
    dilations=st.lists(st.integers(1, 3), max_size=5).map(tuple),
    radius=st.integers(3, 64),
    embedding=st.integers(1, 99),
    head_width=st.integers(1, 99),
    context_channels=st.integers(0, 99),
    label_sizes=st.lists(st.integers(1, 300), max_size=4).map(tuple),
)


@given(STRUCTURES, st.data())
def test_integers_name_one_structure_or_none(structure, data):
    integers = structure.integers()
    assert NetworkStructure.from_integers(integers) == structure
    integers[data.draw(st.integers(0, len(integers) - 1))] = data.draw(st.integers(-2, 70))
    integers = integers[: data.draw(st.integers(0, len(integers)))]
    try:
        parsed = NetworkStructure.from_integers(integers)
    except ConfigError:
        return
    assert parsed.integers() == integers


def rate_nats(integers, symbols, conditioning=None):
    """What the integers' distribution gives for symbols, all together."""
    return sum(
        F.cross_entropy(logits.flatten(0, -2).double() * LOGIT_UNIT, symbol.flatten(), reduction="sum").item()
        for logits, symbol in zip(integers.logits(symbols, conditioning), symbols.unbind(-1), strict=True)
    )


def test_grids_of_one_position_calibrate_a_network():
    torch.manual_seed(0)
    network = CausalNetwork(CausalConfig(width=8, depth=2, radius=2), alphabets=(4,), rank=2)
    integers = IntegerNetwork.convert(network, torch.randint(4, (50, 1, 1, 1)))
    symbols = torch.randint(4, (2, 5, 5, 1))  # of which the calibration has shown no neighbour
    with torch.no_grad():
        expected = network.nats(symbols).sum().item()
    assert math.isclose(rate_nats(integers, symbols), expected, rel_tol=0.02)


@pytest.mark.parametrize("kind", ["alone", "label", "labels of rows"])
def test_a_trained_network_loses_almost_nothing(kind):
    torch.manual_seed(0)
    config = CausalConfig(width=16, depth=3, radius=2, dilations=(1, 2), embedding=16, head_width=32)
    network = CausalNetwork(config, (8, 4), 2, label_sizes=() if kind == "alone" else (4,))
    symbols, labels = waves(192, kind)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        part = torch.randint(128, (16,))
        network.nats(symbols[part], Conditioning(labels=labels[part])).mean().backward()
        optimizer.step()
    held_out, known = symbols[128:], Conditioning(labels=labels[128:])
    with torch.no_grad():
        nats = network.nats(held_out, known).sum().item()
        without = network.nats(held_out).sum().item()
    assert nats < 0.75 * held_out[..., 0].numel() * math.log(8 * 4)  # it has learned something
    assert kind == "alone" or nats < 0.99 * without
    integers = IntegerNetwork.convert(network, symbols[:32], Conditioning(labels=labels[:32]))
    assert rate_nats(integers, held_out, known) / nats < 1.005


def waves(items, kind):
    """Noisy plane waves on 6 x 6 positions, quantised: the upper and the lower bits are the tuple.

    The label is the quarter of the shift of the wave, or of every row.
    """
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    shift = torch.rand(items, 6 if kind == "labels of rows" else 1, 1)
    wave = torch.sin(0.9 * rows + 0.5 * columns + 6.3 * shift)
    wave += 0.1 * torch.randn(items, 6, 6)
    level = ((wave + 1.5) / 3).clamp(0, 0.999) * 32
    labels = (4 * shift).long()
    return torch.stack([level // 4, level % 4], -1).long(), labels if labels.shape[1] > 1 else labels[:, 0]


@pytest.mark.parametrize(
    "conditioning",
    [
        None,
        Conditioning(),
        Conditioning(torch.zeros(3, 2, 4, 6)),
        Conditioning(torch.zeros(3, 2, 4, 5, dtype=torch.int8)),
        Conditioning(torch.zeros(2, 2, 4, 6, dtype=torch.int8)),
    ],
)
def test_local_conditioning_that_does_not_fit_is_named(conditioning):
    integers, symbols, _ = random_network((7,), (4, 6), channels=2)
    with pytest.raises(ValueError, match="local conditioning"):
        integers.logits(symbols, conditioning)
    with pytest.raises(ValueError, match="local conditioning"):
        Stepper(integers, 3, (4, 6), conditioning)


@pytest.mark.parametrize(
    "labels",
    [
        [[0, 0], [1, 0], [2, 0]],
        [[0, 0], [1, 0], [-2, 0]],
        [[0], [1], [1]],
        [[0, 0]] * 2,
        [[[0, 0]] * 3] * 3,
        [[[0, 0]] * 3 + [[0, 3]]] * 3,
    ],
)
def test_labels_that_do_not_fit_are_named(labels):
    integers, symbols, _ = random_network((7,), (4, 6), labels=(2, 3))
    with pytest.raises(ValueError, match="labels"):
        integers.logits(symbols, Conditioning(labels=torch.tensor(labels)))
