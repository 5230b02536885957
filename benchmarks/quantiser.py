"""Training step of the codebook against vector-quantize-pytorch: time and extra memory, one thread.

    python benchmarks/quantiser.py [--json] [--repeats 5]

A step is forward, backward and the update of the code vectors by moving averages, on encoder outputs of shape
(128, 64, 8, 8): 8192 vectors of dimension 64, after two steps to warm up. Every figure comes from a
process of its own. Time is the processor time of a step, the median over the repeats. Extra memory is
the growth of the resident size's peak over what it was before the step, inputs and their gradient
already there, with every tensor mapped apart (MALLOC_MMAP_THRESHOLD_), so that what the allocator
keeps for later does not count. Linux only. Needs `pip install vector-quantize-pytorch`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

__all__ = ["Figure", "main"]

SHAPE = (128, 64, 8, 8)
CODEBOOK_SIZES = (512, 8192)


@dataclass(frozen=True)
class Figure:
    """Both sides' processor time and extra memory of a step, for one codebook size."""

    codebook_size: int
    ours_ms: float
    theirs_ms: float
    ours_mib: float
    theirs_mib: float

    @property
    def times_faster(self) -> float:
        """Their time over ours."""
        return self.theirs_ms / self.ours_ms

    @property
    def memory_share(self) -> float:
        """Our extra memory over theirs."""
        return self.ours_mib / self.theirs_mib


def ours(codebook_size: int) -> Callable[[Tensor], None]:
    """Returns a training step of `latentpress.latents.Codebook`."""
    from latentpress.config import CodebookConfig
    from latentpress.latents import Codebook

    codebook = Codebook(CodebookConfig(codebook_size=codebook_size, code_dim=SHAPE[1]))

    def step(z: Tensor) -> None:
        quantized = codebook(z)
        (quantized.vectors.sum() + quantized.commitment_loss).backward()
        codebook.update()

    return step


def theirs(codebook_size: int) -> Callable[[Tensor], None]:
    """Returns the same step of `vector_quantize_pytorch.VectorQuantize`."""
    from vector_quantize_pytorch import VectorQuantize  # pyright: ignore[reportMissingImports]

    quantiser = VectorQuantize(
        dim=SHAPE[1],
        codebook_size=codebook_size,
        decay=0.99,
        commitment_weight=0.25,
        accept_image_fmap=True,
        rotation_trick=False,
        kmeans_init=False,
    )

    def step(z: Tensor) -> None:
        vectors, _, loss = quantiser(z)
        (vectors.sum() + loss.sum()).backward()

    return step


SIDES = {"ours": ours, "theirs": theirs}


def milliseconds(step: Callable[[Tensor], None], repeats: int) -> float:
    """Returns the median processor time of a step."""
    z = _warm_up(step)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step(z)
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def extra_mib(step: Callable[[Tensor], None], repeats: int) -> float:
    """Returns the growth of the resident size's peak over `repeats` steps, at most two of them."""
    z = _warm_up(step)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is from now on counted anew
    before = _peak_mib()
    for _ in range(min(repeats, 2)):
        step(z)
    return _peak_mib() - before


MEASURES = {"time": milliseconds, "memory": extra_mib}


def _warm_up(step: Callable[[Tensor], None]) -> Tensor:
    """Returns encoder outputs with their gradient, after two steps on them."""
    z = torch.randn(SHAPE, requires_grad=True)
    z.grad = torch.zeros_like(z)
    for _ in range(2):
        step(z)
    return z


def _peak_mib() -> float:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _in_process(measure: str, side: str, codebook_size: int, repeats: int) -> float:
    command = [sys.executable, __file__, "--measure", measure, side, str(codebook_size)]
    separate = {"MALLOC_MMAP_THRESHOLD_": "65536"} if measure == "memory" else {}
    environment = {**os.environ, **separate, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--repeats", str(repeats)], env=environment, check=True, stdout=subprocess.PIPE
    )
    return float(done.stdout)


def _figure(codebook_size: int, repeats: int) -> Figure:
    values = {
        f"{side}_{unit}": _in_process(measure, side, codebook_size, repeats)
        for measure, unit in (("time", "ms"), ("memory", "mib"))
        for side in SIDES
    }
    return Figure(codebook_size, **values)


def main() -> None:
    """Measures both sides and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure, side, size = arguments.measure
        torch.set_num_threads(1)
        torch.manual_seed(0)
        print(MEASURES[measure](SIDES[side](int(size)), arguments.repeats))
        return
    figures = [_figure(size, arguments.repeats) for size in CODEBOOK_SIZES]
    if arguments.json:
        rows = [asdict(f) | {"times_faster": f.times_faster, "memory_share": f.memory_share} for f in figures]
        print(json.dumps(rows, indent=2))
        return
    print("    K   ms: ours   theirs   times faster   MiB: ours   theirs   share")
    for f in figures:
        print(
            f"{f.codebook_size:5d} {f.ours_ms:10.1f} {f.theirs_ms:8.1f} {f.times_faster:14.1f}"
            f" {f.ours_mib:11.1f} {f.theirs_mib:8.1f} {f.memory_share:7.1%}"
        )


if __name__ == "__main__":
    main()
