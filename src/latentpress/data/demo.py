"""Real photographs without a download: those that scikit-image and scikit-learn carry in their wheels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from latentpress.errors import ItemError
from latentpress.items import Image

__all__ = ["demo_images"]

_PACKAGES = {"skimage": ("scikit-image", "data"), "sklearn": ("scikit-learn", "datasets/images")}
_TRAINING = (
    "skimage/astronaut.png skimage/brick.png skimage/camera.png skimage/coins.png skimage/grass.png "
    "skimage/gravel.png skimage/ihc.png skimage/motorcycle_left.png skimage/rocket.jpg sklearn/flower.jpg"
)
_HELD_OUT = "skimage/chelsea.png skimage/coffee.png sklearn/china.jpg"


def demo_images(folder: Path) -> tuple[Path, Path]:
    """Writes RGB photographs below `folder`, and returns two folders: to train on, and to judge on.

    Raises:
        ItemError: one of the packages is missing, or does not carry the photograph; says what to install.
    """
    training, held_out = folder / "training", folder / "held-out"
    for part, photographs in ((training, _TRAINING), (held_out, _HELD_OUT)):
        part.mkdir(parents=True, exist_ok=True)
        for source in map(_find, photographs.split()):
            with source.open("rb") as file, (part / f"{source.stem}.png").open("wb") as png:
                Image().write(Image().open(file), png)
    return training, held_out


def _find(photograph: str) -> Path:
    """Finds a package's file without importing the package."""
    package, name = photograph.split("/")
    wheel, inside = _PACKAGES[package]
    spec = find_spec(package)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, inside, name)
        if path.is_file():
            return path
    raise ItemError(f"no {name} here: pip install 'latentpress[demo]' brings it with {wheel}")
