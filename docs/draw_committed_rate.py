"""Draws the pictures of docs/committed-rate.md.

    python docs/draw_committed_rate.py                                  the rate against alpha
    python docs/draw_committed_rate.py --model runs/delta/mnist/delta-0 and samples of that model

Rows of the samples have the same latents, columns the same random numbers of the decoder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from latentpress.latents.rates import ar1_rate_nats

__all__ = ["draw_rates", "draw_samples"]

HERE = Path(__file__).parent
STEPS = 28
SIDE = 8


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, help="a delta-VAE of images")
    options = parser.parse_args()
    draw_rates(HERE / "committed-rate.png")
    if options.model is not None:
        draw_samples(options.model, HERE / "committed-samples.png")


def draw_rates(path: Path) -> None:
    """The committed rate of AR(1) priors against alpha, and what information costs above it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    alphas = np.linspace(0.01, 0.99, 197)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    for channels in (1, 2, 4):
        rates = [ar1_rate_nats([alpha] * channels, STEPS) / np.log(2) for alpha in alphas]
        left.plot(alphas, rates, label=f"{channels} channel{'s' if channels > 1 else ''}")
    left.set(xlabel="alpha", ylabel="bits an item", title=f"committed rate, {STEPS} steps", xlim=(0, 1))
    left.legend(frameon=False)
    right.semilogy(alphas, (1 + alphas**2) / (1 - alphas) ** 2)
    right.set(xlabel="alpha", title="nats of information for one of extra KL", xlim=(0, 1), ylim=(1, 1e4))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_samples(folder: Path, path: Path) -> None:
    """SIDE rows of latents from the auxiliary prior by SIDE columns of the decoder's random numbers."""
    from latentpress.exact.distribution import Sampling
    from latentpress.items import Image
    from latentpress.items.base import Content
    from latentpress.model import load

    model = load(folder, "cpu")
    assert isinstance(model.item, Image) and model.item.size is not None
    height, width = model.item.size
    latents = model.sample_codes(SIDE, (height, width), Sampling())
    codes, numbers = latents.repeat_interleave(SIDE, 0), list(range(SIDE)) * SIDE
    items = model.decode(codes, (height, width), numbers=numbers, sampled=True)
    tiles = items.reshape(SIDE, SIDE, *items.shape[1:]).transpose(0, 2, 1, 3, 4)
    sheet = tiles.reshape(SIDE * height, SIDE * width, -1).repeat(2, 0).repeat(2, 1)
    with path.open("wb") as file:
        model.item.write(Content.of(sheet), file)


if __name__ == "__main__":
    main()
