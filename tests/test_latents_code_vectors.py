"""Code vectors follow the published averages, or their gradient."""

import torch

from latentpress.config import EMAConfig, LearnedConfig
from latentpress.latents.code_vectors import EMACodebook, LearnedCodebook, build_code_vectors


def test_moving_averages_are_the_equations_with_their_bias_removed() -> None:
    torch.manual_seed(0)
    decay, shape = 0.9, (1, 4, 3)
    codebook = EMACodebook(EMAConfig(decay=decay), shape)
    big_n, m = torch.zeros(1, 4, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for step in range(1, 30):
        counts = torch.randint(1, 9, (1, 4)).float()
        sums = torch.randn(shape) * counts[..., None]
        codebook.learn(counts, sums)
        big_n = big_n * decay + counts * (1 - decay)
        m = m * decay + sums * (1 - decay)
        debias = 1 - decay**step
        torch.testing.assert_close(codebook.vectors.double(), (m / debias) / (big_n / debias)[..., None])
        if step == 1:  # no trace of the start from zero
            torch.testing.assert_close(codebook.vectors, sums / counts[..., None])


def test_a_constant_input_is_reached_at_once_and_kept() -> None:
    codebook = EMACodebook(EMAConfig(), (1, 2, 2))
    for _ in range(3):
        codebook.learn(torch.full((1, 2), 5.0), torch.full((1, 2, 2), 35.0))
        torch.testing.assert_close(codebook.vectors, torch.full((1, 2, 2), 7.0))


def test_an_unused_code_stays_where_it_is_however_long() -> None:
    codebook = EMACodebook(EMAConfig(decay=0.01), (1, 2, 2))
    codebook.learn(torch.ones(1, 2), torch.randn(1, 2, 2))
    before = codebook.vectors.clone()
    for _ in range(60):  # its averages underflow
        codebook.learn(torch.tensor([[1.0, 0.0]]), torch.randn(1, 2, 2) * torch.tensor([[[1.0], [0.0]]]))
    assert codebook.counts[0, 1] == 0
    assert torch.equal(codebook.vectors[0, 1], before[0, 1])


def test_replaced_codes_forget_their_averages() -> None:
    codebook = EMACodebook(EMAConfig(), (1, 2, 1))
    codebook.learn(torch.full((1, 2), 100.0), torch.full((1, 2, 1), 100.0))
    codebook.replace(torch.tensor([[True, False]]), torch.full((1, 2, 1), 5.0))
    assert codebook.vectors.flatten().tolist() == [5.0, 1.0]
    codebook.learn(torch.ones(1, 2), torch.full((1, 2, 1), 9.0))
    assert codebook.vectors[0, 0].item() == 9.0  # not drawn back to the 1.0 that was


def test_learned_vectors_move_by_their_own_loss_only() -> None:
    codebook = build_code_vectors(LearnedConfig(weight=0.5), (1, 2, 3))
    assert isinstance(codebook, LearnedCodebook)
    z = torch.randn(4, 3, requires_grad=True)
    chosen = codebook.vectors[0, torch.tensor([0, 0, 0, 0])]
    codebook.loss(z, chosen, 12).backward()
    assert z.grad is None and codebook.vectors.grad is not None
    expected = 0.5 * 2 * (chosen - z).detach().sum(0) / 12
    torch.testing.assert_close(codebook.vectors.grad[0, 0], expected)
    assert not codebook.vectors.grad[0, 1].any()
