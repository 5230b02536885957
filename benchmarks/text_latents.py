"""What the latents of a delta-VAE of texts carry, beside the byte decoder alone.

    python benchmarks/text_latents.py --data tinyshakespeare.txt --runs runs/shakespeare
    python benchmarks/text_latents.py --data peps.zip --runs runs/peps-latents

Of one file the last twentieth is the test, of many every tenth. The presets `delta-text` and `text` have
the same decoder, and are trained here for the same number of steps with the same seed. Figures are means
over windows of 512 test bytes; rates are in bits a byte. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

from latentpress.config.presets import preset
from latentpress.data import Dataset, Source, load_dataset, open_sources
from latentpress.evaluate import Diagnosis, diagnose
from latentpress.items import Text
from latentpress.model import Model
from latentpress.train import run

WINDOW = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="a text, or a folder or zip archive of texts"
    )
    parser.add_argument("--runs", type=Path, required=True, help="where the models go")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--windows", type=int, default=1000, help="test windows at most, evenly spread")
    options = parser.parse_args()
    train, test = split(load_dataset(open_sources([options.data], Text())))
    names = {"delta": "delta-text", "alone": "text"}
    models = {
        name: trained(names[name], train, options.runs / name, options.steps, options.seed) for name in names
    }
    windows = test.windows(WINDOW, options.windows)
    print(table({name: diagnose(model, windows) for name, model in models.items()}))


def split(texts: Dataset) -> tuple[Dataset, Dataset]:
    """What to train on, and the test texts."""
    if len(texts) > 1:
        order = sorted(range(len(texts)), key=lambda index: texts.names[index])
        held = set(order[9::10])
        return texts.subset([i for i in range(len(texts)) if i not in held]), texts.subset(sorted(held))
    length = int(texts.extents[0, 0])
    cut = length - length // 20
    parts = (texts.items[0].part(start, stop) for start, stop in ((0, cut), (cut, length)))
    train, test = (load_dataset(Source(Text(), (part,))) for part in parts)
    return train, test


def trained(name: str, dataset: Dataset, folder: Path, steps: int, seed: int) -> Model:
    print(f"{folder}: {steps} steps", flush=True)
    config = preset(name)
    codec, prior = replace(config.codec, steps=steps), replace(config.prior, steps=max(1, steps // 8))
    return run(replace(config, codec=codec, prior=prior), dataset, folder, seed=seed).model


def table(found: dict[str, Diagnosis]) -> str:
    def rate(nats: float | None) -> str:
        return "-" if nats is None else f"{nats / WINDOW / math.log(2):.4f}"

    def bits(nats: float | None) -> str:
        return "-" if nats is None else f"{nats / math.log(2):.2f}"

    rows = [
        "| model | -ELBO, bits/byte | -ELBO aux, bits/byte | committed, bits | KL | min KL | KL aux | "
        "information | its cap | gap, shuffled |",
        "|---|" + "---:|" * 9,
    ]
    for model, one in found.items():
        figures = one.details.values
        cells = [rate(one.sample_nats + figures.get("kl_nats", 0.0)), rate(one.sample_nats + one.latent_nats)]
        nats = [figures.get(f"{name}_nats") for name in ("committed", "kl", "min_kl", "auxiliary_kl")]
        nats += [figures.get(f"{name}_nats") for name in ("information", "information_cap")]
        cells += map(bits, (*nats, one.shuffled_gap_nats))
        rows.append(f"| {model} | {' | '.join(cells)} |")
    first = next(iter(found.values()))
    return "\n".join(
        [f"{first.items} windows of {WINDOW} bytes; bits a window where not said otherwise", "", *rows]
    )


if __name__ == "__main__":
    main()
