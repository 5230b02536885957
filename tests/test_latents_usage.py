"""Usage and perplexity of code counts, and what is said of a collapse."""

import math

import pytest
import torch

from latentpress.latents import CodeUsage
from latentpress.latents.usage import AverageShare, UsageWindow


def test_uniform_codes_have_a_perplexity_of_their_number() -> None:
    usage = CodeUsage.of(torch.arange(6).repeat(5).view(5, 6, 1), 6)
    assert usage.used == 6 and usage.usage == 1.0
    assert usage.perplexity == pytest.approx(6)


def test_perplexity_is_the_exponential_of_the_entropy_and_a_mean_over_codebooks() -> None:
    usage = CodeUsage(torch.tensor([[3, 1, 0], [1, 1, 1]]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert usage.perplexity == pytest.approx((math.exp(entropy) + 3) / 2)
    assert usage.usage == pytest.approx(5 / 6)


def test_a_collapse_is_warned_of_with_what_to_do() -> None:
    warning = CodeUsage(torch.tensor([[6000, 12] + [0] * 98])).warning
    assert warning is not None
    assert "2 of 100" in warning and "latents.dead_code_threshold" in warning and "\n" not in warning


@pytest.mark.parametrize("counts", [[100] * 50, [9] + [0] * 99, [0] * 100])
def test_no_warning_for_healthy_or_hardly_used_codebooks(counts: list[int]) -> None:
    assert CodeUsage(torch.tensor([counts])).warning is None


def test_the_window_forgets_but_never_counts_less_than_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("latentpress.latents.usage._BUCKET", 10)
    window = UsageWindow((1, 100))
    for step in range(100):
        counts = torch.zeros(1, 100)
        counts[0, step] = 1
        window.add(counts)
        seen = window.read().counts[0].nonzero().flatten().tolist()
        assert seen == list(range(seen[0], step + 1))
        assert min(step + 1, 10) <= len(seen) <= 20


def test_the_average_share_does_not_depend_on_the_batch() -> None:
    small, large = AverageShare((1, 4)), AverageShare((1, 4))
    for _ in range(20):
        counts = torch.tensor([[0.0, 1.0, 3.0, 4.0]])
        small.add(counts)
        large.add(1000 * counts)
        small.add(torch.zeros(1, 4))  # a step of padding only
    torch.testing.assert_close(small.total, large.total)
    torch.testing.assert_close(small.total / small.weight, torch.tensor([[0.0, 0.5, 1.5, 2.0]]))
    assert small.below(0.6).tolist() == [[True, True, False, False]]


def test_a_reset_code_gets_time_before_it_is_judged() -> None:
    share = AverageShare((1, 2))
    for _ in range(50):
        share.add(torch.tensor([[0.0, 8.0]]))
    dead = share.below(0.1)
    assert dead.tolist() == [[True, False]]
    share.reset(dead)
    share.add(torch.tensor([[0.0, 8.0]]))
    assert not share.below(0.1).any()
