"""How long a photograph takes to come back, lossy: codes from the step engine, pixels from the decoder.

A picture of 768 x 512 through a model of the preset `photos`, untrained, whose prior has weights at random,
on one thread: decoding takes as long whatever the weights are. The first round, which compiles, is left out.

    python benchmarks/photograph_speed.py [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time

import numpy as np
import torch

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.network import Head
from latentpress.coding.container import Archive
from latentpress.coding.modes import Mode
from latentpress.config import VQVAEConfig
from latentpress.config.presets import preset
from latentpress.model import VQVAE, IntegerForms
from latentpress.press import decode_archive, encode_archive, verify_archive

_HEIGHT, _WIDTH = 512, 768


def untrained() -> VQVAE:
    torch.manual_seed(0)
    config = preset("photos").model
    assert isinstance(config, VQVAEConfig)
    model = VQVAE(config).eval()
    model.latents.code_vectors.vectors.data.normal_()  # so that many codes are in use
    codes = model.encode(picture()[None])
    assert model.prior is not None
    for p, head in enumerate(model.prior.heads):  # it knows how frequent codes are, so that it is used
        assert isinstance(head, Head)
        counts = torch.bincount(codes[..., p].flatten(), minlength=model.alphabets[p])
        torch.nn.init.normal_(head.logits.weight, std=1e-3)
        head.logits.bias.data.copy_((counts + 0.01).log())
    model.integer = IntegerForms(prior=IntegerNetwork.convert(model.prior, codes))
    return model


def picture() -> np.ndarray:
    """Smooth colours and some noise."""
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH] / 60
    waves = np.stack([np.sin(rows + c) * np.cos(columns - c) for c in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    return np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = untrained()
    data = encode_archive(model, {"photo.png": picture()})
    modes = {mode.name for mode in Archive(io.BytesIO(data)).modes}
    codes, whole = [], []
    for _ in range(arguments.rounds + 1):
        start = time.perf_counter()
        verify_archive(data, model)
        codes.append(time.perf_counter() - start)
        start = time.perf_counter()
        assert len(list(decode_archive(data, model))) == 1
        whole.append(time.perf_counter() - start)
    result = {
        "modes": sorted(modes),
        "codes_seconds": statistics.median(codes[1:]),
        "codes_and_pixels_seconds": statistics.median(whole[1:]),
    }
    assert Mode.PRIOR.name in modes, "the prior was not used"
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"codes alone       {result['codes_seconds']:.3f} s")
        print(f"codes and pixels  {result['codes_and_pixels_seconds']:.3f} s")


if __name__ == "__main__":
    main()
