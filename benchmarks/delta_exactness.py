"""Do archives of a delta-VAE decode alike on other processors and other numbers of threads?

    python benchmarks/delta_exactness.py --model runs/delta/mnist/delta-0 --data t10k-images-idx3-ubyte.gz

Here the first `--limit` images are compressed in two parts, by bits back and as latents alone. Then, in a
process per kind of processor that PyTorch and Numba compute for, and for one thread and two,
every archive is restored, and the archive by bits back is made again, whose encoder runs in integers too. The
table counts images that differ from those restored here, and archives whose bytes differ.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from latentpress.data import Source, open_sources
from latentpress.model import DeltaVAE
from latentpress.press import compress, decode_archive

CAPABILITIES = {"default": "x86-64", "avx2": "haswell", "avx512": "skylake-avx512"}  # and Numba's names
THREADS = (1, 2)
WAYS = {
    "two-part": {"lossless": True},
    "bits-back": {"lossless": True, "bits_back": True},
    "latents": {"seed": 5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of archives: this is a process
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(examined(options)))
        return
    with TemporaryDirectory() as folder:
        options.folder = Path(folder)
        model = DeltaVAE.from_pretrained(options.model, "cpu")
        for way in WAYS:
            (options.folder / way).write_bytes(compressed(model, source(options, model), way))
        here = examined(options)
        print("| processor | threads | two-part | bits-back | latents | archives by bits back |")
        print("|---|---:|---:|---:|---:|---:|")
        for capability in CAPABILITIES:
            for threads in THREADS:
                found = elsewhere(options, capability, threads)
                cells = [differing(here[way], found[way]) for way in (*WAYS, "again")]
                print(f"| {capability} | {threads} | {' | '.join(map(str, cells))} |", flush=True)


def source(options: argparse.Namespace, model: DeltaVAE) -> Source:
    opened = open_sources([options.data], model.item)
    return replace(opened, items=opened.items[: options.limit])


def compressed(model: DeltaVAE, items: Source, way: str) -> bytes:
    buffer = io.BytesIO()
    compress(model, items, buffer, verify=False, **WAYS[way])  # type: ignore[arg-type]
    return buffer.getvalue()


def examined(options: argparse.Namespace) -> dict[str, list[str]]:
    """Digests of every image of every archive, and of the archive by bits back made again."""
    model = DeltaVAE.from_pretrained(options.model, "cpu")
    found = {}
    for way in WAYS:
        restored = decode_archive((options.folder / way).read_bytes(), model)
        found[way] = [hashlib.blake2b(samples.tobytes()).hexdigest() for _, samples in restored]
    again = compressed(model, source(options, model), "bits-back")
    return {**found, "again": [hashlib.blake2b(again).hexdigest()]}


def elsewhere(options: argparse.Namespace, capability: str, threads: int) -> dict[str, list[str]]:
    """`examined` in a process for another processor."""
    environment = {"ATEN_CPU_CAPABILITY": capability, "NUMBA_CPU_NAME": CAPABILITIES[capability]}
    environment |= {"NUMBA_CPU_FEATURES": "", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--model", str(options.model), "--data", str(options.data)]
    command += ["--limit", str(options.limit), "--folder", str(options.folder)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def differing(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    main()
