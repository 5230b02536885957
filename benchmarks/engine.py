"""How fast the step engine is, beside PyTorch loops over the same networks, and beside this core's matmul.

Both sides run in this process on one thread and take turns; medians and ratios are printed.

- *cached*: the float network step by step in PyTorch, each layer remembering its past inputs.
- *uncached*: the float network on all symbols so far, again for every symbol.
- *engine*: the integer network in the step engine, with the table and the range coder of every symbol,
  which the other two are spared.

    python benchmarks/engine.py [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.engine import Job, Program, run
from latentpress.autoregressive.network import GatedLayer
from latentpress.autoregressive.offsets import Raster
from latentpress.config import CausalConfig, VQVAEConfig
from latentpress.config.presets import preset

_UNCACHED_STEPS = 3
_CACHED_STEPS = 60
_MATMUL = 1024
_POSITIONS = 1024
_LANES = (1, 4, 16, 64, 256)


@dataclass(frozen=True)
class Case:
    """A network and the grid that it is stepped over."""

    name: str
    config: CausalConfig
    alphabets: tuple[int, ...]
    grid: tuple[int, ...]


def cases() -> list[Case]:
    wave = CausalConfig(
        width=64, depth=24, radius=8, dilations=(1, 2, 4, 8, 16, 32, 64, 128), embedding=32, head_width=64
    )
    video = CausalConfig(width=64, depth=8, radius=2, dilations=(1, 2), embedding=32, head_width=64)
    model = preset("images-small").model
    assert isinstance(model, VQVAEConfig) and model.prior is not None
    network = model.prior.network
    assert network is not None
    return [
        Case("1-D, 24 layers", wave, (256,), (1024,)),
        Case("CIFAR code prior, 2-D", network, (512,), (8, 8)),
        Case("3-D, 8 layers", video, (256,), (4, 8, 8)),
    ]


class Cached:
    """The float network one position at a time, one item: rings of past inputs, in PyTorch."""

    def __init__(self, network: CausalNetwork, grid: tuple[int, ...]) -> None:
        structure = network.structure
        offsets = [structure.window, *structure.layers]
        raster = Raster(grid, max(abs(o) for layer in offsets for offset in layer for o in offset))
        self.network, self.raster = network, raster
        self.shifts = [torch.tensor([raster.shift(o) for o in layer]) for layer in offsets]
        channels = [structure.position_embedding] + [structure.width] * len(structure.layers)
        self.rings = [torch.zeros(int(s.max()) + 1, c) for s, c in zip(self.shifts, channels, strict=True)]
        self.index = 0

    def step(self, symbol: Tensor) -> Tensor:
        """Logits of the next symbol, which is `symbol` (1,)."""
        place, network = self.raster.place(self.index), self.network
        h = F.linear(self._taps(0, place), network.input.weight, network.input.bias)
        for number, layer in enumerate(network.layers, 1):
            assert isinstance(layer, GatedLayer)
            ring = self.rings[number]
            ring[place % len(ring)] = h[0]
            a, b = layer.gates(self._taps(number, place)).chunk(2, dim=-1)
            h = h + layer.residual(torch.tanh(a) * torch.sigmoid(b))
        logits = network.heads[0](h)[1]
        self.rings[0][place % len(self.rings[0])] = network.embeddings[0](symbol)[0]
        self.index += 1
        return logits

    def _taps(self, number: int, place: int) -> Tensor:
        ring = self.rings[number]
        return ring[(place - self.shifts[number]) % len(ring)].view(1, -1)


def build(case: Case) -> tuple[CausalNetwork, IntegerNetwork, Tensor]:
    torch.manual_seed(0)
    network = CausalNetwork(case.config, case.alphabets, len(case.grid))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[-1]))
    symbols = torch.stack([torch.randint(k, (2, *case.grid)) for k in case.alphabets], -1)
    return network.eval(), IntegerNetwork.convert(network, symbols), symbols


@torch.inference_mode()
def cached_seconds(network: CausalNetwork, symbols: Tensor, grid: tuple[int, ...]) -> float:
    """Seconds a position."""
    flat, steps = symbols[0].flatten(), min(_CACHED_STEPS, math.prod(grid))
    loop = Cached(network, grid)
    return seconds(lambda: [loop.step(flat[i : i + 1]) for i in range(steps)]) / steps


@torch.inference_mode()
def uncached_seconds(network: CausalNetwork, symbols: Tensor) -> float:
    """Seconds a position, over all positions; those not yet known take the same time."""
    return seconds(lambda: [network(symbols[:1]) for _ in range(_UNCACHED_STEPS)]) / _UNCACHED_STEPS


def engine_seconds(program: Program, grid: tuple[int, ...], lanes: int) -> float:
    """Seconds a position and lane; small grids one after the other, as an archive has them."""
    positions, alphabets = math.prod(grid), program.alphabets
    count = max(1, _POSITIONS // positions)
    shape = (count, lanes, positions, len(alphabets))
    symbols = np.random.default_rng(0).integers(0, alphabets[0], shape, np.int32)
    labels = np.zeros((lanes, 1, 0), np.int64)
    jobs = [Job(n, positions, labels, symbols=block) for n, block in enumerate(symbols)]
    setattr(importlib.import_module(run.__module__), "LANES", lanes)  # noqa: B010
    took = seconds(lambda: list(run(program, jobs, "encode", threads=1)))
    return took / symbols[..., 0].size


def matmul_gmacs() -> float:
    a = torch.randn(_MATMUL, _MATMUL)
    return _MATMUL**3 / seconds(lambda: a @ a) / 1e9


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Result:
    """Medians; `lanes`: multiply-adds a second and core, in 10^9, by the number of lanes."""

    name: str
    mmacs: float
    engine_us: float
    cached_us: float
    uncached_us: float
    cached_ratio: float
    uncached_ratio: float
    matmul_gmacs: float
    lanes: dict[int, float]


def measure(case: Case, rounds: int) -> Result:
    network, integers, symbols = build(case)
    program = integers.program(case.grid)
    macs = int((program.maps.table[:, 1] * program.maps.table[:, 2]).sum())
    rows = []
    for _ in range(rounds + 1):  # the first warms up
        engine = {lanes: engine_seconds(program, case.grid, lanes) for lanes in _LANES}
        uncached = uncached_seconds(network, symbols)
        rows.append((engine, cached_seconds(network, symbols, case.grid), uncached, matmul_gmacs()))
    rows = rows[1:]

    def median(figure: Callable[[tuple[dict[int, float], float, float, float]], float]) -> float:
        return statistics.median(figure(row) for row in rows)

    return Result(
        name=case.name,
        mmacs=macs / 1e6,
        engine_us=1e6 * median(lambda row: row[0][1]),
        cached_us=1e6 * median(lambda row: row[1]),
        uncached_us=1e6 * median(lambda row: row[2]),
        cached_ratio=median(lambda row: row[1] / row[0][1]),
        uncached_ratio=median(lambda row: row[2] / row[0][1]),
        matmul_gmacs=median(lambda row: row[3]),
        lanes={lanes: macs / 1e9 / median(lambda row, n=lanes: row[0][n]) for lanes in _LANES},
    )


def check(case: Case) -> None:
    """The cached loop computes what the network does."""
    network, _, symbols = build(case)
    loop, flat = Cached(network, case.grid), symbols[0].flatten()
    with torch.inference_mode():
        expected = network(symbols[:1])[0].flatten(0, -2)
        for i in range(20):
            assert torch.allclose(loop.step(flat[i : i + 1])[0], expected[i], atol=1e-3), case.name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in cases():
        if len(case.grid) == 1:  # rings of rows are cleared at their ends only by the engine
            check(case)
    results = [measure(case, arguments.rounds) for case in cases()]
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    print("| network | MMAC a step | engine, us | cached, us | ratio | uncached, us | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for r in results:
        print(
            f"| {r.name} | {r.mmacs:.2f} | {r.engine_us:.1f} | {r.cached_us:.0f} | **{r.cached_ratio:.1f}** "
            f"| {r.uncached_us:.0f} | **{r.uncached_ratio:.0f}** |"
        )
    print(f"\n| network | {' | '.join(f'{n} lanes' for n in _LANES)} | float32 matmul | one lane | best |")
    print("|---|" + "--:|" * (len(_LANES) + 3))
    for r in results:
        rates = " | ".join(f"{r.lanes[n]:.1f}" for n in _LANES)
        one, best = r.lanes[1] / r.matmul_gmacs, max(r.lanes.values()) / r.matmul_gmacs
        print(f"| {r.name} | {rates} | {r.matmul_gmacs:.1f} | **{one:.0%}** | **{best:.0%}** |")


if __name__ == "__main__":
    main()
