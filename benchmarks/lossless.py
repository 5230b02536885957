"""Small pictures pressed losslessly, beside PNG, lossless WebP and JPEG XL.

    python benchmarks/lossless.py --train DATA/cifar10.zip:cifar10/train --test DATA/cifar10.zip:cifar10/test
    python benchmarks/lossless.py --grey --model runs/mnist --train TRAIN-IDX.gz --test TEST-IDX.gz

Data is a file or folder that Latentpress reads, or a zip archive and, after a colon, a folder in it. The
model is trained on the first with the preset `image-lossless` where its folder is missing. The other
codecs get one file an image, and one mosaic of all images, which costs them no headers. `--without-codes`
trains and measures the network of pixels alone. Last comes what the exact integers cost: the ideal code
length of some test images' pixels under the exact network, over that under the float one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from latentpress.cli.progress import progress_bar
from latentpress.coding import code_length_bits, frequencies
from latentpress.data.sources import Source, open_sources
from latentpress.evaluate.lossless import LosslessEvaluation, evaluate_lossless
from latentpress.model import VQVAE
from latentpress.train.pixels import pixel_nats
from measuring import extract, limited, parser, train_where_missing

_RATE_IMAGES = 200


def main() -> None:
    options = parser(__doc__, model="runs/cifar-lossless", train_time="30m")
    options.add_argument("--train", required=True, metavar="DATA[:FOLDER]")
    options.add_argument("--test", required=True, metavar="DATA[:FOLDER]")
    options.add_argument("--grey", action="store_true")
    options.add_argument("--without-codes", action="store_true")
    chosen = options.parse_args()
    more = ["--set", "model.item.channels=1"] if chosen.grey else []
    if chosen.without_codes:
        more += ["--stage", "decoder", "--set", "model.pixels.use_codes=false"]
    with opened(chosen.train) as train:
        train_where_missing(lambda: train, "image-lossless", chosen, *more)
    model = VQVAE.from_pretrained(chosen.model, chosen.device)
    with opened(chosen.test) as test, progress_bar() as progress:
        source = limited(open_sources([test], channels=model.config.item.channels), chosen.limit)
        found = evaluate_lossless(model, source, progress=progress)
        print(table(found))
        print(f"- exact rate / float rate: {rate_ratio(model, source):.4f}, {_RATE_IMAGES} images")
    if chosen.json:
        chosen.json.write_text(found.to_json() + "\n", encoding="utf-8")


@contextmanager
def opened(data: str) -> Iterator[Path]:
    """What to give to Latentpress: the path, or a folder extracted from the zip archive there."""
    path, _, inner = data.partition(":")
    if not inner:
        yield Path(path)
        return
    with TemporaryDirectory() as folder:
        yield extract(Path(path), inner, Path(folder))


def table(found: LosslessEvaluation) -> str:
    """Words an evaluation as Markdown."""
    lines = ["| codec | bytes | bits/dim |", "|---|--:|--:|"]
    rows = [("**Latentpress**", found.archive_bytes)]
    rows += [(f"{other.codec}, {other.layout}", other.size_bytes) for other in found.others]
    lines += [f"| {name} | {size:,} | {8 * size / found.num_dims:.3f} |" for name, size in rows]
    encode, decode = (found.num_items / s for s in (found.encode_seconds, found.decode_seconds))
    lines += [
        "",
        f"- {found.num_items:,} images: codes {found.codes_bytes:,} bytes, pixels {found.pixels_bytes:,}, "
        f"{found.num_whole:,} stored whole {found.whole_bytes:,}",
        f"- encode {encode:.1f} images/s, decode {decode:.1f} images/s",
    ]
    return "\n".join(lines)


@torch.inference_mode()
def rate_ratio(model: VQVAE, source: Source) -> float:
    """Bits of some images' pixels given their codes, under the exact network over the float one."""
    exact, config, exact_bits, float_bits = model.integer.decoder, model.config.autoregressive, 0.0, 0.0
    assert exact is not None and config is not None
    for item in source.items[:: max(1, len(source.items) // _RATE_IMAGES)][:_RATE_IMAGES]:
        pixels = item.read()
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
        float_bits += float(pixel_nats(model, planes).sum()) / math.log(2)
        symbols = model.item.to_symbols(pixels, residual=config.residual)[None].astype(np.int64)
        context = exact.context(model.encode(pixels[None]) if exact.upsampler else None, pixels.shape[:2])
        for p, logits in enumerate(exact.network.logits(torch.from_numpy(symbols), context)):
            rows = frequencies(logits.cpu().numpy().reshape(-1, logits.shape[-1]))
            exact_bits += code_length_bits(rows, symbols[..., p].ravel())
    return exact_bits / float_bits


if __name__ == "__main__":
    main()
