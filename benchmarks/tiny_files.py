"""Restoring many tiny files, beside unzip.

    python benchmarks/tiny_files.py --model runs/tiny --count 10000

So many pictures of 8 x 8 pixels are compressed, and stored in a zip archive; both are restored into new
folders, in turn, `--repeats` times. What is measured is the whole command, its start included; the model is
trained for some steps on those pictures where its folder is missing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place, command = Path(folder), [sys.executable, "-m", "latentpress"]
        pictures(place / "in", chosen.count)
        if not (chosen.model / "model.safetensors").exists():
            run([*command, "train", place / "in", "-o", chosen.model, "--preset", "tiny", "--steps", "4"])
        with zipfile.ZipFile(place / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((place / "in").iterdir()):
                archive.write(path, path.name)
        archive = place / "x.lpz"
        run([*command, "compress", place / "in", "-m", chosen.model, "-o", archive])
        run([*command, "compress", place / "in" / "00000.png", "-m", chosen.model, "-o", place / "one.lpz"])
        times: dict[str, list[float]] = {"unzip": [], "one": [], "all": []}
        for number in range(chosen.repeats):
            zipped, one, ours = (place / f"{name}{number}" for name in times)
            restore = [*command, "decompress", "-m", chosen.model, "-o"]
            times["unzip"].append(run(["unzip", "-q", place / "x.zip", "-d", zipped]))
            times["one"].append(run([*restore, one, place / "one.lpz"]))
            times["all"].append(run([*restore, ours, archive]))
            assert len(list(ours.iterdir())) == len(list(zipped.iterdir())) == chosen.count
        unzip, one, every = (statistics.median(each) for each in times.values())
        print(f"{chosen.count:,} files: unzip {unzip:.2f} s")
        print(f"decompress {every:.2f} s, {every / unzip:.1f} times; of one file {one:.2f} s")
        print(f"decompress less what one file takes: {(every - one) / unzip:.1f} times")


def pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number:05d}.png")


def run(command: Sequence[object]) -> float:
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
