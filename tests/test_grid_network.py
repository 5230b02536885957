"""The float network: causality, the chain rule, and its context."""

import itertools
import math

import pytest
import torch

from latentpress.autoregressive import CausalNetwork, Conditioning
from latentpress.autoregressive.offsets import reached
from latentpress.config import CausalConfig

SMALL = CausalConfig(width=8, depth=2, radius=2, dilations=(1, 2), embedding=6, head_width=8)


def shaken(network):
    """Random weights everywhere, also where training starts from zero."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network


@pytest.mark.parametrize(
    ("grid", "position"), [((12,), (11,)), ((9, 13), (7, 5)), ((4, 6, 6), (3, 3, 2)), ((5, 5), (0, 4))]
)
def test_exactly_the_declared_past_reaches_a_position(grid, position):
    torch.manual_seed(0)
    network = shaken(CausalNetwork(SMALL, (5,), len(grid))).double()
    seen = []
    network.embeddings[0].register_forward_hook(lambda _, __, out: seen.append(out))
    trace = network.trace(torch.randint(5, (1, *grid, 1)))
    (gradient,) = torch.autograd.grad(trace.logits[0][(0, *position)].square().sum(), seen[0])
    found = {tuple(index) for index in gradient[0].abs().sum(-1).nonzero().tolist()}
    sources = {
        tuple(p + o for p, o in zip(position, offset, strict=True))
        for offset in reached(network.structure.window, network.structure.layers)
    }
    assert found == sources & set(itertools.product(*map(range, grid)))


def test_members_see_earlier_members_only():
    network = shaken(CausalNetwork(SMALL, (4, 5, 6), 1))
    symbols = torch.randint(4, (1, 3, 3))
    before = network(symbols)
    symbols[0, 1, 1] = (symbols[0, 1, 1] + 1) % 4
    changed = [
        {t for t in range(3) if not torch.equal(a[0, t], b[0, t])}
        for a, b in zip(before, network(symbols), strict=True)
    ]
    assert changed == [{2}, {2}, {1, 2}]


def test_the_probabilities_of_all_items_sum_to_one():
    network = shaken(CausalNetwork(SMALL, (2, 3), 2)).double()
    tuples = list(itertools.product(range(2), range(3)))
    items = torch.tensor(list(itertools.product(tuples, repeat=2))).view(-1, 1, 2, 2)
    assert network.nll_nats(items).neg().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_training_starts_from_uniform_symbols():
    symbols = torch.randint(16, (2, 4, 4, 2))
    nats = CausalNetwork(SMALL, (16, 16), 2).nll_nats(symbols)
    assert torch.allclose(nats, torch.full((2,), 32 * math.log(16)))


def test_masked_positions_cost_nothing():
    network = shaken(CausalNetwork(SMALL, (4,), 1))
    symbols = torch.randint(4, (1, 6, 1))
    mask = torch.tensor([[True, True, True, False, False, False]])
    assert torch.allclose(network.nll_nats(symbols, mask=mask), network.nll_nats(symbols[:, :3]))


def test_labels_change_the_distribution_and_may_be_unknown():
    network = shaken(CausalNetwork(SMALL, (4,), 2, num_classes=3))
    symbols = torch.randint(4, (1, 3, 3, 1)).expand(3, -1, -1, -1)
    nats = network.nll_nats(symbols, Conditioning(labels=torch.tensor([0, 2, -1])))
    assert len(set(nats.tolist())) == 3
    assert torch.allclose(nats[2:], network.nll_nats(symbols[:1]))


def test_the_context_map_reaches_its_own_position():
    network = shaken(CausalNetwork(SMALL, (4,), 2, context_channels=2))
    map = torch.zeros(1, 2, 3, 3)
    symbols = torch.randint(4, (1, 3, 3, 1))
    before = network(symbols, Conditioning(map=map.clone()))[0]
    map[0, 0, 1, 1] = 1
    changed = (network(symbols, Conditioning(map=map))[0] != before).any(-1)[0].nonzero().tolist()
    assert changed[0] == [1, 1]


@pytest.mark.parametrize(
    ("symbols", "context"),
    [
        (torch.zeros(1, 3, 1), None),
        (torch.zeros(1, 3, 3, 2), None),
        (torch.zeros(1, 3, 3, 1), Conditioning()),
    ],
)
def test_wrong_shapes_are_named(symbols, context):
    with pytest.raises(ValueError, match="needed"):
        CausalNetwork(SMALL, (4,), 2, context_channels=1)(symbols.long(), context)
