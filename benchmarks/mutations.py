"""Mutates archives, model folders and checkpoints: each has to give the same items or one clear error.

    python benchmarks/mutations.py --count 10000 --json mutations.json

Every mutation goes to a worker process that reads it; a mutation fails if the items differ, if the
error is none of `latentpress.errors`, if it takes longer than 2 s, or if the worker's memory grows
by more than 512 MiB. There are lossy and lossless archives of images, one of files as they were, and those of
three models that count, whose folders are mutated too: texts, pictures, and codes beside a network. A fifth
of the archives' mutations and of the models' are signed again, as an attacker would, so that they get past
the digest into the reader. Such an archive may read as another one, since without a key nobody can tell it
from one that was written so, and is counted as "another archive"; such a model is another model, which
refuses the archive or, where the archive does not name what was changed, reads it.
Of a model folder model.safetensors is mutated: nothing else in it is read.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture
from safetensors.torch import load as load_tensors

from latentpress.errors import LatentpressError
from latentpress.model import VQVAE, Model, load
from latentpress.model.files import write_model
from latentpress.press import compress, decompress, encode_archive
from latentpress.train.runs import Checkpoint, Position, RunFolder
from mutated_models import DARK, MAKERS, make_model, make_texts, waves
from mutating import MUTATIONS, attack

SECONDS = 2.0
MEBIBYTES = 512
CASES = {
    "images": "archive",
    "texts": "archive of texts",
    "pictures": "archive of pictures",
    "codes": "archive of codes",
}  # read with the models that are mutated
MODEL, CHECKPOINT = "model.safetensors", "step-5"
GOOD = ("same items", "clear error", "another archive")

Items = dict[str, str]


def make_archive(model: VQVAE, images: int, lossless: bool = False) -> bytes:
    """An archive of noise images of two sizes; in a lossless one most are dark, others suit WebP, or none."""
    random_samples = np.random.default_rng(0)
    items = {}
    for number in range(images):
        shape = (16 + 8 * (number % 2), 16, 3)
        samples = random_samples.integers(0, 256, shape, dtype=np.uint8)
        if lossless and number % 5 == 1:
            samples[:] = samples[0, 0]
        elif lossless and number % 5 != 2:
            samples = np.minimum(random_samples.exponential(DARK, shape), 255).astype(np.uint8)
        items[f"folder/{number:02d}.png"] = samples
    return encode_archive(model, items, lossless=lossless)


def forge(data: bytes, draw: random.Random) -> bytes:
    """Changes an integer tensor of a model that counts, and signs the model again."""
    length = int.from_bytes(data[:8], "little")
    about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["latentpress"])
    tensors = load_tensors(data)
    name = draw.choice([name for name in tensors if name.startswith("integer.")])
    value = tensors[name]
    how = draw.randrange(4)
    if how == 0 and value.numel():
        places = torch.tensor([draw.randrange(value.numel()) for _ in range(draw.randint(1, 8))])
        changed = value.clone().flatten()
        changed[places] = draw.choice([0, 1, 7, 100])
        tensors[name] = changed.view(value.shape)
    elif how == 1:
        tensors[name] = value.flatten()[: draw.randrange(value.numel() + 1)].clone()
    elif how == 2:
        tensors[name] = torch.cat([value.flatten(), value.flatten()])
    else:
        extremes = torch.iinfo(value.dtype) if not value.dtype.is_floating_point else torch.finfo(value.dtype)
        tensors[name] = torch.full_like(value, draw.choice([extremes.max, extremes.min]))
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), about["config"], tensors, "")
        return (Path(folder) / MODEL).read_bytes()


def make_lossless(model: Model) -> bytes:
    """An archive of pictures, samples and all."""
    return encode_archive(model, {f"{n}.png": waves(n + 10) for n in range(4)}, lossless=True)


def make_file_archive(model: VQVAE, folder: Path) -> bytes:
    """An archive of JPEG files, and of a picture of 16 bits a channel, as the files that they were."""
    folder.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (24, 16, 3), np.uint8)
        Picture.fromarray(noise).save(folder / f"{number}.jpg", quality=70)
    Picture.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(folder / "deep.png")
    archive = io.BytesIO()
    compress(model, [folder], archive, lossless=True)
    return archive.getvalue()


def make_checkpoint(folder: Path) -> None:
    """A training checkpoint, and one before it."""
    folder.mkdir()
    for step in (3, 5):
        tensors = {"model.weight": torch.arange(300.0) * step, "average.0": torch.ones(40, dtype=torch.int64)}
        RunFolder(folder).save(Checkpoint(Position("codec", step, step, 1.5), tensors))


def read_archive(data: bytes, model: Model) -> Items:
    """Restores all items, and looks at the files."""
    with tempfile.TemporaryDirectory() as folder:
        decompress(data, model, folder)
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        digests = (hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() for path in paths)
        return {str(path.relative_to(folder)): digest for path, digest in zip(paths, digests, strict=True)}


def read_model(data: bytes, folder: Path, archive: bytes) -> Items:
    """Puts `data` into the model folder's file, loads the model and reads an archive with it."""
    path = folder / MODEL
    whole = path.read_bytes()
    try:
        path.write_bytes(data)
        return read_archive(archive, load(folder, "cpu"))
    finally:
        path.write_bytes(whole)


def read_checkpoint(data: bytes, folder: Path) -> Items:
    """Reads the last checkpoint with `data` in its file, without the one before."""
    (folder / "step-3").unlink(missing_ok=True)
    (folder / CHECKPOINT).write_bytes(data)
    checkpoint = RunFolder(folder).latest()
    assert checkpoint is not None
    tensors = {name: value.numpy().tobytes().hex() for name, value in checkpoint.tensors.items()}
    return {**tensors, "position": str(checkpoint.position)}


def work(connection: Any, places: Mapping[str, Path], archives: Mapping[str, bytes]) -> None:
    """Reads what comes, in a process of its own, and answers with the outcome."""
    torch.set_num_threads(1)
    models = {name: make() for name, make in MAKERS.items()}
    for name, place in places.items():
        if name in models:
            read_model((place / MODEL).read_bytes(), place, archives[name])
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send("ready")
    while (job := connection.recv()) is not None:
        what, name, data = job
        try:
            if what == "archive":
                items = read_archive(data, models[name])
            elif what == "model":
                items = read_model(data, places[name], archives[name])
            else:
                items = read_checkpoint(data, places[what])
            outcome = ("items", items)
        except LatentpressError as error:
            outcome = ("error", f"{type(error).__name__}: {error}")
        except BaseException as error:
            outcome = ("crash", f"{type(error).__name__}: {error}")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
        connection.send((*outcome, grown / 1024))


class Reader:
    """The worker process; a new one is started when it hangs or dies."""

    def __init__(self, places: Mapping[str, Path], archives: Mapping[str, bytes]) -> None:
        self.arguments = (places, archives)
        self.process: Any = None

    def read(self, what: str, name: str, data: bytes) -> tuple[str, Any, float, float]:
        """Returns the kind of outcome, its text or items, seconds, and MiB that memory has grown."""
        if self.process is None or not self.process.is_alive():
            self._start()
        start = time.perf_counter()
        self.connection.send((what, name, data))
        if not self.connection.poll(20 * SECONDS):
            self._stop()
            return "crash", "it hangs", time.perf_counter() - start, 0.0
        try:
            kind, value, grown = self.connection.recv()
        except EOFError:
            self._stop()
            return "crash", "the process died", time.perf_counter() - start, 0.0
        return kind, value, time.perf_counter() - start, grown

    def close(self) -> None:
        """Ends the worker."""
        if self.process is not None:
            self._stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, *self.arguments), daemon=True)
        process.start()
        self.process = process
        theirs.close()
        assert self.connection.recv() == "ready"

    def _stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.join()
        self.process = None


def judge(kind: str, value: Any, seconds: float, grown: float, items: Items, signed: bool) -> str:
    """Names the outcome; anything but those of `GOOD` is a failure."""
    if kind == "crash":
        return "other exception"
    if kind == "items" and value != items and not signed:
        return "wrong item"
    if seconds > SECONDS:
        return "too slow"
    if grown > MEBIBYTES:
        return "too much memory"
    if kind == "error":
        return "clear error"
    return "same items" if value == items else "another archive"


def run(count: int, seed: int, models: float) -> dict[str, Any]:
    """Tries `count` mutations, the share `models` of them on model folders, a twentieth on checkpoints."""
    draw = random.Random(seed)
    outcomes: dict[str, Counter[str]] = {}
    failures: list[str] = []
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = {name: folder / name for name in (*MAKERS, "checkpoint")}
        made = {name: make() for name, make in MAKERS.items()}
        for name, model in made.items():
            model.save_pretrained(places[name])
        images, texts = make_model(), made["texts"]
        make_checkpoint(places["checkpoint"])
        arrays = {name: np.frombuffer(text, np.uint8)[:, None] for name, text in make_texts().items()}
        cases = {
            "archive": ("images", make_archive(images, 2)),
            "larger archive": ("images", make_archive(images, 40)),
            "lossless archive": ("images", make_archive(images, 3, True)),
            "larger lossless archive": ("images", make_archive(images, 40, True)),
            "archive of files": ("images", make_file_archive(images, folder / "files")),
            "archive of texts": ("texts", encode_archive(texts, arrays)),
            "archive of pictures": ("pictures", make_lossless(made["pictures"])),
            "archive of codes": ("codes", encode_archive(made["codes"], {"a": waves(7), "b": waves(8)})),
        }
        archives = {name: cases[what][1] for name, what in CASES.items()}
        reader = Reader(places, archives)
        wanted: dict[str, Any] = {}
        for what, (name, archive) in cases.items():
            kind, wanted[what], *_ = reader.read("archive", name, archive)
            assert kind == "items", wanted[what]
        checkpoint = (places["checkpoint"] / CHECKPOINT).read_bytes()
        wanted["checkpoint"] = reader.read("checkpoint", "", checkpoint)[1]
        for number in range(count):
            mutate, chance = draw.choice(MUTATIONS), draw.random()
            if chance < models:
                name = draw.choice(list(MAKERS))
                what, items = f"model of {name}", wanted[CASES[name]]
                mutate = forge if draw.random() < 0.2 else mutate
                job = "model", name, mutate((places[name] / MODEL).read_bytes(), draw)
            elif chance < models + 0.05:
                what, items = "checkpoint", wanted["checkpoint"]
                job = "checkpoint", "", mutate(checkpoint, draw)
            else:
                what = draw.choice(list(cases))
                (name, archive), items = cases[what], wanted[what]
                mutate = attack if draw.random() < 0.2 else mutate
                job = "archive", name, mutate(archive, draw)
            kind, value, seconds, grown = reader.read(*job)
            verdict = judge(kind, value, seconds, grown, items, mutate is attack or mutate is forge)
            outcomes.setdefault(f"{what}, {mutate.__name__}", Counter())[verdict] += 1
            slowest, largest = max(slowest, seconds), max(largest, grown)
            if verdict not in GOOD:
                failures.append(f"{number}: {what}, {mutate.__name__}: {verdict}: {str(value)[:200]}")
        reader.close()
    return {
        "count": count,
        "seed": seed,
        "outcomes": {what: dict(counter) for what, counter in sorted(outcomes.items())},
        "failures": failures,
        "slowest_seconds": round(slowest, 3),
        "memory_growth_mib": round(largest, 1),
    }


def main() -> None:
    """Runs the benchmark and fails if a mutation fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=float, default=0.3, help="share of mutations on model folders")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options.count, options.seed, options.models)
    text = json.dumps(result, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    if result["failures"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
