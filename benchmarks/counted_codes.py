"""Codes of a finished VQ-VAE under its network, under counted contexts, and under both.

    python benchmarks/counted_codes.py --model runs/photos --train DATA/bsds500-train.zip --test DATA/kodak

DATA is a file or folder that Latentpress reads, or a zip archive and, after a colon, a folder in it. The
model has a prior that is a network alone (`--set model.prior.kind=causal`), fitted to items of the first.
What is counted learns from them too, all in this run; the ideal lengths are of the second, in an archive's
blocks. Order 0 is what the frequencies of the training items' codes, each codebook's by itself, cost there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from latentpress.autoregressive import IntegerNetwork
from latentpress.config import CountedPriorConfig
from latentpress.data import Dataset, load_dataset, open_sources
from latentpress.exact.distribution import IntegerDistribution, Stream
from latentpress.model import VQVAE, load
from latentpress.train.counting_codes import counted_prior, pieces_of_items
from measuring import extract

CPUS = ("generic", "nehalem", "core-avx2", "znver2")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--train", required=True, metavar="DATA[:FOLDER]")
    options.add_argument("--test", required=True, metavar="DATA[:FOLDER]")
    options.add_argument("--codes", type=int, default=1 << 20, help="to count, at most")
    options.add_argument("--limit", type=int, default=1 << 20, help="codes to judge by, at most")
    options.add_argument("--exactness", action="store_true", help="compare other processors' machine code")
    options.add_argument("--digest", action="store_true", help="print a hash of the coded bytes alone")
    chosen = options.parse_args()
    if chosen.exactness:
        return exactness([each for each in sys.argv[1:] if each != "--exactness"])
    model = load(chosen.model, "cpu")
    assert isinstance(model, VQVAE) and model.integer.prior is not None
    with TemporaryDirectory() as folder:
        train, test = (dataset(model, where, Path(folder)) for where in (chosen.train, chosen.test))
        (digest if chosen.digest else compare)(model, train, test, chosen.codes, chosen.limit)


def dataset(model: VQVAE, where: str, folder: Path) -> Dataset:
    path, _, inside = where.partition(":")
    data = extract(Path(path), inside, folder) if inside else Path(path)
    return load_dataset(open_sources([data], model.item))


def compare(model: VQVAE, train: Dataset, test: Dataset, most: int, limit: int) -> None:
    counting = CountedPriorConfig(training_codes=most)
    model.config = replace(model.config, prior=counting)
    streams = [
        Stream(piece.grid, len(piece.labels), piece.conditioning, symbols=piece.symbols)
        for piece in pieces_of_items(model, test, limit)
    ]
    count = sum(stream.symbols.size for stream in streams if stream.symbols is not None)
    print(f"{count:,} codes to judge by\n")
    print(f"{'prior':32} {'bits a code':>12} {'seconds to count':>18} {'codes/s':>10}")
    print(f"{'order 0':32} {order_0(model, train, streams, most):12.4f}")
    network = model.integer.prior
    assert isinstance(network, IntegerNetwork)
    judged("network", network, streams, count, None)
    for name, beside in (("counts", None), ("counts beside the network", network)):
        start = time.monotonic()
        prior = counted_prior(model, train, beside, lambda _: None)
        judged(name, prior, streams, count, time.monotonic() - start)


def digest(model: VQVAE, train: Dataset, test: Dataset, most: int, limit: int) -> None:
    """A hash of the test items' codes under counts, alone and beside the network, on 1 and 2 threads."""
    model.config = replace(model.config, prior=CountedPriorConfig(training_codes=most))
    network, hashed = model.integer.prior, hashlib.blake2b(digest_size=8)
    assert isinstance(network, IntegerNetwork)
    for beside in (None, network):
        prior = counted_prior(model, train, beside, lambda _: None)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for piece in pieces_of_items(model, test, limit):
                stream = Stream(piece.grid, len(piece.labels), piece.conditioning, symbols=piece.symbols)
                hashed.update(prior.encode([stream])[0][0])
    print(hashed.hexdigest())


def exactness(arguments: list[str]) -> None:
    """How many processors' machine code makes other bytes than the first's."""
    found = []
    for cpu in CPUS:
        command = [sys.executable, __file__, *arguments, "--digest"]
        environment = {**os.environ, "NUMBA_CPU_NAME": cpu}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(run.stdout.split()[-1])
    differing = sum(each != found[0] for each in found)
    print(f"coded bytes that differ, of {len(CPUS)} processors' code ({', '.join(CPUS)}): {differing}")


def judged(
    name: str, prior: IntegerDistribution, streams: list[Stream], count: int, seconds: float | None
) -> None:
    prior.encode(streams[:1])
    start, bits = time.monotonic(), 0.0
    for alike in {stream.grid[1:] for stream in streams}:
        some = [stream for stream in streams if stream.grid[1:] == alike]
        bits += sum(float(each.sum()) for _, each in prior.encode(some))
    speed = count / (time.monotonic() - start)
    taken = "" if seconds is None else f"{seconds:.1f}"
    print(f"{name:32} {bits / count:12.4f} {taken:>18} {speed:10,.0f}", flush=True)


def order_0(model: VQVAE, train: Dataset, streams: list[Stream], most: int) -> float:
    size, books = model.config.latents.codebook_size, len(model.alphabets)
    counts = np.full((books, size), 0.5)
    for piece in pieces_of_items(model, train, most):
        assert piece.symbols is not None
        for book in range(books):
            counts[book] += np.bincount(piece.symbols[..., book].ravel(), minlength=size)
    costs = -np.log2(counts / counts.sum(axis=1, keepdims=True))
    bits = [costs[b][s.symbols[..., b]] for s in streams if s.symbols is not None for b in range(books)]
    return float(np.mean(np.concatenate([each.ravel() for each in bits])))


if __name__ == "__main__":
    main()
