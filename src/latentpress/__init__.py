"""Latentpress trains, ships and runs latent codecs.

    item --encoder--> vectors --latent space--> codes --prior + entropy coder--> bytes
    item <--decoder-- vectors <--latent space-- codes <--prior + entropy coder-- bytes

This is the table of contents. A name is imported when it is first used, so that `import latentpress`
costs nothing; sub-modules (`latentpress.train`, `latentpress.generate`, ...) are reached the same way.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentpress.coding import inspect_archive
    from latentpress.config import DeltaVAEConfig, RunConfig, VQVAEConfig
    from latentpress.data import load_dataset, open_sources
    from latentpress.errors import LatentpressError
    from latentpress.exact.distribution import Sampling
    from latentpress.items import Image, Text
    from latentpress.model import VQVAE, DeltaVAE, load
    from latentpress.press import compress, decode_archive, decompress, verify_archive

__version__ = "0.1.0"

__all__ = [
    "VQVAE",
    "DeltaVAE",
    "DeltaVAEConfig",
    "Image",
    "LatentpressError",
    "RunConfig",
    "Sampling",
    "Text",
    "VQVAEConfig",
    "compress",
    "decode_archive",
    "decompress",
    "inspect_archive",
    "load",
    "load_dataset",
    "open_sources",
    "verify_archive",
]

_HOME = {
    "coding": ("inspect_archive",),
    "config": ("DeltaVAEConfig", "RunConfig", "VQVAEConfig"),
    "data": ("load_dataset", "open_sources"),
    "errors": ("LatentpressError",),
    "exact.distribution": ("Sampling",),
    "items": ("Image", "Text"),
    "model": ("DeltaVAE", "VQVAE", "load"),
    "press": ("compress", "decode_archive", "decompress", "verify_archive"),
}

_SUBMODULES = (
    "autoregressive",
    "coding",
    "config",
    "data",
    "errors",
    "evaluate",
    "exact",
    "files",
    "generate",
)
_SUBMODULES += ("items", "latents", "model", "names", "nn", "press", "train")


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is not None:
        value = getattr(import_module(f"latentpress.{home}"), name)
    elif name in _SUBMODULES:
        value = import_module(f"latentpress.{name}")
    else:
        raise AttributeError(f"module 'latentpress' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
