"""Texts pressed without losing a byte, beside xz, zstd and brotli.

    python benchmarks/texts.py --data peps.zip --model runs/peps --train-time 40m

Every tenth file of DATA, in the order of their names, is held out; where the model's folder is missing
it is trained on the others with the preset `text`. The held-out files are pressed into one archive,
which is restored and compared byte for byte. The other codecs get every file by itself, and a tar of
them all. Speeds are medians of `--repeats` times, on PyTorch's threads.
"""

from __future__ import annotations

import io
import lzma
import statistics
import tarfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from latentpress.cli.progress import progress_bar
from latentpress.data.sources import Source, open_sources
from latentpress.model import CommittedModel, load
from latentpress.press import compress, decode_archive
from measuring import parser, train_where_missing

_HELD_OUT_EVERY = 10


def main() -> None:
    options = parser(__doc__, model="runs/peps", train_time="40m")
    options.add_argument("--data", required=True, type=Path, help="folder or zip archive of texts")
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    texts = {item.name: item.read().tobytes() for item in open_sources([chosen.data], kind="text").items}
    names = sorted(texts)
    held_out = {name: texts[name] for name in names[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]}
    with TemporaryDirectory() as folder:
        train, test = Path(folder, "train"), Path(folder, "test")
        write(train, {name: data for name, data in texts.items() if name not in held_out})
        write(test, held_out)
        train_where_missing(lambda: train, "text", chosen)
        model = load(chosen.model, chosen.device)
        assert isinstance(model, CommittedModel)
        with progress_bar() as progress:
            compress(model, [test], io.BytesIO(), verify=False, progress=progress)  # compiles
        print(table(model, open_sources([test], kind="text"), held_out, chosen.repeats))


def write(folder: Path, texts: Mapping[str, bytes]) -> None:
    for name, data in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def table(model: CommittedModel, source: Source, texts: Mapping[str, bytes], repeats: int) -> str:
    size = sum(map(len, texts.values()))
    encoding, decoding, archive = [], [], b""
    for _ in range(repeats):
        buffer, start = io.BytesIO(), time.perf_counter()
        summary = compress(model, source, buffer, verify=False)
        encoding.append(time.perf_counter() - start)
        archive, start = buffer.getvalue(), time.perf_counter()
        restored = {name: data.tobytes() for name, data in decode_archive(archive, model)}
        decoding.append(time.perf_counter() - start)
        assert restored == texts, "the archive does not give back its bytes; please report this"
    assert summary.model_bits is not None
    tar = packed(texts)
    rows = [
        f"{len(texts)} files, {size:,} bytes, {torch.get_num_threads()} threads",
        "",
        "| codec | each file, bits/byte | tar of all, bits/byte |",
        "|---|---:|---:|",
        f"| **Latentpress**, one archive | {8 * len(archive) / size:.4f} | |",
    ]
    for name, pack in codecs().items():
        each = sum(len(pack(data)) for data in texts.values())
        rows.append(f"| {name} | {8 * each / size:.4f} | {8 * len(pack(tar)) / size:.4f} |")
    return "\n".join(
        [
            *rows,
            "",
            f"- archive / ideal length under the model: {8 * len(archive) / summary.model_bits:.4f}; "
            f"{summary.whole} files stored whole",
            f"- pressed at {size / statistics.median(encoding) / 1000:.1f} kB/s, "
            f"restored at {size / statistics.median(decoding) / 1000:.1f} kB/s",
        ]
    )


def packed(texts: Mapping[str, bytes]) -> bytes:
    """A tar archive of the texts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in texts.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return buffer.getvalue()


def codecs() -> dict[str, Callable[[bytes], bytes]]:
    """The peers, each at its strongest usual setting."""
    brotli, zstandard = import_module("brotli"), import_module("zstandard")  # of the extra `bench`
    return {
        "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
        "zstd -19": zstandard.ZstdCompressor(level=19).compress,
        "brotli 11": lambda data: brotli.compress(data, quality=11, lgwin=24),
    }


if __name__ == "__main__":
    main()
