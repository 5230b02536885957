"""Texts compressed without losing a byte, beside xz, zstd, brotli and PPMd.

    python benchmarks/texts.py --data peps.zip --model runs/peps --train-time 40m

Every tenth file of DATA, in the order of their names, is held out; where the model's folder is missing
it is trained on the others with the preset `text`. The held-out files are compressed into one archive,
which is restored and compared byte for byte. The other codecs get every file by itself, and a tar of
them all; zstd and PPMd once more, knowing the files that the model has learned from (PPMd takes some
minutes for it). Speeds are medians of `--repeats` times, on PyTorch's threads.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from latentpress.cli.progress import progress_bar
from latentpress.data import Source, open_sources
from latentpress.evaluate import evaluate
from latentpress.items import Text
from latentpress.model import Model, load
from latentpress.press import compress
from measuring import parser, train_where_missing

_HELD_OUT_EVERY = 10


def main() -> None:
    options = parser(__doc__, model="runs/peps", train_time="40m")
    options.add_argument("--data", required=True, type=Path, help="folder or zip archive of texts")
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    texts = {item.name: item.read().tobytes() for item in open_sources([chosen.data], Text()).items}
    names = sorted(texts)
    held_out = {name: texts[name] for name in names[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]}
    with TemporaryDirectory() as folder:
        train, test = Path(folder, "train"), Path(folder, "test")
        write(train, {name: data for name, data in texts.items() if name not in held_out})
        write(test, held_out)
        train_where_missing(lambda: train, "text", chosen)
        model = load(chosen.model, chosen.device)
        with progress_bar() as progress:
            compress(model, [test], io.BytesIO(), verify=False, progress=progress)  # compiles
        training, held_out_files = (open_sources([each], Text()) for each in (train, test))
        print(table(model, held_out_files, training, chosen.repeats))


def write(folder: Path, texts: Mapping[str, bytes]) -> None:
    for name, data in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def table(model: Model, source: Source, training: Source, repeats: int) -> str:
    first = evaluate(model, source, training=training)
    found = [first, *(evaluate(model, source, against=()) for _ in range(1, repeats))]
    known = {each.codec: each.training_bytes for each in first.comparisons if each.training_bytes}
    encoding = statistics.median(one.encode_seconds for one in found)
    decoding = statistics.median(one.decode_seconds for one in found)
    lines = [
        f"{first.num_items} files, {first.dims:,} bytes, {torch.get_num_threads()} threads",
        "",
        "| codec | bits/byte | |",
        "|---|---:|---|",
        f"| **Latentpress** | {first.bits_per_dim:.4f} | one archive |",
    ]
    lines += [
        f"| {other.codec} | {8 * other.size_bytes / first.dims:.4f} | {other.layout} |"
        for other in first.comparisons
    ]
    return "\n".join(
        [
            *lines,
            "",
            *(
                f"- {codec} knows {length:,} bytes of training files, not counted"
                for codec, length in known.items()
            ),
            f"- {first.fallbacks} files stored by LZMA, {first.part_bytes.get('fallback', 0):,} bytes",
            f"- compressed at {first.dims / encoding / 1000:.1f} kB/s, "
            f"restored at {first.dims / decoding / 1000:.1f} kB/s",
        ]
    )


if __name__ == "__main__":
    main()
