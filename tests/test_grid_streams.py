"""Streams: what they refuse, and that preparing the engine disturbs nobody."""

import numpy as np
import pytest
import torch

from latentpress.autoregressive import streams
from latentpress.autoregressive.engine.lanes import FEW
from latentpress.autoregressive.sampling import sample
from latentpress.autoregressive.streams import Stream, _warm_up, encode, prepare
from test_grid_exact import random_grid


def test_symbols_outside_their_alphabets_are_refused():
    exact, *_ = random_grid((7, 5), (2, 3))
    for wrong in ([7, 0], [0, 5], [-1, 0]):
        symbols = np.tile(np.array(wrong), (6, 1, 1))
        with pytest.raises(ValueError, match="one is outside"):
            list(encode(exact, [Stream((2, 3), 1, symbols=symbols)]))
    with pytest.raises(ValueError, match="one is outside"):
        sample(exact, 1, (2, 3), seed=1, prefix=torch.full((1, 1, 2), 10**6))


@pytest.mark.parametrize("lanes", [1, 100])
def test_preparing_draws_no_random_number(lanes):
    _warm_up.cache_clear()
    torch.manual_seed(0)
    expected, calls = torch.rand(1), []
    torch.manual_seed(0)
    prepare(lanes, lambda *call: calls.append(call))
    assert torch.equal(torch.rand(1), expected)
    assert all(stage == "compile" and done <= total for stage, done, total in calls)


def test_what_goes_wrong_while_preparing_is_raised(monkeypatch):
    def broken(lanes):
        raise OSError("no compiler")

    monkeypatch.setattr("latentpress.autoregressive.streams._warm_up", broken)
    with pytest.raises(OSError, match="no compiler"):
        prepare(1, lambda *call: None)


def test_both_kinds_of_machine_code_are_told_apart_where_the_engine_does():
    assert streams._MANY == FEW
