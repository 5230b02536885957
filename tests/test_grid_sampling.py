"""Sampling: one seed, one item, however many are drawn with it; and from the right distribution."""

import math

import pytest
import torch

from latentpress.autoregressive import CausalNetwork, Conditioning, IntegerNetwork
from latentpress.autoregressive.sampling import sample
from latentpress.config import CausalConfig
from latentpress.exact.affine import LOGIT_UNIT

SMALL = CausalConfig(width=8, depth=1, radius=2, embedding=6, head_width=8)


@pytest.fixture(scope="module")
def exact():
    generator = torch.Generator().manual_seed(0)
    network = CausalNetwork(SMALL, (5, 3), 2, num_classes=2)
    with torch.no_grad():
        for parameter in network.parameters():
            random = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(random / math.sqrt(parameter.shape[-1]))
    return IntegerNetwork.convert(network, torch.zeros(2, 3, 4, 2, dtype=torch.int64))


def test_an_item_depends_on_its_number_and_the_seed_only(exact):
    few, many = sample(exact, 3, (3, 4), seed=1), sample(exact, 600, (3, 4), seed=1)
    assert torch.equal(few, many[:3])
    assert not torch.equal(few, sample(exact, 3, (3, 4), seed=2))
    assert few.shape == (3, 3, 4, 2) and few.dtype == torch.int64


def test_symbols_follow_the_distribution(exact):
    first = sample(exact, 4000, (1, 1), seed=0)[:, 0, 0, 0]
    logits = exact.logits(torch.zeros(1, 1, 1, 2, dtype=torch.int64))[0].view(-1).double() * LOGIT_UNIT
    assert torch.allclose(torch.bincount(first, minlength=5) / 4000, logits.softmax(0).float(), atol=0.03)


def test_a_low_temperature_draws_the_likeliest(exact):
    cold = sample(exact, 2, (3, 4), seed=0, temperature=0.01)
    state = exact.start(2, (3, 4))
    for position in cold.flatten(1, 2).unbind(1):
        for symbol in position.unbind(1):
            logits = exact.member_logits(state)
            assert torch.equal(logits.gather(1, symbol[:, None])[:, 0], logits.amax(1))
            exact.push(state, symbol)


def test_a_prefix_is_kept_and_continued(exact):
    whole = sample(exact, 3, (3, 4), seed=5)
    prefix = whole.flatten(1, 2)[:, :7]
    assert torch.equal(sample(exact, 3, (3, 4), seed=5, prefix=prefix), whole)
    other = (prefix + 1) % 3
    assert torch.equal(sample(exact, 3, (3, 4), seed=5, prefix=other).flatten(1, 2)[:, :7], other)


def test_labels_matter(exact):
    a, b = (
        sample(exact, 8, (3, 4), Conditioning(labels=torch.full((8,), label)), seed=0, temperature=0.5)
        for label in (0, 1)
    )
    assert not torch.equal(a, b)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 2**64}, {"seed": 0, "temperature": 0.0}])
def test_numbers_out_of_range_are_named(exact, wrong):
    with pytest.raises(ValueError, match="needed"):
        sample(exact, 1, (2, 2), **wrong)


def test_the_few_likeliest(exact):
    cold = sample(exact, 5, (3, 4), seed=0, temperature=0.01)
    assert torch.equal(sample(exact, 5, (3, 4), seed=0, top_k=1), cold)
    assert torch.equal(sample(exact, 5, (3, 4), seed=0, top_p=1e-6), cold)
    everything = sample(exact, 5, (3, 4), seed=0)
    assert torch.equal(sample(exact, 5, (3, 4), seed=0, top_k=5), everything)


def test_top_k_and_top_p_draw_in_proportion_from_what_they_keep(exact):
    logits = exact.logits(torch.zeros(1, 1, 1, 2, dtype=torch.int64))[0].view(-1).double() * LOGIT_UNIT
    p = logits.softmax(0)
    order = p.argsort(descending=True)
    expected = torch.zeros(5, dtype=torch.float64)
    expected[order[:2]] = p[order[:2]] / p[order[:2]].sum()
    between = (p[order[0]] + p[order[:2]].sum()) / 2  # needs two
    for kept in ({"top_k": 2}, {"top_p": float(between)}):
        first = sample(exact, 4000, (1, 1), seed=0, **kept)[:, 0, 0, 0]
        found = torch.bincount(first, minlength=5) / 4000
        assert torch.allclose(found.double(), expected, atol=0.03)
        assert (found > 0).sum() == 2


@pytest.mark.parametrize("wrong", [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_what_keeps_nothing_is_refused(exact, wrong):
    with pytest.raises(ValueError, match="needed"):
        sample(exact, 1, (2, 2), seed=0, **wrong)
