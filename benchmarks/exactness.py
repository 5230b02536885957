"""Counts what an integer prior computes differently from one way of running it to another: nothing.

    python benchmarks/exactness.py [--model FOLDER] [--items N] [--json]

Items are coded once, from logits computed in one batch. Then, in a process per `ATEN_CPU_CAPABILITY`
and for every number of threads and batch size (and on a GPU if there is one), `parallel` recomputes
the logits of all positions at once, and `engine` decodes and encodes the streams with the step engine,
compiled for a processor of that capability, with as many lanes side by side. The table counts items, and
the logits, symbols or streams among theirs that differ.
Without a model, a network of the default configuration with random weights is taken.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.engine import Job, run
from latentpress.coding import RangeEncoder, frequencies
from latentpress.config import CausalConfig

CAPABILITIES = {"default": "x86-64", "avx2": "haswell", "avx512": "skylake-avx512"}  # and Numba's names
THREADS = (1, 2)
BATCHES = (1, 3, 7, 16, 64, 256)
GRID = (8, 8)


def integer_prior(model: str | None) -> IntegerNetwork:
    if model is not None:
        from latentpress.model import load

        prior = load(model, device="cpu").integer.prior
        if not isinstance(prior, IntegerNetwork):
            sys.exit(f"{model} has no network as its prior")
        return prior
    torch.manual_seed(0)
    network = CausalNetwork(CausalConfig(), (512,), 2)
    for name, parameter in network.named_parameters():
        if name.endswith("logits.weight"):
            torch.nn.init.normal_(parameter, std=0.2)  # zero in an untrained network
    return IntegerNetwork.convert(network, torch.randint(512, (16, *GRID, 1)))


def encode(symbols: torch.Tensor, logits: tuple[torch.Tensor, ...]) -> list[bytes]:
    """A stream per item, its symbols in the order of coding; all components have one alphabet."""
    streams = []
    tables = torch.stack(logits, -2).flatten(1, -2).numpy()
    for item, rows in zip(symbols.flatten(1).numpy(), tables, strict=True):
        encoder = RangeEncoder()
        encoder.encode(item, frequencies(rows))
        streams.append(encoder.to_bytes())
    return streams


def differences(integers: IntegerNetwork, case: dict[str, torch.Tensor], batch: int) -> dict[str, int]:
    """Mismatches of both executions, in batches."""
    count, parallel, engine = len(case["symbols"]), 0, 0
    for first in range(0, count, batch):
        part = slice(first, min(first + batch, count))
        for p, logits in enumerate(integers.logits(case["symbols"][part])):
            parallel += int((logits.cpu() != case[f"logits.{p}"][part]).sum())
    if integers.device.type == "cpu":
        stream = case["streams"].numpy().tobytes()
        starts = np.cumsum([0, *case["lengths"].tolist()])
        payloads = [stream[a:b] for a, b in itertools.pairwise(starts)]
        engine = engine_differences(integers, case["symbols"].numpy(), payloads, batch)
    return {"items": count, "parallel": parallel, "engine": engine}


def engine_differences(
    integers: IntegerNetwork, symbols: np.ndarray, payloads: list[bytes], lanes: int
) -> int:
    """Streams that the engine encodes otherwise, and symbols that it decodes otherwise."""
    setattr(importlib.import_module(run.__module__), "LANES", lanes)  # noqa: B010
    program, positions, threads = integers.program(GRID), math.prod(GRID), torch.get_num_threads()
    flat = symbols.astype(np.int32).reshape(len(symbols), 1, positions, -1)
    labels = integers.conditions(None, 1, GRID)[0].numpy()
    encoded = [Job(n, positions, labels, symbols=item) for n, item in enumerate(flat)]
    decoded = [Job(n, positions, labels, payload=payload) for n, payload in enumerate(payloads)]
    wrong = 0
    for result in run(program, encoded, "encode", threads=threads):
        wrong += result.payload != payloads[result.number]
    for result in run(program, decoded, "decode", threads=threads):
        wrong += int((result.symbols != flat[result.number]).sum())
    return wrong


def measure(folder: Path, device: str) -> None:
    """What a process of one capability does: prints a JSON line for each number of threads and batch."""
    integers = IntegerNetwork(load_file(folder / "integers.safetensors"), device)
    case = load_file(folder / "case.safetensors")
    for threads in THREADS:
        torch.set_num_threads(threads)
        for batch in BATCHES:
            result = {"device": device, "capability": torch.backends.cpu.get_cpu_capability()}
            result |= {"threads": threads, "batch": batch, **differences(integers, case, batch)}
            print(json.dumps(result), flush=True)


def prepare(integers: IntegerNetwork, folder: Path, items: int) -> None:
    symbols = torch.stack([torch.randint(k, (items, *GRID)) for k in integers.alphabets], -1)
    logits = integers.logits(symbols)
    streams = encode(symbols, logits)
    case = {f"logits.{p}": component for p, component in enumerate(logits)}
    case |= {"symbols": symbols, "lengths": torch.tensor([len(stream) for stream in streams])}
    case["streams"] = torch.frombuffer(bytearray(b"".join(streams)), dtype=torch.uint8)
    save_file(integers.tensors(), folder / "integers.safetensors")
    save_file(case, folder / "case.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a model folder, whose integer prior is taken")
    parser.add_argument("--items", type=int, default=256, help="at most so many items (default 256)")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON list")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "DEVICE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Path(arguments.measure[0]), arguments.measure[1])
        return
    runs = [("cpu", *names) for names in CAPABILITIES.items()]
    runs += [("cuda", "default", "x86-64")] if torch.cuda.is_available() else []
    results = []
    with tempfile.TemporaryDirectory() as name:
        prepare(integer_prior(arguments.model), Path(name), arguments.items)
        for device, capability, processor in runs:
            command = [sys.executable, __file__, "--measure", name, device]
            environment = os.environ | {"ATEN_CPU_CAPABILITY": capability, "NUMBA_CPU_NAME": processor}
            measured = subprocess.run(command, env=environment, stdout=subprocess.PIPE)
            if measured.returncode == -signal.SIGILL:
                print(f"{capability}: not on this processor", file=sys.stderr)
                continue
            measured.check_returncode()
            results += [json.loads(line) for line in measured.stdout.splitlines()]
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        print("device  capability  threads  batch  items  parallel  engine")
        for r in results:
            print(
                f"{r['device']:6}  {r['capability']:10}  {r['threads']:7}  {r['batch']:5}  {r['items']:5}"
                f"  {r['parallel']:8}  {r['engine']:6}"
            )
        print(f"mismatches: {sum(r['parallel'] + r['engine'] for r in results)}")


if __name__ == "__main__":
    main()
