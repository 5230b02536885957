"""What a delta-VAE's archives take, beside what the model promises, and beside other codecs.

    python benchmarks/delta_archives.py --model runs/delta/mnist/delta-0 --alone runs/delta/mnist/alone-0 \
        --data t10k-images-idx3-ubyte.gz

The first `--limit` images are compressed losslessly in two ways: in two parts (the posterior's means,
rounded, then the samples given them) and by bits back. The float model's own lengths stand beside them: of
the two parts -log2 P(codes) - log2 p(x | codes), of bits back -ELBO under the auxiliary prior, of one draw
from the posterior an image. Then come the decoder alone, PNG and WebP (each image, and one mosaic), and xz
on the bytes of all images.
"""

from __future__ import annotations

import argparse
import io
import lzma
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from latentpress.coding import inspect_archive
from latentpress.coding.gaussians import LATENT_UNIT
from latentpress.data import Source, open_sources
from latentpress.latents import IntegerLSTM
from latentpress.latents.sequences import as_sequences
from latentpress.model import DeltaVAE
from latentpress.model.latents import Latents
from latentpress.press import compress, decode_archive

BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--alone", type=Path, help="the same decoder without latents")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000)
    options = parser.parse_args()
    model = DeltaVAE.from_pretrained(options.model)
    source = open_sources([options.data], model.item)
    source = replace(source, items=source.items[: options.limit])
    images = np.stack([item.read() for item in source.items])
    two_part, two_part_blocks = archive_bits(model, source, images)
    bits_back, chains = archive_bits(model, source, images, bits_back=True)
    ideal, elbo = two_part_bits(model, images), elbo_bits(model, images)
    rows = [
        ("two-part archive", two_part),
        ("two-part, the float model", ideal),
        ("bits-back archive", bits_back),
        ("-ELBO, the float model", elbo),
    ]
    if options.alone:
        alone = DeltaVAE.from_pretrained(options.alone)
        rows += [
            ("decoder alone, archive", archive_bits(alone, source, images)[0]),
            ("decoder alone, the float model", elbo_bits(alone, images)),
        ]
    joined = model.item.join(list(images))
    for baseline in model.item.lossless_baselines():
        rows.append((f"{baseline.name}, each", 8.0 * sum(len(baseline.pack(image)) for image in images)))
        if joined is not None:
            rows.append((f"{baseline.name}, {joined.layout}", 8.0 * len(baseline.pack(joined.samples))))
    packed = lzma.compress(images.tobytes(), preset=9 | lzma.PRESET_EXTREME)
    rows.append(("xz -9e, all bytes", 8.0 * len(packed)))
    print(f"{len(images)} images\n\n| | bytes | bits/dim |\n|---|---:|---:|")
    for name, bits in rows:
        print(f"| {name} | {bits / 8:,.0f} | {bits / images.size:.4f} |")
    for name, both, promised in (
        ("two-part archive / float model", (two_part, two_part_blocks), ideal),
        ("bits-back archive / -ELBO", (bits_back, chains), elbo),
    ):
        print(f"- {name}: {both[0] / promised:.4f}, its blocks alone {both[1] / promised:.4f}")


def archive_bits(
    model: DeltaVAE, source: Source, images: np.ndarray, *, bits_back: bool = False
) -> tuple[float, float]:
    """Bits of a real archive, which is restored and compared, and of its blocks, without names and index."""
    buffer = io.BytesIO()
    compress(model, source, buffer, lossless=True, bits_back=bits_back, verify=False)
    restored = dict(decode_archive(buffer.getvalue(), model))
    for item, image in zip(source.items, images, strict=True):
        assert np.array_equal(restored[item.name], image), "the archive does not give back its samples"
    info = inspect_archive(buffer.getvalue())
    return 8.0 * info.bytes, 8.0 * (info.bytes - info.framing_bytes)


@torch.inference_mode()
def two_part_bits(model: DeltaVAE, images: np.ndarray) -> float:
    """-log2 P(codes) - log2 p(x | codes): codes under the float auxiliary prior, whole steps of them."""
    prior, total = model.integer.prior, 0.0
    assert isinstance(prior, IntegerLSTM) and model.auxiliary is not None
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        vectors = model.vectors_of(model.encode(part)).to(model.device)
        z, half = as_sequences(vectors), prior.step * LATENT_UNIT / 2
        given = model.auxiliary(z)
        width = given.stddev.double() * math.sqrt(2)
        upper, lower = ((z + side - given.mean).double() / width for side in (half, -half))
        mass = (torch.erf(upper) - torch.erf(lower)) / 2
        total -= float(mass.clamp(min=2.0**-24).log2().sum())
        total += float(model.sample_nats(torch.from_numpy(part), Latents(vectors)).sum()) / math.log(2)
    return total


@torch.inference_mode()
def elbo_bits(model: DeltaVAE, images: np.ndarray) -> float:
    """-ELBO in bits, one draw an image, the KL under the auxiliary prior."""
    generator, total = torch.Generator().manual_seed(0), 0.0
    for start in range(0, len(images), BATCH):
        samples = torch.from_numpy(images[start : start + BATCH])
        latents = model.infer(samples, generator=generator)
        total += float((model.sample_nats(samples, latents) + model.latent_nats(latents)).sum())
    return total / math.log(2)


if __name__ == "__main__":
    main()
