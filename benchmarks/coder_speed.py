"""Symbols a second and core that the engine's coder makes, K = 256, tables and all.

`coder` is the compiled table and range coder alone, on rows of logits that are ready; `engine` is the whole
step engine with a trivial network (width 8, one layer), 64 lanes, on one thread. Both code the same kind of
symbols: logits of a spread of two octaves, symbols drawn evenly.

    python benchmarks/coder_speed.py [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.engine import Job, Result, run
from latentpress.autoregressive.engine.coder import (
    Streams,
    decode_symbol,
    encode_symbol,
    finish_stream,
    weigh,
)
from latentpress.config import CausalConfig

_SIZE, _ROWS, _LANES, _POSITIONS = 256, 100_000, 64, 2048


@njit(nogil=True)
def encode(streams, logits, symbols, weights):
    for row in range(len(symbols)):
        factor = weigh(logits[row], weights)
        encode_symbol(streams, 0, weights, len(weights), factor, symbols[row])
    finish_stream(streams, 0)


@njit(nogil=True)
def decode(streams, logits, symbols, weights):
    for row in range(len(symbols)):
        factor = weigh(logits[row], weights)
        symbols[row] = decode_symbol(streams, 0, weights, len(weights), factor)


def coder_rates() -> tuple[float, float]:
    """Symbols a second, encoded and decoded."""
    random = np.random.default_rng(0)
    logits = random.integers(-64, 65, (_ROWS, _SIZE)).astype(np.int32)
    symbols, weights = random.integers(0, _SIZE, _ROWS).astype(np.int32), np.zeros(_SIZE, np.uint32)
    streams = Streams.over(np.zeros((1, _ROWS), np.uint32))
    streams.reset(0, 0, _ROWS)
    encoding = seconds(lambda: encode(streams, logits, symbols, weights))
    words, decoded = int(streams.cursors[0]), np.zeros_like(symbols)
    streams.start_decoding(0, 0, words)
    decoding = seconds(lambda: decode(streams, logits, decoded, weights))
    assert np.array_equal(decoded, symbols)
    return _ROWS / encoding, _ROWS / decoding


def engine_rates(integers: IntegerNetwork) -> tuple[float, float]:
    """Symbols a second, encoded and decoded."""
    shape = (_LANES, _POSITIONS, 1)
    symbols = np.random.default_rng(0).integers(0, _SIZE, shape).astype(np.int32)
    program, labels = integers.program((_POSITIONS,)), np.zeros((_LANES, 1, 0), np.int64)
    results: list[Result] = []

    def work(action: Any, **part: Any) -> float:
        job = Job(0, _POSITIONS, labels, **part)
        return seconds(lambda: results.extend(run(program, [job], action, threads=1)))

    encoding = work("encode", symbols=symbols)
    decoding = work("decode", payload=results[0].payload)
    assert np.array_equal(results[1].symbols, symbols)
    return symbols.size / encoding, symbols.size / decoding


def trivial() -> IntegerNetwork:
    config = CausalConfig(width=8, depth=1, radius=1, dilations=(1,), embedding=8, head_width=8)
    network = CausalNetwork(config, (_SIZE,), 1)
    for name, parameter in network.named_parameters():
        if name.endswith("logits.weight"):
            torch.nn.init.normal_(parameter)
    return IntegerNetwork.convert(network, torch.randint(_SIZE, (4, 64, 1)))


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    integers, rows = trivial(), []
    for _ in range(arguments.rounds + 1):  # the first compiles
        rows.append((*coder_rates(), *engine_rates(integers)))
    names = ("coder, encode", "coder, decode", "engine, encode", "engine, decode")
    rates = {
        name: statistics.median(column)
        for name, column in zip(names, zip(*rows[1:], strict=True), strict=True)
    }
    if arguments.json:
        print(json.dumps(rates))
    else:
        for name, rate in rates.items():
            print(f"{name:15} {rate / 1e6:6.2f} M symbols/s")


if __name__ == "__main__":
    main()
