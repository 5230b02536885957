"""New symbols drawn from an exact grid, in integers: one seed gives the same items on every machine.

Item i of seed s has its own stream of random bits, that of the counter-based generator Philox4x64
(Salmon et al., SC 2011) with the key (s, i), so an item does not depend on how many are drawn with
it. Each symbol takes one number of 24 bits and is looked up in its cumulative frequency table.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latentpress.coding.tables import TOTAL_BITS, frequencies
from latentpress.grid.exact import ExactGrid
from latentpress.grid.network import Context

__all__ = ["sample"]

_LANES = 512  # that advance together: enough to read the weights seldom, few enough for the caches
_BETA_BITS = 16


def sample(
    exact: ExactGrid,
    lanes: int,
    grid: tuple[int, ...],
    context: Context | None = None,
    *,
    seed: int,
    temperature: float = 1.0,
    prefix: Tensor | None = None,
) -> Tensor:
    """Draws `lanes` items symbol by symbol.

    Args:
        exact: the distribution.
        lanes: how many items.
        grid: the size of every item.
        context: map int8 (lanes, Cm, *grid) and labels (lanes,).
        seed: 0 to 2^64 - 1.
        temperature: divides the logits, 0.01 to 100; it is used as 2^16 / temperature, rounded.
        prefix: (lanes, n, P), the symbols of the first n positions in raster order, kept as they are.

    Returns:
        (lanes, *grid, P) int64, on the CPU.

    >>> from latentpress.config import GridConfig
    >>> from latentpress.grid.network import GridNetwork
    >>> network = GridNetwork(GridConfig(width=8, depth=1), sizes=(16,), dims=1)
    >>> exact = ExactGrid.convert(network, torch.randint(16, (1, 8, 1)))
    >>> sample(exact, 2, (4,), seed=7).flatten(1).tolist()  # untrained: uniform, whatever the weights
    [[13, 4, 6, 6], [14, 5, 8, 5]]
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"sample: a seed from 0 to 2^64 - 1 is needed, got {seed}")
    if not 0.01 <= temperature <= 100:
        raise ValueError(f"sample: a temperature from 0.01 to 100 is needed, got {temperature}")
    context, members = context or Context(), len(exact.sizes)
    if prefix is None:
        prefix = torch.empty(lanes, 0, members, dtype=torch.int64)
    beta = round((1 << _BETA_BITS) / temperature)
    positions = math.prod(grid)
    items = torch.empty(lanes, positions, members, dtype=torch.int64)
    for first in range(0, lanes, _LANES):
        run = slice(first, min(first + _LANES, lanes))
        own = Context(*(None if part is None else part[run] for part in (context.map, context.labels)))
        items[run] = _run(exact, grid, own, _draws(seed, run, positions * members), beta, prefix[run])
    return items.view(lanes, *grid, members)


def _run(
    exact: ExactGrid, grid: tuple[int, ...], context: Context, draws: np.ndarray, beta: int, prefix: Tensor
) -> Tensor:
    """Symbols (lanes, positions, members) of the lanes whose random numbers are `draws` (lanes, symbols)."""
    members = len(exact.sizes)
    symbols = torch.empty(draws.shape, dtype=torch.int64)
    known = prefix.flatten(1)
    symbols[:, : known.shape[1]] = known
    state = exact.start(len(draws), grid, context)
    for number in range(draws.shape[1]):
        if number >= known.shape[1]:
            logits = exact.member_logits(state).cpu().numpy().astype(np.int64)
            chosen = _choose(logits * beta >> _BETA_BITS, draws[:, number])
            symbols[:, number] = torch.from_numpy(chosen)
        exact.push(state, symbols[:, number])
    return symbols.view(len(draws), -1, members)


def _choose(logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The symbol of each row in whose part of the cumulative table the row's draw falls."""
    return (frequencies(logits).cumsum(axis=1, dtype=np.int64) <= draws[:, None]).sum(axis=1)


def _draws(seed: int, lanes: slice, count: int) -> np.ndarray:
    """Random numbers of 24 bits, (lanes, count) int64; each lane's from its own stream."""
    streams = [np.random.Philox(key=seed | item << 64) for item in range(lanes.start, lanes.stop)]
    shift = np.uint64(64 - TOTAL_BITS)
    raw = np.stack([stream.random_raw(count) >> shift for stream in streams])
    return raw.astype(np.int64)
