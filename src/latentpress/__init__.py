"""Latentpress trains, ships and runs latent codecs.

    item --encoder--> vectors --latent space--> codes --prior + entropy coder--> bytes
    item <--decoder-- vectors <--latent space-- codes <--prior + entropy coder-- bytes

This is the table of contents. A name is imported when it is first used, so that `import latentpress`
costs nothing; sub-modules (`latentpress.train`, `latentpress.generate`, ...) are reached the same way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentpress.config import DeltaVAEConfig, RunConfig, VQVAEConfig
    from latentpress.data.loading import load_pool
    from latentpress.data.sources import open_sources
    from latentpress.errors import LatentpressError
    from latentpress.items.image import read_image, write_png
    from latentpress.model import VQVAE, DeltaVAE
    from latentpress.press import compress, decompress, inspect_archive, verify_archive

__version__ = "0.1.0"

__all__ = [
    "VQVAE",
    "DeltaVAE",
    "DeltaVAEConfig",
    "LatentpressError",
    "RunConfig",
    "VQVAEConfig",
    "compress",
    "decompress",
    "inspect_archive",
    "load_pool",
    "open_sources",
    "read_image",
    "verify_archive",
    "write_png",
]

_HOME = {
    "DeltaVAE": "model",
    "DeltaVAEConfig": "config",
    "VQVAE": "model",
    "LatentpressError": "errors",
    "VQVAEConfig": "config",
    "RunConfig": "config",
    "compress": "press",
    "decompress": "press",
    "inspect_archive": "press",
    "load_pool": "data.loading",
    "open_sources": "data.sources",
    "read_image": "items.image",
    "verify_archive": "press",
    "write_png": "items.image",
}

_SUBMODULES = ("checkpoint", "coding", "config", "data", "errors", "evaluate", "generate", "items")
_SUBMODULES += ("latents", "model", "nn", "press", "train")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"latentpress.{_HOME[name]}"), name)
    elif name in _SUBMODULES:
        value = import_module(f"latentpress.{name}")
    else:
        raise AttributeError(f"module 'latentpress' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
