"""Ready configurations: functions without arguments that return a `RunConfig`.

>>> sorted(PRESETS)
['delta-images', 'delta-text', 'image-lossless', 'images', 'images-small', 'photos', 'text', 'tiny']
>>> preset("delta-images").model.latents.alpha
0.95
"""

from collections.abc import Callable

from latentpress.config import RunConfig
from latentpress.errors import ConfigError
from latentpress.presets.delta import delta_images, delta_text, text
from latentpress.presets.images import image_lossless, images, images_small, photos, tiny

__all__ = [
    "PRESETS",
    "delta_images",
    "delta_text",
    "image_lossless",
    "images",
    "images_small",
    "photos",
    "preset",
    "text",
    "tiny",
]

PRESETS: dict[str, Callable[[], RunConfig]] = {
    "delta-images": delta_images,
    "delta-text": delta_text,
    "image-lossless": image_lossless,
    "images": images,
    "images-small": images_small,
    "photos": photos,
    "text": text,
    "tiny": tiny,
}


def preset(name: str) -> RunConfig:
    """Returns the configuration called `name`; raises `ConfigError` where there is none."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; here are: {', '.join(PRESETS)}")
    return PRESETS[name]()
