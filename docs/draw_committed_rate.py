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
    from latentpress.generate import generate_delta
    from latentpress.items.image import write_png
    from latentpress.model import DeltaVAE

    model = DeltaVAE.from_pretrained(folder, "cpu")
    assert model.exact_prior is not None and model.exact_decoder is not None
    size = generate_delta(model, 1).shape[1:3]
    latents = model.exact_prior.with_step(1).sample(SIDE, -(-size[0] // model.hop[0]), seed=0)
    codes = model.on_grid(latents.repeat_interleave(SIDE, 0))
    items = model.draw(codes, size, numbers=list(range(SIDE)) * SIDE, exact=model.exact_decoder)
    tiles = items.reshape(SIDE, SIDE, *items.shape[1:]).transpose(0, 2, 1, 3, 4)
    path.write_bytes(write_png(tiles.reshape(SIDE * size[0], SIDE * size[1], -1).repeat(2, 0).repeat(2, 1)))


if __name__ == "__main__":
    main()
