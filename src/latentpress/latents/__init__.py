"""Latent spaces: vectors -> codes -> vectors, one space a file.

`codebook.py` is the VQ-VAE's: a memory of vectors, the nearest of which stands for the encoder's. Its
parts are `search.py` (which is nearest), `selection.py` (the gradient through that choice),
`memory.py` (how the memory learns), `sampling.py` (which vectors of a batch start or revive a code)
and `usage.py` (how well the memory is used).

`committed.py` is the delta-VAE's: Gaussians whose posterior cannot match an AR(1) prior; `independent.py`
has those that cannot match N(0, 1), `rates.py` how much they commit, `information.py` how much they say.
`auxiliary.py` is the second prior of a delta-VAE's latents, fitted beside the model; `exact_auxiliary.py` is
that in integers (`auxiliary_integers.py`), which codes them.
"""

from latentpress.latents.auxiliary import AuxiliaryPrior, Conditionals
from latentpress.latents.building import build_gaussian
from latentpress.latents.codebook import Codebook, Quantized
from latentpress.latents.gaussian import GaussianLatents, Posterior
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.latents.usage import CodeUsage

__all__ = [
    "AuxiliaryPrior",
    "CodeUsage",
    "Codebook",
    "Conditionals",
    "GaussianLatents",
    "IntegerLSTM",
    "Posterior",
    "Quantized",
    "build_gaussian",
]
