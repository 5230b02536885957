"""Latent spaces: vectors -> codes -> vectors.

codebook.py      the VQ-VAE's: vectors, the nearest of which stands for the encoder's
gaussian.py      the delta-VAE's: Gaussians whose posterior cannot match the prior; more in independent.py
auxiliary.py     the second prior of a delta-VAE's latents, fitted to the posterior
integer_lstm.py  the same in integers, which codes and samples; on stacks, for bits back, in stacked.py
"""

from latentpress.latents.auxiliary import AuxiliaryPrior
from latentpress.latents.codebook import Codebook, Quantized
from latentpress.latents.gaussian import GaussianLatents, Posterior
from latentpress.latents.independent import build_gaussian
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.latents.usage import CodeUsage

__all__ = [
    "AuxiliaryPrior",
    "CodeUsage",
    "Codebook",
    "GaussianLatents",
    "IntegerLSTM",
    "Posterior",
    "Quantized",
    "build_gaussian",
]
