"""What the reader made from docs/archive.md knows beyond the file: kinds, and priors of Gaussian latents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding.ans import Stacks
from latentpress.coding.metadata import pack
from latentpress.exact.distribution import Stream
from latentpress.items import Image, Text
from latentpress.latents import IntegerLSTM
from latentpress.latents.stacked import LatentStacks, finest
from latentpress.names import pack_names
from lpz_coders import RangeDecoder, Stack
from lpz_index import names_of
from lpz_latents import LatentLanes, LatentRows
from lpz_reader import KINDS
from small.lstm import fixed_lstm

ITEMS = [Image(channels=1), Image(channels=3), Text()]


def positions(array):
    return [tuple(position) for position in array.reshape(-1, array.shape[-1]).tolist()]


@given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda name: b"\0" not in name), unique=True))
def test_names_are_the_documented_ones(raw):
    names = [name.decode("utf-8", "surrogateescape") for name in raw]
    steps, shared, endings = pack_names(names)
    assert names_of({"steps": pack(steps), "shared": pack(shared), "endings": endings}) == names


@given(st.sampled_from(ITEMS), st.integers(0, 2**32), st.booleans())
def test_kinds_are_the_documented_ones(item, seed, constant):
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, 12, len(item.axes)).tolist(), item.channels)
    samples = rng.integers(0, 2 if constant else 256, shape).astype(np.uint8)
    kind, extents = KINDS[item.kind], shape[:-1]
    assert positions(item.to_symbols(samples, residual=False)) == positions(samples)
    residuals = item.to_symbols(samples, residual=True)
    assert kind.samples(positions(residuals), extents) == positions(samples)
    assert kind.unpack(item.pack(samples), extents, item.channels) == positions(samples)


@pytest.mark.parametrize("prior", [fixed_lstm, lambda: IntegerLSTM.ar1((0.9, -0.5), 5)])
@pytest.mark.parametrize("grid", [(4,), (3, 2, 2)])
def test_codes_of_gaussian_latents_are_the_documented_ones(prior, grid):
    prior, lanes = prior(), 3
    positions = int(np.prod(grid))
    symbols = np.random.default_rng(0).integers(0, prior.alphabets[0], (positions, lanes, 2))
    [(payload, _)] = prior.encode([Stream(grid, lanes, symbols=symbols)])
    tensors = {name: tensor.tolist() for name, tensor in prior.tensors().items()}
    decoder, state = RangeDecoder(payload), LatentLanes(tensors, grid, lanes)
    for position in symbols:
        for component in position.T.tolist():
            assert [decoder.decode(table) for table in state.tables()] == component
            state.push(component)


@pytest.mark.parametrize("step", [1, 8])
@pytest.mark.parametrize("width", [(), (2, 2)])
def test_latents_of_chains_are_the_documented_ones(step, width):
    prior = fixed_lstm()
    latents = np.random.default_rng(1).integers(0, 2 * (127 // step) + 1, (1, 3, *width, 2))
    stacks = Stacks.fresh(1)
    LatentStacks(stacks, [0], [3]).push_prior(prior.with_step(1), latents, step)
    stack = Stack(stacks.payloads()[0])
    rows = LatentRows({name: tensor.tolist() for name, tensor in prior.tensors().items()}, width)
    for row in finest(latents, step)[0].reshape(3, -1, 2) - 127:
        popped = [
            [(stack.pop(table) - len(table) // 2) * step for table in tables] for tables in rows.tables(step)
        ]
        assert popped == row.tolist()
        rows.push(popped)
    assert stack.is_fresh() and rows.step == prior.step
