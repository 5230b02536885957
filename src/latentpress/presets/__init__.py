"""Ready configurations: functions without arguments that return a `RunConfig`.

>>> sorted(PRESETS)
['image-lossless', 'images', 'images-small', 'photos', 'tiny']
>>> preset("images").model.encoder.hop_length
4
"""

from collections.abc import Callable

from latentpress.config import RunConfig
from latentpress.errors import ConfigError
from latentpress.presets.images import image_lossless, images, images_small, photos, tiny

__all__ = ["PRESETS", "image_lossless", "images", "images_small", "photos", "preset", "tiny"]

PRESETS: dict[str, Callable[[], RunConfig]] = {
    "image-lossless": image_lossless,
    "images": images,
    "images-small": images_small,
    "photos": photos,
    "tiny": tiny,
}


def preset(name: str) -> RunConfig:
    """Returns the configuration called `name`; raises `ConfigError` where there is none."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; here are: {', '.join(PRESETS)}")
    return PRESETS[name]()
