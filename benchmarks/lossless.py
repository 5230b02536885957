"""Small pictures compressed losslessly, beside PNG, lossless WebP and JPEG XL.

    python benchmarks/lossless.py --train DATA/cifar10.zip:cifar10/train --test DATA/cifar10.zip:cifar10/test
    python benchmarks/lossless.py --grey --model runs/mnist --train TRAIN-IDX.gz --test TEST-IDX.gz

Data is a file or folder that Latentpress reads, or a zip archive and, after a colon, a folder in it. The
model is trained on the first with the preset `image-lossless` where its folder is missing. The other
codecs get one file an image, and one mosaic of all images, which costs them no headers. `--without-codes`
trains and measures the autoregressive decoder alone. Last comes what the integers cost: the ideal code
length of some test images' pixels under the integer network, over that under the float one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from latentpress.cli.progress import progress_bar
from latentpress.data import Source, open_sources
from latentpress.evaluate import evaluate
from latentpress.evaluate.latents import as_tensor
from latentpress.evaluate.tables import evaluation_table
from latentpress.exact.distribution import Stream
from latentpress.model import Model, load
from latentpress.model.decoding import symbol_nats
from measuring import codecs, extract, limited, parser, train_where_missing

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
        more += ["--stage", "decoder", "--set", "model.autoregressive.use_latents=false"]
    with opened(chosen.train) as train:
        train_where_missing(lambda: train, "image-lossless", chosen, *more)
    model = load(chosen.model, chosen.device)
    with opened(chosen.test) as test, progress_bar() as progress:
        source = limited(open_sources([test], model.item), chosen.limit)
        found = evaluate(model, source, lossless=True, against=codecs(chosen), progress=progress)
        print(evaluation_table(found))
        print(f"- integer rate / float rate: {rate_ratio(model, source):.4f}, {_RATE_IMAGES} images")
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


@torch.inference_mode()
def rate_ratio(model: Model, source: Source) -> float:
    """Bits of some images' pixels given their codes, under the integer network over the float one."""
    decoder, network, exact_bits, float_bits = model.integer.decoder, model.autoregressive, 0.0, 0.0
    assert decoder is not None and network is not None
    for ref in source.evenly(_RATE_IMAGES).items:
        samples = ref.read()
        size, batch = samples.shape[:-1], as_tensor(samples[None])
        latents = model.infer(batch)
        nats = symbol_nats(network, batch, latents.input, model.item, model.residual)
        float_bits += float(nats.sum()) / math.log(2)
        symbols = model.item.to_symbols(samples, residual=model.residual)
        conditioning = decoder.conditioning(latents.codes, size)
        flat = symbols.reshape(-1, 1, symbols.shape[-1])
        ((_, bits),) = decoder.network.encode([Stream(size, 1, conditioning, symbols=flat)])
        exact_bits += float(bits.sum())
    return exact_bits / float_bits


if __name__ == "__main__":
    main()
