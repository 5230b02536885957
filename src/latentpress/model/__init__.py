"""Models: what `build` makes of a configuration, and `load` of a folder.

base.py        `Model`, the interface that press, evaluation, generation and the command line see
vqvae.py       `VQVAE`: samples <-> vectors <-> codes
deltavae.py    `DeltaVAE`: samples <-> Gaussian latents with a committed rate
decoding.py    latents -> samples by either decoder, and what samples cost, in bounded memory
latents.py     `Latents`: what a model infers of some items
details.py     what latents say of their space: usage, rates, information, a verdict
integer.py     `IntegerForms`: what archives are coded with
labels.py      labels of items as numbers
files.py       a model on disk, as text and tensors
halves.py      `split_model`: an encoder and a decoder that work apart
loading.py     `build`, `load`
"""

from latentpress.model.base import Model, PriorName
from latentpress.model.deltavae import DeltaVAE
from latentpress.model.device import resolve_device
from latentpress.model.halves import Halves, split_model
from latentpress.model.integer import IntegerForms
from latentpress.model.latents import Latents
from latentpress.model.loading import build, load
from latentpress.model.vqvae import VQVAE

__all__ = [
    "VQVAE",
    "DeltaVAE",
    "Halves",
    "IntegerForms",
    "Latents",
    "Model",
    "PriorName",
    "build",
    "load",
    "resolve_device",
    "split_model",
]
