"""The compiled loop over positions: advance lanes, and decode, encode, sample, ... what comes next.

Everything between two positions happens in here: no Python and no PyTorch. `advance` returns after so
many positions, so that its caller can show progress, take Ctrl-C, and give free lanes new items.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from latentpress.autoregressive.engine.coder import (
    decode_symbol,
    encode_symbol,
    find,
    interval,
    pop_symbol,
    weigh,
)
from latentpress.autoregressive.engine.compiling import compiled
from latentpress.autoregressive.engine.kernels import begin_position, component_logits, end_position
from latentpress.coding.tables import TOTAL, TOTAL_BITS
from latentpress.exact.distribution import Sampling

__all__ = ["ACTIONS", "Action", "Choice", "Task", "advance", "choose_symbol"]

Action = Literal["decode", "encode", "sample", "measure", "pop"]
"""What happens with the logits of a symbol.

Measured: its numbers are noted, to be pushed onto a stack in reverse order.
"""

ACTIONS: tuple[Action, ...] = get_args(Action)  # the compiled loop knows them by their numbers
_DECODE, _ENCODE, _SAMPLE, _MEASURE, _POP = range(len(ACTIONS))
_BETA_BITS = 16  # of the temperature's inverse
_FARTHEST = 1 << 28

Array = NDArray[Any]


class Choice(NamedTuple):
    """How symbols are sampled, in integers.

    `beta`: 2^16 / temperature. `top_k`: how many of the likeliest symbols may be chosen, 0 for all.
    `top_p`: the fewest of these whose share of 2^24 is at least this; 2^24 for all.
    """

    beta: int = 1 << _BETA_BITS
    top_k: int = 0
    top_p: int = TOTAL

    @classmethod
    def of(cls, how: Sampling) -> Choice:
        """The choice that these settings make."""
        return cls(round((1 << _BETA_BITS) / how.temperature), how.top_k, max(1, round(how.top_p * TOTAL)))


class Task(NamedTuple):
    """Where lanes find and leave their symbols.

    `symbols`: int32, all lanes' (positions, P). `starts`: int64 (S,), where each lane's begin. `streams`:
    int64 (S,), each lane's coder. `local`: int8, all lanes' local conditioning (positions, Cm), and `labels`:
    int64, theirs (1 or rows, L). `points`: uint32 of 24 bits, one a symbol, beside `symbols`. `known`: int64
    (S,), positions that are given and not sampled. `bits`: float64 (S,), the ideal length of what each lane
    has encoded. `lows` and `counts`: int32 beside `symbols`, where the numbers of measured symbols begin, and
    how many they are.
    """

    symbols: Array
    starts: Array
    streams: Array
    local: Array
    labels: Array
    points: Array
    known: Array
    bits: Array
    lows: Array
    counts: Array


@compiled
def advance(program, lanes, order, task, streams, action, choice, steps, x, room):
    """Takes the lanes in `order` through `steps` positions; those of one stream in the stream's order.

    `x` is `room.few` or `room.many`; each has machine code of its own.
    """
    components = len(program.alphabets)
    for _ in range(steps):
        begin_position(program, lanes, order, task.local, task.labels, x, room)
        for component in range(components):
            size = program.alphabets[component]
            component_logits(program, lanes, order, component, x, room)
            for row in range(len(order)):
                lane = order[row]
                at = task.starts[lane] + lanes.positions[lane] * components + component
                given = action == _SAMPLE and lanes.positions[lane] < task.known[lane]
                if not given:
                    logits = room.sums[row * size : (row + 1) * size]
                    _symbol(logits, lane, at, task, streams, action, choice, room)
                lanes.components[lane, component] = task.symbols[at]
        end_position(program, lanes, order)


@compiled
def choose_symbol(logits, weights, number, choice, counts):
    """The symbol that a number of 24 bits chooses, of these logits; what they were is lost."""
    _sharpen(logits, choice)
    factor = weigh(logits, weights)
    return _choose(logits, weights, factor, number, choice, counts)


@compiled
def _symbol(logits, lane, at, task, streams, action, choice, room):
    """The symbol at `at` of `task.symbols`: encoded or measured from there, or made and put there."""
    count, stream = len(logits), task.streams[lane]
    weights = room.weights[:count]
    if action == _SAMPLE:
        _sharpen(logits, choice)
    factor = weigh(logits, weights)
    if action == _ENCODE:
        size = encode_symbol(streams, stream, weights, count, factor, task.symbols[at])
        task.bits[lane] += TOTAL_BITS - np.log2(size)
    elif action == _DECODE:
        task.symbols[at] = decode_symbol(streams, stream, weights, count, factor)
    elif action == _MEASURE:
        task.lows[at], task.counts[at] = interval(weights, count, factor, task.symbols[at])
    elif action == _POP:
        task.symbols[at] = pop_symbol(streams, stream, weights, count, factor)
    else:
        task.symbols[at] = _choose(logits, weights, factor, task.points[at], choice, room.counts)


@compiled
def _sharpen(logits, choice):
    """Divides the logits by the temperature."""
    if choice.beta != 1 << _BETA_BITS:
        for k in range(len(logits)):
            logits[k] = min(max((logits[k] * choice.beta) >> _BETA_BITS, -_FARTHEST), _FARTHEST)


@compiled
def _choose(logits, weights, factor, number, choice, counts):
    """The symbol that a number of 24 bits chooses."""
    count = len(logits)
    if choice.top_k == 0 and choice.top_p >= TOTAL:
        return find(np.int64(number), weights, count, factor)[0]
    for k in range(count):
        counts[k] = weights[k]
    if choice.top_k and choice.top_k < count:
        _keep(counts[:count], choice.top_k, False)
    if choice.top_p < TOTAL:
        _keep(counts[:count], _share(counts[:count].sum(), choice.top_p), True)
    point = _share(counts[:count].sum(), number)
    for symbol in range(count):
        point -= counts[symbol]
        if point < 0:
            return symbol
    return count - 1


@compiled
def _share(total, part):
    """The share total * part / 2^24, for totals below 2^48."""
    return ((total >> 10) * part) >> 14


@compiled
def _keep(counts, wanted, by_weight):
    """Zeroes all counts but the fewest of the largest that are `wanted` many, or weigh so much."""
    low, high = np.int64(0), np.int64(1) << 32  # the least weight that is kept lies between
    while high - low > 1:
        middle = (low + high) >> 1
        kept = np.int64(0)
        for k in range(len(counts)):
            if counts[k] >= middle:
                kept += counts[k] if by_weight else 1
        if kept >= wanted:
            low = middle
        else:
            high = middle
    kept = np.int64(0)
    for k in range(len(counts)):
        if counts[k] > low:
            kept += counts[k] if by_weight else 1
    for k in range(len(counts)):  # of equals the first
        if counts[k] < low or (counts[k] == low and kept >= wanted):
            counts[k] = 0
        elif counts[k] == low:
            kept += counts[k] if by_weight else 1
