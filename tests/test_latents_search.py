"""The search finds what an independent nearest neighbour finds, in bounded memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from latentpress.latents import search
from latentpress.latents.search import nearest


def squared_distances(rows: torch.Tensor, codebooks: torch.Tensor) -> np.ndarray:
    """(N, P, K) in float64, straight from the definition."""
    z, e = rows.double().numpy(), codebooks.double().numpy()
    return np.square(z[:, :, None] - e[None]).sum(-1)


@given(
    n=st.integers(1, 40),
    p=st.integers(1, 3),
    k=st.integers(2, 70),
    d=st.integers(1, 9),
    offset=st.sampled_from([0.0, 3.0, 1000.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_nearest_is_exact(n: int, p: int, k: int, d: int, offset: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, p, d, generator=generator) + offset
    codebooks = torch.randn(p, k, d, generator=generator) + offset
    codes = nearest(rows, codebooks).numpy()
    distances = squared_distances(rows, codebooks)
    chosen = np.take_along_axis(distances, codes[..., None], -1)[..., 0]
    # float32 may swap two codes whose distances agree to about 1e-6 of the vectors' size once centred
    assert (chosen <= distances.min(-1) + 2e-5 * (1 + distances.min(-1))).all()


def test_nearest_agrees_with_float64_on_a_large_case() -> None:
    torch.manual_seed(0)
    rows, codebooks = torch.randn(3000, 1, 16), torch.randn(1, 1024, 16)
    assert (nearest(rows, codebooks).numpy() == squared_distances(rows, codebooks).argmin(-1)).mean() > 0.9995


@pytest.mark.parametrize("size", [2, 16, 17, 100])
def test_ties_go_to_the_lowest_code(size: int) -> None:
    codebooks = torch.arange(3.0).repeat_interleave(size).view(1, -1, 1)
    rows = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1)
    assert nearest(rows, codebooks).flatten().tolist() == [0, size, 2 * size]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_codes_stay_in_range_for_rows_that_are_not_finite(value: float) -> None:
    codes = nearest(torch.full((4, 1, 3), value), torch.randn(1, 21, 3))
    assert codes.min() >= 0 and codes.max() < 21


def test_chunks_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, codebooks = torch.randn(333, 2, 8), torch.randn(2, 50, 8)
    whole = nearest(rows, codebooks)
    monkeypatch.setattr(search, "_CPU_SCORES", 64 * 7)
    assert torch.equal(nearest(rows, codebooks), whole)


def test_no_tensor_has_a_score_for_every_pair() -> None:
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.elements = max(self.elements, out.untyped_storage().nbytes() // 4)
            return out

    rows, codebooks = torch.randn(4096, 1, 4), torch.randn(1, 1024, 4)
    with Largest() as largest:
        search._nearest(rows[:, 0], codebooks[0])
    assert 0 < largest.elements <= search._CPU_SCORES < 4096 * 1024
