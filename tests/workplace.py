"""A folder to run commands in, for the tests of the command line and of the documents."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentpress.cli import main
from latentpress.items import Content, Image

__all__ = [
    "DELTA",
    "LOSSLESS",
    "QUICK",
    "QUICKLY",
    "TEXT",
    "Workplace",
    "make_workplace",
    "read_png",
    "write_png",
]

_STAGES = ("codec", "prior", "decoder", "encoder")
_BATCHES = (
    *(f"--set={stage}.batch_size=2" for stage in _STAGES),
    *(f"--set={stage}.crop=16" for stage in _STAGES),
)
_CAUSAL = tuple(
    f"--set=model.autoregressive.network.{name}=8" for name in ("width", "embedding", "head_width")
)
_CAUSAL += ("--set=model.autoregressive.network.depth=1", "--set=model.autoregressive.map_width=8")
_NARROW = ("--set=model.encoder.width=32", "--set=model.parallel.network.width=32")

QUICK = ("--preset=tiny", "--steps=4", "--device=cpu", *_NARROW, *_BATCHES)
"""Options of `latentpress train` that make a useless model at once."""

LOSSLESS = ("--preset=image-lossless", "--steps=12", "--device=cpu", *_NARROW, *_CAUSAL, *_BATCHES)
"""Those that make a useless model that compresses losslessly."""

TEXT = ("--preset=text-network", "--steps=4", "--device=cpu", *_CAUSAL, *_BATCHES, "--set=codec.crop=64")
"""Those that make a useless model of texts."""

DELTA = (
    "--preset=delta-images",
    "--steps=8",
    "--device=cpu",
    *_CAUSAL,
    *("--set=model.encoder.network.depth=1", "--set=model.auxiliary.width=8"),
    *(f"--set={stage}.batch_size=2" for stage in _STAGES),
)
"""Those that make a useless delta-VAE of images."""

COUNTED = ("--preset=text", "--device=cpu")
"""Those that make a model of texts that counts."""

QUICKLY = {"image-lossless": LOSSLESS, "text": COUNTED, "text-network": TEXT, "delta-images": DELTA}
"""The options for presets that differ from `QUICK`."""


@dataclass(frozen=True)
class Workplace:
    """`folder` holds `photos/`, pictures of these `names`, and `model/`, trained on them for moments."""

    folder: Path
    names: tuple[str, ...] = ("autumn.png", "lake.png", "town/square.png")


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels (H, W, C) as a PNG file, with the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image(channels=pixels.shape[-1]).write(Content.of(pixels), file)


def read_png(path: Path, channels: int = 3) -> np.ndarray:
    """Reads the pixels of an image."""
    with path.open("rb") as file:
        return Image(channels=channels).open(file).samples


def make_workplace(folder: Path) -> Workplace:
    """Fills an empty folder."""
    place = Workplace(folder)
    rng = np.random.default_rng(0)
    for number, name in enumerate(place.names):
        gradient = np.linspace(0, 200, 24 * (30 + number)).reshape(24, 30 + number, 1)
        write_png(folder / "photos" / name, (gradient + rng.integers(0, 56, (1, 1, 3))).astype(np.uint8))
    assert main(["train", str(folder / "photos"), "-o", str(folder / "model"), *QUICK]) == 0
    return place
