"""A folder to run commands in, for the tests of the command line and of the documents."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentpress.cli import main
from latentpress.items.image import write_png

__all__ = ["DELTA", "LOSSLESS", "QUICK", "QUICKLY", "TEXT", "Workplace", "make_workplace"]

QUICK = (
    "--preset=tiny",
    "--steps=4",
    "--device=cpu",
    *(f"--set=model.{part}.width=32" for part in ("encoder", "decoder")),
    *("--set=codec.batch_size=2", "--set=prior.batch_size=2", "--set=codec.crop=16", "--set=prior.crop=16"),
)
"""Options of `latentpress train` that make a useless model at once."""

LOSSLESS = (
    *(option for option in QUICK if not option.startswith("--preset")),
    "--preset=image-lossless",
    "--steps=12",
    *(f"--set=model.pixels.{name}=8" for name in ("width", "head_width", "map_width", "map_channels")),
    "--set=model.pixels.depth=1",
    *("--set=decoder.batch_size=2", "--set=decoder.crop=16"),
)
"""Those that make a useless model that presses losslessly."""


TEXT = (
    "--preset=text",
    "--steps=4",
    *(f"--set=model.decoder.{name}=8" for name in ("width", "embedding", "head_width")),
    "--set=model.decoder.depth=1",
    *("--set=codec.batch_size=2", "--set=codec.crop=64"),
)
"""Those that make a useless model of texts."""

DELTA = (
    "--preset=delta-images",
    "--steps=8",
    *(f"--set=model.decoder.{name}=8" for name in ("width", "embedding", "head_width", "map_width")),
    *("--set=model.decoder.depth=1", "--set=model.encoder.depth=1", "--set=model.auxiliary.width=8"),
    *("--set=codec.batch_size=2", "--set=prior.batch_size=2"),
)
"""Those that make a useless delta-VAE of images."""

QUICKLY = {"image-lossless": LOSSLESS, "text": TEXT, "delta-images": DELTA}
"""The options for presets that differ from `QUICK`."""


@dataclass(frozen=True)
class Workplace:
    """`folder` holds `photos/`, pictures of these `names`, and `model/`, trained on them for moments."""

    folder: Path
    names: tuple[str, ...] = ("autumn.png", "lake.png", "town/square.png")


def make_workplace(folder: Path) -> Workplace:
    """Fills an empty folder."""
    place = Workplace(folder)
    rng = np.random.default_rng(0)
    for number, name in enumerate(place.names):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        gradient = np.linspace(0, 200, 24 * (30 + number)).reshape(24, 30 + number, 1)
        path.write_bytes(write_png((gradient + rng.integers(0, 56, (1, 1, 3))).astype(np.uint8)))
    assert main(["train", str(folder / "photos"), "-o", str(folder / "model"), *QUICK]) == 0
    return place
