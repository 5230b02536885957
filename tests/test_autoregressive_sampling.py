"""Sampling: one seed, one item, however many are sampled with it; and from the right distribution."""

import pytest
import torch

from latentpress.autoregressive import coding
from latentpress.exact.affine import LOGIT_UNIT
from latentpress.exact.distribution import Conditioning, Sampling
from small.networks import random_network
from small.stepwise import Stepper


@pytest.fixture(scope="module")
def integers():
    return random_network((5, 3), (3, 4), labels=(2,), seed=3)[0]


def first_probabilities(integers):
    logits = integers.logits(torch.zeros(1, 1, 1, 2, dtype=torch.int64))[0].view(-1)
    return (logits.double() * LOGIT_UNIT).softmax(0)


def first_frequencies(integers, how):
    first = integers.sample(4000, (1, 1), how)[:, 0, 0, 0]
    return torch.bincount(first, minlength=5).double() / 4000


def test_an_item_depends_on_its_number_and_the_seed_only(integers, monkeypatch):
    few, many = (integers.sample(count, (3, 4), Sampling(seed=1)) for count in (3, 600))
    assert torch.equal(few, many[:3])
    assert not torch.equal(few, integers.sample(3, (3, 4), Sampling(seed=2)))
    assert few.shape == (3, 3, 4, 2) and few.dtype == torch.int64
    chosen = integers.sample(2, (3, 4), Sampling(seed=1), numbers=[17, 3])
    assert torch.equal(chosen, many[[17, 3]])
    monkeypatch.setattr(coding, "_TOGETHER", 100)
    assert torch.equal(integers.sample(9, (3, 4), Sampling(seed=1)), many[:9])


def test_symbols_follow_the_distribution(integers):
    expected = first_probabilities(integers)
    assert torch.allclose(first_frequencies(integers, Sampling()), expected, atol=0.03)


def test_a_low_temperature_samples_the_likeliest(integers):
    cold = integers.sample(2, (3, 4), Sampling(temperature=0.01))
    state = Stepper(integers, 2, (3, 4))
    for position in cold.flatten(1, 2).unbind(1):
        for symbol in position.unbind(1):
            logits = state.logits()
            assert torch.equal(logits.gather(1, symbol[:, None])[:, 0], logits.amax(1))
            state.push(symbol)


def test_a_prefix_is_kept_and_continued(integers):
    how = Sampling(seed=5)
    whole = integers.sample(3, (3, 4), how)
    prefix = whole.flatten(1, 2)[:, :7]
    assert torch.equal(integers.sample(3, (3, 4), how, prefix=prefix), whole)
    other = (prefix + 1) % 3
    assert torch.equal(integers.sample(3, (3, 4), how, prefix=other).flatten(1, 2)[:, :7], other)


def test_labels_matter_from_their_rows_on(integers):
    how = Sampling(temperature=0.5)

    def sampled(*labels):
        rows = torch.tensor(labels)[None, :, None].expand(8, -1, 1)
        return integers.sample(8, (3, 4), how, conditioning=Conditioning(labels=rows))

    a, b, c = sampled(0, 0, 0), sampled(1, 1, 1), sampled(0, 1, 1)
    assert not torch.equal(a, b) and torch.equal(a[:, 0], c[:, 0]) and not torch.equal(a[:, 1:], c[:, 1:])
    whole = Conditioning(labels=torch.zeros(8, 1, dtype=torch.int64))
    assert torch.equal(integers.sample(8, (3, 4), how, conditioning=whole), a)


def test_progress_counts_every_symbol(integers):
    counts = []
    integers.sample(7, (3, 4), Sampling(), progress=counts.append)
    assert sum(counts) == 7 * 12 * 2


def test_the_few_likeliest(integers):
    def sampled(**how):
        return integers.sample(5, (3, 4), Sampling(**how))

    cold = sampled(temperature=0.01)
    assert torch.equal(sampled(top_k=1), cold) and torch.equal(sampled(top_p=1e-6), cold)
    assert torch.equal(sampled(top_k=5), sampled())


def test_top_k_and_top_p_sample_in_proportion_from_what_they_keep(integers):
    p = first_probabilities(integers)
    order = p.argsort(descending=True)
    expected = torch.zeros(5, dtype=torch.float64)
    expected[order[:2]] = p[order[:2]] / p[order[:2]].sum()
    between = (p[order[0]] + p[order[:2]].sum()) / 2  # needs two
    for how in (Sampling(top_k=2), Sampling(top_p=float(between))):
        frequencies = first_frequencies(integers, how)
        assert torch.allclose(frequencies, expected, atol=0.03)
        assert (frequencies > 0).sum() == 2


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"seed": 2**64}, {"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}],
)
def test_numbers_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: .*, got "):
        Sampling(**wrong)
