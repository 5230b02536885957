"""Models: what `build` makes of a configuration, and `load` of a folder.

    codebook.py    `LatentModel`, the VQ-VAE: pixels <-> vectors <-> codes
    committed.py   `CommittedModel`, the delta-VAE: samples <-> Gaussian latents with a committed rate

Both give and take codes, and say of them what an archive needs to know: `sizes`, `hop`, `exact_prior`,
`exact_pixels` and the ids of these.
"""

from latentpress.model.building import AnyModel, build, load
from latentpress.model.codebook import LatentModel, to_pixels, to_signal
from latentpress.model.committed import CommittedModel
from latentpress.model.device import resolve_device

__all__ = [
    "AnyModel",
    "CommittedModel",
    "LatentModel",
    "build",
    "load",
    "resolve_device",
    "to_pixels",
    "to_signal",
]
