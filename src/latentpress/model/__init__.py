"""Models: what `build` makes of a configuration, and `load` of a folder.

    codebook.py    `LatentModel`, the VQ-VAE: pixels <-> vectors <-> codes
    committed.py   `CommittedModel`, the delta-VAE: samples <-> Gaussian latents with a committed rate
    halves.py      `split_model`: an encoder and a decoder that work apart

Both give and take codes, and say of them what an archive needs to know: `sizes`, `hop`, `exact_prior`,
`exact_pixels` and the ids of these.
"""

from latentpress.model.building import AnyModel, build, load
from latentpress.model.codebook import LatentModel, to_pixels, to_signal
from latentpress.model.committed import CommittedModel
from latentpress.model.device import resolve_device
from latentpress.model.halves import Halves, split_model

__all__ = [
    "AnyModel",
    "CommittedModel",
    "Halves",
    "LatentModel",
    "build",
    "load",
    "resolve_device",
    "split_model",
    "to_pixels",
    "to_signal",
]
