"""Models: what `build` makes of a configuration, and `load` of a folder.

    codebook.py    `VQVAE`, the VQ-VAE: pixels <-> vectors <-> codes
    committed.py   `DeltaVAE`, the delta-VAE: samples <-> Gaussian latents with a committed rate
    halves.py      `split_model`: an encoder and a decoder that work apart

Both give and take codes, and say of them what an archive needs to know: `sizes`, `hop`, `exact_prior`,
`exact_pixels` and the ids of these.
"""

from latentpress.model.deltavae import DeltaVAE
from latentpress.model.device import resolve_device
from latentpress.model.halves import Halves, split_model
from latentpress.model.loading import AnyModel, build, load
from latentpress.model.vqvae import VQVAE, to_pixels, to_signal

__all__ = [
    "VQVAE",
    "AnyModel",
    "DeltaVAE",
    "Halves",
    "build",
    "load",
    "resolve_device",
    "split_model",
    "to_pixels",
    "to_signal",
]
