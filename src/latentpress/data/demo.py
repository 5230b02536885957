"""Real photographs without a download: those that scikit-image and scikit-learn carry in their wheels."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from latentpress.errors import ItemError
from latentpress.items import Image

__all__ = ["DemoImages", "demo_images"]

_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
_PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}

_TRAINING = (
    "skimage/astronaut.png",
    "skimage/brick.png",
    "skimage/camera.png",
    "skimage/coins.png",
    "skimage/grass.png",
    "skimage/gravel.png",
    "skimage/ihc.png",
    "skimage/motorcycle_left.png",
    "skimage/rocket.jpg",
    "sklearn/flower.jpg",
)
_HELD_OUT = ("skimage/chelsea.png", "skimage/coffee.png", "sklearn/china.jpg")


@dataclass(frozen=True)
class DemoImages:
    """Two folders of RGB photographs as PNG files: one to train on, one that training never sees."""

    training: Path
    held_out: Path


def demo_images(folder: Path | str) -> DemoImages:
    """Writes the photographs below `folder`, into `training` and `held-out`.

    Raises:
        ItemError: One of the packages is missing, or does not carry the photograph; says what to install.
    """
    return DemoImages(
        _write(_TRAINING, Path(folder) / "training"),
        _write(_HELD_OUT, Path(folder) / "held-out"),
    )


def _write(photographs: tuple[str, ...], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for photograph in photographs:
        source = _find(photograph)
        with source.open("rb") as file, (folder / f"{source.stem}.png").open("wb") as png:
            Image().write(Image().open(file), png)
    return folder


def _find(photograph: str) -> Path:
    """Finds a package's file without importing the package."""
    package, name = photograph.split("/")
    spec = find_spec(package)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root) / _FOLDERS[package] / name
        if path.is_file():
            return path
    raise ItemError(f"no {name} here: pip install 'latentpress[demo]' brings it with {_PACKAGES[package]}")
