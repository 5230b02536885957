"""Photographs compressed losslessly by counted contexts, beside PNG, WebP and JPEG XL of efforts 7 and 9.

    python benchmarks/photos_lossless.py --train cid22-train.zip --test kodak/ --test gb82/

The model is trained on the first with the preset `photos-lossless` where its folder is missing, and every
folder of tests is measured by itself, every image coded alone, on one thread. The last lines are exactness: a
photograph is coded in processes that compile for other processors, and the payloads compared.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from latentpress.counted import CountedBytes, CountedDecoder, CountedPictures
from latentpress.data import Source, open_sources
from latentpress.evaluate import evaluate
from latentpress.evaluate.tables import evaluation_table
from latentpress.exact.distribution import Stream
from latentpress.model import load
from measuring import codecs, limited, parser, train_where_missing

CPUS = ("generic", "nehalem", "core-avx2", "znver2")
_CROP = 160


def main() -> None:
    options = parser(__doc__, model="runs/photos-lossless", train_time="10m")
    options.add_argument("--train", type=Path, required=True, metavar="DATA")
    options.add_argument("--test", type=Path, action="append", required=True, metavar="DATA")
    options.add_argument("--digest", action="store_true", help="only the payload's, of the first photograph")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    train_where_missing(lambda: chosen.train, "photos-lossless", chosen)
    model = load(chosen.model, "cpu")
    first = open_sources([chosen.test[0]], model.item).items[0]
    if chosen.digest:
        decoder = model.integer.decoder
        assert isinstance(decoder, CountedDecoder)
        print(digest(decoder.network, first.read()[:_CROP, :_CROP]))
        return
    print(f"training, s: {time.perf_counter() - start:.1f}, 0 where the model was there")
    print(f"model file, bytes: {(Path(chosen.model) / 'model.safetensors').stat().st_size:,}")
    for folder in chosen.test:
        source = limited(open_sources([folder], model.item), chosen.limit)
        found = evaluate(model, source, lossless=True, against=codecs(chosen))
        print(f"\n## {folder.name}\n\n{evaluation_table(found)}")
        bits, seconds = jpeg_xl(source, 7)
        print(f"- JPEG XL, effort 7: {bits:.4f} bits/dim, {seconds:.1f} s")
    exactness(sys.argv[1:])


def jpeg_xl(source: Source, effort: int) -> tuple[float, float]:
    """Bits a sample of lossless JPEG XL files, and the seconds they took."""
    import pillow_jxl  # noqa: F401 - registers the format

    start, size, samples = time.perf_counter(), 0, 0
    for ref in source.items:
        array, file = ref.read(), io.BytesIO()
        Image.fromarray(array.squeeze()).save(file, "JXL", lossless=True, effort=effort, num_threads=1)
        size, samples = size + file.tell(), samples + array.size
    return 8 * size / samples, time.perf_counter() - start


def digest(network: CountedBytes | CountedPictures, samples: np.ndarray) -> str:
    """Of the payload of one image."""
    symbols = samples.reshape(-1, 1, samples.shape[-1]).astype(np.int64)
    [(payload, _)] = network.encode([Stream(samples.shape[:2], 1, symbols=symbols)])
    return hashlib.blake2b(payload, digest_size=8).hexdigest()


def exactness(arguments: list[str]) -> None:
    """How many payloads of other processors' code differ from the first."""
    found = []
    for cpu in CPUS:
        environment = {**os.environ, "NUMBA_CPU_NAME": cpu}
        command = [sys.executable, __file__, *arguments, "--digest"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(run.stdout.split()[-1])
    differing = sum(each != found[0] for each in found)
    print(f"\n- payloads that differ, of {len(CPUS)} processors' code ({', '.join(CPUS)}): {differing}")


if __name__ == "__main__":
    main()
