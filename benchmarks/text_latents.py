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
from functools import partial
from pathlib import Path

import numpy as np

from latentpress.config import RunConfig
from latentpress.config.presets import delta_text, text
from latentpress.data.sources import ItemRef, Source, open_sources
from latentpress.data.windows import TextPool, load_text_pool
from latentpress.evaluate.diagnosis import Diagnosis, diagnose
from latentpress.model import DeltaVAE
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
    train, test = split(load_text_pool(open_sources([options.data], kind="text")))
    models = {
        name: trained(preset, train, options.runs / name, options.steps, options.seed)
        for name, preset in (("delta", delta_text()), ("alone", text()))
    }
    windows = cut(test, options.windows)
    print(table({name: diagnose(model, windows) for name, model in models.items()}))


def split(pool: TextPool) -> tuple[TextPool, list[np.ndarray]]:
    """What to train on, and the test texts (T, 1)."""
    if len(pool) > 1:
        order = sorted(range(len(pool)), key=lambda index: pool.names[index])
        held = set(order[9::10])
        return pool.subset([i for i in order if i not in held]), [pool[i] for i in sorted(held)]
    whole = pool[0]
    cut = len(whole) - len(whole) // 20
    item = ItemRef(pool.names[0], None, partial(np.copy, whole[:cut]))
    return load_text_pool(Source((item,))), [whole[cut:]]


def cut(texts: list[np.ndarray], most: int) -> np.ndarray:
    """Windows that do not overlap, (N, WINDOW, 1)."""
    windows = [
        text[start : start + WINDOW] for text in texts for start in range(0, len(text) - WINDOW + 1, WINDOW)
    ]
    count = min(most, len(windows))
    return np.stack([windows[index * len(windows) // count] for index in range(count)])


def trained(config: RunConfig, pool: TextPool, folder: Path, steps: int, seed: int) -> DeltaVAE:
    print(f"{folder}: {steps} steps", flush=True)
    codec, prior = replace(config.codec, steps=steps), replace(config.prior, steps=max(1, steps // 8))
    return run(replace(config, codec=codec, prior=prior), pool, folder, seed=seed).model


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
    for name, one in found.items():
        cells = [rate(one.negative_elbo_nats), rate(one.negative_elbo_auxiliary_nats)]
        nats = (one.committed_nats, one.kl_nats, one.min_kl_nats, one.auxiliary_kl_nats)
        cells += map(bits, (*nats, one.information_nats, one.information_cap_nats, one.shuffled_gap_nats))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    first = next(iter(found.values()))
    return "\n".join(
        [f"{first.num_items} windows of {WINDOW} bytes; bits a window where not said otherwise", "", *rows]
    )


if __name__ == "__main__":
    main()
