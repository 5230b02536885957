"""Mutates archives and model folders and checks that each gives the same items or one clear error.

    python benchmarks/mutations.py --count 10000 --json mutations.json

Every mutation goes to a worker process that reads it; a mutation fails if the items differ, if the
error is none of `latentpress.errors`, if it takes longer than 2 s, or if the worker's memory grows
by more than 512 MiB. Half of the archives are lossless. A fifth of the archives' mutations are signed
again, as an attacker would, so that they get past the digest into the reader; such a one may read as
another archive, since without a key nobody can tell it from one that was written so, and is counted as
"another archive". Of a model folder model.safetensors is mutated: nothing else in it is read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import resource
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import torch

from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.config import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    ParallelDecoderConfig,
    PriorConfig,
    VQVAEConfig,
)
from latentpress.errors import LatentpressError
from latentpress.model import VQVAE, IntegerForms
from latentpress.press import decode_archive, encode_archive

SECONDS = 2.0
MEBIBYTES = 512
DARK = 2.0  # mean of the samples that the decoder expects
MODEL = "model.safetensors"
GOOD = ("same items", "clear error", "another archive")

Items = dict[str, str]


def make_model() -> VQVAE:
    """A small model with a sharp random prior and a decoder of dark samples, so that archives use both."""
    torch.manual_seed(0)
    conv = ConvConfig(width=32, depths=(0, 1))
    network = CausalConfig(width=8, depth=1, radius=2, embedding=8, head_width=16)
    config = VQVAEConfig(
        encoder=conv,
        latents=CodebookConfig(codebook_size=32, code_dim=8),
        parallel=ParallelDecoderConfig(network=conv),
        autoregressive=AutoregressiveDecoderConfig(
            network=network, map_width=8, map_channels=4, residual=False
        ),
        prior=PriorConfig(network=network),
    )
    model = VQVAE(config).eval()
    assert model.prior is not None and model.autoregressive is not None
    with torch.no_grad():
        for head in model.autoregressive.network.heads:
            head.get_parameter("logits.bias").copy_(-torch.arange(256) / DARK)
    prior = IntegerNetwork.convert(model.prior, torch.randint(32, (4, 8, 8, 1)))
    samples, codes = torch.randint(8, (4, 16, 16, 3)), torch.randint(32, (4, 4, 4, 1))
    codebook = model.latents.codebook
    decoder = IntegerDecoder.convert(model.autoregressive, samples, codes, codebook=codebook)
    model.integer = IntegerForms(prior=prior, decoder=decoder)
    return model


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


def flip(data: bytes, draw: random.Random) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(data: bytes, draw: random.Random) -> bytes:
    """Keeps the start or the end."""
    cut = draw.randrange(len(data))
    return data[:cut] if draw.random() < 0.7 else data[cut:]


def splice(data: bytes, draw: random.Random) -> bytes:
    """Copies a stretch over, or into, another place."""
    start, length, to = draw.randrange(len(data)), draw.randint(1, 200), draw.randrange(len(data))
    part = data[start : start + length]
    return data[:to] + part + data[to + (len(part) if draw.random() < 0.5 else 0) :]


def lengthen(data: bytes, draw: random.Random) -> bytes:
    """Writes a hostile number over two, four or eight bytes."""
    size = draw.choice([2, 4, 8])
    value = draw.choice([0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), draw.getrandbits(8 * size)])
    to = draw.randrange(max(1, len(data) - size))
    order = draw.choice(["little", "big"])
    return data[:to] + value.to_bytes(size, order) + data[to + size :]  # type: ignore[arg-type]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, truncate, splice, lengthen)


def attack(data: bytes, draw: random.Random) -> bytes:
    """Changes a section, an entry of the header or of the index, and signs the archive again."""
    sections, position = {}, 9
    while position < len(data) - 20:
        length = int.from_bytes(data[position + 4 : position + 12], "little")
        sections[data[position : position + 4]] = data[position + 12 : position + 12 + length]
        position += 12 + length
    tag = draw.choice([b"HEAD", b"INDX"])
    plain = sections[tag] if tag == b"HEAD" else zlib.decompress(sections[tag])
    if draw.random() < 0.3:
        plain = draw.choice(MUTATIONS)(plain, draw)
    else:
        tree = cbor2.loads(plain)
        key = draw.choice(sorted(key for key in tree if not key.endswith("_id")))
        tree[key] = change(tree[key], draw)
        plain = cbor2.dumps(tree)
    sections[tag] = plain if tag == b"HEAD" else zlib.compress(plain)
    return sign(data[:9], sections, data[-4:])


def change(value: Any, draw: random.Random) -> Any:
    """Changes one entry, keeping its type most of the time."""
    if isinstance(value, bytes) and value:
        return draw.choice(MUTATIONS)(value, draw)
    if isinstance(value, list) and value:
        return [change(value[0], draw), *value[1:]]
    return draw.choice([0, 1, 1 << 31, (1 << 64) - 1, -1, None, "", b"", [], {}, 2.5, "../x"])


def sign(start: bytes, sections: dict[bytes, bytes], end: bytes) -> bytes:
    """Puts an archive together with a digest that is right."""
    digest, body = hashlib.blake2b(start, digest_size=16), start
    for tag, payload in sections.items():
        head = tag + len(payload).to_bytes(8, "little")
        digest.update(head + (b"" if tag == b"DATA" else payload))
        body += head + payload
    return body + digest.digest() + end


def fingerprint(samples: np.ndarray) -> str:
    """A short hash of an item's samples and their shape."""
    return hashlib.blake2b(repr(samples.shape).encode() + samples.tobytes(), digest_size=8).hexdigest()


def read_archive(data: bytes, model: VQVAE) -> Items:
    """Reads all items."""
    return {name: fingerprint(samples) for name, samples in decode_archive(data, model)}


def read_model(data: bytes, name: str, folder: Path, archive: bytes) -> Items:
    """Puts `data` into the model folder's file `name`, loads the model and reads an archive with it."""
    path = folder / name
    whole = path.read_bytes()
    try:
        path.write_bytes(data)
        return read_archive(archive, VQVAE.from_pretrained(folder, device="cpu"))
    finally:
        path.write_bytes(whole)


def work(connection: Any, folder: Path, archive: bytes) -> None:
    """Reads what comes, in a process of its own, and answers with the outcome."""
    torch.set_num_threads(1)
    model = make_model()
    read_model((folder / MODEL).read_bytes(), MODEL, folder, archive)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send("ready")
    while (job := connection.recv()) is not None:
        name, data = job
        try:
            items = (
                read_archive(data, model) if name == "archive" else read_model(data, name, folder, archive)
            )
            outcome = ("items", items)
        except LatentpressError as error:
            outcome = ("error", f"{type(error).__name__}: {error}")
        except BaseException as error:
            outcome = ("crash", f"{type(error).__name__}: {error}")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
        connection.send((*outcome, grown / 1024))


class Reader:
    """The worker process; a new one is started when it hangs or dies."""

    def __init__(self, folder: Path, archive: bytes) -> None:
        self.arguments = (folder, archive)
        self.process: Any = None

    def read(self, name: str, data: bytes) -> tuple[str, Any, float, float]:
        """Returns the kind of outcome, its text or items, seconds, and MiB that memory has grown."""
        if self.process is None or not self.process.is_alive():
            self._start()
        start = time.perf_counter()
        self.connection.send((name, data))
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
    """Tries `count` mutations, the share `models` of them on model folders."""
    draw = random.Random(seed)
    outcomes: dict[str, Counter[str]] = {}
    failures: list[str] = []
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_model()
        model.save_pretrained(folder)
        kinds = [(2, False), (40, False), (3, True), (40, True)]
        archives = [make_archive(model, *kind) for kind in kinds]
        expected = [read_archive(archive, model) for archive in archives]
        reader = Reader(folder, archives[0])
        for archive, items in zip(archives, expected, strict=True):
            assert reader.read("archive", archive)[:2] == ("items", items)
        for number in range(count):
            mutate = draw.choice(MUTATIONS)
            if draw.random() < models:
                name, what, items = MODEL, "model folder", expected[0]
                data = mutate((folder / name).read_bytes(), draw)
            else:
                name, which = "archive", draw.randrange(len(archives))
                mutate = attack if draw.random() < 0.2 else mutate
                what = "lossless archive" if kinds[which][1] else "archive"
                data, items = mutate(archives[which], draw), expected[which]
            kind, value, seconds, grown = reader.read(name, data)
            verdict = judge(kind, value, seconds, grown, items, mutate is attack)
            outcomes.setdefault(f"{what}, {mutate.__name__}", Counter())[verdict] += 1
            slowest, largest = max(slowest, seconds), max(largest, grown)
            if verdict not in GOOD:
                failures.append(f"{number}: {name}, {mutate.__name__}: {verdict}: {str(value)[:200]}")
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
