"""The codebook as a whole: losses, masks, accumulation, revival, resume, precision, compilation."""

import copy
import io
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from latentpress.config import CodebookConfig, EMAConfig, LearnedConfig
from latentpress.latents import Codebook
from latentpress.latents.code_vectors import EMACodebook

GRADIENTS = ("straight_through", "rotation", "index")
VECTORS = (EMAConfig(), LearnedConfig())


def make(seed: int = 0, **settings: Any) -> Codebook:
    torch.manual_seed(seed)
    return Codebook(CodebookConfig(**{"codebook_size": 16, "code_dim": 4, **settings}))


def started(seed: int = 0, **settings: Any) -> Codebook:
    """A codebook that has seen its first batch."""
    codebook = make(seed, **settings)
    codebook(torch.randn(8, codebook.config.num_codebooks * 4, 5, 5))
    codebook.update()
    return codebook


def tensors(codebook: Codebook) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in codebook.state_dict().items()}


def assert_same_state(one: Codebook, other: Codebook, exactly: bool = True) -> None:
    for name, value in one.state_dict().items():
        if exactly:
            assert torch.equal(value, other.state_dict()[name]), name
        else:
            torch.testing.assert_close(value, other.state_dict()[name], msg=name)


@pytest.mark.parametrize(
    ("gradient", "vectors", "distance"), list(product(GRADIENTS, VECTORS, ("euclidean", "cosine")))
)
@pytest.mark.parametrize("grid", [(7,), (3, 4), (2, 3, 2)])
def test_shapes_and_agreement_of_forward_encode_decode(
    gradient: str, vectors: Any, distance: str, grid: tuple[int, ...]
) -> None:
    codebook = make(num_codebooks=3, gradient=gradient, vectors=vectors, distance=distance)
    z = torch.randn(5, 12, *grid)
    quantized = codebook(z)
    assert quantized.vectors.shape == z.shape and quantized.codes.shape == (5, *grid, 3)
    assert torch.equal(codebook.decode(quantized.codes), quantized.vectors)
    assert torch.equal(codebook.encode(z), quantized.codes)
    assert torch.equal(codebook.encode(quantized.vectors), quantized.codes)  # a vector is its own nearest


def test_cosine_is_blind_to_length_and_euclidean_is_not() -> None:
    z = torch.randn(4, 4, 6)
    for distance in ("euclidean", "cosine"):
        codebook = started(distance=distance)
        assert torch.equal(codebook.encode(z), codebook.encode(5 * z)) == (distance == "cosine")
    similarity = torch.einsum("bdg,kd->bgk", z, codebook.codebook[0])
    assert torch.equal(codebook.encode(z)[..., 0], similarity.argmax(-1))


def test_losses_are_weighted_means_and_each_moves_only_its_side() -> None:
    codebook = started(commitment_weight=0.7, vectors=LearnedConfig(weight=0.3))
    z = torch.randn(3, 4, 5, requires_grad=True)
    quantized = codebook(z)
    error = (z - quantized.vectors).square().mean()
    torch.testing.assert_close(quantized.commitment_loss, 0.7 * error)
    torch.testing.assert_close(quantized.codebook_loss, 0.3 * error)
    parameter = codebook.code_vectors.vectors
    grads = torch.autograd.grad(
        quantized.commitment_loss, (z, parameter), allow_unused=True, retain_graph=True
    )
    torch.testing.assert_close(grads[0], 0.7 * 2 * (z - quantized.vectors).detach() / z.numel())
    assert grads[1] is None
    grads = torch.autograd.grad(quantized.codebook_loss, (z, parameter), allow_unused=True)
    assert grads[0] is None and grads[1] is not None and grads[1].any()
    assert not started()(z).codebook_loss.requires_grad


def test_the_first_batch_starts_the_codebook_and_a_second_does_not() -> None:
    codebook = make()
    z = torch.randn(8, 4, 10) * 3 + 50
    before = codebook(z).commitment_loss
    assert codebook.initialised and before < 3  # from the data, not from noise around zero
    vectors = codebook.codebook.clone()
    codebook(z - 100)
    assert torch.equal(codebook.codebook, vectors)
    assert len(codebook.codebook[0].unique(dim=0)) == 16


def test_evaluation_changes_nothing() -> None:
    for codebook in (make(), started()):
        before = tensors(codebook.eval())
        codebook(torch.randn(2, 4, 9))
        codebook.encode(torch.randn(2, 4, 9))
        codebook.update()
        assert all(torch.equal(before[name], value) for name, value in codebook.state_dict().items())


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_masked_vectors_have_no_effect(vectors: Any, gradient: str) -> None:
    real = torch.randn(6, 8, 5)
    padded = torch.full((6, 8, 9), float("nan"))
    padded[..., :5] = real
    mask = torch.zeros(6, 9, dtype=torch.bool)
    mask[:, :5] = True
    plain, masked = (started(num_codebooks=2, vectors=vectors, gradient=gradient) for _ in range(2))
    one, other = plain(real.requires_grad_()), masked(padded.requires_grad_(), mask)
    assert torch.equal(one.codes, other.codes[:, :5]) and not other.codes[:, 5:].any()
    assert torch.equal(one.vectors, other.vectors[..., :5]) and not other.vectors[..., 5:].any()
    for quantized in (one, other):
        (quantized.vectors.square().sum() + quantized.commitment_loss + quantized.codebook_loss).backward()
    torch.testing.assert_close(one.commitment_loss, other.commitment_loss)
    torch.testing.assert_close(one.codebook_loss, other.codebook_loss)
    assert real.grad is not None and padded.grad is not None
    torch.testing.assert_close(real.grad, padded.grad[..., :5])
    assert not padded.grad[..., 5:].any()
    plain.update()
    masked.update()
    assert_same_state(plain, masked, exactly=False)


def test_a_batch_of_padding_only_moves_no_code() -> None:
    codebook = started()
    before = tensors(codebook)
    quantized = codebook(torch.randn(2, 4, 3), torch.zeros(2, 3, dtype=torch.bool))
    codebook.update()
    assert quantized.commitment_loss == 0
    for name in ("code_vectors.vectors", "share.total", "share.weight"):
        assert torch.equal(codebook.state_dict()[name], before[name])


def test_initialisation_ignores_the_mask_s_outside() -> None:
    codebook = make()
    z, mask = torch.randn(8, 4, 6), torch.ones(8, 6, dtype=torch.bool)
    z[:, :, 2:], mask[:, 2:] = 1e6, False
    codebook(z, mask)
    assert codebook.codebook.abs().max() < 100


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_padding_alone_starts_nothing(vectors: Any, gradient: str, distance: str) -> None:
    codebook, fresh = (make(vectors=vectors, gradient=gradient, distance=distance) for _ in range(2))
    nothing, real = torch.zeros(8, 6, dtype=torch.bool), torch.randn(8, 4, 6)
    before = tensors(codebook)
    for _ in range(2):
        z = torch.full((8, 4, 6), float("nan"), requires_grad=True)
        quantized = codebook(z, nothing)
        (quantized.vectors.sum() + quantized.commitment_loss + quantized.codebook_loss).backward()
        codebook.update()
        assert z.grad is not None and not z.grad.any() and not quantized.vectors.any()
    for name in ("code_vectors.vectors", "share.total", "window.counts", "initialised"):
        assert torch.equal(codebook.state_dict()[name], before[name]), name
    codebook(real, ~nothing)  # the first real batch starts it, and those after it do not start it again
    fresh(real)
    torch.testing.assert_close(codebook.codebook, fresh.codebook)
    codebook(real + 5, ~nothing)
    torch.testing.assert_close(codebook.codebook, fresh.codebook)
    codebook.update()
    assert codebook.initialised and all(value.isfinite().all() for value in tensors(codebook).values())


def test_accumulated_micro_batches_equal_one_batch() -> None:
    whole, parts = started(dead_code_threshold=0.0), started(dead_code_threshold=0.0)
    for _ in range(3):
        z = torch.randn(12, 4, 7)
        whole(z)
        for part in z.split(3):
            parts(part)
        whole.update()
        parts.update()
    assert_same_state(whole, parts, exactly=False)
    assert whole.steps == parts.steps == 4


def test_dead_codes_are_revived_from_the_batch_and_not_overwritten() -> None:
    codebook = started(dead_code_threshold=0.1)
    averages = codebook.code_vectors
    assert isinstance(averages, EMACodebook)
    averages.vectors[0, :6] += 1000
    far = torch.ones(6, dtype=torch.bool)
    for step in range(60):
        z = torch.randn(8, 4, 10)
        codebook(z)
        codebook.update()
        revived = far & (averages.vectors[0, :6].abs() < 100).all(1)
        assert step > 1 or not revived.any(), "codes are watched for a while first"
        far &= ~revived
        rows = z.movedim(1, -1).reshape(-1, 4)
        distances = (averages.vectors[0, :6][revived, None] - rows).abs().sum(-1)
        assert not distances.min(1).values.any(), "they are vectors of this step's batch, exactly"
        assert len(distances.argmin(1).unique()) == revived.sum(), "and not the same one"
        assert not averages.counts[0, :6][revived].any() and not averages.sums[0, :6][revived].any()
    assert not far.any()
    assert codebook.share.total[0, :6].min() > 0, "the revived codes are in use"


def test_learned_vectors_are_revived_too_and_zero_turns_it_off() -> None:
    for dead_code_threshold, revived in ((0.1, True), (0.0, False)):
        codebook = started(dead_code_threshold=dead_code_threshold, vectors=LearnedConfig())
        with torch.no_grad():
            codebook.code_vectors.vectors[0, 0] += 1000
        for _ in range(60):
            codebook(torch.randn(8, 4, 10))
            codebook.update()
        assert (codebook.codebook[0, 0].abs().max() < 100) == revived


def test_training_on_drifting_vectors_keeps_the_codes_alive() -> None:
    codebook = make(codebook_size=64)
    for step in range(150):
        codebook(torch.randn(16, 4, 20) + 0.05 * step)
        codebook.update()
    assert codebook.usage().usage > 0.95 and codebook.usage().warning is None


def test_a_resumed_codebook_goes_on_bit_for_bit() -> None:
    def train(codebook: Codebook, start: int, stop: int) -> Codebook:
        for step in range(start, stop):
            codebook(torch.randn(4, 4, 9, generator=torch.Generator().manual_seed(step)))
            codebook.update()
        return codebook

    straight = train(make(dead_code_threshold=0.5), 0, 60)
    file = io.BytesIO()
    torch.save(train(make(dead_code_threshold=0.5), 0, 30).state_dict(), file)
    file.seek(0)
    resumed = make(seed=99, dead_code_threshold=0.5)
    resumed.load_state_dict(torch.load(file, weights_only=True), assign=True)
    assert_same_state(straight, train(resumed, 30, 60))


def test_the_lookup_is_float32_under_autocast() -> None:
    codebook = started()
    other = copy.deepcopy(codebook)
    z = torch.randn(16, 4, 50)
    plain = codebook(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = other(z)
    assert torch.equal(plain.codes, mixed.codes) and torch.equal(plain.commitment_loss, mixed.commitment_loss)
    assert mixed.vectors.dtype == torch.float32
    low = z.bfloat16().requires_grad_()
    other(low).vectors.sum().backward()
    assert low.grad is not None and low.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("gradient", "vectors", "backend"),
    [
        ("straight_through", VECTORS[0], "aot_eager"),
        ("rotation", VECTORS[1], "eager"),
        ("index", VECTORS[1], "aot_eager"),
    ],
)
def test_training_compiles_into_one_graph_with_the_same_result(
    gradient: str, vectors: Any, backend: str
) -> None:
    torch._dynamo.reset()
    plain, traced = (make(num_codebooks=2, gradient=gradient, vectors=vectors) for _ in range(2))
    compiled: Callable[..., Any] = torch.compile(traced, fullgraph=True, backend=backend)
    for _ in range(3):  # the first initialises
        z = torch.randn(4, 8, 6)
        results = []
        for run, codebook in ((plain, plain), (compiled, traced)):
            leaf = z.clone().requires_grad_()
            quantized = run(leaf)
            (quantized.vectors.square().sum() + quantized.commitment_loss).backward()
            codebook.update()
            results.append((quantized.vectors, quantized.codes, leaf.grad))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other)
    assert_same_state(plain, traced, exactly=False)
    assert traced.initialised and traced.steps == 3


def test_what_does_not_fit_is_refused() -> None:
    codebook = make()
    with pytest.raises(ValueError, match=r"must be \(batch, 4, \*grid\)"):
        codebook(torch.randn(2, 5, 3))
    with pytest.raises(ValueError, match="mask must be bool"):
        codebook(torch.randn(2, 4, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"lie in 0\.\.15"):
        codebook.decode(torch.tensor([[[16]]]))
    with pytest.raises(ValueError, match="lie in"):
        codebook.decode(torch.tensor([[[-1]]]))
    with pytest.raises(ValueError, match=r"\(batch, \*grid, 1\)"):
        codebook.decode(torch.zeros(1, 2, 2, dtype=torch.int64))
