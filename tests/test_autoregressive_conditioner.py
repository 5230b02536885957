"""Conditioners: structures as integers, and integer maps near those in floating point, cut or whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive.conditioner import (
    CodeConditioner,
    ConditionerStructure,
    LatentConditioner,
    LatentInput,
)
from latentpress.autoregressive.integer.conditioner import IntegerConditioner, conditioner_integers
from latentpress.errors import ConfigError
from small.networks import jolted

CODE_DIM = 3
STRUCTURES = st.builds(
    ConditionerStructure,
    alphabets=st.lists(st.integers(2, 300), min_size=1, max_size=4).map(tuple),
    hop=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    embedding=st.integers(1, 9),
    width=st.integers(1, 99),
    channels=st.integers(1, 99),
    past=st.integers(0, 64),
) | st.builds(
    ConditionerStructure,
    alphabets=st.just((255,)),
    hop=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    embedding=st.just(1),
    width=st.integers(1, 99),
    channels=st.integers(1, 99),
    past=st.integers(1, 64),
    neighbours=st.just(False),
)


@given(STRUCTURES)
def test_integers_restore_the_structure(structure):
    assert ConditionerStructure.from_integers(structure.integers()) == structure


@given(STRUCTURES, st.data())
def test_integers_name_one_structure_or_none(structure, data):
    integers = structure.integers()
    integers[data.draw(st.integers(0, len(integers) - 1))] = data.draw(st.integers(-2, 70))
    integers = integers[: data.draw(st.integers(0, len(integers)))]
    try:
        parsed = ConditionerStructure.from_integers(integers)
    except ConfigError:
        return
    assert parsed.integers() == integers


@pytest.mark.parametrize(
    "integers",
    [
        [],
        [1],
        [2, 1, 4, 4, 1, 1, 1, 2, 255],
        [1, 0, 4, 4, 1, 1, 1, 2, 255],
        [1, 1, 4, 4, -1, 1, 1, 2, 255],
        [1, 1, 4, 4, 65, 1, 1, 2, 255],
        [1, 1, 4, 4, 0, 0, 1, 2, 255],
        [1, 1, 4, 4, 1, 2, 1, 2, 255],
        [1, 1, 4, 4, 1, 1, 4, 2, 255],
        [1, 1, 4, 4, 1, 1, 1, 0, 255],
        [1, 1, 4, 4, 1, 1, 1, 2, 1],
        [1, 1, 4, 4, 1, 1, 1, 2],
        [1, 1, 4, 4, 1, 1, 3, 2**15, 2**15, 1, 255],
    ],
)
def test_a_structure_that_cannot_be_is_refused(integers):
    with pytest.raises(ConfigError):
        ConditionerStructure.from_integers(integers)


def test_what_a_position_sees():
    def offsets(**settings):
        return ConditionerStructure(
            alphabets=(255,), hop=(2, 5), embedding=1, width=4, channels=3, **settings
        ).offsets

    assert len(offsets()) == 9 and offsets()[0] == (-1, -1) and offsets()[-1] == (1, 1)
    assert offsets(past=3, neighbours=False) == ((-2, 0), (-1, 0), (0, 0))
    assert offsets(past=2) == ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1))


def conditioner_of(kind, alphabets, hop, seed=0, past=2):
    """A conditioner of codes or of latents, typical codes, and a codebook or None."""
    torch.manual_seed(seed)
    shape = {"hop": tuple(hop), "width": 12, "channels": 5}
    if kind == "codes":
        structure = ConditionerStructure(alphabets=tuple(alphabets), embedding=4, **shape)
        module = CodeConditioner(structure, CODE_DIM)
        codebook = torch.randn(len(alphabets), max(alphabets), CODE_DIM)
    else:
        structure = ConditionerStructure(
            alphabets=(255,) * len(alphabets), embedding=1, past=past, neighbours=kind == "cells", **shape
        )
        module, codebook = LatentConditioner(structure, 1 / 24), None
    return jolted(module, seed, size=0.1), codebook


def random_codes(conditioner, batch, size):
    structure = conditioner.structure
    grid = [-(-side // h) for side, h in zip(size, structure.hop, strict=True)]
    return torch.stack([torch.randint(k, (batch, *grid)) for k in structure.alphabets], -1)


def float_map(conditioner, codes, codebook, size):
    """What the conditioner gives in training for these codes: with vectors, or real latents."""
    if codebook is None:
        return conditioner(LatentInput((codes - 127).movedim(-1, 1) / 24), size)
    vectors = torch.cat([table[code] for table, code in zip(codebook, codes.unbind(-1), strict=True)], -1)
    return conditioner(LatentInput(vectors.movedim(-1, 1), codes), size)


def rounded(conditioner, codes, codebook, step=2.0**-6):
    steps = torch.full((conditioner.structure.channels,), step)
    return IntegerConditioner(conditioner_integers(conditioner, codes, steps, codebook))


@settings(max_examples=30)
@given(
    kind=st.sampled_from(["codes", "latents", "cells"]),
    alphabets=st.lists(st.integers(2, 9), min_size=1, max_size=3),
    hop=st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=3),
    grid=st.integers(1, 4),
    past=st.sampled_from([1, 2, 9]),
    seed=st.integers(0, 99),
)
def test_the_integer_map_is_near_the_float_one_whatever_the_batch_and_the_rows(
    kind, alphabets, hop, grid, past, seed
):
    conditioner, codebook = conditioner_of(kind, alphabets, hop, seed, past)
    size = tuple(max(1, grid * h - i) for i, h in enumerate(hop))
    codes = random_codes(conditioner, 3, size)
    integers = rounded(conditioner, codes, codebook)
    whole = integers(codes, size)
    assert whole.shape == (3, 5, *size) and whole.dtype == torch.int8
    with torch.no_grad():
        wanted = (float_map(conditioner, codes, codebook, size) * 2**6).clamp(-127, 127)
    assert (whole - wanted).abs().max() < 25 and (whole - wanted).abs().mean() < 1.5
    for item in range(3):
        assert torch.equal(integers(codes[item : item + 1], size), whole[item : item + 1])
    for start in range(size[0]):
        for stop in range(start + 1, size[0] + 1):
            assert torch.equal(integers(codes, size, (start, stop)), whole[:, :, start:stop])


def test_threads_autocast_and_pieces_do_not_matter(monkeypatch):
    conditioner, codebook = conditioner_of("codes", (9, 7), (4, 4))
    codes, size = random_codes(conditioner, 20, (30, 29)), (30, 29)
    integers = rounded(conditioner, codes, codebook)
    whole, threads = integers(codes, size), torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(integers(codes, size), whole)
    finally:
        torch.set_num_threads(threads)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(integers(codes, size), whole)
    monkeypatch.setattr("latentpress.autoregressive.integer.conditioner._CHUNK_FLOATS", 1)
    assert torch.equal(integers(codes, size), whole)
    assert integers(codes[:0], size).shape == (0, 5, 30, 29)


def test_codes_that_do_not_fit_are_named():
    conditioner, codebook = conditioner_of("codes", (9,), (4, 4))
    codes = random_codes(conditioner, 1, (8, 8))
    with pytest.raises(ValueError, match="do not fit"):
        rounded(conditioner, codes, codebook)(codes, (9, 8))


def test_gradients_reach_the_vectors_of_a_position_and_its_neighbours():
    conditioner, _ = conditioner_of("codes", (9, 7), (2, 3))
    codes = random_codes(conditioner, 1, (10, 12))
    vectors = torch.randn(1, 2 * CODE_DIM, 5, 4, requires_grad=True)
    local = conditioner(LatentInput(vectors, codes), (10, 12))
    (gradient,) = torch.autograd.grad(local[:, :, 4, 3].square().sum(), vectors)  # of position (2, 1)
    reached = gradient[0].abs().amin(0) > 0  # every channel of every code
    assert torch.equal(reached, gradient[0].abs().amax(0) > 0)
    assert torch.equal(reached[1:4, :3], torch.ones(3, 3, dtype=torch.bool)) and reached.sum() == 9


def test_straight_through_vectors_carry_the_gradient_to_the_encoder():
    conditioner, codebook = conditioner_of("codes", (9, 9), (2,))
    codes = random_codes(conditioner, 2, (8,))
    encoded = torch.randn(2, 2 * CODE_DIM, 4, requires_grad=True)
    chosen = torch.cat([table[code] for table, code in zip(codebook, codes.unbind(-1), strict=True)], -1)
    quantised = encoded + (chosen.movedim(-1, 1) - encoded).detach()
    local = conditioner(LatentInput(quantised, codes), (8,))
    torch.testing.assert_close(local, float_map(conditioner, codes, codebook, (8,)))
    (gradient,) = torch.autograd.grad(local.square().sum(), encoded)
    assert gradient.abs().min() > 0


def test_codes_are_latents_in_units():
    conditioner, _ = conditioner_of("latents", (255, 255), (4,))
    q = torch.randint(-127, 128, (3, 5, 2))
    torch.testing.assert_close(conditioner.latents(q + 127).vectors, q.movedim(-1, 1) / 24)
    for table, scale in conditioner.integer_tables():
        assert table.dtype == torch.int8 and torch.equal(table[:, 0], torch.arange(-127, 128).to(torch.int8))
        assert scale.tolist() == [1 / 24]
