"""Counted contexts: another text, how soon the best rival is passed, the cache, and exactness.

    python benchmarks/counted.py --texts peps.zip --text tinyshakespeare.txt

A text of one file is parted: the first 95 % are learned from, and the last 5 % coded as one item. Of the zip
archive every tenth file is held out; a model is trained on the first share of the others, doubled until its
bits a byte are fewer than `--rival`, with the seconds that training took on one thread. The state of that
model is then loaded anew from its cache. Last, held-out files are coded in processes that compile for other
processors, on other threads, and side by side or one by one, and the payloads compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentpress.counted import CountedBytes
from latentpress.exact.distribution import Stream

Bytes = NDArray[np.uint8]
CPUS = ("generic", "core-avx2", "znver2", "skylake-avx512")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a zip archive of texts")
    parser.add_argument("--text", type=Path, help="one long text")
    parser.add_argument("--rival", type=float, default=1.4847, help="bits a byte of the best rival")
    parser.add_argument("--digest", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.digest:
        print(digest(chosen.digest == "together"))
        return
    torch.set_num_threads(1)
    if chosen.text:
        one_text(np.fromfile(chosen.text, np.uint8))
    if chosen.texts:
        with zipfile.ZipFile(chosen.texts) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
            texts = [np.frombuffer(archive.read(name), np.uint8) for name in names]
        passing([text for n, text in enumerate(texts) if n % 10 != 9], texts[9::10], chosen.rival)
    exactness()


def one_text(text: Bytes) -> None:
    end = len(text) * 95 // 100
    start = time.perf_counter()
    counted = train([text[:end]])
    seconds = time.perf_counter() - start
    print(f"one text: last 5 %, {bits([text[end:]], counted):.4f} bits/byte, trained in {seconds:.1f} s")


def passing(train_on: Sequence[Bytes], held_out: Sequence[Bytes], rival: float) -> None:
    train(train_on[:1])  # compiles
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1):
        some = train_on[:: round(1 / share)]
        start = time.perf_counter()
        counted = train(some)
        seconds, cost = time.perf_counter() - start, bits(held_out, counted)
        print(f"{len(some)} texts, {sum(map(len, some)):,} bytes: {cost:.4f} bits/byte in {seconds:.1f} s")
        if cost < rival:
            break
    again = CountedBytes.from_tensors(counted.tensors())
    start = time.perf_counter()
    again.prepare(lambda *_: None)
    seconds = time.perf_counter() - start
    size = sum(part.numel() * part.element_size() for part in counted.tensors().values())
    print(f"loaded from its cache in {seconds:.2f} s; the model has {size:,} bytes")


def train(texts: Sequence[Bytes]) -> CountedBytes:
    return CountedBytes.primed_by(texts, sum(map(len, texts)), lambda _: None)


def bits(texts: Sequence[Bytes], counted: CountedBytes) -> float:
    coded = counted.encode([stream(text) for text in texts])
    return sum(float(each.sum()) for _, each in coded) / sum(map(len, texts))


def stream(text: Bytes) -> Stream:
    return Stream((len(text),), 1, symbols=text[:, None, None])


def exactness() -> None:
    """Compares the payloads of processes that are compiled for different processors."""
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for cpu in CPUS:
            for threads in (1, 2):
                for way in ("together", "alone"):
                    environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CACHE_DIR": f"{cache}/{cpu}"}
                    environment |= {"OMP_NUM_THREADS": str(threads), "XDG_CACHE_HOME": f"{cache}/{cpu}"}
                    command = [sys.executable, __file__, "--digest", way]
                    done = subprocess.run(
                        command, env=os.environ | environment, capture_output=True, text=True, check=False
                    )
                    if done.returncode:
                        print(f"{cpu}: not on this processor")
                        break
                    found.setdefault(done.stdout.strip(), []).append(f"{cpu}, {threads}, {way}")
    print(f"{sum(map(len, found.values()))} ways of compiling and coding, {len(found)} different results")


def digest(together: bool) -> str:
    """Of what some texts are coded to, and decoded from."""
    draw = np.random.default_rng(0)
    words = [draw.integers(97, 123, draw.integers(2, 9)).astype(np.uint8) for _ in range(60)]
    texts = [np.concatenate([words[n] for n in draw.integers(0, 60, 300)]) for _ in range(12)]
    counted = train(texts[:8])
    streams = [stream(text) for text in texts[8:]]
    groups = [streams] if together else [[each] for each in streams]
    payloads = [payload for group in groups for payload, _ in counted.encode(group)]
    asked = [Stream(each.grid, 1, payload=payload) for each, payload in zip(streams, payloads, strict=True)]
    for text, symbols in zip(texts[8:], counted.decode(asked), strict=True):
        assert symbols is not None and np.array_equal(symbols.ravel(), text)
    return hashlib.blake2b(b"".join(payloads) + counted.id, digest_size=16).hexdigest()


if __name__ == "__main__":
    main()
