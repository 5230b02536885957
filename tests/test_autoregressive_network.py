"""The float network: causality, the chain rule, and its conditioning."""

import itertools
import math

import pytest
import torch

from latentpress.autoregressive import CausalNetwork
from latentpress.autoregressive import network as network_module
from latentpress.autoregressive.network import ordinal_embedding_
from latentpress.exact.distribution import Conditioning
from small.networks import SMALL, jolted
from test_autoregressive_offsets import reached


@pytest.mark.parametrize(
    ("grid", "position"), [((12,), (11,)), ((9, 13), (7, 5)), ((4, 6, 6), (3, 3, 2)), ((5, 5), (0, 4))]
)
def test_exactly_the_declared_past_reaches_a_position(grid, position):
    torch.manual_seed(0)
    network = jolted(CausalNetwork(SMALL, (5,), len(grid))).double()
    seen = []
    network.embeddings[0].register_forward_hook(lambda _, __, out: seen.append(out))
    trace = network.trace(torch.randint(5, (1, *grid, 1)))
    (gradient,) = torch.autograd.grad(trace.logits[0][(0, *position)].square().sum(), seen[0])
    seeing = {tuple(index) for index in gradient[0].abs().sum(-1).nonzero().tolist()}
    sources = {
        tuple(p + o for p, o in zip(position, offset, strict=True))
        for offset in reached(network.structure.window, network.structure.layers)
    }
    assert seeing == sources & set(itertools.product(*map(range, grid)))


def test_components_see_earlier_components_only():
    network = jolted(CausalNetwork(SMALL, (4, 5, 6), 1))
    symbols = torch.randint(4, (1, 3, 3))
    before = network(symbols)
    symbols[0, 1, 1] = (symbols[0, 1, 1] + 1) % 4
    changed = [
        {t for t in range(3) if not torch.equal(a[0, t], b[0, t])}
        for a, b in zip(before, network(symbols), strict=True)
    ]
    assert changed == [{2}, {2}, {1, 2}]


def test_the_probabilities_of_all_items_sum_to_one():
    network = jolted(CausalNetwork(SMALL, (2, 3), 2)).double()
    tuples = list(itertools.product(range(2), range(3)))
    items = torch.tensor(list(itertools.product(tuples, repeat=2))).view(-1, 1, 2, 2)
    assert network.nats(items).neg().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_training_starts_from_uniform_symbols():
    symbols = torch.randint(16, (2, 4, 4, 2))
    nats = CausalNetwork(SMALL, (16, 16), 2).nats(symbols)
    assert torch.allclose(nats, torch.full((2,), 32 * math.log(16)))


def test_masked_positions_cost_nothing():
    network = jolted(CausalNetwork(SMALL, (4,), 1))
    symbols = torch.randint(4, (1, 6, 1))
    mask = torch.tensor([[True, True, True, False, False, False]])
    assert torch.allclose(network.nats(symbols, mask=mask), network.nats(symbols[:, :3]))


def test_labels_change_the_distribution_and_may_be_unknown():
    network = jolted(CausalNetwork(SMALL, (4,), 2, label_sizes=(3,)))
    symbols = torch.randint(4, (1, 3, 3, 1)).expand(3, -1, -1, -1)
    nats = network.nats(symbols, Conditioning(labels=torch.tensor([[0], [2], [-1]])))
    assert len(set(nats.tolist())) == 3
    torch.testing.assert_close(nats[2:], network.nats(symbols[:1]))


def test_every_label_adds_its_vector():
    network = jolted(CausalNetwork(SMALL, (4,), 1, label_sizes=(3, 2)))
    symbols = torch.randint(4, (1, 5, 1)).expand(12, -1, -1)
    every = torch.tensor([*itertools.product((-1, 0, 1, 2), (-1, 0, 1))])
    nats = network.nats(symbols, Conditioning(labels=every))
    assert len(set(nats.tolist())) == 12
    stream = network.residual(network.embedded(symbols), Conditioning(labels=every))[0].view(4, 3, 5, -1)
    torch.testing.assert_close(
        stream[1:, 1:] - stream[1:, :1], (stream[:1, 1:] - stream[:1, :1]).expand(3, -1, -1, -1)
    )


@pytest.mark.parametrize("grid", [(5,), (4, 3), (3, 2, 2)])
def test_labels_along_the_first_axis_reach_their_rows_and_later_ones(grid):
    network = jolted(CausalNetwork(SMALL, (4,), len(grid), label_sizes=(3, 2)))
    symbols = torch.randint(4, (2, *grid, 1))
    labels = torch.stack([torch.randint(k, (2, grid[0])) for k in (3, 2)], -1)
    before = network(symbols, Conditioning(labels=labels))[0]
    for row in range(grid[0]):
        changed = labels.clone()
        changed[:, row, 0] = (changed[:, row, 0] + 1) % 3
        after = network(symbols, Conditioning(labels=changed))[0]
        assert torch.equal(after[:, :row], before[:, :row]) and not torch.equal(after[:, row], before[:, row])
    same = labels[:, :1].expand(-1, grid[0], -1)
    torch.testing.assert_close(
        network(symbols, Conditioning(labels=same))[0], network(symbols, Conditioning(labels=labels[:, 0]))[0]
    )


def test_the_local_conditioning_reaches_its_own_position():
    network = jolted(CausalNetwork(SMALL, (4,), 2, context_channels=2))
    local = torch.zeros(1, 2, 3, 3)
    symbols = torch.randint(4, (1, 3, 3, 1))
    before = network(symbols, Conditioning(local.clone()))[0]
    local[0, 0, 1, 1] = 1
    changed = (network(symbols, Conditioning(local))[0] != before).any(-1)[0].nonzero().tolist()
    assert changed[0] == [1, 1]


@pytest.mark.parametrize(
    ("symbols", "conditioning"),
    [
        (torch.zeros(1, 3, 1), None),
        (torch.zeros(1, 3, 3, 2), None),
        (torch.zeros(1, 3, 3, 1), Conditioning()),
        (torch.zeros(1, 3, 3, 1), Conditioning(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1).long())),
    ],
)
def test_wrong_shapes_are_named(symbols, conditioning):
    with pytest.raises(ValueError, match="needed"):
        CausalNetwork(SMALL, (4,), 2, context_channels=1, label_sizes=(2, 2))(symbols.long(), conditioning)


def test_large_alphabets_go_through_in_parts_at_the_same_value_and_gradient(monkeypatch):
    network = jolted(CausalNetwork(SMALL, (300, 7), 1))
    symbols = torch.stack([torch.randint(k, (3, 11)) for k in (300, 7)], -1)

    def value_and_gradients():
        nats = network.nats(symbols)
        return [nats.detach(), *torch.autograd.grad(nats.sum(), [*network.parameters()])]

    whole = value_and_gradients()
    monkeypatch.setattr(network_module, "_LOGITS", 1000)
    for part, wanted in zip(value_and_gradients(), whole, strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(network.nats(symbols), whole[0])


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("size", [256, 65536])
def test_ordinal_symbols_start_alike(size, signed):
    plain, ordinal = (CausalNetwork(SMALL, (size, 2), 1) for _ in range(2))
    ordinal_embedding_(ordinal, signed=signed)

    def nearness(network):
        table = network.get_parameter("embeddings.0.weight").detach().roll(size // 2 if signed else 0, 0)
        near, far = (
            (table[1:] - table[:-1]).norm(dim=1),
            (table[size // 2 :] - table[: size // 2]).norm(dim=1),
        )
        return float(near.mean() / far.mean())

    assert nearness(ordinal) < 0.1 < 0.5 < nearness(plain)
