"""Counts what an exact prior computes differently from one way of running it to another: nothing.

    python benchmarks/exactness.py [--model FOLDER] [--items N] [--json]

Items are coded once, from logits computed in one batch. Then, in a process per `ATEN_CPU_CAPABILITY`
and for every number of threads and batch size (and on a GPU if there is one), `parallel` recomputes
the logits of all positions at once, `step` decodes the streams symbol by symbol in PyTorch, and `engine`
decodes and encodes them with the step engine, compiled for a processor of that capability, with as many
lanes side by side. The table counts items, and the logits, symbols or streams among theirs that differ.
Without a model, a network of the default configuration with random weights is taken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.engine import Action, Job, run
from latentpress.coding import RangeDecoder, RangeEncoder, frequencies
from latentpress.config import CausalConfig

CAPABILITIES = {"default": "x86-64", "avx2": "haswell", "avx512": "skylake-avx512"}  # and Numba's names
THREADS = (1, 2)
BATCHES = (1, 3, 7, 16, 64, 256)
ITEMS = {1: 16, 3: 48, 7: 56}  # in PyTorch, of small batches: one lane at a time is slow and shows as much
GRID = (8, 8)


def exact_prior(model: str | None) -> IntegerNetwork:
    if model is not None:
        from latentpress.model import VQVAE

        prior = VQVAE.from_pretrained(model, device="cpu").exact_prior
        if prior is None:
            sys.exit(f"{model} has no exact prior")
        return prior
    torch.manual_seed(0)
    network = CausalNetwork(CausalConfig(), (512,), 2)
    for name, parameter in network.named_parameters():
        if name.endswith("logits.weight"):
            torch.nn.init.normal_(parameter, std=0.2)  # zero in an untrained network
    return IntegerNetwork.convert(network, torch.randint(512, (16, *GRID, 1)))


def encode(symbols: torch.Tensor, logits: tuple[torch.Tensor, ...]) -> list[bytes]:
    """A stream per item, its symbols in the order of coding; all members have one alphabet."""
    streams = []
    tables = torch.stack(logits, -2).flatten(1, -2).numpy()
    for own, rows in zip(symbols.flatten(1).numpy(), tables, strict=True):
        encoder = RangeEncoder()
        encoder.encode(own, frequencies(rows))
        streams.append(encoder.to_bytes())
    return streams


def decode(exact: IntegerNetwork, streams: list[bytes]) -> torch.Tensor:
    decoders = [RangeDecoder(stream) for stream in streams]
    state, symbols = exact.start(len(streams), GRID), []
    while not state.done:
        tables = frequencies(exact.member_logits(state).cpu().numpy())
        found = [decoder.decode(table[None])[0] for decoder, table in zip(decoders, tables, strict=True)]
        symbols.append(torch.tensor(found, dtype=torch.int64))
        exact.push(state, symbols[-1])
    return torch.stack(symbols, 1)


def differences(exact: IntegerNetwork, case: dict[str, torch.Tensor], batch: int) -> dict[str, int]:
    """Mismatches of both executions over the first items, in batches."""
    count = min(ITEMS.get(batch, 256), len(case["symbols"]))
    found = {"items": count, "parallel": 0, "step": 0, "engine": 0}
    lengths, stream = case["lengths"].tolist(), case["streams"].numpy().tobytes()
    starts = np.cumsum([0, *lengths])
    for first in range(0, count, batch):
        part = slice(first, min(first + batch, count))
        for p, logits in enumerate(exact.logits(case["symbols"][part])):
            found["parallel"] += int((logits.cpu() != case[f"logits.{p}"][part]).sum())
        streams = [stream[starts[i] : starts[i + 1]] for i in range(part.start, part.stop)]
        found["step"] += int((decode(exact, streams) != case["symbols"][part].flatten(1)).sum())
    if exact.device.type == "cpu":
        payloads = [stream[a:b] for a, b in itertools.pairwise(starts)]
        found["engine"] = engine_differences(exact, case["symbols"].numpy(), payloads, batch)
    return found


def engine_differences(exact: IntegerNetwork, symbols: np.ndarray, payloads: list[bytes], lanes: int) -> int:
    """Streams that the engine encodes otherwise, and symbols that it decodes otherwise, all items."""
    program, positions, known = exact.program(GRID), math.prod(GRID), symbols.astype(np.int32)
    flat = known.reshape(len(known), 1, positions, -1)
    row, threads = np.array([exact.structure.num_classes]), torch.get_num_threads()
    encoded = [Job(positions, row, symbols=own) for own in flat]
    decoded = [Job(positions, row, payload=payload) for payload in payloads]
    for jobs, action in ((encoded, Action.ENCODE), (decoded, Action.DECODE)):
        for _ in run(program, jobs, action, threads=threads, lanes=lanes):
            pass
    wrong = sum(job.payload != payload for job, payload in zip(encoded, payloads, strict=True))
    for job, own in zip(decoded, flat, strict=True):
        assert job.symbols is not None
        wrong += int((job.symbols != own).sum())
    return wrong


def measure(folder: Path, device: str) -> None:
    """What a process of one capability does: prints a JSON line for each number of threads and batch."""
    exact = IntegerNetwork.from_tensors(load_file(folder / "exact.safetensors"), device)
    case = load_file(folder / "case.safetensors")
    for threads in THREADS:
        torch.set_num_threads(threads)
        for batch in BATCHES:
            result = {"device": device, "capability": torch.backends.cpu.get_cpu_capability()}
            result |= {"threads": threads, "batch": batch, **differences(exact, case, batch)}
            print(json.dumps(result), flush=True)


def prepare(exact: IntegerNetwork, folder: Path, items: int) -> None:
    symbols = torch.stack([torch.randint(k, (items, *GRID)) for k in exact.sizes], -1)
    logits = exact.logits(symbols)
    streams = encode(symbols, logits)
    case = {f"logits.{p}": member for p, member in enumerate(logits)}
    case |= {"symbols": symbols, "lengths": torch.tensor([len(stream) for stream in streams])}
    case["streams"] = torch.frombuffer(bytearray(b"".join(streams)), dtype=torch.uint8)
    save_file(exact.tensors(), folder / "exact.safetensors")
    save_file(case, folder / "case.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a model folder, whose exact prior is taken")
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
        prepare(exact_prior(arguments.model), Path(name), arguments.items)
        for device, capability, processor in runs:
            command = [sys.executable, __file__, "--measure", name, device]
            environment = os.environ | {"ATEN_CPU_CAPABILITY": capability, "NUMBA_CPU_NAME": processor}
            output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
            results += [json.loads(line) for line in output.splitlines()]
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        print("device  capability  threads  batch  items  parallel  step  engine")
        for r in results:
            print(
                f"{r['device']:6}  {r['capability']:10}  {r['threads']:7}  {r['batch']:5}  {r['items']:5}"
                f"  {r['parallel']:8}  {r['step']:4}  {r['engine']:6}"
            )
        print(f"mismatches: {sum(r['parallel'] + r['step'] + r['engine'] for r in results)}")


if __name__ == "__main__":
    main()
