"""Golden archives: what earlier releases wrote. `python tests/small/golden.py` writes them anew.

Only a new version of the format may change them; until the first release, version 1 still may.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from latentpress.config import LabelConfig, PriorConfig
from latentpress.data import ItemRef, Source
from latentpress.model import Model
from latentpress.press import compress
from small.archives import WAYS, codec, expected_samples, items_for, noise_samples, source_of
from small.configs import NETWORK

__all__ = ["FOLDER", "GOLDEN", "golden_archive"]

FOLDER = Path(__file__).parents[1] / "golden"


def _labelled() -> tuple[Model, Source]:
    """Images of two classes, with a resolution, an exact duplicate, and codes under a prior."""
    labels = (LabelConfig(values=("cat", "dog")),)
    model = codec("vq", "colour", labels=labels, prior=PriorConfig(network=NETWORK, labels=("class",)))
    refs = []
    for number in range(10):
        samples = expected_samples(model, (24 + number % 3, 20), number % 9)
        values, dots = (
            {"class": ("cat", "dog", "cow")[number // 2 % 3]},
            {"dots_per_metre_x": 2835 + number % 2},
        )
        refs.append(ItemRef.of(f"set/{number:03d}.png", samples, values, dots if number % 4 else None))
    return model, Source(model.item, refs)


def _without_prior() -> tuple[Model, Source]:
    """Images whose codes are in all modes that take no model."""
    model = codec("vq", "colour", prior=None)
    items = {f"{n}.png": noise_samples(model.item, (4 + n, 9), n) for n in range(40)}
    items |= {"large.png": noise_samples(model.item, (128, 96)), "dot.png": noise_samples(model.item, (1, 1))}
    items |= {
        f"flat/{n}.png": noise_samples(model.item, (1, 1), n).repeat(64, 0).repeat(64, 1) for n in range(9)
    }
    return model, source_of(model, items)


def _every_form(*names: str) -> Callable[[], tuple[Model, Source]]:
    def made() -> tuple[Model, Source]:
        model = codec(*names)
        return model, source_of(model, items_for(model))

    return made


GOLDEN: dict[str, tuple[Callable[[], tuple[Model, Source]], str]] = {
    "prior.lpz": (_labelled, "lossy"),
    "stored.lpz": (_without_prior, "lossy"),
    "lossless.lpz": (_every_form("vq", "colour"), "lossless"),
    "text.lpz": (_every_form("delta", "text", "autoregressive"), "lossless"),
    "bitsback.lpz": (_every_form("delta", "image"), "bits-back"),
}
"""A codec and items of each, and the way of compressing."""


def golden_archive(name: str) -> bytes:
    """The archive as this release writes it."""
    (made, way), out = GOLDEN[name], io.BytesIO()
    compress(*made(), out, **WAYS[way], model_name="golden", verify=False)
    return out.getvalue()


if __name__ == "__main__":
    for name in GOLDEN:
        (FOLDER / name).write_bytes(golden_archive(name))
