"""New symbols drawn from an exact grid, in integers: one seed gives the same items on every machine.

Every item has its own stream of random bits (`coding.draws`), so an item does not depend on how many are
drawn with it. Each symbol takes one number of 24 bits and is looked up in its cumulative frequency table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.network import Conditioning
from latentpress.autoregressive.streams import Stream, job_of, jobs_done
from latentpress.coding.random_points import draws
from latentpress.coding.tables import TOTAL

__all__ = ["sample"]

_SYMBOLS = 1 << 24  # drawn at once: so much memory their random numbers may take
_BETA_BITS = 16


def sample(
    exact: IntegerNetwork,
    lanes: int,
    grid: tuple[int, ...],
    context: Conditioning | None = None,
    *,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    prefix: Tensor | None = None,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Draws `lanes` items symbol by symbol.

    Args:
        exact: the distribution.
        lanes: how many items.
        grid: the size of every item.
        context: map int8 (lanes, Cm, *grid) and labels (lanes,).
        seed: 0 to 2^64 - 1.
        temperature: divides the logits, 0.01 to 100; it is used as 2^16 / temperature, rounded.
        top_k: draw only from so many of the likeliest symbols, 0 for all.
        top_p: draw only from the fewest likeliest symbols that have this probability together, up to 1;
            used in steps of 2^-24. Of equally likely symbols the first is kept.
        prefix: (lanes, n, P), the symbols of the first n positions in raster order, kept as they are.
        numbers: which items of the seed these are; by default 0, 1, ..., lanes - 1.
        progress: called on the way with how many symbols were done since the last call.

    Returns:
        (lanes, *grid, P) int64, on the CPU.

    >>> from latentpress.config import CausalConfig
    >>> from latentpress.autoregressive.network import CausalNetwork
    >>> network = CausalNetwork(CausalConfig(width=8, depth=1), sizes=(16,), dims=1)
    >>> exact = IntegerNetwork.convert(network, torch.randint(16, (1, 8, 1)))
    >>> sample(exact, 2, (4,), seed=7).flatten(1).tolist()  # untrained: uniform, whatever the weights
    [[13, 4, 6, 6], [14, 5, 8, 5]]
    """
    from latentpress.autoregressive.engine import Action, Choice

    if not 0 <= seed < 1 << 64:
        raise ValueError(f"sample: a seed from 0 to 2^64 - 1 is needed, got {seed}")
    if not 0.01 <= temperature <= 100:
        raise ValueError(f"sample: a temperature from 0.01 to 100 is needed, got {temperature}")
    if top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(f"sample: top_k not negative and top_p in 0 to 1 are needed, got {top_k}, {top_p}")
    choice = Choice(round((1 << _BETA_BITS) / temperature), top_k, max(1, round(top_p * TOTAL)))
    context, members, positions = context or Conditioning(), len(exact.sizes), math.prod(grid)
    items = torch.empty(lanes, positions, members, dtype=torch.int64)
    together = max(1, _SYMBOLS // (positions * members))
    for first in range(0, lanes, together):
        run = range(first, min(first + together, lanes))
        streams = [Stream(grid, 1, _own(context, lane)) for lane in run]
        jobs = []
        for lane, stream in zip(run, streams, strict=True):
            given = None if prefix is None else prefix[lane : lane + 1].cpu().numpy()
            points = draws(seed, lane if numbers is None else numbers[lane], (1, positions, members))
            known = 0 if given is None else given.shape[1]
            jobs.append(job_of(exact, stream, symbols=given, known=known, draws=points))
        for number, job in jobs_done(exact, streams, jobs, Action.DRAW, choice, progress=progress):
            assert job.symbols is not None
            items[first + number] = torch.from_numpy(job.symbols[0].astype(np.int64))
    return items.view(lanes, *grid, members)


def _own(context: Conditioning, item: int) -> Conditioning:
    """One item's part of a context."""
    parts = (context.map, context.labels)
    return Conditioning(*(None if part is None else part[item : item + 1] for part in parts))
